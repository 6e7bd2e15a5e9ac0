"""Where values come from: variables, inputs of players, constants; and what players compute themselves."""

from __future__ import annotations

import functools
import math
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from jmpc._compat import dce, user_line
from jmpc.api.complexes import in_parts
from jmpc.api.operators import Operators
from jmpc.api.tracing import explained
from jmpc.api.values import DRIVER, Effect, Node, Value, Visibility, assign, output, whereabouts
from jmpc.choreography.inline import captured, inline_calls
from jmpc.computation import ArrayType, Compute, Constant, Publish, Read, Source
from jmpc.config import player_of
from jmpc.errors import InputError
from jmpc.leaves import names_of
from jmpc.providers import Provider, Sink

Range = tuple[float, float]


def variable_name() -> str:
    """Unique among all scripts: variables outlive the script that made them."""
    return f"variable/{secrets.token_hex(8)}"


@dataclass(frozen=True, eq=False, repr=False)
class Variable(Operators):
    """A value that lives across runs: as shares on the servers, or in the clear at one player.

    Use `value` (or the variable itself, in operators and functions) for its current value, `assign` for an
    effect that `run` performs. It is reported at `line`. One that was loaded has no `initial` value.
    """

    name: str
    type: ArrayType
    initial: Value | None
    line: str
    player: str | None = None
    value: Value = field(init=False)

    def __post_init__(self) -> None:
        player = self.player
        node = Node((), (self.type,), lambda _, __: Read(self.name, self.type, player), variable=self, line=self.line)
        seen = Visibility.SECRET if player is None else Visibility.CLEAR
        object.__setattr__(self, "value", Value(node, 0, seen, player))

    def __repr__(self) -> str:
        return f"<variable {self.type} {whereabouts(self.value)}>"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return self.value.size

    def reveal(self, player: str | None = None) -> Value:
        """The current value opened to `player` (default: the driver) alone."""
        return self.value.reveal(player)

    def assign(self, value: Value | Variable) -> Effect:
        """Makes `value` the next generation of this variable when run."""
        value = as_value(value)
        if value.type != self.type:
            raise TypeError(f"assign: the variable is {self.type}, the value {value.type}")
        if self.player is not None and not _in_the_clear(value, self.player):
            raise TypeError(
                f"assign: the variable lives at {self.player!r} in the clear, the value is {whereabouts(value)}; if "
                f"{self.player!r} may see it, assign value.reveal({self.player!r})"
            )
        return assign(self, value, self.player)


def _in_the_clear(value: Value, player: str) -> bool:
    """Whether `player` has a value. Which player the driver is turns out when the computation is built."""
    if value.visibility is not Visibility.CLEAR:
        return value.visibility is Visibility.PUBLIC
    return value.player == player or DRIVER in (value.player, player)


def as_value(x: Any) -> Value:
    """A handle for a value, a variable, or a public real array."""
    if isinstance(x, Value):
        return x
    return x.value if isinstance(x, Variable) else define_constant(x)


@dataclass(frozen=True)
class TracedCall:
    """A call of an ordinary JAX function: its jaxpr, the values that it takes, and the tree of what it returns."""

    name: str
    jaxpr: ClosedJaxpr
    values: tuple[Value, ...]
    tree: Any

    @property
    def types(self) -> tuple[ArrayType, ...]:
        return tuple(ArrayType.of(aval) for aval in self.jaxpr.out_avals)


def trace_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TracedCall:
    """Traces `fn`: values, variables and arrays are its arguments; anything else is passed to it as it is.

    Complex arguments and results are real ones in the jaxpr, two for each.

    Raises:
      TraceError: where `fn` needs the numbers of what is private, with the user's line.
    """
    leaves, tree = jax.tree.flatten(in_parts((args, kwargs)))
    places = [i for i, leaf in enumerate(leaves) if _is_argument(leaf)]
    values = tuple(as_value(leaves[i]) for i in places)

    def flat(*xs: jax.Array) -> Any:
        filled = list(leaves)
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        args, kwargs = jax.tree.unflatten(tree, filled)
        return in_parts(jax.tree.map(_number_as_array, fn(*args, **kwargs)))

    with explained():
        closed, shape = jax.make_jaxpr(flat, return_shape=True)(*(value.aval for value in values))
    return TracedCall(getattr(fn, "__name__", type(fn).__name__), closed, values, jax.tree.structure(shape))


