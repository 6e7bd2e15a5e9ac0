"""The JAX primitives of ring arithmetic: abstract evaluation, vmap, a lowering for each platform.

XLA's own uint64 contraction is a slow loop on a CPU and misses the matrix units of an accelerator.
So a CPU multiplies digits in float64, a GPU or TPU multiplies digits in int8 (where that pays off), and any
other platform runs XLA's code. All give the same bits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jmpc.kernels import contraction, convolution, int8_digits, platforms, reference
from jmpc.kernels.contraction import DimensionNumbers, Dims
from jmpc.kernels.convolution import ConvolutionParams

ring_dot_general_p = Primitive("ring_dot_general")
ring_conv_general_dilated_p = Primitive("ring_conv_general_dilated")

_GPUS = ("cuda", "rocm")


# Abstract evaluation. Shapes are computed by hand: JAX must not be called from an abstract rule.


def _dot_general_aval(x: Any, y: Any, *, dimension_numbers: DimensionNumbers) -> jax.core.ShapedArray:
    _check_ring(x, y)
    return _ring_aval(contraction.result_shape(x.shape, y.shape, dimension_numbers))


def _conv_aval(x: Any, y: Any, **params: Any) -> jax.core.ShapedArray:
    _check_ring(x, y)
    return _ring_aval(convolution.result_shape(x.shape, y.shape, ConvolutionParams(**params)))


def _check_ring(x: Any, y: Any) -> None:
    if not x.dtype == y.dtype == np.uint64:
        raise TypeError(
            f"ring arithmetic takes uint64 operands, not {x.dtype} and {y.dtype}. Outside of "
            "`with jax.enable_x64(True):` JAX truncates uint64 arrays to uint32 without a word."
        )


def _ring_aval(shape: Dims) -> jax.core.ShapedArray:
    return jax.core.ShapedArray(shape, np.dtype(np.uint64))


# vmap.


def _batch_dot_general(
    operands: Sequence[jax.Array],
    axes: Sequence[int | None],
    *,
    dimension_numbers: DimensionNumbers,
) -> tuple[jax.Array, int]:
    (x, y), (x_axis, y_axis) = operands, axes
    (x_contracting, y_contracting), (x_batch, y_batch) = dimension_numbers
    x_contracting, x_batch = _around(x_axis, x_contracting), _around(x_axis, x_batch)
    y_contracting, y_batch = _around(y_axis, y_contracting), _around(y_axis, y_batch)
    if x_axis is not None and y_axis is not None:
        x_batch, y_batch = (x_axis, *x_batch), (y_axis, *y_batch)
        result_axis = 0
    elif x_axis is not None:
        x_free = contraction.free_axes(x.ndim, x_contracting, x_batch)
        result_axis = len(x_batch) + x_free.index(x_axis)
    else:
        y_free = contraction.free_axes(y.ndim, y_contracting, y_batch)
        result_axis = x.ndim - len(x_contracting) + y_free.index(y_axis)
    numbers = ((x_contracting, y_contracting), (x_batch, y_batch))
    return ring_dot_general_p.bind(x, y, dimension_numbers=numbers), result_axis


def _around(mapped: int | None, axes: Dims) -> Dims:
    """`axes` of an array, counted in the array that has the mapped axis too."""
    return axes if mapped is None else tuple(axis + (axis >= mapped) for axis in axes)


def _batch_conv(operands: Sequence[jax.Array], axes: Sequence[int | None], **params: Any) -> tuple[jax.Array, int]:
    # One after the other: this is rare, a user's own vmap being resolved before ring arithmetic.
    (x, y), (x_axis, y_axis) = operands, axes
    mapped = (
        None if x_axis is None else jnp.moveaxis(x, x_axis, 0),
        None if y_axis is None else jnp.moveaxis(y, y_axis, 0),
    )

    def one(pair: tuple[jax.Array | None, jax.Array | None]) -> jax.Array:
        left, right = pair
        left = x if left is None else left
        right = y if right is None else right
        return ring_conv_general_dilated_p.bind(left, right, **params)

    return lax.map(one, mapped), 0


# Lowering.


def _lowering(kernel: Callable[..., jax.Array]) -> Callable[..., Any]:
    def traced(x: jax.Array, y: jax.Array, **params: Any) -> jax.Array:
        # The kernel is traced when it is compiled, which need not be where the operands were made.
        with jax.enable_x64(True):
            return kernel(x, y, **params)

    return mlir.lower_fun(traced, multiple_results=False)


def _with_params(
    kernel: Callable[[jax.Array, jax.Array, ConvolutionParams], jax.Array],
) -> Callable[..., jax.Array]:
    return lambda x, y, **params: kernel(x, y, ConvolutionParams(**params))


def _define(
    primitive: Primitive,
    params: Sequence[str],
    aval: Callable[..., jax.core.ShapedArray],
    batch: Callable[..., Any],
    kernels: dict[str, Callable[..., jax.Array]],
) -> None:
    """Gives a primitive its rules; of the kernels, "default" serves the platforms not named."""
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=params))
    primitive.def_abstract_eval(aval)
    batching.primitive_batchers[primitive] = batch
    for platform, kernel in kernels.items():
        name = None if platform == "default" else platform
        mlir.register_lowering(primitive, _lowering(kernel), platform=name)


_define(
    ring_dot_general_p,
    ("dimension_numbers",),
    _dot_general_aval,
    _batch_dot_general,
    {
        "default": reference.dot_general,
        "cpu": platforms.cpu_dot_general,
        **dict.fromkeys(_GPUS, platforms.gpu_dot_general),
        "tpu": int8_digits.dot_general,
    },
)
_define(
    ring_conv_general_dilated_p,
    ConvolutionParams._fields,
    _conv_aval,
    _batch_conv,
    {
        "default": _with_params(reference.conv_general_dilated),
        "cpu": _with_params(platforms.cpu_conv_general_dilated),
        **dict.fromkeys(_GPUS, _with_params(platforms.gpu_conv_general_dilated)),
        "tpu": _with_params(int8_digits.conv_general_dilated),
    },
)
