"""Noise of all servers on a value."""

from __future__ import annotations

import math
from typing import Any

import jax

from jmpc.api.define import as_value
from jmpc.api.operators import Operators
from jmpc.api.values import Node, Value, Visibility
from jmpc.computation import Noise
from jmpc.lowering.values import is_float


def add_noise(tree: Any, standard_deviation: float) -> Any:
    """A pytree of real values with noise of the servers on every element; secret, to be revealed.

    In every run each server draws a discrete Gaussian for each element by itself, from its operating system's
    randomness, as an integer on the grid of fixed-point numbers, and shares it. Nobody knows the sum. The noise of any
    two servers has this standard deviation: so much is left against one that knows its own. That of all three has
    sqrt(1.5) times as much.

    What it hides is a matter of how much one owner can change the value: see `clip` and `Gaussian`. What is computed
    from the result is as private as the result. 1 round, at the beginning; 64 bits for each element and server.

    Args:
      tree: values, variables; not within a function under `jmpc.function`.
      standard_deviation: in the unit of the values, between 5.7 and 2^52 steps of the precision.

    Raises:
      TypeError: for anything that is not a real private value.
      ValueError: for a deviation that is not positive and finite.
      TraceError: where it is run, for a deviation outside of these bounds.
    """
    if not 0 < standard_deviation < math.inf:
        raise ValueError(f"a standard deviation is positive and finite, not {standard_deviation}")
    return jax.tree.map(lambda leaf: _noisy(leaf, float(standard_deviation)), tree)


def _noisy(leaf: Any, deviation: float) -> Value:
    if isinstance(leaf, jax.core.Tracer):
        raise TypeError("add_noise: the servers draw noise for values; call it on the results of a function, not in it")
    if not isinstance(leaf, Operators):
        raise TypeError(f"add_noise: noise is added to private values, not to a {type(leaf).__name__}")
    value = as_value(leaf).shared()
    if not is_float(value.dtype):
        raise TypeError(f"add_noise: noise is added to reals, not to {value.type}: convert it with astype('float32')")
    node = Node((value,), (value.type,), lambda args, _: Noise(args[0], deviation))
    return Value(node, 0, Visibility.SECRET)
