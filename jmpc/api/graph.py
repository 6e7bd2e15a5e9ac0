"""From the handles that `run` is given to the computation they span."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jmpc.api.values import DRIVER, Effect, Node, Value, Visibility
from jmpc.computation import Computation, Output, Source


@dataclass(frozen=True)
class Built:
    """A computation with what only this process knows of it."""

    computation: Computation
    feeds: dict[str, tuple[str, Callable[[], Any]]]  # input key to its player and what brings it
    sinks: dict[str, tuple[str, Callable[..., None]]]  # output group to its player and who takes it
    variables: tuple[Any, ...]  # the variables it reads or assigns
    outputs: tuple[str | None, ...]  # for each fetch the output's key, None if it opens elsewhere


def build(fetches: Sequence[Value | Effect], servers: Sequence[str], driver: str, fraction: int) -> Built:
    """Numbers the graph behind `fetches`, in an order that depends on the graph alone.

    Raises:
      TypeError: for a fetch that is still secret, with what to do.
    """
    builder = _Builder(driver)
    outputs: list[str | None] = []
    for position, fetch in enumerate(fetches):
        if isinstance(fetch, Effect):
            builder.visit(fetch.node)
            outputs.append(None)
            continue
        if not isinstance(fetch, Value):
            raise TypeError(f"run: {type(fetch).__name__} is not a private value, an assignment or an output")
        if fetch.visibility is Visibility.SECRET:
            raise TypeError(
                f"run: fetch {position} of type {fetch.type} is secret; say who may see it: value.reveal() opens it "
                'to the driver, value.reveal("NAME") to another player'
            )
        player = builder.player(fetch.player)
        number = builder.number(fetch)
        if player in (None, driver):
            key = f"fetch/{position}"
            builder.calls.append(Output(number, driver, "", key))
            outputs.append(key)
        else:
            builder.calls.append(Output(number, player, "", f"fetch/{position}"))
            outputs.append(None)
    computation = Computation(tuple(servers), tuple(builder.calls), fraction)
    return Built(computation, builder.feeds, builder.sinks, tuple(builder.variables), tuple(outputs))


class _Builder:
    """Post-order walk, without recursion: graphs of long Python loops are deep."""

    def __init__(self, driver: str) -> None:
        self.driver = driver
        self.calls: list = []
        self.feeds: dict[str, tuple[str, Callable[[], Any]]] = {}
        self.sinks: dict[str, tuple[str, Callable[..., None]]] = {}
        self.variables: dict[Any, None] = {}
        self._start: dict[Node, int] = {}
        self._count = 0
        self._sources = 0

    def player(self, name: str | None) -> str | None:
        return self.driver if name == DRIVER else name

    def number(self, value: Value) -> int:
        self.visit(value.node)
        return self._start[value.node] + value.index

    def visit(self, root: Node) -> None:
        stack = [root]
        while stack:
            node = stack[-1]
            if node in self._start:
                stack.pop()
                continue
            missing = [arg.node for arg in node.args if arg.node not in self._start]
            if missing:
                stack += reversed(missing)  # so that arguments are numbered in their order
                continue
            stack.pop()
            self._add(node)

    def _add(self, node: Node) -> None:
        numbers = tuple(self._start[arg.node] + arg.index for arg in node.args)
        call = node.make(numbers, self.driver)
        if isinstance(call, Output) and node.feed is not None:
            self.sinks[call.key.rpartition("/")[0]] = (call.player, node.feed)
        if isinstance(call, Source):
            call = Source(call.player, call.provider, call.types, f"input/{self._sources}")
            self._sources += 1
            if node.feed is not None:
                self.feeds[call.key] = (call.player, node.feed)
        if node.variable is not None:
            self.variables[node.variable] = None
        self.calls.append(call)
        self._start[node] = self._count
        self._count += len(node.types)
