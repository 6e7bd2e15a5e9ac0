"""Which kernel computes a ring product on which platform."""

import jax

from jmpc.kernels import contraction, convolution, float64_limbs, reference
from jmpc.kernels.contraction import DimensionNumbers
from jmpc.kernels.convolution import ConvolutionParams

# XLA's uint64 loops are the faster ones where the inner dimension or an outer one is short: the
# work around a product of digits is linear in the sizes of the operands and of the result, and the
# product itself hardly more. Measured on AVX2. XLA's convolution holds out longer than its dot.
_MIN_INNER_DOT = 48
_MIN_INNER_CONV = 128
_MIN_OUTER = 16
_MIN_PRODUCTS = 1 << 19


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
