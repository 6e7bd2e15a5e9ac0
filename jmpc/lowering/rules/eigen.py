"""Eigenvalues and singular values by Jacobi's method, written in JAX: a fixed number of sweeps in one loop.

The rows and columns of a matrix of even size form pairs, (i, i + n / 2), which are rotated all at once; then they move
on, all but the first in a circle, so that after n - 1 steps each has met each (Brent and Luk, "The solution of
singular-value and symmetric eigenvalue problems on multiprocessor arrays", SIAM J. Sci. Stat. Comput. 6, 1985). For
singular values the rotations of rows and of columns differ (Kogbetliantz 1955), so that nothing is squared, and the
vectors are orthogonal whatever the rank is. Rotations are the smaller of the possible ones, with which ceil(log2(n)) +
3 sweeps are enough for clustered, graded and orthogonal matrices, too; values are ordered at the end, by counting for
each how many are smaller.

Fixed point: the matrix is brought to a known norm, and what has size 1 is held at `guard` times its size; a Newton step
makes (cos, sin) a unit vector. Rounds are those of three-party sharing at 18 fraction bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering.composite import composite
from jmpc.lowering.matrices import diagonal, moves_in_order, transposed
from jmpc.lowering.rules.hints import angle, quotient
from jmpc.lowering.rules.orthogonal import orthogonal, triangularized
from jmpc.lowering.scales import Scales

Array = Any


@composite("eigh")
def eigh(a: Array, *, lower: bool, subset_by_index: tuple[int, int] | None, fraction: int) -> tuple[Array, Array]:
    """(V, w) with A V = V diag(w), w ascending, of a triangle of a symmetric A [..., n, n], |a_ij| < 2^20.

    Rounds: 31 (N - 1) sweeps + 12 ceil(log2(n)) + 29, with N = n, or n + 1 if that is odd, and ceil(log2(n)) + 3
    sweeps, one less up to n = 4.
    """
    n = a.shape[-1]
    triangle = jnp.tril(a) if lower else transposed(jnp.triu(a))
    a = triangle + transposed(jnp.tril(triangle, -1))
    scales = Scales(fraction)
    scale, largest = _sizes(a, scales)
    values, vectors, _ = _diagonalized(quotient(scale * a, largest), scales, symmetric=True)
    values, vectors = _ordered(values, [values[..., None], vectors])
    chosen = slice(*(subset_by_index or (0, n)))
    return transposed(vectors)[..., chosen], values[..., chosen, 0] / scale * largest[..., 0]


@composite("svd")
def svd(
    a: Array, *, full_matrices: bool, compute_uv: bool, subset_by_index: tuple[int, int] | None, fraction: int
) -> tuple[Array, ...]:
    """(s, U, V^T), or only s, of A [..., m, n], |a_ij| < 2^20; s descending.

    Unless m = n, a QR decomposition comes first. Rounds: those of `eigh` for min(m, n) and 6 more, and those of the QR
    decomposition.
    """
    chosen = slice(*(subset_by_index or (0, min(a.shape[-2:]))))
    if not min(a.shape[-2:]):  # then the vectors may still be some
        s, left, right = a.reshape(*a.shape[:-2], 0), *(_identity(a, n) for n in a.shape[-2:])
    elif a.shape[-2] < a.shape[-1]:
        s, right, left = _svd_of_tall(transposed(a), full_matrices, Scales(fraction))
    else:
        s, left, right = _svd_of_tall(a, full_matrices, Scales(fraction))
    if not compute_uv:
        return (s[..., chosen],)
    if not full_matrices:
        left, right = left[..., chosen], right[..., chosen]
    return s[..., chosen], left, transposed(right)


def _identity(a: Array, n: int) -> Array:
    return jnp.broadcast_to(jnp.eye(n, dtype=a.dtype), (*a.shape[:-2], n, n))


def _svd_of_tall(a: Array, full_matrices: bool, scales: Scales) -> tuple[Array, Array, Array]:
    """(s, U, V) of A [..., m, n] with m >= n."""
    m, n = a.shape[-2:]
    reflections = None
    if m > n:
        r, reflections = triangularized(a, scales)
        a = jnp.triu(r[..., :n, :])
    scale, largest = _sizes(a, scales)
    values, left, right = _diagonalized(quotient(scale * a, largest), scales, symmetric=False)
    negative = (values < 0)[..., None]
    values, left = (jnp.where(negative, -x, x) for x in (values[..., None], left))
    values, left, right = _ordered(-values[..., 0], [values, left, right])
    s, left, right = values[..., 0] / scale * largest[..., 0], transposed(left), transposed(right)
    if reflections is not None:
        q = orthogonal(reflections, m if full_matrices else n, scales)
        left = jnp.concatenate([q[..., :n] @ left, q[..., n:]], axis=-1)
    return s, left, right


def _sizes(a: Array, scales: Scales) -> tuple[float, Array]:
    """(scale, largest [..., 1, 1]): scale * A / largest have norms that fit."""
    scale = scales.matrix / 2.0 ** math.ceil(math.log2(a.shape[-1]))
    return scale, jnp.max(jnp.abs(a), axis=(-2, -1), keepdims=True)


def _ordered(keys: Array, rows: Sequence[Array]) -> list[Array]:
    """The rows of each of these matrices in ascending order of their keys [..., n]."""
    moves = transposed(moves_in_order(keys)).astype(keys.dtype)
    return [moves @ x for x in rows]


def _diagonalized(a: Array, scales: Scales, *, symmetric: bool) -> tuple[Array, Array, Array]:
    """(d, U^T, V^T) with U^T A V = diag(d); if `symmetric`, U = V."""
    *batch, n, _ = a.shape
    half = (n + 1) // 2
    size = 2 * half
    a = jnp.pad(a, [(0, 0)] * len(batch) + [(0, size - n)] * 2)  # a row and a column of zeros stay what they are
    # (0, 1, ...) over (half, half + 1, ...): the upper row moves right, the lower one left, the first stays.
    circle = np.array([0, half, *range(1, half - 1), *range(half + 1, size), half - 1][:size])
    unit = jnp.broadcast_to(scales.guard * jnp.eye(size, dtype=a.dtype), a.shape)

    def step(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        a, *bases = state
        rotations = _rotations(a, scales, symmetric)
        a = transposed(_rotated(a, rotations[0], scales))[..., circle]
        a = transposed(_rotated(a, rotations[-1], scales))[..., circle]
        moved = [_rotated(x, rotation, scales)[..., circle, :] for x, rotation in zip(bases, rotations, strict=True)]
        return (a, *moved)

    bases = (unit,) if symmetric else (unit, unit)
    a, *bases = lax.fori_loop(0, (size - 1) * _sweeps(n), step, (a, *bases))
    left, right = (basis[..., :n, :n] / scales.guard for basis in (bases[0], bases[-1]))
    return diagonal(a)[..., :n], left, right


def _sweeps(n: int) -> int:
    """After which every matrix that was tried is diagonal, to the precision of the angles."""
    return math.ceil(math.log2(n)) + (2 if n <= 4 else 3) if n > 1 else 0


def _rotations(a: Array, scales: Scales, symmetric: bool) -> list[Array]:
    """guard * (cos, sin) [..., 2, n / 2] of the rotations of rows and, unless `symmetric`, of columns.

    A block [[p, q], [r, s]] is the sum of a rotation by atan((r - q) / (p + s)) and of a reflection at half the angle
    atan((q + r) / (p - s)), each with a factor. Rotating its rows and columns by the half sum and half difference of
    the angles leaves the sum and the difference of the factors on the diagonal.
    """
    p, q, r, s = (diagonal(block) for rows in _halves(a, -2) for block in _halves(rows, -1))
    reflection = _slope_angle(q + r, p - s)
    if symmetric:
        angles = [reflection / 2]
    else:
        rotation = _slope_angle(r - q, p + s)
        angles = [(reflection + rotation) / 2, (reflection - rotation) / 2]
    return [_unit_vector(angle, scales) for angle in angles]


def _slope_angle(y: Array, x: Array) -> Array:
    """atan(y / x), and 0 where both are 0; in as many rounds as atan2."""
    opposite = jnp.where(x < 0, jnp.where(y < 0, -np.pi, np.pi), 0.0)
    return angle(y, x) - opposite


def _unit_vector(angle: Array, scales: Scales) -> Array:
    x = scales.guard * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-2)
    return x + x * (scales.one - jnp.sum(x * x, axis=-2, keepdims=True)) / (2 * scales.one)


def _rotated(a: Array, rotation: Array, scales: Scales) -> Array:
    """R^T A for rotations in the planes of rows i and i + n / 2."""
    top, bottom = _halves(a, -2)
    cosine, sine = (rotation[..., i, :, None] for i in range(2))
    return jnp.concatenate([cosine * top + sine * bottom, cosine * bottom - sine * top], axis=-2) / scales.guard


def _halves(a: Array, axis: int) -> tuple[Array, Array]:
    first, second = jnp.split(a, 2, axis)
    return first, second
