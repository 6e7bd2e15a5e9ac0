"""Ring products on a GPU or TPU: eight signed bytes of each operand, on the integer matrix units.

With the signed digits -128 <= d_i, e_j < 128 of x and y, and ab for a contraction of a with b,

    xy = sum over s < 8 of 2^(8s) (d_0 e_s + d_1 e_(s-1) + ... + d_s e_0)    (mod 2^64):

36 of the 64 products of digits. The s+1 products of one weight are a single product of s+1 times
the inner length, since the digits of x lie side by side and those of y in reverse order. So there
are eight int8 products, with int32 results.

Inner lengths are filled up to whole multiples of 32, which the matrix units take at a time. That is not for
speed alone: XLA multiplies int8 matrices whose inner length no multiple of 4 divides by code of its own instead of
cuBLAS, and on an H200 that code was wrong (jaxlib 0.11.2, inner lengths 2, 7, 9, 31).

They are exact if no sum leaves int32. A term is at most 128 * 128 = 2^14 in size, and the longest
sum has 8 terms for each of at most 2^13 inner indices: 2^3 * 2^13 * 2^14 = 2^30. (A single pair of
digits would be exact for 2^16 inner indices.)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.kernels.blocks import pad_axis, sum_blocks
from jmpc.kernels.contraction import BATCHED, DimensionNumbers, as_matrices, result_shape
from jmpc.kernels.convolution import ConvolutionParams, convolve

_DIGITS = 8
_TERMS = 1 << 13
"""The longest inner dimension that is multiplied at once."""
_STEP = 32
"""Inner lengths are multiples of it."""


def dot_general(x: jax.Array, y: jax.Array, dimension_numbers: DimensionNumbers) -> jax.Array:
    """`lax.dot_general` mod 2^64."""
    shape = result_shape(x.shape, y.shape, dimension_numbers)
    return matmul(*as_matrices(x, y, dimension_numbers)).reshape(shape)


def conv_general_dilated(x: jax.Array, y: jax.Array, params: ConvolutionParams) -> jax.Array:
    """`lax.conv_general_dilated` mod 2^64."""
    return convolve(matmul, x, y, params)


def matmul(x: jax.Array, y: jax.Array) -> jax.Array:
    """`x[batch, m, k]` times `y[batch, k, n]`."""
    if 0 in (*x.shape, *y.shape):
        return jnp.zeros((*x.shape[:2], y.shape[2]), x.dtype)
    return sum_blocks(_exact_product, x, y, _TERMS)


def _exact_product(x: jax.Array, y: jax.Array) -> jax.Array:
    """The product for an inner dimension of at most _TERMS."""
    batch, m, inner = x.shape
    n = y.shape[2]
    k = -(-inner // _STEP) * _STEP
    x, y = pad_axis(x, 2, k), pad_axis(y, 1, k)
    left = lax.transpose(_digits(x), (0, 1, 3, 2)).reshape(batch, m, _DIGITS * k)
    right = lax.rev(lax.transpose(_digits(y), (0, 3, 1, 2)), [1]).reshape(batch, _DIGITS * k, n)
    total = jnp.zeros((batch, m, n), x.dtype)
    for weight in range(_DIGITS):
        length = (weight + 1) * k
        total += _to_ring(_dot(left[:, :, :length], right[:, -length:, :])) << np.uint64(8 * weight)
    return total


def _digits(x: jax.Array) -> jax.Array:
    """The signed bytes of `x` along a new last axis, least significant first."""
    # Adding 128 to every digit makes them the bytes of an unsigned number, carries included; the
    # exclusive or takes the 128 away from each byte.
    half = np.uint64(0x8080_8080_8080_8080)
    return lax.bitcast_convert_type((x + half) ^ half, np.int8)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    return lax.dot_general(x, y, BATCHED, preferred_element_type=np.int32)


def _to_ring(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x.astype(np.int64), np.uint64)
