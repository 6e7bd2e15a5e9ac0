"""Where values come from: variables, inputs of players, constants; and what players compute themselves."""

from __future__ import annotations

import functools
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jmpc.api.values import DRIVER, Effect, Node, Value, Visibility, assign, output
from jmpc.computation import ArrayType, Compute, Constant, Publish, Read, Source
from jmpc.providers import Provider, Sink

Range = tuple[float, float]
_names = itertools.count()


def _variable_name() -> str:
    """Unique among all scripts: variables outlive the script that made them."""
    return f"variable/{secrets.token_hex(8)}"


@dataclass(frozen=True, eq=False)
class Variable:
    """A value that lives across runs: as shares on the servers, or in the clear at one player.

    Use `value` (or the variable itself, in operators and functions) for its current value, `assign` for an
    effect that `run` performs.
    """

    name: str
    type: ArrayType
    initial: Value
    player: str | None = None
    value: Value = field(init=False)

    def __post_init__(self) -> None:
        player = self.player
        node = Node((), (self.type,), lambda _, __: Read(self.name, self.type, player), variable=self)
        seen = Visibility.SECRET if player is None else Visibility.CLEAR
        object.__setattr__(self, "value", Value(node, 0, seen, player))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype

    def reveal(self, player: str | None = None) -> Value:
        """The current value opened to `player` (default: the driver) alone."""
        return self.value.reveal(player)

    def assign(self, value: Value | Variable) -> Effect:
        """Makes `value` the next generation of this variable when run."""
        value = as_value(value)
        if value.type != self.type:
            raise TypeError(f"assign: the variable is {self.type}, the value {value.type}")
        if self.player is not None and (value.visibility, value.player) != (Visibility.CLEAR, self.player):
            raise TypeError(f"assign: the variable lives at {self.player!r} in the clear; the value does not")
        return assign(self, value, self.player)


def as_value(x: Any) -> Value:
    """A handle for a value, a variable, or a public array."""
    if isinstance(x, Value):
        return x
    return x.value if isinstance(x, Variable) else define_constant(x)


def define_constant(x: Any) -> Value:
    """A public array that becomes part of the computation. It is not private: every player sees it."""
    array = np.asarray(jax.numpy.asarray(x))
    return Value(Node((), (ArrayType.of(array),), lambda _, __: Constant(array)), 0, Visibility.PUBLIC)


def define_private_variable(initial: Any, *, range: Range | None = None) -> Variable:
    """A secret array that lives on the servers across runs.

    Args:
      initial: an array, which the driver shares when the variable is first used, or a private value.
      range: lowest and highest value of the initial array, if known; see `define_private_input`.
    """
    if isinstance(initial, Value | Variable):
        value = as_value(initial)
    else:
        array = np.asarray(jax.numpy.asarray(initial))
        value = _source(DRIVER, (ArrayType.of(array),), "", lambda: array, range)[0]
    return Variable(_variable_name(), value.type, value.shared())


def define_local_variable(player: str, initial: Any) -> Variable:
    """An array that lives in the clear at `player` across runs, for example a model owner's parameters.

    Args:
      initial: a pure JAX function without arguments that returns it (it runs at `player`), a value in the clear
        at `player`, or an array (public: it becomes part of the computation).
    """
    if isinstance(initial, Value | Variable):
        value = as_value(initial)
    else:
        make = initial if callable(initial) else functools.partial(jax.numpy.asarray, initial)
        value = define_local_computation(player, make)
    return Variable(_variable_name(), value.type, value, player)


def define_private_input(
    player: str, provide_input: Callable[[], Any] | Provider | str, *, types: Any = None, range: Range | None = None
) -> Any:
    """Data that `player` brings, as a pytree of values that nobody else sees.

    In a computation of `player` itself (`define_local_computation`) it is in the clear; anywhere else it is
    secret-shared first.

    Args:
      player: whose data it is.
      provide_input: a function without arguments: if it is pure JAX it travels as data and runs at `player`;
        a Python function works in simulation and where this script is `player`. Or a function registered
        with `jmpc.provider`, or the name of one: that player's node calls it in every run.
      types: a pytree of `jax.ShapeDtypeStruct`, for what is not known without calling the provider.
      range: lowest and highest value of float arrays; checked at the owner before anything is shared. A
        known range makes results more precise. Default: |x| < 2^26 (at 18 fractional bits).
    """
    return _define_input(player, provide_input, types, range)


def define_public_input(player: str, provide_input: Callable[[], Any] | Provider | str, *, types: Any = None) -> Any:
    """Data that `player` brings and that everyone may see, as a pytree of public values."""

    def publish(value: Value) -> Value:
        node = Node((value,), (value.type,), lambda args, _: Publish(args[0]))
        return Value(node, 0, Visibility.PUBLIC)

    return jax.tree.map(publish, _define_input(player, provide_input, types, None))