def _number_as_array(leaf: Any) -> Any:
    return jax.numpy.asarray(leaf) if isinstance(leaf, complex) else leaf


def _is_argument(leaf: Any) -> bool:
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return False
    return isinstance(leaf, Value | Variable | np.ndarray | jax.Array)


def define_constant(x: Any) -> Any:
    """A public array that becomes part of the computation. It is not private: every player sees it."""
    return jax.tree.map(_constant, in_parts(np.asarray(jax.numpy.asarray(x))))


def _constant(array: np.ndarray) -> Value:
    return Value(Node((), (ArrayType.of(array),), lambda _, __: Constant(array)), 0, Visibility.PUBLIC)


def define_private_variable(initial: Any, *, range: Range | None = None) -> Any:
    """A secret array that lives on the servers across runs.

    Args:
      initial: an array, which the driver shares when the variable is first used, or a private value. In a script that
        all players run, the array of the one that leads them.
      range: lowest and highest value of the initial array, if known; see `define_private_input`.
    """
    if not isinstance(initial, Operators):
        initial = in_parts(np.asarray(jax.numpy.asarray(initial)))
    return jax.tree.map(lambda part: _private_variable(part, range), initial)


def _private_variable(initial: Value | Variable | np.ndarray, range: Range | None) -> Variable:
    if isinstance(initial, Value | Variable):
        value = as_value(initial)
    else:
        value = _source(DRIVER, (ArrayType.of(initial),), "", lambda _: initial, range)[0]
    return Variable(variable_name(), value.type, value.shared(), user_line())


def define_local_variable(player: str, initial: Any) -> Any:
    """An array that lives in the clear at `player` across runs, for example a model owner's parameters.

    Args:
      initial: a pure JAX function without arguments that returns it (it runs at `player`), a value in the clear
        at `player`, or an array (public: it becomes part of the computation).
    """
    if isinstance(initial, Operators):
        value = jax.tree.map(as_value, initial)
    else:
        make = initial if callable(initial) else functools.partial(jax.numpy.asarray, initial)
        value = define_local_computation(player, make)
    return jax.tree.map(lambda part: Variable(variable_name(), part.type, part, user_line(), player), value)


def define_private_input(
    player: str, provide_input: Callable[[], Any] | Provider | str, *, types: Any = None, range: Range | None = None
) -> Any:
    """Data that `player` brings, as a pytree of values that nobody else sees.

    In a computation of `player` itself (`define_local_computation`) it is in the clear; anywhere else it is
    secret-shared first.

    Args:
      player: whose data it is.
      provide_input: a function without arguments. If it is pure JAX, captures no array, and `types` is not given, it
        travels as code that everyone may read and runs at `player`; any other function is called in this process in
        every run, which works in simulation and where this script is `player`. Numbers are code, not data: those
        written in the function, and scalars of Python and numpy that it takes from outside. A function that must
        stay here because of them needs `types`. Or a function registered with `jmpc.provider`, or the name of one:
        that player's node calls it in every run.
      types: a pytree of `jax.ShapeDtypeStruct`. Without it a function is called once, here, to learn them. In a script
        that all players run (JMPC_PLAYER is set), a function that is not pure JAX needs them, so that only its own
        player calls it: without them all players trace it.
      range: lowest and highest value of float arrays, and of both parts of complex ones; checked at the owner before
        anything is shared. A known range makes results more precise. Default: |x| < 2^20 (at 18 fractional bits); at
        most +-2^44, where the input is used (TraceError).
    """
    return _define_input(player, provide_input, types, range)


def define_public_input(player: str, provide_input: Callable[[], Any] | Provider | str, *, types: Any = None) -> Any:
    """Data that `player` brings and that everyone may see, as a pytree of public values.

    Arguments are those of `define_private_input`. A registered provider must say that it is public.
    """
    if isinstance(provide_input, Provider) and not provide_input.public:
        raise TypeError(
            f"provider {provide_input.name!r} is not public; if everybody may know what it gives, register it with "
            "@jmpc.provider(..., public=True)"
        )

    def publish(value: Value) -> Value:
        node = Node((value,), (value.type,), lambda args, _: Publish(args[0]))
        return Value(node, 0, Visibility.PUBLIC)

    return jax.tree.map(publish, _define_input(player, provide_input, types, None))


