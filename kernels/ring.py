"""Contractions and convolutions of uint64 arrays, exact mod 2^64, called as in `jax.lax`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jmpc.kernels import contraction
from jmpc.kernels.contraction import Dims
from jmpc.kernels.convolution import ConvolutionParams
from jmpc.kernels.primitives import ring_conv_general_dilated_p, ring_dot_general_p


def dot_general(x: jax.Array, y: jax.Array, dimension_numbers: Sequence[Sequence[Sequence[int]]]) -> jax.Array:
    """`lax.dot_general` of uint64 arrays, exact mod 2^64.

    Arguments:
        x, y: uint64 arrays. Outside of `jax.enable_x64(True)` JAX would truncate them: that is a
            TypeError here.
        dimension_numbers: `((x contracting, y contracting), (x batch, y batch))`.

    Returns:
        A uint64 array: the batch axes, then the free axes of `x`, then those of `y`.
    """
    numbers = contraction.canonical(x.ndim, y.ndim, dimension_numbers)
    return ring_dot_general_p.bind(x, y, dimension_numbers=numbers)


def matmul(x: jax.Array, y: jax.Array) -> jax.Array:
    """`x @ y` of uint64 arrays, exact mod 2^64.

    The operands are vectors, matrices, or stacks of matrices; if both are stacks, they are equal in
    shape.
    """
    if 0 in (x.ndim, y.ndim):
        raise TypeError("`matmul` takes arrays of at least one axis.")
    stack = tuple(range(x.ndim - 2)) if min(x.ndim, y.ndim) > 2 else ()
    contracting = ((x.ndim - 1,), (max(0, y.ndim - 2),))
    result = dot_general(x, y, (contracting, (stack, stack)))
    if x.ndim == 2 and y.ndim > 2:
        # One matrix times a stack: its rows came first.
        return jnp.moveaxis(result, 0, -2)
    return result


def conv_general_dilated(
    x: jax.Array,
    y: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
) -> jax.Array:
    """`lax.conv_general_dilated` of uint64 arrays, exact mod 2^64, with its arguments."""
    numbers = lax.conv_dimension_numbers(x.shape, y.shape, dimension_numbers)
    ones = (1,) * (x.ndim - 2)
    lhs_dilation = ones if lhs_dilation is None else _ints(lhs_dilation)
    rhs_dilation = ones if rhs_dilation is None else _ints(rhs_dilation)
    if isinstance(padding, str):
        if lhs_dilation != ones:
            raise ValueError(f"with `lhs_dilation`, `padding` must be numbers, not {padding!r}.")
        space = [x.shape[axis] for axis in numbers.lhs_spec[2:]]
        window = [y.shape[axis] for axis in numbers.rhs_spec[2:]]
        spread = [(n - 1) * gap + 1 for n, gap in zip(window, rhs_dilation, strict=True)]
        padding = lax.padtype_to_pads(space, spread, window_strides, padding)
    params = ConvolutionParams(
        window_strides=_ints(window_strides),
        padding=tuple((int(low), int(high)) for low, high in padding),
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=numbers,
        feature_group_count=int(feature_group_count),
        batch_group_count=int(batch_group_count),
    )
    return ring_conv_general_dilated_p.bind(x, y, **params._asdict())


def _ints(values: Sequence[int]) -> Dims:
    return tuple(int(value) for value in values)
