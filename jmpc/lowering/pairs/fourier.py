"""Discrete Fourier transforms as products with public matrices.

Multiplying by what is public takes no message, and rounding the sum one, however long it is. So a transform of up to
256 elements is one product with the matrix of cosines and sines. A longer one, of n = r m elements, is r-point
transforms and then m-point ones (Cooley and Tukey, 1965):

    X[r c + e] = sum over b of W_m^(b c) W_n^(b e) (sum over a of W_r^(a e) x[m a + b]),   W_n = exp(-2 pi i / n)

Between the two, numbers are 2^g times as large as they are, with 2^g about the root of m: what is rounded there is then
no more than an ulp of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering.pairs.pair import Pair, as_pair
from jmpc.lowering.pairs.registry import Unsupported, on_pairs

_DENSE = 256  # elements that are transformed by one matrix
_LARGEST_DENSE = 2048  # of a length that is prime
_LARGEST_JOINT = 1 << 18  # elements of matrices that turn by powers of W_n as well
_DIGITS = 13  # of cosines, so that a zero is one


@on_pairs("fft")
def fft(x: Any, *, fft_type: Any, fft_lengths: Sequence[int]) -> Any:
    """Along the last axes of x; the last one of real results [..., n] has a spectrum [..., n // 2 + 1].

    Error: see `docs/functions.md`.
    """
    kind, n = lax.FftType(fft_type), fft_lengths[-1]
    inverse = kind in (lax.FftType.IFFT, lax.FftType.IRFFT)
    along = _Transform(inverse)
    *others, last = range(-len(fft_lengths), 0)
    if kind is lax.FftType.IRFFT:
        for axis in others:
            x = along.axis(axis, x)
        return along.real_from_half(x, n)
    x = along.axis(last, as_pair(x))
    if kind is lax.FftType.RFFT:
        x = _mapped(lambda part: part[..., : n // 2 + 1], x)
    for axis in others:
        x = along.axis(axis, x)
    return x


class _Transform:
    """Transforms in one direction."""

    def __init__(self, inverse: bool) -> None:
        self._inverse = inverse

    def axis(self, axis: int, x: Pair) -> Pair:
        moved = _mapped(lambda part: jnp.moveaxis(part, axis, -1), x)
        return _mapped(lambda part: jnp.moveaxis(part, -1, axis), self._last(moved))

    def real_from_half(self, x: Pair, n: int) -> Any:
        """The real result [..., n] of a spectrum [..., n // 2 + 1]."""
        half = n // 2 + 1
        if _radix(n) == n:
            twice = np.where((np.arange(half) == 0) | (2 * np.arange(half) == n), 1, 2)
            return _times(x, twice[:, None] * self._matrix(n)[:half]).real
        other = _mapped(lambda part: part[..., 1 : (n + 1) // 2][..., ::-1], x.conj())
        parts = zip(x.filled, other.filled, strict=True)
        return self._last(Pair(*(jnp.concatenate(part, -1) for part in parts))).real

    def _last(self, x: Pair) -> Pair:
        """Along the last axis."""
        n = x.filled[0].shape[-1]
        radix = _radix(n)
        if radix == n:
            return _times(x, self._matrix(n))
        rest = n // radix
        guard = 2.0 ** round(math.log2(rest) / 2)
        x = _mapped(lambda part: _swapped(part.reshape(*part.shape[:-1], radix, rest)), x)
        x = _mapped(_swapped, _times(x, self._matrix(radix) * guard))  # [..., b, e], then [..., e, b]
        turns = self._roots(n, np.outer(np.arange(radix), np.arange(rest))) / guard
        if rest <= _DENSE and n * rest <= _LARGEST_JOINT:
            x = _times(x, turns[:, :, None] * self._matrix(rest))  # [..., e, c]
        else:
            alone = _mapped(lambda part: part.reshape(*part.shape[:-2], n, 1), x)
            turned = _times(alone, turns.reshape(n, 1, 1))
            x = self._last(_mapped(lambda part: part.reshape(*part.shape[:-2], radix, rest), turned))
        return _mapped(lambda part: _swapped(part).reshape(*part.shape[:-2], n), x)

    def _matrix(self, n: int) -> np.ndarray:
        """The matrix [n, n] of a transform; an inverse one divides by n."""
        return self._roots(n, np.outer(np.arange(n), np.arange(n))) / (n if self._inverse else 1)

    def _roots(self, n: int, powers: np.ndarray) -> np.ndarray:
        """W_n to these powers, or to minus these if the transform is inverse."""
        angles = 2 * np.pi / n * (powers % n)
        return np.round(np.cos(angles) + (1j if self._inverse else -1j) * np.sin(angles), _DIGITS)


def _times(x: Pair, matrix: np.ndarray) -> Pair:
    """x [..., n] times a matrix [n, m], or x [..., k, n] times k matrices [k, n, m], as one real product."""
    real_rows = np.concatenate([matrix.real, matrix.imag], -1)
    imag_rows = np.concatenate([-matrix.imag, matrix.real], -1)
    given = [(x.real, real_rows), (x.imag, imag_rows)]
    parts, rows = zip(*(pair for pair in given if pair[0] is not None), strict=True)
    joined = jnp.concatenate(parts, -1)
    columns = np.concatenate(rows, -2).astype(joined.dtype)
    spec = "...n,nm->...m" if columns.ndim == 2 else "...kn,knm->...km"
    # the highest precision: the matrix is exact whatever the range of the inputs
    product = jnp.einsum(spec, joined, columns, precision=lax.Precision.HIGHEST)
    return Pair(*jnp.split(product, 2, -1))


def _mapped(f: Callable[[Any], Any], x: Pair) -> Pair:
    return Pair(*(None if part is None else f(part) for part in (x.real, x.imag)))


def _swapped(x: Any) -> Any:
    return jnp.swapaxes(x, -1, -2)


def _radix(n: int) -> int:
    """The length of the transforms that one of n elements begins with; n itself if it is one product."""
    radix = next(d for d in range(min(n, _DENSE), 0, -1) if n % d == 0)
    if radix == 1 and n > 1:
        radix = next(d for d in range(_DENSE, n + 1) if n % d == 0)
    if radix > _LARGEST_DENSE:
        raise Unsupported(
            f"a transform of {n} elements takes a matrix of {radix} x {radix}, because {radix} is prime",
            "Pad with zeros to a length that has small factors, as in jnp.fft.fft(x, 4096)",
        )
    return radix
