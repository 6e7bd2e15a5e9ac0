"""Reductions by a function of the user's: whole arrays are combined in halves, in logarithmically many steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun

from jmpc._compat import closed
from jmpc.lowering.composite import compute
from jmpc.lowering.context import Context
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.windows import windows_over
from jmpc.lowering.values import Value

Arrays = Sequence[Any]
Combine = Callable[[Arrays, Arrays], Arrays]


@rule("reduce")
def reduce(context: Context, *operands: Value, jaxpr: Any, dimensions: Sequence[int], **_: Any) -> list[Value]:
    return compute(context, functools.partial(_reduce, jaxpr=jaxpr, dimensions=dimensions), *operands)


def _reduce(*operands: Any, jaxpr: Any, dimensions: Sequence[int]) -> Arrays:
    """The function is taken for associative and commutative, as XLA does."""
    arrays, initial = operands[: len(operands) // 2], operands[len(operands) // 2 :]
    rest = [d for d in range(arrays[0].ndim) if d not in dimensions]
    shape = [arrays[0].shape[d] for d in rest]

    def merged(x: Any) -> Any:
        return jnp.transpose(x, [*dimensions, *rest]).reshape(math.prod(x.shape[d] for d in dimensions), *shape)

    return _reduced(_combine(jaxpr), [merged(x) for x in arrays], initial)


@rule("reduce_window")
def reduce_window(context: Context, *operands: Value, window_dimensions: Sequence[int], **params: Any) -> list[Value]:
    assert context.equation is not None
    # Before anything is made for each place in a window: of those there may be many in a small computation.
    context.watch(math.prod(window_dimensions) * sum(8 * var.aval.size for var in context.equation.outvars))
    options = {
        name: params[name] for name in ("jaxpr", "window_strides", "padding", "base_dilation", "window_dilation")
    }
    return compute(
        context, functools.partial(_reduce_window, window_dimensions=window_dimensions, **options), *operands
    )


def _reduce_window(
    *operands: Any,
    jaxpr: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Arrays:
    """The elements of each window of the padded array, then as `reduce`; padding takes no part."""
    arrays, initial = operands[: len(operands) // 2], operands[len(operands) // 2 :]
    config = [(low, high, dilation - 1) for (low, high), dilation in zip(padding, base_dilation, strict=True)]

    def patches(x: Any, fill: Any) -> Any:
        padded = lax.pad(x, fill, config)
        windows = windows_over(
            padded.shape, window_dimensions, window_strides, [(0, 0)] * x.ndim, window_dilation=window_dilation
        )
        return jnp.moveaxis(windows.patches(padded, None if windows.simple else windows.sources()), -1, 0)

    combine, elements = _combine(jaxpr), [patches(x, fill) for x, fill in zip(arrays, initial, strict=True)]
    if not any(map(any, config)):
        return _reduced(combine, elements, initial)
    there = patches(jnp.ones(arrays[0].shape, bool), jnp.asarray(False))
    return _reduced(_where_there(combine), [there, *elements], [jnp.asarray(True), *initial])[1:]


def _where_there(combine: Combine) -> Combine:
    """Of (whether there is an element, elements), with what is there of the two where it is one."""

    def either(a: Arrays, b: Arrays) -> Arrays:
        (in_a, *left), (in_b, *right) = a, b
        both = combine(left, right)
        one = [jnp.where(in_a, x, y) for x, y in zip(left, right, strict=True)]
        return [in_a | in_b, *(jnp.where(in_a & in_b, x, y) for x, y in zip(both, one, strict=True))]

    return either


def _combine(jaxpr: Any) -> Combine:
    """The scalar function of a reduction for arrays of one shape."""
    scalar = jaxpr_as_fun(closed(jaxpr))

    def combine(a: Arrays, b: Arrays) -> Arrays:
        flat = [x.reshape(-1) for x in (*a, *b)]
        return [x.reshape(a[0].shape) for x in jax.vmap(scalar)(*flat)]

    return combine


def _reduced(combine: Combine, arrays: Arrays, initial: Arrays) -> Arrays:
    """The first axis of all arrays, and the initial values, combined to one element."""
    total = [jnp.broadcast_to(value, x.shape[1:]) for value, x in zip(initial, arrays, strict=True)]
    while (n := arrays[0].shape[0]) > 1:
        if n % 2:
            total = combine(total, [x[-1] for x in arrays])
        arrays = combine([x[: n // 2] for x in arrays], [x[n // 2 : n - n % 2] for x in arrays])
    return combine(total, [x[0] for x in arrays]) if arrays[0].shape[0] else total
