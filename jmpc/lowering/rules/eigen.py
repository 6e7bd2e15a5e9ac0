"""Eigenvalues and singular values by Jacobi's method, written in JAX: a fixed number of sweeps in one loop.

The rows and columns of a matrix of even size form pairs, (i, i + n / 2), which are rotated all at once; then they move
on, all but the first in a circle, so that after n - 1 steps each has met each (Brent and Luk, "The solution of
singular-value and symmetric eigenvalue problems on multiprocessor arrays", SIAM J. Sci. Stat. Comput. 6, 1985). For
singular values the rotations of rows and of columns differ (Kogbetliantz 1955), so that nothing is squared, and the
vectors are orthogonal whatever the rank is. Every rotation leaves the larger of its two values at the smaller index;
so the values come out in order, and are never sorted.

Fixed point: the matrix is brought to a norm below 2^_SIZE, and what has size 1 is held at _GUARD times its size; a
Newton step makes (cos, sin) a unit vector. Rounds are those of three-party sharing at 18 fraction bits.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering.composite import composite
from jmpc.lowering.matrices import diagonal, transposed
from jmpc.lowering.rules.orthogonal import orthogonal, triangularized

_SIZE = 14
_GUARD = 32.0
_ONE = _GUARD**2

Array = Any


@composite("eigh")
def eigh(a: Array, *, lower: bool, subset_by_index: tuple[int, int] | None) -> tuple[Array, Array]:
    """(V, w) with A V = V diag(w), w ascending, of a triangle of a symmetric A [..., n, n], |a_ij| < 2^20.

    Rounds: 41 (N - 1) ceil(2 log2(n)) + 12 ceil(log2(n)) + 40 with N = n, or n + 1 if that is odd.
    """
    n = a.shape[-1]
    triangle = jnp.tril(a) if lower else transposed(jnp.triu(a))
    a = triangle + transposed(jnp.tril(triangle, -1))
    scale, largest = _sizes(a)
    # An additional value is the lowest, and stays where it is.
    values, vectors, _ = _diagonalized(scale * a / largest, -(2.0 ** (_SIZE + 1)), symmetric=True)
    start, stop = subset_by_index or (0, n)
    chosen = slice(n - stop, n - start)
    w = jnp.flip(values[..., chosen], -1) / scale * largest[..., 0]
    return jnp.flip(transposed(vectors)[..., chosen], -1), w


@composite("svd")
def svd(
    a: Array, *, full_matrices: bool, compute_uv: bool, subset_by_index: tuple[int, int] | None
) -> tuple[Array, ...]:
    """(s, U, V^T), or only s, of A [..., m, n], |a_ij| < 2^20; s descending.

    Unless m = n, a QR decomposition comes first; k = min(m, n). Rounds: 41 (N - 1) ceil(2 log2(k)) +
    12 ceil(log2(k)) + 50 with N = k, or k + 1 if that is odd, and those of the QR decomposition.
    """
    chosen = slice(*(subset_by_index or (0, min(a.shape[-2:]))))
    if a.shape[-2] < a.shape[-1]:
        s, right, left = _svd_of_tall(transposed(a), full_matrices)
    else:
        s, left, right = _svd_of_tall(a, full_matrices)
    if not compute_uv:
        return (s[..., chosen],)
    if not full_matrices:
        left, right = left[..., chosen], right[..., chosen]
    return s[..., chosen], left, transposed(right)


def _svd_of_tall(a: Array, full_matrices: bool) -> tuple[Array, Array, Array]:
    """(s, U, V) of A [..., m, n] with m >= n."""
    m, n = a.shape[-2:]
    reflections = None
    if m > n:
        r, reflections = triangularized(a)
        a = jnp.triu(r[..., :n, :])
    scale, largest = _sizes(a)
    values, left, right = _diagonalized(scale * a / largest, 0.0, symmetric=False)
    negative = values < 0  # the last, if any: a rotation makes the sum of its two values positive
    s = jnp.where(negative, -values, values) / scale * largest[..., 0]
    left, right = transposed(jnp.where(negative[..., None], -left, left)), transposed(right)
    if reflections is not None:
        q = orthogonal(reflections, m if full_matrices else n)
        left = jnp.concatenate([q[..., :n] @ left, q[..., n:]], axis=-1)
    return s, left, right


def _sizes(a: Array) -> tuple[float, Array]:
    """(scale, largest [..., 1, 1]): the norms of scale * A / largest are below 2^_SIZE."""
    scale = 2.0 ** (_SIZE - math.ceil(math.log2(a.shape[-1])))
    return scale, jnp.max(jnp.abs(a), axis=(-2, -1), keepdims=True)


def _diagonalized(a: Array, additional: float, *, symmetric: bool) -> tuple[Array, Array, Array]:
    """(d, U^T, V^T) with U^T A V = diag(d), d in descending order; if `symmetric`, U = V.

    An `additional` value, which must be the lowest, makes an odd size even.
    """
    *batch, n, _ = a.shape
    half = (n + 1) // 2
    size = 2 * half
    padding = [(0, 0)] * len(batch) + [(0, size - n)] * 2
    a = jnp.pad(a, padding) + additional * np.diag(np.arange(size) >= n)
    # (0, 1, ...) over (half, half + 1, ...): the upper row moves right, the lower one left, the first stays.
    circle = np.array([0, half, *range(1, half - 1), *range(half + 1, size), half - 1][:size])
    unit = jnp.broadcast_to(_GUARD * jnp.eye(size, dtype=a.dtype), a.shape)
    bases = (unit,) if symmetric else (unit, unit)

    def step(_: Array, state: tuple[Array, tuple[Array, ...], Array]) -> tuple[Array, tuple[Array, ...], Array]:
        a, bases, index = state
        rotations = _rotations(a, index[:half] < index[half:], symmetric)
        a = transposed(_rotated(a, rotations[0]))[..., circle]
        a = transposed(_rotated(a, rotations[-1]))[..., circle]
        bases = tuple(_rotated(x, rotation)[..., circle, :] for x, rotation in zip(bases, rotations, strict=True))
        return a, bases, index[circle]

    steps = (size - 1) * math.ceil(2 * math.log2(n))
    a, bases, _ = lax.fori_loop(0, steps, step, (a, bases, np.arange(size)))
    left, right = (basis[..., :n, :n] / _GUARD for basis in (bases[0], bases[-1]))
    return diagonal(a)[..., :n], left, right


def _rotations(a: Array, ascending: Array, symmetric: bool) -> list[Array]:
    """_GUARD (cos, sin) [..., 2, n / 2] of the rotations of rows and, unless `symmetric`, of columns.

    A block [[p, q], [r, s]] is the sum of a rotation by atan2(r - q, p + s) and of a reflection at half the angle
    atan2(q + r, p - s), each with a factor. Rotating its rows and columns by the half sum and half difference
    leaves the sum and the difference of the factors on the diagonal. `ascending`: the sum belongs at the top.
    """
    p, q, r, s = (diagonal(block) for rows in _halves(a, -2) for block in _halves(rows, -1))
    reflection = jnp.arctan2(jnp.where(ascending, q + r, -q - r), jnp.where(ascending, p - s, s - p))
    if symmetric:
        angles = [reflection / 2]
    else:
        rotation = jnp.arctan2(r - q, p + s)
        angles = [(reflection + rotation) / 2, (reflection - rotation) / 2]
    return [_unit_vector(angle) for angle in angles]


def _unit_vector(angle: Array) -> Array:
    x = _GUARD * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-2)
    return x + x * (_ONE - jnp.sum(x * x, axis=-2, keepdims=True)) / (2 * _ONE)


def _rotated(a: Array, rotation: Array) -> Array:
    """R^T A for rotations in the planes of rows i and i + n / 2."""
    top, bottom = _halves(a, -2)
    cosine, sine = (rotation[..., i, :, None] for i in range(2))
    return jnp.concatenate([cosine * top + sine * bottom, cosine * bottom - sine * top], axis=-2) / _GUARD


def _halves(a: Array, axis: int) -> tuple[Array, Array]:
    first, second = jnp.split(a, 2, axis)
    return first, second
