"""The secret floating point: exponents, tables and mantissas, in both ways; words of bits; the fits."""

from __future__ import annotations

import numpy as np
import pytest
from functions.accuracy import interpret, value

from jmpc.functions import Method, coefficients
from jmpc.functions.fitting import fit, targets
from jmpc.functions.normalize import (
    Exponents,
    HalfPower,
    Linear,
    PowerOfTwo,
    known_exponents,
    normalize,
)
from jmpc.functions.series import Fit
from jmpc.functions.words import leading_one, prefix_or
from jmpc.protocols.base import Bits

RANGES = [(1, 62), (13, 13), (7, 40)]


def words_within(exponents: Exponents) -> np.ndarray:
    """The first and last two words of every exponent, and both signs of them where there are two."""
    words = [
        w
        for e in range(exponents.low, exponents.high + 1)
        for w in {1 << (e - 1), (1 << (e - 1)) + (e > 1), (1 << e) - 1}
    ]
    words += [-w for w in words] if exponents.signed else []
    words += [0] if exponents.zero else []
    return np.array(words, np.int64)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize(("signed", "zero"), [(False, False), (False, True), (True, True)])
def test_tables(low: int, high: int, signed: bool, zero: bool, method: Method) -> None:
    exponents = Exponents(low, high, signed, zero)
    # Sizes that end before, at, and beyond the last exponent, and inside of an octal digit.
    tables = [PowerOfTwo(top) for top in (high // 2, high, min(high + 3, 62), 8 * (high // 8) + 7)]
    words = words_within(exponents)
    turn, entries = interpret(lambda p, x: normalize(p, x, exponents, tables, method), words)
    mantissa = value(turn).view(np.uint64).astype(np.float64) / 2.0**64
    mantissa = np.where((mantissa == 0) & (words != 0), 1.0, mantissa)
    assert ((mantissa[words != 0] >= 0.5) & (mantissa[words != 0] <= 1)).all()
    # 2^e = |x| / mantissa; exact, because it is a power of two.
    power = np.divide(np.abs(words), mantissa, out=np.zeros(words.shape), where=words != 0)
    for table, entry in zip(tables, entries, strict=True):
        exact = np.divide(2.0**table.top, power, out=np.zeros(words.shape), where=words != 0)
        exact = np.where(power <= 2.0**table.top, exact, 0) * np.sign(words)
        np.testing.assert_array_equal(value(entry), exact.astype(np.int64))


@pytest.mark.parametrize("method", Method)
def test_tables_that_are_no_integers(method: Method) -> None:
    exponents = Exponents(3, 45)
    words = words_within(exponents)
    tables = [Linear(2.0**40 / 3), HalfPower(8.0, 0.5, exponents), HalfPower(36.5, -0.5, exponents)]
    _, entries = interpret(lambda p, x: normalize(p, x, exponents, tables, method), words)
    e = np.array([int(w).bit_length() for w in words])
    for table, entry, exact in zip(
        tables, entries, (e * 2.0**40 / 3, 2.0 ** (8 + e / 2), 2.0 ** (36.5 - e / 2)), strict=True
    ):
        error = np.abs(value(entry) - np.where(words != 0, exact, 0))
        assert (error <= 1 + 2.0**-24 * exact).all(), table


def test_words_below_the_known_exponents() -> None:
    """Count as 0 where 0 is possible, and are let through by continuity where not."""
    words = np.array([(1 << 11) - 1, 1 << 11])
    for method in Method:
        for zero in (True, False):
            exponents = Exponents(12, 20, zero=zero)
            turn, (entry,) = interpret(
                lambda p, x, e=exponents, m=method: normalize(p, x, e, [PowerOfTwo(30)], m), words
            )
            assert value(entry).tolist() == [0 if zero else 1 << 18, 1 << 18]
            assert value(turn).view(np.uint64)[0] == (0 if zero else ((1 << 11) - 1) << 52)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (None, Exponents(signed=True)),
        ((0.0, 1.0), Exponents(1, 19)),
        ((1.0, 2.0), Exponents(19, 20, zero=False)),
        ((-1.0, 0.25), Exponents(1, 19, signed=True)),
        ((-2.0, -1.0), Exponents(19, 20, signed=True)),
        ((-np.inf, np.inf), Exponents(1, 62, signed=True)),
        ((2.0**-30, 2.0**-30), Exponents(1, 1, zero=False)),
        ((1e-3, 1e300), Exponents(9, 62, zero=False)),
    ],
)
def test_known_exponents(bounds: tuple[float, float] | None, expected: Exponents) -> None:
    assert known_exponents(bounds, 18) == expected


def test_bad_promises() -> None:
    for bounds in ((1.0, 0.0), (0.0, float("nan"))):
        with pytest.raises(ValueError, match="empty"):
            known_exponents(bounds, 18)
    with pytest.raises(ValueError, match="do not lie in 1 to 62"):
        Exponents(0, 5)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2,), (257,), (3, 5)])
def test_prefix_or_and_leading_one(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**64, shape, np.uint64) >> rng.integers(0, 64, shape, np.uint64)
    words = words * rng.integers(0, 8, shape, np.uint64).astype(bool)
    bits = interpret(lambda p, x: (prefix_or(p, p.to_bits(x)), leading_one(p, p.to_bits(x))), words)
    assert all(isinstance(b, Bits) and b.width == 64 for b in bits)
    filled, highest = (value(b).view(np.uint64) for b in bits)
    lengths = np.vectorize(lambda w: int(w).bit_length(), otypes=[object])(words)
    np.testing.assert_array_equal(filled, np.vectorize(lambda n: (1 << n) - 1, otypes=[np.uint64])(lengths))
    np.testing.assert_array_equal(highest, np.vectorize(lambda n: 1 << n >> 1, otypes=[np.uint64])(lengths))


@pytest.mark.parametrize("target", list(targets()), ids=lambda t: t.name)
def test_fits(target) -> None:
    """The stored integers are as good as they say, and small enough for the gates."""
    stored: Fit = getattr(coefficients, target.name)
    series = stored.series
    assert max(map(abs, series.cosines + series.sines)) < 2**31
    x = np.linspace(stored.low, stored.high, 5_011)
    angles = 2 * np.pi * np.outer(x, series.harmonics) / stored.period
    waves = np.cos(angles) @ series.cosines + np.sin(angles) @ series.sines
    exact = target.function(x)
    error = np.abs(series.constant + waves / 2.0**30 - exact)
    assert (error / (np.abs(exact) if target.relative else 1)).max() <= 1.05 * stored.error + 2.0**-28


def test_fitting_finds_a_stored_series() -> None:
    target = next(t for t in targets() if t.name == "ERF_COARSE")
    found = fit(target)
    np.testing.assert_allclose(found.sines * 2**30, coefficients.ERF_COARSE.series.sines, atol=100)
    assert found.error <= 1.01 * coefficients.ERF_COARSE.error
