"""Functions on values: `function` for any JAX function, and `jax.numpy` names for single operations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmpc.api.define import Variable, trace_call
from jmpc.api.values import Node, Value, Visibility
from jmpc.computation import Secure


def function(fn: Callable[..., Any]) -> Callable[..., Any]:
    """An ordinary JAX function over private values; pytrees in and out.

    Leaves of the arguments that are values or variables are secret (or public) in it; arrays are public
    constants; anything else (strings, Python numbers) is passed to `fn` as it is. Calling it computes
    nothing: the results are values to reveal, to assign or to compute with. Within another such function, or
    where JAX traces, it is `fn` itself.
    """

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            if captured := [leaf for leaf in leaves if isinstance(leaf, Value | Variable)]:
                raise TypeError(
                    f"the private value {captured[0]!r} is used in a function that it was not passed to; make it an "
                    "argument of the function under @jmpc.function"
                )
            return fn(*args, **kwargs)
        traced = trace_call(fn, args, kwargs)
        values = tuple(value.shared() for value in traced.values)
        public = all(value.visibility is Visibility.PUBLIC for value in values)
        node = Node(values, traced.types, lambda numbers, _: Secure(traced.jaxpr, numbers, traced.name))
        seen = Visibility.PUBLIC if public else Visibility.SECRET
        return jax.tree.unflatten(traced.tree, [Value(node, index, seen) for index, _ in enumerate(node.types)])

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
