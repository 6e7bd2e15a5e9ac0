"""Norms of secret vectors, clipped: how near to floating point, and never above, whatever words were shared."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from protocols import sharings
from protocols.evaluate import Choreography, P, Result

import jmpc
from jmpc.clipping import clip_norm
from jmpc.errors import TraceError
from jmpc.lowering import Context, FixedPoint, Precision, interval
from jmpc.lowering.rules.clipping import _target_to_root
from jmpc.lowering.rules.clipping import clip_norm as rule
from jmpc.protocols.base import Ring
from jmpc.protocols.rep3 import Rep3

from .helpers import checked, secure

EXTREMES = [-(2**63), 2**63 - 1, -(2**63) + 1, 2**62, -(2**62), 2**32, -(2**32), 2**61 + 5, 0, 1]


def run(words: np.ndarray, norm: float, fraction: int = 18, seed: int = 0) -> Result:
    """Rows of int64 words, clipped among three parties; `out` is the sharing."""

    def clip(x: Ring) -> Ring:
        context = Context(Rep3(P), Precision(fraction))
        # As narrow an interval as an owner may declare: nothing may depend on it.
        value = FixedPoint(x, fraction, interval.symmetric(1.0), np.dtype(np.float32))
        return rule(context, value, norm=norm).ring

    shared = sharings.ring(np.random.default_rng(seed), words)
    return Choreography(clip, shared)(shared, seed=seed)


def norms(words: np.ndarray) -> list[int]:
    """The squares of the norms of rows, exactly."""
    return [sum(int(w) ** 2 for w in row) for row in words]


@pytest.mark.parametrize("fraction", [12, 18, 24])
def test_close_to_floating_point(fraction):
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(64, 100)) * np.geomspace(1e-3, 0.6, 64)[:, None]).astype(np.float32).astype(np.float64)
    (y,) = secure(lambda x: clip_norm(x, 0.9), x.astype(np.float32), precision=Precision(fraction), protocol=Rep3(P))
    length, step = np.linalg.norm(x, axis=1, keepdims=True), 2.0**-fraction
    exact = x * np.minimum(1, 0.9 / length)
    # A step of rounding and half a step of the input; and clipping to ten steps less, by a factor 1 - 2^-20.
    assert np.all(np.abs(y - exact) <= 1.5 * step + (np.abs(exact) * (2.0**-19 + 10.1 * step / 0.9)) * (length > 0.8))
    short = length[:, 0] < 0.9 - 11 * step
    np.testing.assert_array_equal(y[short], (np.round(x * 2.0**fraction) * step).astype(np.float32)[short])


@pytest.mark.parametrize(
    ("size", "norm", "fraction"), [(1, 100.0, 18), (2, 1.0, 18), (7, 0.01, 18), (50, 3.0, 8), (9, 1e-6, 30)]
)
def test_no_words_that_anybody_shares_have_a_larger_norm(size, norm, fraction):
    rng = np.random.default_rng(2)
    rows = [sharings.numbers(rng, 10 * size, top)[-size:] for top in range(1, 64) for _ in range(8)]
    rows += [rng.choice(EXTREMES, size) for _ in range(300)]
    k = (62 - (size - 1).bit_length()) // 2
    edges = [2**k - 1, 2**k, -(2**k), 1 - 2**k, 2**63 - 2**k, 2**k - 2**63, 2**63 - 2**k - 1]
    rows += [np.full(size, edge) for edge in edges] + [rng.choice([*edges, 0, 1], size) for _ in range(300)]
    words = np.array(rows, np.int64)
    out = sharings.opened(run(words, norm, fraction).out)
    limit = math.floor(norm * 2**fraction)
    assert max(norms(out)) <= limit**2
    outside = (np.abs(words.astype(object)) >= 2**k).any(axis=1)
    assert 300 < outside.sum() < len(words) - 200
    assert not out[outside].any()
    target, length = limit - math.isqrt(size - 1) - 1, np.array([math.sqrt(n) for n in norms(words)])
    kept = ~outside & (length <= target)
    np.testing.assert_array_equal(out[kept], words[kept])
    # What is scaled loses no more than it must: little of its norm, and a step of the factor for each 2^-28.
    scaled = ~outside & (length > target)
    assert scaled.sum() > 10
    left = np.array([math.sqrt(n) for n in norms(out[scaled])]) + math.sqrt(size)
    assert np.all(left >= target * (1 - 2.0**-19) - 5 * 2.0**-28 * length[scaled])


@pytest.mark.parametrize("target", [256, 1000, 2**18 - 3, 2**30 + 7])
def test_the_factor_is_below_the_exact_one_and_close_to_it(target):
    rng, low = np.random.default_rng(3), target**2 + 1
    squares = np.exp(rng.uniform(np.log(low), 62 * np.log(2), 8000))
    q = np.concatenate(
        [np.arange(low, low + 2000), np.clip(squares, low, 2.0**62 - 1024).astype(np.int64), [2**62 - 1]]
    )
    shared = sharings.ring(rng, q)
    result = Choreography(lambda q: _target_to_root(Rep3(P), q, target), shared)(shared)
    exact = target / np.sqrt(q.astype(np.longdouble)) * 2**28
    assert np.all(sharings.opened(result.out) - 2 < exact)
    # The margin of 2^-20 is more than twice what is needed: the rest is the error of the root.
    error = np.abs(sharings.opened(result.out) - exact * (1 - 2.0**-20))
    assert np.all(error <= 2 + 2.0**-22.8 * exact)
    assert result.rounds == 11


@pytest.mark.parametrize(("size", "rounds", "bits"), [(4, 15, 16643), (32, 15, 46463), (650, 20, 704633)])
def test_costs(size, rounds, bits):
    result = run(np.ones((3, size), np.int64) << 16, 1.0)
    assert (result.rounds, result.bits) == (rounds, 3 * bits)


def test_rows_leaves_and_batches():
    x = np.float32([[3, 4], [0.3, 0.4]])
    for f in (
        lambda x: clip_norm(x, 1.0),
        jax.vmap(lambda row: clip_norm(row, 1.0)),
        jax.jit(lambda x: clip_norm(x, 1.0)),
    ):
        np.testing.assert_allclose(f(x), [[0.6, 0.8], [0.3, 0.4]], atol=1e-6)
        np.testing.assert_allclose(checked(f, x, protocol=Rep3(P), players=P)[0], [[0.6, 0.8], [0.3, 0.4]], atol=2e-5)


def test_refusals_say_what_to_do():
    x = np.ones(1000, np.float32)
    with pytest.raises(TraceError, match=r"the norm 1e-05 is too small: 1000 numbers .* Use a higher precision"):
        secure(lambda x: clip_norm(x, 1e-5), x)
    with pytest.raises(
        TraceError, match=r"the norm 500 is too large: .* numbers below 256 only. Use a lower precision"
    ):
        secure(lambda x: clip_norm(x, 500.0), x)
    with pytest.raises(ValueError, match="positive and finite, not -1"):
        clip_norm(x, -1.0)
    with pytest.raises(TypeError, match=r"rows of reals, not int32\[3\]"):
        clip_norm(np.arange(3, dtype=np.int32), 1.0)
    assert jmpc.debug.compare(lambda x: clip_norm(x, 1.0), x / 10).max_error < 2e-4
