"""rep3 truncation rounds to the floor or one above, always, and without bias."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from protocols import sharings
from protocols.evaluate import Choreography, P
from protocols.sharings import U64, numbers, opened

from jmpc.protocols.base import Ring
from jmpc.protocols.rep3 import Rep3

MANY = 1_000_000


def check_rounding(y: np.ndarray, x: np.ndarray, shift: int, errors: float = 4) -> None:
    """floor or floor + 1 everywhere; the mean error within some standard errors of zero."""
    up = y - (x >> np.int64(shift))
    assert set(np.unique(up)) <= {0, 1}
    part = (x & np.int64((1 << shift) - 1)) / 2.0**shift  # the chance of rounding up
    deviation = np.sqrt((part * (1 - part)).sum())
    assert abs((up - part).sum()) <= errors * deviation, "biased"


def truncated(fn: Callable[..., Ring], *xs: Ring, seed: int = 0) -> np.ndarray:
    return opened(Choreography(fn, *xs)(*xs, seed=seed).out)


def values(rng: np.random.Generator, n: int, shift: int) -> np.ndarray:
    """Log-uniform magnitudes and the ends of the range, -2^62 and 2^62 - 2^shift - 1."""
    x = np.clip(numbers(rng, n, 62), -(1 << 62), (1 << 62) - (1 << shift) - 1)
    ends = [-(1 << 62), 1 - (1 << 62), (1 << 62) - (1 << shift) - 1, (1 << 62) - (1 << shift) - 2]
    x[10 : 10 + 64] = np.resize(np.array(ends), 64)
    return x


def test_a_million_values() -> None:
    rng = np.random.default_rng(1)
    x = values(rng, MANY, 18)
    y = truncated(lambda x: Rep3(P).truncate(x, 18), sharings.ring(rng, x))
    check_rounding(y, x, 18, errors=3)


def test_a_million_products() -> None:
    rng = np.random.default_rng(2)
    x = values(rng, MANY, 18)
    divisor = np.floor(2.0 ** rng.uniform(0, 62, MANY)).astype(np.int64)
    sign = rng.choice([-1, 1], MANY)
    left, right = sign * (np.abs(x) // divisor), sign * np.sign(x) * divisor
    product = left * right
    assert (np.abs(product) > 1 << 60).sum() > 1000

    def fn(x: Ring, y: Ring) -> Ring:
        p = Rep3(P, 1)
        return p.truncate(p.multiply(x, y), 18)

    y = truncated(fn, sharings.ring(rng, left), sharings.ring(rng, right))
    check_rounding(y, product, 18, errors=3)


@pytest.mark.parametrize("rotation", range(3))
@pytest.mark.parametrize("shift", [1, 8, 30, 45, 60])
def test_every_shift(shift: int, rotation: int) -> None:
    rng = np.random.default_rng(100 * shift + rotation)
    x = values(rng, 50_000, shift)
    shared = sharings.ring(rng, x)
    check_rounding(truncated(lambda x: Rep3(P, rotation).truncate(x, shift), shared), x, shift)

    def of_product(x: Ring) -> Ring:
        p = Rep3(P, rotation)
        return p.truncate(p.as_product(x), shift)

    check_rounding(truncated(of_product, shared), x, shift)


@pytest.mark.parametrize("shift", [1, 18, 45])
def test_unsigned_values_have_one_bit_more(shift: int) -> None:
    rng = np.random.default_rng(shift)
    x = np.clip(np.abs(numbers(rng, 50_000, 63)), 0, (1 << 63) - 1 - (1 << shift))
    x[:2] = (1 << 63) - 1 - (1 << shift)
    shared = sharings.ring(rng, x)
    y = truncated(lambda x: Rep3(P).truncate(x, shift, signed=False), shared)
    check_rounding(y, x, shift)


@pytest.mark.parametrize("rotation", range(3))
@pytest.mark.parametrize("owner", [*P, "owner"])
def test_raw_inputs_round_without_bias(owner: str, rotation: int) -> None:
    """Whoever is C: every slot of an input is uniform given the input."""
    rng = np.random.default_rng(rotation)
    x = numbers(rng, 50_000, 61)

    def fn(x: np.ndarray) -> Ring:
        p = Rep3(P, rotation)
        return p.truncate(p.share(x, owner), 18)

    located = dict(holders={0: [owner]}, players=["owner"])
    result = Choreography(fn, x.view(U64), **located)(x.view(U64), seed=rotation)
    check_rounding(opened(result.out), x, 18)


def test_coins_of_successive_truncations_are_independent() -> None:
    rng = np.random.default_rng(5)
    x = np.full(100_000, (1 << 40) + (1 << 17) + (1 << 35))  # a half at both steps
    shared = sharings.ring(rng, x)

    def fn(x: Ring) -> tuple[Ring, Ring]:
        p = Rep3(P)
        once = p.truncate(x, 18)
        p._gates = 0  # the same rotation again
        return once, p.truncate(once, 18)

    result = Choreography(fn, shared)(shared)
    once, twice = opened(result.out[0]), opened(result.out[1])
    first = once - (x >> 18)
    second = twice - (once >> 18)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    check_rounding(twice, once, 18)


def test_constants_round_to_one_side() -> None:
    k = np.full(1000, 12345, np.uint64)
    result = Choreography(lambda k: Rep3(P).truncate(Rep3(P).constant(k), 8), k)(k)
    assert np.unique(opened(result.out)).size == 1


@pytest.mark.parametrize("width", [5, 6, 7])
def test_the_arithmetic_in_small_rings(width: int) -> None:
    """All values, splits and shifts: the wrap formula, and that both sides see a uniform coin."""
    n, quarter = 1 << width, 1 << (width - 2)
    c = np.arange(n)[None]
    for shift in range(1, width - 2):
        step = 1 << shift
        z = np.arange(-quarter, quarter - step)[:, None]
        v = (z - c) % n
        lifted = (c + quarter + step - 1) % n
        tops = (lifted >> (width - 1)) * (v >> (width - 1))
        halves = sum((h - n * (h >> (width - 1))) >> shift for h in (lifted, v))
        y = (halves + tops * (n >> shift) - (quarter >> shift)) % n
        y = y - n * (y >= n // 2)
        for seen in (v, lifted):
            rho = step - 1 - seen % step
            np.testing.assert_array_equal(y, (z + rho) >> shift)
            counts = (rho[..., None] == np.arange(step)).sum(1)
            assert (counts == n // step).all()
