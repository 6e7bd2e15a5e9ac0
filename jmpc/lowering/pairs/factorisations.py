"""Triangular factorisations and solves of complex matrices.

As `lowering/rules/factorisations.py` has those of real ones, where the method is explained.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering import matrices
from jmpc.lowering.pairs.elementwise import divide
from jmpc.lowering.pairs.pair import Pair, bilinear
from jmpc.lowering.pairs.registry import on_pairs
from jmpc.lowering.scales import Scales

Array = Any
_GUARD = 4.0  # rows that were divided by their pivots are held at so many times their size


def _on_parts(f: Callable[..., Array]) -> Callable[..., Pair]:
    """A map of matrices or vectors that only moves elements, of both parts; other arguments are for both."""

    @functools.wraps(f)
    def mapped(x: Pair, *args: Any) -> Pair:
        both = [[arg.real, arg.imag] if isinstance(arg, Pair) else [arg, arg] for arg in args]
        return Pair(*(f(part, *(arg[i] for arg in both)) for i, part in enumerate((x.real, x.imag))))

    return mapped


_transposed = _on_parts(matrices.transposed)
_diagonal = _on_parts(matrices.diagonal)
_row_of = _on_parts(matrices.row_of)
_column_of = _on_parts(matrices.column_of)
_with_row = _on_parts(matrices.with_row)
_with_column = _on_parts(matrices.with_column)
_reversed = _on_parts(jnp.flip)
_stacked = _on_parts(lambda a, b: jnp.concatenate([a, b], axis=-1))
_product = functools.partial(bilinear, matrices.product)


def _kept(x: Pair, where: Array) -> Pair:
    return x * where.astype(x.real.dtype)


@on_pairs("triangular_solve")
def triangular_solve(
    a: Pair,
    b: Pair,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Pair:
    """X with op(A) X = B, or X op(A) = B, for a triangle of A [..., n, n] and B [..., n, k]."""
    a, b = Pair(*a.filled), Pair(*b.filled)
    a = a.conj() if conjugate_a else a
    if not left_side:
        b, transpose_a = _transposed(b), not transpose_a
    if transpose_a:
        a, lower = _transposed(a), not lower
    if not lower:
        a, b = _reversed(a, (-2, -1)), _reversed(b, -2)
    x = _forward(a, b, unit_diagonal)
    if not lower:
        x = _reversed(x, -2)
    return x if left_side else _transposed(x)


def _forward(a: Pair, b: Pair, unit_diagonal: bool) -> Pair:
    """Of the lower triangle of `a`."""
    n = a.real.shape[-1]
    both = _stacked(_kept(a, np.tri(n, k=-1)) * _GUARD, b)
    if not unit_diagonal:
        both = divide(both, _on_parts(lambda d: d[..., None])(_diagonal(a)))
    rows, b = _on_parts(lambda x: x[..., :n])(both), _on_parts(lambda x: x[..., n:])(both)

    def step(j: Array, x: Pair) -> Pair:
        known = bilinear(functools.partial(jnp.einsum, "...i,...ik->...k"), _row_of(rows, j), x)
        return _with_row(x, j, _row_of(b, j) - known * (1 / _GUARD))

    return lax.fori_loop(0, n, step, jax.tree.map(jnp.zeros_like, b))


@on_pairs("cholesky")
def cholesky(a: Pair, *, fraction: int) -> Pair:
    """L with A = L L^H, of the lower triangle of a positive definite A [..., n, n]."""
    a, guard = Pair(*a.filled), Scales(fraction).guard
    n = a.real.shape[-1]
    places = jnp.arange(n)
    zeros = jax.tree.map(jnp.zeros_like, a)

    def step(j: Array, state: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
        weighted, multipliers = state  # M D, and guard * M, with A = M D M^H
        known = _product(multipliers, _row_of(weighted, j).conj()) * (1 / guard)
        column = _kept(_column_of(a, j) - known, places >= j)
        pivot = matrices.element_of(column.real, j)[..., None]
        column = Pair(column.real, jnp.where(places == j, 0, column.imag))
        quotients = divide(column * guard, Pair(pivot))
        return _with_column(weighted, j, column), _with_column(multipliers, j, quotients)

    weighted, _ = lax.fori_loop(0, n, step, (zeros, zeros))
    pivots = jnp.maximum(matrices.diagonal(weighted.real), 0)
    return divide(weighted, Pair(jnp.sqrt(pivots)[..., None, :]))


@on_pairs("lu")
def lu(a: Pair, *, fraction: int) -> list[Any]:
    """(L below and U above the diagonal, pivots, permutation) of A [..., m, n] with partial pivoting.

    The largest element of a column is, as in LAPACK, that of the largest |real| + |imag|.
    """
    a, guard = Pair(*a.filled), Scales(fraction).guard
    *batch, m, n = a.real.shape
    count = min(m, n)
    rows, columns = jnp.arange(m), jnp.arange(n)
    left = _on_parts(lambda x: x[..., :count])
    top = _on_parts(lambda x: x[..., :count, :])

    def step(j: Array, state: tuple[Pair, Array, Array]) -> tuple[Pair, Array, Array]:
        packed, pivots, permutation = state  # L as guard * L
        above = _kept(_column_of(top(packed), j), rows[:count] < j)
        column = _column_of(packed, j) - _product(left(packed), above) * (1 / guard)
        chosen = matrices.first_largest(jnp.where(rows >= j, jnp.abs(column.real) + jnp.abs(column.imag), -1))
        moves = (rows == j).astype(np.int32) - chosen
        permutation = matrices.exchanged(permutation[..., None], j, chosen, moves)[..., 0]
        exchanged = _on_parts(lambda x: matrices.exchanged(x, j, chosen.astype(x.dtype), moves.astype(x.dtype)))
        packed = exchanged(packed)
        column = _on_parts(lambda x: x[..., 0])(exchanged(_on_parts(lambda x: x[..., None])(column)))

        row = _row_of(packed, j)
        before = _kept(left(row), columns[:count] < j)
        rest = row - _product(_transposed(top(packed)), before) * (1 / guard)
        pivot = _on_parts(lambda x: matrices.element_of(x, j)[..., None])(column)
        quotients = divide(column * guard, pivot)
        row = _kept(rest, columns > j) + _kept(row, columns < j) + _kept(pivot, columns == j)
        column = _kept(quotients, rows > j) + _kept(_column_of(packed, j), rows <= j)
        packed = _with_row(_with_column(packed, j, column), j, row)
        place = jnp.sum(chosen * rows.astype(np.int32), axis=-1, dtype=np.int32)
        return packed, matrices.with_element(pivots, j, place), permutation

    start = jnp.zeros((*batch, count), np.int32), jnp.broadcast_to(jnp.arange(m, dtype=np.int32), (*batch, m))
    packed, pivots, permutation = lax.fori_loop(0, count, step, (a, *start))
    below = np.tri(m, n, -1, dtype=bool)
    return [packed * jnp.where(below, 1 / guard, 1), pivots, permutation]
