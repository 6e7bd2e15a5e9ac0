"""The shapes of `conv_general_dilated`, and any convolution as a batch of matrix products."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.kernels.blocks import map_blocks
from jmpc.kernels.contraction import Dims

_MAX_PATCHES = 1 << 24
"""Elements of patches that exist at a time (128 MiB), whatever a block asks for."""


class ConvolutionParams(NamedTuple):
    """The parameters of `lax.conv_general_dilated` as primitives carry them: hashable, complete."""

    window_strides: Dims
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: Dims
    rhs_dilation: Dims
    dimension_numbers: lax.ConvDimensionNumbers
    feature_group_count: int
    batch_group_count: int


def result_shape(x_shape: Dims, y_shape: Dims, params: ConvolutionParams) -> Dims:
    """Shape of the convolution of `x` with the kernel `y`; a TypeError where they do not fit."""
    x_spec, y_spec, result_spec = params.dimension_numbers
    images, features, *space = (x_shape[axis] for axis in x_spec)
    features_out, features_in, *window = (y_shape[axis] for axis in y_spec)
    groups, image_groups = params.feature_group_count, params.batch_group_count
    if min(groups, image_groups) < 1 or max(groups, image_groups) != groups * image_groups:
        raise TypeError(
            "one of `feature_group_count` and `batch_group_count` must be 1 and the other "
            f"positive, not {groups} and {image_groups}."
        )
    if features != features_in * groups:
        raise TypeError(
            f"the input {x_shape} has {features} features, but the kernel {y_shape} takes "
            f"{features_in} in each of {groups} groups."
        )
    if features_out % (groups * image_groups) or images % image_groups:
        raise TypeError(
            f"{groups * image_groups} groups must divide the kernel's {features_out} features, "
            f"and batch groups the {images} images."
        )
    results = _result_space(tuple(space), tuple(window), params)
    sizes = dict(zip(result_spec, (images // image_groups, features_out, *results), strict=True))
    return tuple(sizes[axis] for axis in range(len(sizes)))


def _result_space(space: Dims, window: Dims, params: ConvolutionParams) -> Dims:
    def dilated(size: int, dilation: int) -> int:
        return 0 if size == 0 else (size - 1) * dilation + 1

    return tuple(
        max(0, (low + dilated(size, spread) + high - dilated(taps, gap)) // stride + 1)
        for size, taps, stride, (low, high), spread, gap in zip(
            space,
            window,
            params.window_strides,
            params.padding,
            params.lhs_dilation,
            params.rhs_dilation,
            strict=True,
        )
    )


def matrix_sizes(x_shape: Dims, y_shape: Dims, params: ConvolutionParams) -> Dims:
    """The `(m, k, n)` of one matrix product in `convolve`."""
    features_out, features_in, *window = (y_shape[axis] for axis in params.dimension_numbers.rhs_spec)
    outputs = math.prod(result_shape(x_shape, y_shape, params))
    groups = params.feature_group_count * params.batch_group_count
    return outputs // max(1, features_out), math.prod(window) * features_in, features_out // groups


def convolve(
    matmul: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    y: jax.Array,
    params: ConvolutionParams,
    rows: int | None = None,
) -> jax.Array:
    """The convolution by `matmul`, where each output position is a row and each feature a column.

    `matmul` multiplies `x[groups, m, k]` by `y[groups, k, n]`. The rows are patches of the input,
    which take the size of the window times the input's memory. So they are made for a few images at
    a time: for about `rows` rows, or for all images where that is None.
    """
    shape = result_shape(x.shape, y.shape, params)
    if 0 in (*shape, *x.shape, *y.shape):
        return jnp.zeros(shape, x.dtype)
    groups = params.feature_group_count * params.batch_group_count
    kernel, window = _kernel_matrices(y, groups, params)
    x = _images(x, params)
    space = _result_space(x.shape[1:-1], window, params)
    interior = zip(params.padding, params.lhs_dilation, strict=True)
    edges = [(low, high, dilation - 1) for (low, high), dilation in interior]
    x = lax.pad(x, x.dtype.type(0), [(0, 0, 0), *edges, (0, 0, 0)])

    def some(images: jax.Array) -> jax.Array:
        products = matmul(_patches(images, space, window, groups, params), kernel)
        return jnp.moveaxis(products, 0, 1).reshape(len(images), *space, -1)

    result = map_blocks(some, x, _images_at_a_time(rows, x.shape[0], math.prod(space), kernel))
    result = jnp.moveaxis(result, -1, 1)  # batch, features, space
    result_spec = params.dimension_numbers.out_spec
    return lax.transpose(result, [result_spec.index(axis) for axis in range(result.ndim)])


def _images_at_a_time(rows: int | None, images: int, positions: int, kernel: jax.Array) -> int:
    if rows is None:
        return images
    patches = positions * kernel.shape[0] * kernel.shape[1]
    return max(1, min(rows // positions, _MAX_PATCHES // patches))


def _images(x: jax.Array, params: ConvolutionParams) -> jax.Array:
    """`x` as `(images, *space, features)`, where batch groups have become feature groups."""
    batch, features, *space = params.dimension_numbers.lhs_spec
    x = lax.transpose(x, (batch, *space, features))
    groups = params.batch_group_count
    if groups == 1:
        return x
    x = x.reshape(groups, x.shape[0] // groups, *x.shape[1:])
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)


def _kernel_matrices(y: jax.Array, groups: int, params: ConvolutionParams) -> tuple[jax.Array, Dims]:
    """The kernel as `(groups, window * features in, features out)`, and its window."""
    features_out, features_in, *space = params.dimension_numbers.rhs_spec
    y = lax.transpose(y, (*space, features_in, features_out))
    window = y.shape[:-2]
    y = y.reshape(-1, groups, y.shape[-1] // groups)
    return jnp.moveaxis(y, 1, 0), window


def _patches(x: jax.Array, space: Dims, window: Dims, groups: int, params: ConvolutionParams) -> jax.Array:
    """What the window sees: `(groups, images * space, window * features of a group)`."""
    for axis, (size, taps, stride, dilation) in enumerate(
        zip(space, window, params.window_strides, params.rhs_dilation, strict=True)
    ):
        # Each axis that is done has become two: positions, taps. A gather, because its size does not grow with
        # the window, which in the gradient of a kernel is as large as an image.
        sources = np.arange(size)[:, None] * stride + np.arange(taps) * dilation
        x = jnp.take(x, sources, axis=2 * axis + 1, mode="clip")
    x = x.reshape(*x.shape[:-1], groups, -1)
    rank = len(space)
    positions = [1 + 2 * axis for axis in range(rank)]
    taps_axes = [2 + 2 * axis for axis in range(rank)]
    x = lax.transpose(x, (2 * rank + 1, 0, *positions, *taps_axes, 2 * rank + 2))
    return x.reshape(groups, x.shape[1] * math.prod(space), -1)