def _define_input(player: str, provide: Any, types: Any, range: Range | None) -> Any:
    if isinstance(provide, Provider):
        types, provider = provide.types if types is None else types, provide.name
        feed = functools.partial(provide, player)
    elif isinstance(provide, str):
        if types is None:
            raise TypeError(f"the provider {provide!r} needs `types`: a pytree of jax.ShapeDtypeStruct")
        provider, feed = provide, None
    else:
        if (pure := _pure(provide)) is not None:
            return _compute(player, pure, (), range, getattr(provide, "__name__", "input"))
        types = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, provide())) if types is None else types
        provider, feed = "", provide
    leaves, tree = jax.tree.flatten(types)
    values = _source(player, tuple(ArrayType.of(leaf) for leaf in leaves), provider, feed, range)
    return jax.tree.unflatten(tree, values)


def _pure(provide: Callable[[], Any]) -> tuple[Any, Any] | None:
    """The jaxpr of a function that makes its arrays with JAX alone; None if it brings data of its own."""
    try:
        closed, shape = jax.make_jaxpr(provide, return_shape=True)()
    except (jax.errors.JAXTypeError, TypeError):
        return None
    data = [*closed.consts, *(v.val for v in closed.jaxpr.outvars if not hasattr(v, "count") and hasattr(v, "val"))]
    return None if any(np.size(x) for x in data) else (closed, jax.tree.structure(shape))


def _source(player: str, types: tuple[ArrayType, ...], provider: str, feed: Any, range: Range | None) -> list[Value]:
    def make(_: tuple[int, ...], driver: str) -> Source:
        return Source(driver if player == DRIVER else player, provider, types, "")

    node = Node((), types, make, feed)
    return [Value(node, index, Visibility.CLEAR, player, range) for index, _ in enumerate(types)]


def define_local_computation(player: str, fn: Callable[..., Any], *args: Any, range: Range | None = None) -> Any:
    """Runs `fn`, ordinary JAX code, at `player` on what it holds in the clear; a pytree of values at `player`.

    Args:
      player: who computes.
      fn: a pure JAX function.
      args: pytrees of values in the clear at `player` (its inputs, what was revealed to it), public values
        and arrays.
      range: lowest and highest value of the results, if they will be shared; see `define_private_input`.
    """
    leaves, tree = jax.tree.flatten(args, is_leaf=lambda x: isinstance(x, Variable))
    values = [as_value(leaf) for leaf in leaves]
    for value in values:
        if value.visibility is Visibility.SECRET:
            raise TypeError(
                f"a local computation of {player!r} got a secret value of type {value.type}; if {player!r} may see it, "
                f"pass value.reveal({player!r})"
            )
        if value.visibility is Visibility.CLEAR and value.player != player:
            raise TypeError(
                f"a local computation of {player!r} got a value in the clear at {value.player!r}; if {player!r} may see "
                f"it, pass value.reveal({player!r})"
            )
    traced = jax.make_jaxpr(lambda *xs: fn(*jax.tree.unflatten(tree, xs)), return_shape=True)
    closed, shape = traced(*(value.aval for value in values))
    return _compute(player, (closed, jax.tree.structure(shape)), tuple(values), range, getattr(fn, "__name__", "fn"))


def _compute(player: str, traced: tuple[Any, Any], args: tuple[Value, ...], range: Range | None, name: str) -> Any:
    closed, tree = traced
    types = tuple(ArrayType.of(aval) for aval in closed.out_avals)
    node = Node(args, types, lambda numbers, driver: Compute(driver if player == DRIVER else player, closed, numbers, name))
    values = [Value(node, index, Visibility.CLEAR, player, range) for index, _ in enumerate(types)]
    return jax.tree.unflatten(tree, values)


def local_computation(player: str, *, range: Range | None = None) -> Callable[[Callable], Callable]:
    """Decorator: calls of the function are local computations of `player`."""

    def decorate(fn: Callable) -> Callable:
        @functools.wraps(fn)
        def call(*args: Any) -> Any:
            return define_local_computation(player, fn, *args, range=range)

        return call

    return decorate


def define_output(player: str, value: Any, sink: Sink | str | Callable[..., None]) -> list[Effect]:
    """Hands values to `player`'s own Python code when run: `sink(*arrays)`, leaf by leaf.

    Args:
      player: where `sink` is called.
      value: a pytree of values; those not yet in the clear at `player` are revealed to it.
      sink: a function registered with `jmpc.sink`, the name of one, or any function: the last works in
        simulation and where this script is `player`.
    """
    leaves = [as_value(leaf) for leaf in jax.tree.leaves(value, is_leaf=lambda x: isinstance(x, Variable))]
    opened = [v if v.visibility is Visibility.CLEAR and v.player == player else v.reveal(player) for v in leaves]
    name = sink if isinstance(sink, str) else sink.name if isinstance(sink, Sink) else ""
    return output(opened, player, name, f"output/{next(_names)}", None if isinstance(sink, str) else sink)
