"""From the handles that `run` is given to the computation they span."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jmpc.api.values import DRIVER, Effect, Node, Value, Visibility
from jmpc.computation import Assign, Computation, Output, Read, Source
from jmpc.lowering.folding import fold_known_floats
from jmpc.lowering.pairs import complex_as_pairs

Feed = Callable[[int | None], Any]  # brings an input's pytree of arrays, for an iteration


@dataclass(frozen=True)
class Built:
    """A computation with what only this process knows of it.

    The computation calls its variables by numbers, in the order of their first use, as it does inputs and outputs: so
    it is the same in every session, and after every `jmpc.load`, and whoever has prepared it need not do so again.
    """

    computation: Computation
    feeds: dict[str, tuple[str, Feed]]  # input key to its player and what brings it
    sinks: dict[str, tuple[str, Callable[..., None]]]  # output group to its player and who takes it
    variables: tuple[Any, ...]  # the variables it reads or assigns
    names: dict[str, str]  # what each of them is called, by what the computation calls it
    outputs: tuple[tuple[str, str] | None, ...]  # for each fetch the output's key and its player, None for effects
    iteration: int | None = None  # which one a run of it is, for providers that ask


def build(fetches: Sequence[Value | Effect], servers: Sequence[str], driver: str, fraction: int) -> Built:
    """Numbers the graph behind `fetches`, in an order that depends on the graph alone.

    Raises:
      TypeError: for a fetch that is still secret, with what to do.
      TraceError: for a loop over constants that does not end, or what cannot be computed on complex secrets, with the
        user's line.
    """
    builder = _Builder(driver)
    outputs: list[tuple[str, str] | None] = []
    for position, fetch in enumerate(fetches):
        if isinstance(fetch, Effect):
            builder.visit(fetch.node)
            outputs.append(None)
            continue
        if fetch.visibility is Visibility.SECRET:
            raise TypeError(
                f"run: fetch {position} of type {fetch.type} is secret; say who may see it: value.reveal() opens it "
                'to the driver, value.reveal("NAME") to another player'
            )
        player = driver if fetch.player in (None, DRIVER) else fetch.player
        key = f"fetch/{position}"
        builder.calls.append(Output(builder.number(fetch), player, "", key, fetch.node.line))
        outputs.append((key, player))
    folded = fold_known_floats(Computation(tuple(servers), tuple(builder.calls), fraction))
    computation = complex_as_pairs(folded)
    called = {call: variable.name for variable, call in builder.variables.items()}
    names = {call: called[call] for call in computation.variables}
    return Built(computation, builder.feeds, builder.sinks, tuple(builder.variables), names, tuple(outputs))


class _Builder:
    """Post-order walk, without recursion: graphs of long Python loops are deep."""

    def __init__(self, driver: str) -> None:
        self.driver = driver
        self.calls: list = []
        self.feeds: dict[str, tuple[str, Feed]] = {}
        self.sinks: dict[str, tuple[str, Callable[..., None]]] = {}
        self.variables: dict[Any, str] = {}  # by what the computation calls them
        self._start: dict[Node, int] = {}
        self._count = 0
        self._sources = 0
        self._groups: dict[object, tuple[int, int]] = {}  # outputs of one sink: their number, how many so far

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
        call = dataclasses.replace(node.make(numbers, self.driver), line=node.line)
        if isinstance(call, Output):
            call = self._output(call, node)
        if isinstance(call, Source):
            call = dataclasses.replace(call, key=f"input/{self._sources}")
            self._sources += 1
            if node.feed is not None:
                self.feeds[call.key] = (call.player, node.feed)
        if isinstance(call, Read | Assign):
            called = self.variables.setdefault(node.variable, f"variable/{len(self.variables)}")
            call = dataclasses.replace(call, variable=called)
        self.calls.append(call)
        self._start[node] = self._count
        self._count += len(node.types)

    def _output(self, call: Output, node: Node) -> Output:
        """The call with the key of its group, counted within this computation, and its place there."""
        number, place = self._groups.get(node.group, (len(self._groups), 0))
        self._groups[node.group] = number, place + 1
        if node.feed is not None:
            self.sinks[f"output/{number}"] = (call.player, node.feed)
        return dataclasses.replace(call, key=f"output/{number}/{place}")
