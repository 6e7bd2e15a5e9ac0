"""Exact samples of the discrete Gaussian, P[x] proportional to exp(-x^2 / (2 variance)) over all integers.

Algorithms 1 to 3 of Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020, arXiv
2004.00010), for many samples at once. There is no floating point here: rounded floating-point Gaussians have gaps that
show what they were added to (Mironov, "On significance of the least significant bits for differential privacy", 2012).

Whether an event of rational probability p happens is decided by comparing a uniform word with the first 64 binary
digits of p; further digits are looked at where they are equal, once in 2^64 times, so that p is met exactly.

Not constant in time: how long it takes tells something of all samples together (how many candidates were rejected, and
how large they were). See docs/privacy.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from jmpc.gaussian.randomness import Words, fresh_words

MOST_DEVIATION = 1 << 52
_MOST_BITS = 512  # of numerator and denominator of a variance
_MOST_BLOCKS = 1 << 10  # of a Laplace sample: more has probability exp(-1024)
_CHUNK = 1 << 16  # samples, each of which takes some 30 words; a chunk takes about 0.1 s


@dataclass(frozen=True)
class DiscreteGaussian:
    """The distribution N_Z(0, variance), for a rational 0 < variance <= 2^104.

    Raises:
      ValueError: for another variance, or one whose numerator or denominator has more than 512 bits.
    """

    variance: Fraction

    def __post_init__(self) -> None:
        if not 0 < self.variance <= MOST_DEVIATION**2:
            raise ValueError(f"a variance above 0 and up to 2^104 is needed, not {float(self.variance):g}")
        if max(self.variance.numerator, self.variance.denominator).bit_length() > _MOST_BITS:
            raise ValueError(f"numerator and denominator of a variance have at most {_MOST_BITS} bits")

    @property
    def _scale(self) -> int:
        """Of the Laplace distribution that candidates come from: the integer above the standard deviation."""
        return math.isqrt(self.variance.numerator // self.variance.denominator) + 1

    def sample(self, shape: Sequence[int] = (), progress: Callable[[], None] | None = None) -> np.ndarray:
        """int64[shape]: independent samples, made of the operating system's randomness. About 1 s for 2^19.

        `progress` is called after every chunk of 2^16, under a key of its own, and may raise to end it.
        """
        flat = np.zeros(math.prod(shape), np.int64)
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            part[:] = self.sample_from(fresh_words(), part.size)
            if progress is not None:
                progress()
        return flat.reshape(tuple(shape))

    def sample_from(self, words: Words, count: int) -> np.ndarray:
        """int64[count] of given words; whoever knows these knows the samples (for tests)."""
        return _first(count, lambda more: self._accepted(words, _laplace(words, self._scale, more)))

    def _accepted(self, words: Words, candidates: np.ndarray) -> np.ndarray:
        """Each with probability exp(-(|y| - variance / t)^2 / (2 variance)), t the scale. (Algorithm 3)"""
        a, b, t = self.variance.numerator, self.variance.denominator, self._scale
        distance = np.abs(candidates).astype(object) * (b * t) - a
        squares, unit = distance * distance, 2 * a * b * t * t
        whole = squares // unit
        rest = squares - whole * unit
        keep = _geometric(words, candidates.size) >= np.minimum(whole, _MOST_BLOCKS).astype(np.int64)
        return candidates[_exp_of_minus(words, rest, unit) & keep]


def _first(count: int, make: Callable[[int], np.ndarray]) -> np.ndarray:
    """The first `count` of a sequence of independent samples, of which `make` gives some when asked for so many."""
    found, missing = [np.zeros(0, np.int64)], count
    while missing > 0:
        found.append(make(missing + missing // 2 + 8)[:missing])
        missing -= found[-1].size
    return np.concatenate(found)


def _laplace(words: Words, scale: int, count: int) -> np.ndarray:
    """P[x] proportional to exp(-|x| / scale). (Algorithm 2)"""

    def some(more: int) -> np.ndarray:
        low = _uniform(words, scale, more)
        low = low[_exp_of_minus(words, low.astype(object), scale)]
        blocks = _geometric(words, low.size)
        if blocks.max(initial=0) >= _MOST_BLOCKS:
            raise OverflowError("a sample that is larger than 2^10 standard deviations")  # once in exp(1024)
        size = low + scale * blocks
        negative = (words(low.size) & np.uint64(1)).astype(bool)
        return np.where(negative, -size, size)[~(negative & (size == 0))]  # zero has no sign

    return _first(count, some)


def _uniform(words: Words, bound: int, count: int) -> np.ndarray:
    """int64[count] below `bound`, by rejection of the words of as many bits that are not."""
    mask = np.uint64((1 << (bound - 1).bit_length()) - 1)

    def some(more: int) -> np.ndarray:
        drawn = (words(more) & mask).astype(np.int64)
        return drawn[drawn < bound]

    return _first(count, some)


def _geometric(words: Words, count: int) -> np.ndarray:
    """int64[count]: how often an event of probability exp(-1) happens in a row."""
    times, going = np.zeros(count, np.int64), np.arange(count)
    while going.size:
        # The first of the events of `_odd_run`, of probability 1 / 1, is certain.
        happens = _odd_run(words, going.size, _digits_of_part, lambda _: Fraction(1), 2)
        going = going[happens]
        times[going] += 1
    return times


def _digits_of_part(k: int, which: np.ndarray) -> np.ndarray:
    """The first 64 binary digits of 1 / k."""
    return np.full(which.size, (1 << 64) // k, np.uint64)


def _exp_of_minus(words: Words, numerators: np.ndarray, denominator: int) -> np.ndarray:
    """bool: each true with probability exp(-g), g = numerator / denominator in [0, 1), of Python integers."""
    digits = ((numerators << 64) // denominator).astype(np.uint64)
    return _odd_run(
        words,
        digits.size,
        lambda k, which: digits[which] // np.uint64(k),  # the digits of g / k, since floors nest
        lambda i: Fraction(int(numerators[i]), denominator),
        1,
    )


def _odd_run(
    words: Words,
    count: int,
    digits: Callable[[int, np.ndarray], np.ndarray],
    exact: Callable[[int], Fraction],
    start: int,
) -> np.ndarray:
    """bool[count]: whether the first k = start, ... whose event, of probability g / k, fails is odd. (Algorithm 1)

    It is with probability exp(-g), if start is 1, or 2 and g is 1.

    Args:
      digits: the first 64 binary digits of g / k, of these elements.
      exact: g of one element.
    """
    odd, going, k = np.zeros(count, bool), np.arange(count), start
    while going.size:
        drawn, probability = words(going.size), digits(k, going)
        happens = drawn < probability
        for i in np.flatnonzero(drawn == probability):
            happens[i] = _by_further_digits(words, exact(int(going[i])) / k)
        odd[going[~happens]] = k % 2 == 1
        going, k = going[happens], k + 1
    return odd


def _by_further_digits(words: Words, probability: Fraction) -> bool:
    """Whether an event happens whose first 64 digits a word is equal to."""
    while True:
        probability = probability * (1 << 64) % 1
        drawn, digits = int(words(1)[0]), int(probability * (1 << 64))
        if drawn != digits:
            return drawn < digits
        if probability == 0:
            return False
