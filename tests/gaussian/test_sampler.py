"""The sampler against exact probabilities, at small and large deviations, and its own arithmetic against fractions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from jmpc.gaussian import MOST_DEVIATION, DiscreteGaussian
from jmpc.gaussian import sampler as algorithms
from jmpc.gaussian.randomness import fresh_words

UNLIKELY = 1e-7  # a correct sampler fails a test once in so many runs


def probabilities(variance: Fraction, numbers: np.ndarray) -> np.ndarray:
    weights = np.exp(-(numbers**2) / (2 * float(variance)))
    return weights / weights.sum()


def chi_square(samples: np.ndarray, variance: Fraction) -> float:
    """How likely samples at least so far from the exact probabilities are."""
    reach = 40 * math.isqrt(math.ceil(variance)) + 5
    numbers = np.arange(-reach, reach + 1)
    assert np.abs(samples).max() <= reach
    expected = probabilities(variance, numbers) * samples.size
    seen = np.bincount(samples + reach, minlength=numbers.size)
    often = expected > 10
    rest = [seen[~often].sum()], [expected[~often].sum()]
    seen, expected = np.append(seen[often], rest[0]), np.append(expected[often], rest[1])
    return float(stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), often.sum()))


@pytest.mark.parametrize("variance", ["1/10", "1/4", "1", "7/3", "1089/100", "10000"])
def test_frequencies_are_those_of_the_distribution(variance):
    samples = DiscreteGaussian(Fraction(variance)).sample((400_000,))
    assert samples.dtype == np.int64
    assert chi_square(samples, Fraction(variance)) > UNLIKELY


def test_a_wrong_variance_would_be_seen():
    samples = DiscreteGaussian(Fraction(12)).sample((400_000,))
    assert chi_square(samples, Fraction(1089, 100)) < UNLIKELY


@pytest.mark.parametrize(
    "variance", [Fraction(2**36) + Fraction(1, 3), Fraction(0.3712345) ** 2 * 4**30 / 2, Fraction(2**103)]
)
def test_large_deviations_are_gaussian(variance):
    samples, deviation = DiscreteGaussian(variance).sample((200_000,)), math.sqrt(variance)
    scaled = samples / deviation
    assert stats.kstest(scaled, "norm").pvalue > UNLIKELY
    assert abs(scaled.mean()) < 6 / math.sqrt(samples.size)
    assert abs(scaled.var() - 1) < 6 * math.sqrt(2 / samples.size)
    tail = (np.abs(scaled) > 3).sum()  # 540 expected
    assert abs(tail - 2 * stats.norm.sf(3) * samples.size) < 6 * math.sqrt(540)
    assert 4 < np.abs(scaled).max() < 8
    assert abs((samples & 1).mean() - 0.5) < 6 / math.sqrt(4 * samples.size)  # down to the last bit
    assert stats.kstest(np.abs(scaled[::2]) - np.abs(scaled[1::2]), lambda x: _difference(x)).pvalue > UNLIKELY


def _difference(x):
    """The distribution function of |a| - |b| for two standard normals, on a grid."""
    grid = np.linspace(0, 9, 4001)
    density = 2 * stats.norm.pdf(grid)
    above = np.array([np.trapezoid(density * (2 * stats.norm.cdf(grid + t) - 1), grid) for t in np.linspace(0, 9, 400)])
    return np.where(
        x >= 0, np.interp(x, np.linspace(0, 9, 400), above), 1 - np.interp(-x, np.linspace(0, 9, 400), above)
    )


def test_shapes_chunks_and_independence(monkeypatch):
    monkeypatch.setattr(algorithms, "_CHUNK", 1000)
    samples = DiscreteGaussian(Fraction(10**8)).sample((3, 5, 300))
    assert samples.shape == (3, 5, 300)
    assert np.unique(samples).size > 4000  # no chunk repeats another
    flat = samples.ravel() / 1e4
    assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 6 / math.sqrt(flat.size)
    assert DiscreteGaussian(Fraction(1)).sample().shape == ()
    assert DiscreteGaussian(Fraction(1)).sample((0, 3)).shape == (0, 3)


def test_progress_is_called_after_every_chunk_and_may_end_it(monkeypatch):
    monkeypatch.setattr(algorithms, "_CHUNK", 10)
    noise, done = DiscreteGaussian(Fraction(100)), []
    assert noise.sample((5, 5), lambda: done.append(1)).shape == (5, 5)
    assert len(done) == 3

    def end():
        done.append(1)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        noise.sample((1000,), end)
    assert len(done) == 4


def given(words):
    """A source that gives these words, and fails when they are used up."""
    stream = iter(words)
    return lambda count: np.array(list(itertools.islice(stream, count)), np.uint64)


def recorded(seed):
    rng = np.random.default_rng(seed)
    return lambda count: rng.integers(0, 2**64 - 1, count, np.uint64, endpoint=True)


def test_the_same_words_give_the_same_samples():
    noise = DiscreteGaussian(Fraction(1000))
    first, second = (noise.sample_from(recorded(5), 100) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, noise.sample_from(recorded(6), 100))
    assert not np.array_equal(noise.sample((100,)), noise.sample((100,)))


def test_ties_are_decided_by_further_digits():
    third = (1 << 64) // 3
    assert not algorithms._by_further_digits(given([third, third, third + 1]), Fraction(1, 3))
    assert algorithms._by_further_digits(given([third, third - 1]), Fraction(1, 3))
    assert not algorithms._by_further_digits(given([0]), Fraction(1, 2))  # 1/2 has no further digits
    # 2/3 happens with the word 2/3 itself only if what follows is below 2/3 of a word.
    digits = np.array([2 * (1 << 64) // 3], object)
    for after, happens in [(int(digits[0]) - 1, True), (int(digits[0]) + 1, False)]:
        words = given([int(digits[0]), after, (1 << 64) - 1])  # k = 1 by a tie, then k = 2 fails
        odd = algorithms._exp_of_minus(words, np.array([2], object), 3)
        assert odd[0] == (not happens)


@pytest.mark.parametrize("fraction", [Fraction(0), Fraction(1, 7), Fraction(1, 2), Fraction(6, 7)])
def test_events_have_the_probabilities_of_their_names(fraction):
    count = 300_000
    numerators = np.full(count, fraction.numerator, object)
    happened = algorithms._exp_of_minus(fresh_words(), numerators, fraction.denominator).sum()
    assert stats.binomtest(int(happened), count, math.exp(-fraction)).pvalue > UNLIKELY
    times = algorithms._geometric(fresh_words(), count)
    expected = count * math.exp(-1) ** np.arange(6) * (1 - math.exp(-1))
    seen = np.bincount(times, minlength=6)[:6]
    assert np.all(np.abs(seen - expected) < 6 * np.sqrt(expected))


def test_bounds():
    for variance in (Fraction(0), Fraction(-1), Fraction(MOST_DEVIATION**2 + 1)):
        with pytest.raises(ValueError, match=r"a variance above 0 and up to 2\^104"):
            DiscreteGaussian(variance)
    with pytest.raises(ValueError, match="at most 512 bits"):
        DiscreteGaussian(Fraction(1, 2**513 + 1))
    assert np.abs(DiscreteGaussian(Fraction(MOST_DEVIATION**2)).sample((1000,))).max() > MOST_DEVIATION
    assert not DiscreteGaussian(Fraction(1, 10**6)).sample((1000,)).any()