def _define_input(player: str, provide: Any, types: Any, range: Range | None) -> Any:
    _check_range(range)
    if isinstance(provide, Provider):
        types, provider = provide.types if types is None else types, provide.name
        range = provide.range if range is None else range
        feed = functools.partial(provide, player)
    elif isinstance(provide, str):
        if types is None:
            raise TypeError(f"the provider {provide!r} needs `types`: a pytree of jax.ShapeDtypeStruct")
        provider, feed = provide, None
    elif not callable(provide):
        raise TypeError(
            f"the input of {player!r} is brought by a function or by the name of a provider, not by a "
            f"{type(provide).__name__}; for an array: lambda: array"
        )
    else:
        provider, feed = "", lambda _: jax.tree.map(functools.partial(as_jax, player), provide())
        if types is None:
            closed, types = _traced(player, lambda: in_parts(provide()))
            if closed is not None:
                return _pure_input(player, closed, types, feed, range, getattr(provide, "__name__", "input"))
    names, (leaves, tree) = names_of(types), jax.tree.flatten(in_parts(types))
    if wrong := [leaf for leaf in leaves if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))]:
        raise TypeError(f"types: a pytree of jax.ShapeDtypeStruct, found {wrong[0]!r} in it")
    if wide := [leaf for leaf in leaves if jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype]:
        narrow = jax.dtypes.canonicalize_dtype(wide[0].dtype).name
        raise TypeError(
            f"types: {ArrayType.of(wide[0])}, but without jax_enable_x64 JAX computes in {narrow}: declare that, and "
            "let what brings it convert it"
        )
    values = _source(player, tuple(ArrayType.of(leaf) for leaf in leaves), provider, feed, range, names)
    return jax.tree.unflatten(tree, values)


def as_jax(player: str, x: Any) -> jax.Array:
    """What JAX makes of an array: 64-bit types become those of 32 bits, which must not change an integer."""
    array = _converted(player, x)
    if np.issubdtype(array.dtype, np.integer) and not np.array_equal(np.asarray(x), np.asarray(array)):
        raise InputError(
            player,
            f"an input of {player} is {np.asarray(x).dtype}, and JAX turns it into {array.dtype}, which cannot hold "
            "all of its elements: set jax_enable_x64, or give the array in a type that can",
        )
    return array


def _converted(player: str, x: Any) -> jax.Array:
    try:
        return jax.numpy.asarray(x)
    except TypeError as error:
        kind = np.asarray(x).dtype.kind
        if kind not in "MmOSU":
            raise
        raise InputError(
            player,
            f"an input of {player} is {np.asarray(x).dtype}, and arrays of JAX hold numbers and booleans only. Bring "
            "dates as integers, dates.astype('datetime64[D]').astype(np.int32), words as their places in a list that "
            "all owners agree on, np.searchsorted(words, column), and missing values as 0 beside a boolean mask",
        ) from error


def _check_range(range: Range | None) -> None:
    if range is None:
        return
    if not (np.shape(range) == (2,) and -math.inf < range[0] <= range[1] < math.inf):
        raise ValueError(f"range: the lowest and the highest value, both finite, not {range!r}")


def _traced(player: str, provide: Callable[[], Any]) -> tuple[ClosedJaxpr | None, Any]:
    """What a function returns, as `jax.ShapeDtypeStruct`s; and its jaxpr, if it brings no data of its own."""
    everywhere = player_of(os.environ) is not None
    try:
        closed, types = jax.make_jaxpr(provide, return_shape=True)()
    except Exception as error:
        if everywhere:
            raise TypeError(
                f"the input of {player!r} is brought by a function that is not pure JAX, which only {player!r} is to "
                "call: every player runs this script, so say its types, define_private_input(..., types=...)"
            ) from error
        if not isinstance(error, jax.errors.JAXTypeError | TypeError):
            raise
        # It looks at numbers, or returns what is no array yet.
        return None, jax.tree.map(functools.partial(_array_type, player), provide())
    # Without calls and what nothing needs: what a jitted function captures is seen, and what is not used stays here.
    lean = dce(inline_calls(closed), [True] * len(closed.out_avals))
    data = [*captured(lean), *(v.val for v in lean.jaxpr.outvars if isinstance(v, Literal))]
    return None if any(np.size(x) for x in data) else lean, types


