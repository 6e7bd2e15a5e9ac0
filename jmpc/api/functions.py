"""Functions on values: `function` for any JAX function, and `jax.numpy` names for single operations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.api.define import Variable, as_value
from jmpc.api.values import Node, Value, Visibility
from jmpc.computation import ArrayType, Secure


def function(fn: Callable[..., Any]) -> Callable[..., Any]:
    """An ordinary JAX function over private values; pytrees in and out.

    Leaves of the arguments that are values or variables are secret (or public) in it; arrays are public
    constants; anything else (strings, Python numbers) is passed to `fn` as it is. Calling it computes
    nothing: the results are values to reveal, to assign or to compute with.
    """

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs), is_leaf=lambda x: isinstance(x, Variable))
        traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Value | Variable | np.ndarray | jax.Array)]
        values = tuple(as_value(leaves[i]).shared() for i in traced)

        def flat(*xs: jax.Array) -> Any:
            filled = list(leaves)
            for i, x in zip(traced, xs, strict=True):
                filled[i] = x
            args, kwargs = jax.tree.unflatten(tree, filled)
            return fn(*args, **kwargs)

        closed, shape = jax.make_jaxpr(flat, return_shape=True)(*(value.aval for value in values))
        name = getattr(fn, "__name__", "function")
        types = tuple(ArrayType.of(aval) for aval in closed.out_avals)
        node = Node(values, types, lambda numbers, _: Secure(closed, numbers, name))
        results = [Value(node, index, Visibility.SECRET) for index, _ in enumerate(types)]
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return call


def _named(fn: Callable[..., Any]) -> Callable[..., Any]:
    call = function(fn)
    call.__doc__ = f"`jax.numpy.{fn.__name__}` on private values; see there."
    return call


matmul = _named(jnp.matmul)
dot = _named(jnp.dot)
tensordot = _named(jnp.tensordot)
add = _named(jnp.add)
subtract = _named(jnp.subtract)
multiply = _named(jnp.multiply)
divide = _named(jnp.divide)
negative = _named(jnp.negative)
power = _named(jnp.power)
square = _named(jnp.square)
sqrt = _named(jnp.sqrt)
reciprocal = _named(jnp.reciprocal)
exp = _named(jnp.exp)
log = _named(jnp.log)
tanh = _named(jnp.tanh)
abs = _named(jnp.abs)
maximum = _named(jnp.maximum)
minimum = _named(jnp.minimum)
where = _named(jnp.where)
less = _named(jnp.less)
less_equal = _named(jnp.less_equal)
greater = _named(jnp.greater)
greater_equal = _named(jnp.greater_equal)
equal = _named(jnp.equal)
not_equal = _named(jnp.not_equal)
logical_and = _named(jnp.logical_and)
logical_or = _named(jnp.logical_or)
logical_xor = _named(jnp.logical_xor)
logical_not = _named(jnp.logical_not)
sum = _named(jnp.sum)
mean = _named(jnp.mean)
max = _named(jnp.max)
min = _named(jnp.min)
argmax = _named(jnp.argmax)
argmin = _named(jnp.argmin)
reshape = _named(jnp.reshape)
transpose = _named(jnp.transpose)
sigmoid = function(jax.nn.sigmoid)
relu = function(jax.nn.relu)
softmax = function(jax.nn.softmax)


@function
def concatenate(arrays: Any, axis: int = 0) -> jax.Array:
    """`jax.numpy.concatenate` on private values; see there."""
    return jnp.concatenate(arrays, axis)


@function
def stack(arrays: Any, axis: int = 0) -> jax.Array:
    """`jax.numpy.stack` on private values; see there."""
    return jnp.stack(arrays, axis)


def _getitem(self: Any, index: Any) -> Value:
    return function(lambda x: x[index])(self)


def _reflected(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: fn(other, self)


_OPERATORS: dict[str, Callable[..., Any]] = {
    "__add__": add,
    "__radd__": _reflected(add),
    "__sub__": subtract,
    "__rsub__": _reflected(subtract),
    "__mul__": multiply,
    "__rmul__": _reflected(multiply),
    "__truediv__": divide,
    "__rtruediv__": _reflected(divide),
    "__matmul__": matmul,
    "__rmatmul__": _reflected(matmul),
    "__pow__": power,
    "__neg__": negative,
    "__abs__": abs,
    "__lt__": less,
    "__le__": less_equal,
    "__gt__": greater,
    "__ge__": greater_equal,
    "__and__": function(jnp.bitwise_and),
    "__or__": function(jnp.bitwise_or),
    "__xor__": function(jnp.bitwise_xor),
    "__invert__": function(jnp.bitwise_not),
    "__getitem__": _getitem,
}

for _class in (Value, Variable):
    for _name, _operator in _OPERATORS.items():
        setattr(_class, _name, _operator)
    _class.T = property(lambda self: transpose(self))
    _class.__array_priority__ = 100  # numpy and jax arrays leave `array @ value` to us
