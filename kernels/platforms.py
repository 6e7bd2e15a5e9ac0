"""Which kernel computes a ring product on which platform."""

import math

import jax

from jmpc.kernels import contraction, convolution, float64_limbs, int8_digits, reference
from jmpc.kernels.contraction import DimensionNumbers
from jmpc.kernels.convolution import ConvolutionParams

# XLA's uint64 loops are the faster ones where the inner dimension or an outer one is short: the
# work around a product of digits is linear in the sizes of the operands and of the result, and the
# product itself hardly more. Measured on AVX2. XLA's convolution holds out longer than its dot.
_MIN_INNER_DOT = 48
_MIN_INNER_CONV = 128
_MIN_OUTER = 16
_MIN_PRODUCTS = 1 << 19

# On an H200 XLA's loop was the faster one for 512 x 512 x 512 (0.30 ms, against 0.37) and for 2048 x 2048 x 16,
# and the slower one for 1024 x 1024 x 1024 and 4096 x 64 x 1024. For convolutions GPUs have no such loop.
_MIN_SIDE_GPU = 64
_MIN_PRODUCTS_GPU = 1 << 28


def cpu_dot_general(x: jax.Array, y: jax.Array, dimension_numbers: DimensionNumbers) -> jax.Array:
    """float64 limbs, or XLA's loop where that is faster."""
    m, k, n = contraction.matrix_sizes(x.shape, y.shape, dimension_numbers)
    kernel = float64_limbs if _digits_pay_off(m, k, n, _MIN_INNER_DOT) else reference
    return kernel.dot_general(x, y, dimension_numbers)


def cpu_conv_general_dilated(x: jax.Array, y: jax.Array, params: ConvolutionParams) -> jax.Array:
    """float64 limbs, or XLA's loop where that is faster."""
    m, k, n = convolution.matrix_sizes(x.shape, y.shape, params)
    kernel = float64_limbs if _digits_pay_off(m, k, n, _MIN_INNER_CONV) else reference
    return kernel.conv_general_dilated(x, y, params)


def _digits_pay_off(m: int, k: int, n: int, min_inner: int) -> bool:
    return k >= min_inner and min(m, n) >= _MIN_OUTER and m * k * n >= _MIN_PRODUCTS


def gpu_dot_general(x: jax.Array, y: jax.Array, dimension_numbers: DimensionNumbers) -> jax.Array:
    """int8 digits, or XLA's loop where that is faster."""
    sizes = contraction.matrix_sizes(x.shape, y.shape, dimension_numbers)
    large = min(sizes) >= _MIN_SIDE_GPU and math.prod(sizes) >= _MIN_PRODUCTS_GPU
    kernel = int8_digits if large else reference
    return kernel.dot_general(x, y, dimension_numbers)


def gpu_conv_general_dilated(x: jax.Array, y: jax.Array, params: ConvolutionParams) -> jax.Array:
    """A product of patches, as `gpu_dot_general` does it."""
    return convolution.convolve(lambda x, y: gpu_dot_general(x, y, contraction.BATCHED), x, y, params)
