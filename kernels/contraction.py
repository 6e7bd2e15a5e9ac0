"""The shapes of `dot_general`, and any contraction as a batch of matrix products."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import jax
from jax import lax

Dims: TypeAlias = tuple[int, ...]
DimensionNumbers: TypeAlias = tuple[tuple[Dims, Dims], tuple[Dims, Dims]]

BATCHED: DimensionNumbers = (((2,), (1,)), ((0,), (0,)))
"""`x[batch, m, k]` times `y[batch, k, n]`."""


def canonical(
    x_rank: int,
    y_rank: int,
    dimension_numbers: Sequence[Sequence[Sequence[int]]],
) -> DimensionNumbers:
    """`((x contracting, y contracting), (x batch, y batch))` as hashable tuples of checked axes."""
    (x_contracting, y_contracting), (x_batch, y_batch) = dimension_numbers
    for a, b in ((x_contracting, y_contracting), (x_batch, y_batch)):
        if len(a) != len(b):
            raise TypeError(f"`dimension_numbers` pair {len(a)} axes with {len(b)}: {dimension_numbers}.")
    return (
        (_axes(x_contracting, x_rank), _axes(y_contracting, y_rank)),
        (_axes(x_batch, x_rank, x_contracting), _axes(y_batch, y_rank, y_contracting)),
    )


def _axes(axes: Sequence[int], rank: int, others: Sequence[int] = ()) -> Dims:
    for axis in axes:
        if not -rank <= axis < rank:
            raise TypeError(f"`dimension_numbers` name axis {axis} of an operand of rank {rank}.")
    named = [int(axis) % rank for axis in (*axes, *others)]
    if len(set(named)) != len(named):
        raise TypeError(f"`dimension_numbers` name an axis twice: {named}.")
    return tuple(named[: len(axes)])


def free_axes(rank: int, contracting: Dims, batch: Dims) -> Dims:
    """The axes that an operand alone has, in order."""
    return tuple(axis for axis in range(rank) if axis not in contracting and axis not in batch)


def result_shape(x_shape: Dims, y_shape: Dims, dimension_numbers: DimensionNumbers) -> Dims:
    """Shape of the contraction: the batch axes, then the free axes of `x`, then those of `y`."""
    (x_contracting, y_contracting), (x_batch, y_batch) = dimension_numbers
    for i, j in zip(x_contracting + x_batch, y_contracting + y_batch, strict=True):
        if x_shape[i] != y_shape[j]:
            raise TypeError(
                f"cannot contract {x_shape} with {y_shape}: axis {i} of the first and axis {j} "
                "of the second differ in size."
            )
    x_free = free_axes(len(x_shape), x_contracting, x_batch)
    y_free = free_axes(len(y_shape), y_contracting, y_batch)
    return (
        *(x_shape[i] for i in x_batch),
        *(x_shape[i] for i in x_free),
        *(y_shape[i] for i in y_free),
    )


def matrix_sizes(x_shape: Dims, y_shape: Dims, dimension_numbers: DimensionNumbers) -> Dims:
    """The `(m, k, n)` of one matrix product in `as_matrices`."""
    (x_contracting, y_contracting), (x_batch, y_batch) = dimension_numbers
    x_free = free_axes(len(x_shape), x_contracting, x_batch)
    y_free = free_axes(len(y_shape), y_contracting, y_batch)
    return (
        math.prod(x_shape[axis] for axis in x_free),
        math.prod(x_shape[axis] for axis in x_contracting),
        math.prod(y_shape[axis] for axis in y_free),
    )


def as_matrices(x: jax.Array, y: jax.Array, dimension_numbers: DimensionNumbers) -> tuple[jax.Array, jax.Array]:
    """`x[batch, m, k]` and `y[batch, k, n]`, whose product reshapes to `result_shape`."""
    (x_contracting, y_contracting), (x_batch, y_batch) = dimension_numbers
    x_free = free_axes(x.ndim, x_contracting, x_batch)
    y_free = free_axes(y.ndim, y_contracting, y_batch)
    x_matrices = _merged(x, x_batch, x_free, x_contracting)
    y_matrices = _merged(y, y_batch, y_contracting, y_free)
    return x_matrices, y_matrices


def _merged(x: jax.Array, *groups: Dims) -> jax.Array:
    sizes = [math.prod(x.shape[axis] for axis in group) for group in groups]
    return lax.reshape(x, sizes, dimensions=[axis for group in groups for axis in group])
