"""Ring products on a CPU: three float64 digits of each operand, multiplied exactly at BLAS speed.

A ring element is x = d0 + 2^22 d1 + 2^43 d2 (mod 2^64) with balanced digits of 22, 21, 21 bits:

    -2^21 <= d0 < 2^21,    -2^20 <= d1, d2 < 2^20.

With the digits e of y, and ab for a contraction of a with b,

    xy = d0e0 + 2^22 (d0e1 + d1e0) + 2^44 d1e1 + 2^43 (d0e2 + d2e0)    (mod 2^64),

because d1e2 + d2e1 has weight 2^65 and d2e2 has weight 2^86. Karatsuba takes the second term from a
product that is needed anyway, d0e1 + d1e0 = (d0+d1)(e0+e1) - d0e0 - d1e1: five float64 products
instead of six.

They are exact if the absolute values of the terms add up to at most 2^53. Then every partial sum is
an integer that float64 holds, in whatever order and with whatever fused multiply-adds it is made.
In the worst case each of T terms has the lowest digits for both factors:

    d0e0            T * 2^42              (d0+d1)(e0+e1)    T * (2^21 + 2^20)^2 = T * 9 * 2^40
    d1e1            T * 2^40              d0e2 + d2e0       T * 2 * 2^41        = T * 4 * 2^40

and the largest of these is at most 2^53 for T <= 2^13 / 9 = 910.2. (Digits of 22, 22, 20 bits would
allow 512 only. Digits of 21, 21, 22 bits would not do: d1e2 + d2e1 would have weight 2^63.)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.kernels.blocks import map_blocks, sum_blocks
from jmpc.kernels.contraction import DimensionNumbers, as_matrices, result_shape
from jmpc.kernels.convolution import ConvolutionParams, convolve

_TERMS = 896
"""The longest inner dimension that is exact, 910, down to a multiple of 64."""

_ROWS = 1024
"""Rows of the result that are computed at a time: bounds the memory for digits and products."""


def dot_general(x: jax.Array, y: jax.Array, dimension_numbers: DimensionNumbers) -> jax.Array:
    """`lax.dot_general` mod 2^64."""
    shape = result_shape(x.shape, y.shape, dimension_numbers)
    return matmul(*as_matrices(x, y, dimension_numbers)).reshape(shape)


def conv_general_dilated(x: jax.Array, y: jax.Array, params: ConvolutionParams) -> jax.Array:
    """`lax.conv_general_dilated` mod 2^64."""
    return convolve(matmul, x, y, params, rows=_ROWS)


def matmul(x: jax.Array, y: jax.Array) -> jax.Array:
    """`x[batch, m, k]` times `y[batch, k, n]`, one matrix after the other."""
    if 0 in (*x.shape, *y.shape):
        return jnp.zeros((*x.shape[:2], y.shape[2]), x.dtype)
    if x.shape[0] == 1:
        return _matrix_product(x[0], y[0])[None]
    return lax.map(lambda pair: _matrix_product(*pair), (x, y))


def _matrix_product(x: jax.Array, y: jax.Array) -> jax.Array:
    return map_blocks(lambda rows: sum_blocks(_exact_product, rows, y, _TERMS), x, _ROWS)


def _exact_product(x: jax.Array, y: jax.Array) -> jax.Array:
    """`x[m, k]` times `y[k, n]` for k <= _TERMS."""
    d0, d1, d2 = _digits(x)
    e0, e1, e2 = _digits(y)
    low = _dot(d0, e0)
    high = _dot(d1, e1)
    middle = _dot(d0 + d1, e0 + e1) - low - high
    top = _dot(d0, e2) + _dot(d2, e0)
    return (
        _to_ring(low)
        + (_to_ring(middle) << np.uint64(22))
        + (_to_ring(high) << np.uint64(44))
        + (_to_ring(top) << np.uint64(43))
    )


def _digits(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    # Adding half of each digit's range makes the digits those of an unsigned number, carries included.
    shifted = x + np.uint64((1 << 21) + (1 << (22 + 20)) + (1 << (43 + 20)))

    def digit(start: int, bits: int) -> jax.Array:
        word = (shifted >> np.uint64(start)) & np.uint64((1 << bits) - 1)
        # By way of int32: CPUs convert that to float64 in vectors, and uint64 one by one.
        return (word.astype(np.int32) - np.int32(1 << (bits - 1))).astype(np.float64)

    return digit(0, 22), digit(22, 21), digit(43, 21)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    # The precision is not left to the user's defaults, which may ask for less.
    return lax.dot(x, y, precision=lax.Precision.HIGHEST, preferred_element_type=np.float64)


def _to_ring(x: jax.Array) -> jax.Array:
    # Through int64: the value of a negative float64 converted to uint64 is not defined.
    return lax.bitcast_convert_type(x.astype(np.int64), np.uint64)
