"""Ring products as XLA's own uint64 code: exact because uint64 wraps, slow where they are large.

The fast kernels are tested against it.
"""

import jax
from jax import lax

from jmpc.kernels.contraction import DimensionNumbers
from jmpc.kernels.convolution import ConvolutionParams


def dot_general(x: jax.Array, y: jax.Array, dimension_numbers: DimensionNumbers) -> jax.Array:
    """`lax.dot_general` on uint64."""
    return lax.dot_general(x, y, dimension_numbers)


def conv_general_dilated(x: jax.Array, y: jax.Array, params: ConvolutionParams) -> jax.Array:
    """`lax.conv_general_dilated` on uint64."""
    return lax.conv_general_dilated(x, y, **params._asdict())
