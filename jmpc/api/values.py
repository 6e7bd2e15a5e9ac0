"""Handles on values of a computation that has not run yet, and the graph they span."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jmpc.computation import ArrayType, Assign, Call, Output, Reveal, Share

DRIVER = "@driver"  # stands for the configured driver until a computation is built


class Visibility(enum.Enum):
    """Who may see a value."""

    SECRET = "secret"  # nobody: the servers hold shares
    CLEAR = "clear"  # one player
    PUBLIC = "public"  # everyone


@dataclass(frozen=True, eq=False)
class Node:
    """One call of the graph; `make` gives it the numbers of its arguments and the driver's name."""

    args: tuple[Value, ...]
    types: tuple[ArrayType, ...]
    make: Callable[[tuple[int, ...], str], Call]
    feed: Callable[..., Any] | None = None  # a source's data or an output's sink, when this process is its player
    variable: Any = None  # the `Variable` that a read or an assignment belongs to


@dataclass(frozen=True, eq=False)
class Effect:
    """Something that `run` does but that has no value: an assignment, an output."""

    node: Node


@dataclass(frozen=True, eq=False)
class Value:
    """An array of a computation: secret, in the clear at one player, or public.

    Nothing is computed until `jmpc.run`. Operators and the functions of the `jmpc` namespace make new
    values; `reveal` is the only way to open one.
    """

    node: Node = field(repr=False)
    index: int
    visibility: Visibility
    player: str | None = None  # of a value in the clear
    range: tuple[float, float] | None = None
    _shared: dict[str, Value] = field(default_factory=dict, repr=False)

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

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a scalar value")
        return self.shape[0]

    def __bool__(self) -> bool:
        raise TypeError("a private value has no truth value here; use `jmpc.where`, or `jax.lax.cond` in a function")

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("a private value is not an array here; open it with `jmpc.run(value.reveal())`")

    def reveal(self, player: str | None = None) -> Value:
        """This value opened to `player` (default: the driver) and to nobody else."""
        to = player or DRIVER
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


def output(values: Sequence[Value], player: str, sink: str, group: str, feed: Callable | None) -> list[Effect]:
    """Effects that together hand values at `player` to one sink there."""
    effects = []
    for position, value in enumerate(values):
        make = functools.partial(_make_output, player=player, sink=sink, key=f"{group}/{position}")
        effects.append(Effect(Node((value,), (), make, feed)))
    return effects


def _make_output(args: tuple[int, ...], driver: str, *, player: str, sink: str, key: str) -> Output:
    return Output(args[0], driver if player == DRIVER else player, sink, key)


def assign(variable: Any, value: Value, player: str | None) -> Effect:
    """The effect that makes `value` the next generation of a variable."""
    make = lambda args, _: Assign(variable.name, args[0], player)  # noqa: E731
    return Effect(Node((value,), (), make, variable=variable))
