"""The one-player protocol: the arithmetic of the interface, on its own and inside a choreography."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun
from protocols.sharings import numbers

from jmpc.choreography.trace import trace
from jmpc.protocols.base import Bits, Product, Ring, Series, as_word
from jmpc.protocols.plain import Plain, round_down, round_up

N = 500
RNG = np.random.default_rng(0)
X, Y = numbers(RNG, N, 61), numbers(RNG, N, 61)
NEAREST = Plain()


@pytest.fixture(autouse=True)
def x64() -> Any:
    with jax.enable_x64(True):
        yield


def ring(x: np.ndarray) -> Ring:
    return Ring((jnp.asarray(x.view(np.uint64)),))


def bits(x: np.ndarray, width: int) -> Bits:
    return Bits((jnp.asarray(x),), width)


def signed(x: Ring | Product) -> np.ndarray:
    return np.asarray(x.slots[0]).view(np.int64)


def word(x: Bits) -> np.ndarray:
    return np.asarray(x.slots[0])


def test_in_and_out() -> None:
    x = NEAREST.share(jnp.asarray(X.view(np.uint64)), "owner")
    np.testing.assert_array_equal(NEAREST.reveal(x, "anyone", "test"), X.view(np.uint64))
    low = NEAREST.share_bits(jnp.asarray(X.view(np.uint64)), "owner", 13)
    assert low.width == 13 and low.slots[0].dtype == np.uint16
    np.testing.assert_array_equal(word(low), X.view(np.uint64) & np.uint64(0x1FFF))
    flags = NEAREST.constant_bits(np.array([1, 0, 1]), 1)
    assert flags.slots[0].dtype == np.uint8
    np.testing.assert_array_equal(NEAREST.reveal_bits(flags, "anyone", "test"), [1, 0, 1])
    np.testing.assert_array_equal(signed(NEAREST.constant(X.view(np.uint64))), X)
    assert NEAREST.parties == ("simulator",) and NEAREST.slot_holders == (frozenset({"simulator"}),)
    assert dataclasses.replace(NEAREST, party="a").parties == ("a",)


def test_products_wrap() -> None:
    x, y = ring(X), ring(Y)
    with np.errstate(over="ignore"):
        product = X * Y
    np.testing.assert_array_equal(signed(NEAREST.settle(NEAREST.multiply(x, y))), product)
    total = NEAREST.add(NEAREST.multiply(x, y), NEAREST.as_product(NEAREST.scale(x, -3)))
    np.testing.assert_array_equal(signed(NEAREST.settle(NEAREST.add_public(total, 5))), product - 3 * X + 5)
    np.testing.assert_array_equal(signed(NEAREST.square(x)), X * X)
    a, b = X[:6].reshape(2, 3), Y[:6].reshape(3, 2)
    np.testing.assert_array_equal(signed(NEAREST.multiply(ring(a), ring(b), jnp.dot)), a @ b)


@pytest.mark.parametrize("shift", [0, 1, 18, 45, 61])
def test_truncation(shift: int) -> None:
    exact = [int(x) >> shift for x in X]
    rest = [int(x) - (e << shift) for x, e in zip(X, exact, strict=True)]
    expected = {
        round_down: exact,
        round_up: [e + (r > 0) for e, r in zip(exact, rest, strict=True)],
        NEAREST.rounding: [(int(x) + (1 << shift >> 1)) >> shift for x in X],
    }
    for rounding, words in expected.items():
        protocol = Plain(rounding=rounding)
        np.testing.assert_array_equal(signed(protocol.truncate(ring(X), shift)), words)
        np.testing.assert_array_equal(signed(protocol.truncate(Product(ring(X).slots), shift)), words)
        np.testing.assert_array_equal(signed(protocol.truncate_exact(ring(X), shift)), exact)
    large = np.array([2**62, 2**62 + 12345])
    unsigned = Plain(rounding=round_down).truncate(ring(large), shift, signed=False)
    np.testing.assert_array_equal(signed(unsigned), large >> shift)


def test_the_coins_of_truncations_come_from_outside() -> None:
    seen = []

    def rounding(shape: tuple[int, ...], shift: int) -> np.ndarray:
        seen.append((shape, shift))
        return np.full(shape, 3, np.uint64)

    results = Plain(rounding=rounding).truncate(ring(np.array([4, 5])), 3)
    assert seen == [((2,), 3)] and signed(results).tolist() == [0, 1]


def test_bits_of_numbers() -> None:
    x = ring(X)
    np.testing.assert_array_equal(word(NEAREST.sign(x)), X < 0)
    small = np.arange(-256, 256)
    np.testing.assert_array_equal(word(NEAREST.sign(ring(small), 10)), small < 0)
    thresholds = [-(2**60), -1, 0, 1, 2**60]
    for t, below in zip(thresholds, NEAREST.less_than_each(x, thresholds), strict=True):
        assert below.width == 1 and below.slots[0].dtype == np.uint8
        np.testing.assert_array_equal(word(below), X < t)
    np.testing.assert_array_equal(word(NEAREST.is_zero(x)), X == 0)
    np.testing.assert_array_equal(word(NEAREST.to_bits(x)), X.view(np.uint64))


def test_boolean_words() -> None:
    a, b = (RNG.integers(0, 256, N).astype(np.uint8) for _ in range(2))
    x, y = bits(a, 8), bits(b, 8)
    np.testing.assert_array_equal(word(NEAREST.and_(x, y)), a & b)
    np.testing.assert_array_equal(word(NEAREST.or_(x, y)), a | b)
    np.testing.assert_array_equal(word(NEAREST.xor(x, y)), a ^ b)
    np.testing.assert_array_equal(word(NEAREST.invert(x)), ~a)
    np.testing.assert_array_equal(word(NEAREST.xor_public(x, 0x0F)), a ^ 0x0F)
    np.testing.assert_array_equal(word(NEAREST.parity(x, 0x33)), np.bitwise_count(a & 0x33) & 1)


def test_bits_to_numbers() -> None:
    flags = [RNG.integers(0, 2, N).astype(np.uint8) for _ in range(3)]
    rows = [[1, -2, 2**63], [0, 7, 5]]
    for row, total in zip(rows, NEAREST.to_ring([bits(f, 1) for f in flags], rows), strict=True):
        expected = sum(as_word(w) * f.astype(np.uint64) for w, f in zip(row, flags, strict=True))
        np.testing.assert_array_equal(total.slots[0], expected)
    np.testing.assert_array_equal(signed(NEAREST.words_to_ring(bits(flags[0] * 200, 8))), flags[0].astype(int) * 200)
    np.testing.assert_array_equal(signed(NEAREST.inject(bits(flags[0], 1), ring(X))), flags[0] * X)
    chosen = NEAREST.select(bits(flags[0], 1), ring(X), ring(Y))
    np.testing.assert_array_equal(signed(chosen), np.where(flags[0], X, Y))


def random_split(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 2**64, shape, np.uint64)


SPLITS = [NEAREST, Plain(splitting=random_split)]


@pytest.mark.parametrize("protocol", SPLITS)
@pytest.mark.parametrize("scales", [(30, 30), (28, 27)])
def test_fourier(protocol: Plain, scales: tuple[int, int]) -> None:
    series = (Series((1, 3), (1 << 30, 5), (0, 1 << 29), 0.75), Series((2,), (-(1 << 28),), (3 << 28,)))
    turn = random_split((N,))
    angle = 2 * np.pi * (turn / 2.0**64)
    exact = (
        0.75 + np.cos(angle) + 5 / 2**30 * np.cos(3 * angle) + np.sin(3 * angle) / 2,
        (3 * np.sin(2 * angle) - np.cos(2 * angle)) / 4,
    )
    values = jax.jit(lambda x: protocol.fourier(x, series, scales))(Ring((jnp.asarray(turn),)))
    for value, expected in zip(values, exact, strict=True):
        assert np.abs(signed(value) / 2.0 ** sum(scales) - expected).max() < 2.0**-24


@pytest.mark.parametrize("protocol", SPLITS)
@pytest.mark.parametrize("fraction", [20, 31, 48, 56])
def test_exp2_blocks(protocol: Plain, fraction: int) -> None:
    y = np.linspace(-23.9, 31.9, N)
    words = np.round(y * 2.0**fraction).astype(np.int64)
    mantissa, blocks = jax.jit(lambda x: protocol.exp2_blocks(x, fraction))(ring(words))
    one_hot = signed(blocks)
    assert one_hot.shape == (N, 8) and (one_hot.sum(-1) == 1).all()
    m = signed(mantissa) / 2.0**46
    assert ((m >= 1 - 2.0**-22) & (m < 2.0**16)).all()
    q = (one_hot @ np.arange(8) + 4) % 8 - 4  # -4 .. 3
    np.testing.assert_allclose(m * 2.0 ** (8 * q), 2.0 ** (words / 2.0**fraction), rtol=2.0**-22.3)


def test_order() -> None:
    digits, x = RNG.integers(0, 4, (2, 9)).astype(np.uint8), RNG.integers(-9, 9, (2, 9))
    order = np.argsort(digits, axis=1, kind="stable")
    (ordered,) = NEAREST.sort_by_digit(bits(digits, 2), [ring(x)])
    np.testing.assert_array_equal(signed(ordered), np.take_along_axis(x, order, axis=1))
    (moved,) = NEAREST.permute(bits(order.astype(np.uint8), 4), [ring(x)])
    np.testing.assert_array_equal(np.take_along_axis(signed(moved), order, axis=1), x)


def test_words_below_thresholds() -> None:
    first, second = NEAREST.words_less_than_each(ring(X), [5, 1 << 12], 13)
    low = X & 0x1FFF
    np.testing.assert_array_equal(word(first), low < 5)
    np.testing.assert_array_equal(word(second), low < 1 << 12)


def test_one_hot() -> None:
    index = np.array([0, 3, 5, -1])
    np.testing.assert_array_equal(signed(NEAREST.one_hot(ring(index), 4)), np.eye(4)[index % 4])


def everything(x: jax.Array, y: jax.Array) -> list[jax.Array]:
    """Every operation once."""
    p = Plain()
    a, b = p.share(x, "simulator"), p.add(p.share(y, "simulator"), p.constant(jnp.arange(3)))
    flag, low = p.less_than_each(a, [5, 7])
    mantissa, blocks = p.exp2_blocks(b, 40)
    outs = [
        p.truncate(p.multiply(a, b), 18),
        p.truncate(p.square(a), 3),
        *p.fourier(a, [Series((1, 2), (5, 6), (7, 8), 0.5)]),
        *p.to_ring([flag, low], [[1, 2]]),
        p.one_hot(b, 4),
        p.words_to_ring(p.and_(p.to_bits(a), p.to_bits(b))),
        p.select(p.xor(p.sign(a), p.constant_bits(jnp.zeros(3), 1)), a, b),
        p.inject(p.invert(p.is_zero(a)), p.truncate_exact(b, 5)),
        mantissa,
        blocks,
    ]
    return [p.reveal(out, "simulator", "test") for out in outs]


def test_jitted_and_in_a_choreography() -> None:
    """The other tests here run on concrete arrays."""
    x, y = (jnp.asarray(z[:3].view(np.uint64)) for z in (X, Y))
    who = ("simulator",)
    choreography = trace(everything, [x, y], [who, who], who)
    assert not choreography.keys and choreography.masked_messages == 0
    inside = jax.jit(jaxpr_as_fun(choreography.closed))(x, y)
    for one, two in zip(jax.jit(everything)(x, y), inside, strict=True):
        np.testing.assert_array_equal(one, two)
