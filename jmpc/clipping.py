"""Bounding the Euclidean norm of vectors: a primitive of JAX like any other, with a rule on secrets of its own.

On plain arrays it is ordinary floating point. On secrets (`jmpc.lowering.rules.clipping`) what comes out has at most
that norm whatever its owner has shared, as integers on the grid of fixed-point numbers and not only up to errors: no
composition of JAX's own operations could promise that, because they count on the ranges that owners check themselves.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

clip_norm_p = Primitive("clip_norm")


def clip_norm(x: Any, norm: float) -> jax.Array:
    """x[..., n]: each row x of n numbers times min(1, norm / ||x||).

    Raises:
      TypeError: for anything but rows of reals.
      ValueError: for a norm that is not positive and finite.
    """
    x = jnp.asarray(x)
    _check(x, norm)
    return clip_norm_p.bind(x, norm=float(norm))


def _in_the_clear(x: Any, *, norm: float) -> Any:
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(squares > norm**2, x * norm / jnp.sqrt(squares), x)


def _check(x: Any, norm: float) -> None:
    if x.ndim == 0 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"clip_norm takes rows of reals, not {x.dtype}{list(x.shape)}")
    if not 0 < norm < math.inf:
        raise ValueError(f"a norm to clip to is positive and finite, not {norm}")


@clip_norm_p.def_abstract_eval
def _abstract(x: ShapedArray, *, norm: float) -> ShapedArray:
    _check(x, norm)
    return ShapedArray(x.shape, x.dtype)


def _batched(operands: Any, axes: Any, *, norm: float) -> Any:
    (x,), (axis,) = operands, axes
    return clip_norm(jnp.moveaxis(x, axis, 0), norm), 0


clip_norm_p.def_impl(_in_the_clear)
mlir.register_lowering(clip_norm_p, mlir.lower_fun(_in_the_clear, multiple_results=False))
batching.primitive_batchers[clip_norm_p] = _batched