def _array_type(player: str, x: Any) -> jax.ShapeDtypeStruct:
    array = _converted(player, x)
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _pure_input(player: str, closed: ClosedJaxpr, shapes: Any, feed: Any, range: Range | None, name: str) -> Any:
    """An input that `player` computes from nothing; the driver keeps its own to itself."""
    types = tuple(ArrayType.of(aval) for aval in closed.out_avals)

    def make(_: tuple[int, ...], driver: str) -> Source | Compute:
        if player in (DRIVER, driver):
            return Source(driver, "", types, "")
        return Compute(player, closed, (), name)

    node = Node((), types, make, feed)
    return jax.tree.unflatten(jax.tree.structure(shapes), _results(node, player, range))


def _source(
    player: str,
    types: tuple[ArrayType, ...],
    provider: str,
    feed: Any,
    range: Range | None,
    names: tuple[str, ...] = (),
) -> list[Value]:
    def make(_: tuple[int, ...], driver: str) -> Source:
        return Source(driver if player == DRIVER else player, provider, types, "", names=names)

    node = Node((), types, make, feed)
    return _results(node, player, range)


def _results(node: Node, player: str, range: Range | None) -> list[Value]:
    return [Value(node, index, Visibility.CLEAR, player, range) for index, _ in enumerate(node.types)]


def define_local_computation(player: str, fn: Callable[..., Any], *args: Any, range: Range | None = None) -> Any:
    """Runs `fn`, ordinary JAX code, at `player` on what it holds in the clear; a pytree of values at `player`.

    Args:
      player: who computes.
      fn: a pure JAX function.
      args: pytrees of values in the clear at `player` (its inputs, what was revealed to it), public values
        and arrays; anything else is passed to `fn` as it is.
      range: lowest and highest value of the results, if they will be shared; see `define_private_input`.
    """
    return _local(player, fn, args, {}, range)


def _local(
    player: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], range: Range | None
) -> Any:
    _check_range(range)
    call = trace_call(fn, args, kwargs)
    for value in call.values:
        if not _in_the_clear(value, player):
            raise TypeError(
                f"{call.name}: a local computation of {player!r} got a value of type {value.type} that is "
                f"{whereabouts(value)}; if {player!r} may see it, pass value.reveal({player!r})"
            )

    def make(numbers: tuple[int, ...], driver: str) -> Compute:
        return Compute(driver if player == DRIVER else player, call.jaxpr, numbers, call.name)

    return jax.tree.unflatten(call.tree, _results(Node(call.values, call.types, make), player, range))


def local_computation(player: str, *, range: Range | None = None) -> Callable[[Callable], Callable]:
    """Decorator: calls of the function are local computations of `player`."""

    def decorate(fn: Callable) -> Callable:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            return _local(player, fn, args, kwargs, range)

        return call

    return decorate


def define_output(player: str, value: Any, sink: Sink | str | Callable[..., None]) -> list[Effect]:
    """Hands values to `player`'s own Python code when run: `sink(*arrays)`, leaf by leaf; a complex value is two.

    Args:
      player: where `sink` is called.
      value: a pytree of values; those not yet in the clear at `player` are revealed to it.
      sink: a function registered with `jmpc.sink`, the name of one, or any function: the last works in
        simulation and where this script is `player`.
    """
    leaves = [as_value(leaf) for leaf in jax.tree.leaves(value)]
    opened = [v if v.visibility is Visibility.CLEAR and v.player == player else v.reveal(player) for v in leaves]
    name = sink if isinstance(sink, str) else sink.name if isinstance(sink, Sink) else ""
    return output(opened, player, name, None if isinstance(sink, str) else sink)
