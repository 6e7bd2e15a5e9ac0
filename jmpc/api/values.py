"""Handles on values of a computation that has not run yet, and the graph they span."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jmpc._compat import user_line
from jmpc.api.operators import Operators
from jmpc.computation import ArrayType, Assign, Call, Output, Reveal, Share

DRIVER = "@driver"  # stands for the configured driver until a computation is built


class Visibility(enum.Enum):
    """Who may see a value."""

    SECRET = "secret"  # nobody: the servers hold shares
    CLEAR = "clear"  # one player
    PUBLIC = "public"  # everyone


class Node:
    """One call of the graph, made by the user's line `line`.

    Args:
      args: the values it takes.
      types: of the values it makes.
      make: gives the call, from the numbers of its arguments and the driver's name.
      feed: what gives a source's data, called with the run's iteration, or an output's sink, when this process is its
        player.
      variable: the `Variable` that a read or an assignment belongs to.
      group: the same for all outputs that go to one sink together.
      line: where it is reported, if not where it is made.
    """

    def __init__(
        self,
        args: tuple[Value, ...],
        types: tuple[ArrayType, ...],
        make: Callable[[tuple[int, ...], str], Call],
        feed: Callable[..., Any] | None = None,
        *,
        variable: Any = None,
        group: object = None,
        line: str | None = None,
    ) -> None:
        self.args, self.types, self.make, self.feed = args, types, make, feed
        self.variable, self.group = variable, group
        self.line = user_line() if line is None else line


@dataclass(frozen=True, eq=False)
class Effect:
    """Something that `run` does but that has no value: an assignment, an output."""

    node: Node


@dataclass(frozen=True, eq=False, repr=False)
class Value(Operators):
    """An array of a computation: secret, in the clear at one player, or public.

    Nothing is computed until `jmpc.run`. Operators, array methods and the functions of the `jmpc` namespace make
    new values; `reveal` is the only way to open one.
    """

    node: Node
    index: int
    visibility: Visibility
    player: str | None = None  # of a value in the clear
    range: tuple[float, float] | None = None
    _shared: dict[str, Value] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.type} {whereabouts(self)}>"

    @property
    def type(self) -> ArrayType:
        return self.node.types[self.index]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> np.dtype:
        return jax.numpy.dtype(self.type.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def aval(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.shape, self.dtype)

    def reveal(self, player: str | None = None) -> Value:
        """This value opened to `player` (default: the driver) and to nobody else."""
        to = DRIVER if player is None else player
        node = Node((self,), (self.type,), lambda args, driver: Reveal(args[0], driver if to == DRIVER else to))
        return Value(node, 0, Visibility.CLEAR, to)

    def shared(self) -> Value:
        """This value secret-shared among the servers; the value itself if it already is."""
        if self.visibility is not Visibility.CLEAR or self.range is None:
            return self  # a clear value without a declared range is shared where it is used
        if "value" not in self._shared:
            limits = self.range
            node = Node((self,), (self.type,), lambda args, _: Share(args[0], limits))
            self._shared["value"] = Value(node, 0, Visibility.SECRET)
        return self._shared["value"]


def whereabouts(value: Value) -> str:
    """Who may see a value, in words."""
    if value.visibility is not Visibility.CLEAR:
        return value.visibility.value
    return "at the driver" if value.player == DRIVER else f"at {value.player!r}"


def output(values: Sequence[Value], player: str, sink: str, feed: Callable[..., None] | None) -> list[Effect]:
    """Effects that together hand values at `player` to one sink there."""

    def make(args: tuple[int, ...], driver: str) -> Output:
        return Output(args[0], driver if player == DRIVER else player, sink, "")  # the key is the builder's

    group = object()
    return [Effect(Node((value,), (), make, feed, group=group)) for value in values]


def assign(variable: Any, value: Value, player: str | None, line: str | None = None) -> Effect:
    """The effect that makes `value` the next generation of a variable, reported at `line` if not where it is made."""
    make = lambda args, _: Assign(variable.name, args[0], player)
    return Effect(Node((value,), (), make, variable=variable, line=line))
