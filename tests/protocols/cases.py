"""The table of protocol functions that the tests of a family go through.

Each row: how to call the function, what to give it, what must come out, and what it costs in rounds
and in total bits for each element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from protocols import sharings
from protocols.sharings import U64, numbers, opened, opened_bits, words

from jmpc.protocols.base import Bits, Protocol, Ring, Series

Inputs = list[tuple[np.ndarray, int | None]]  # numbers, and the width if they are words of bits


@dataclass(frozen=True)
class Case:
    name: str
    run: Callable[..., Any]  # (protocol, *sharings)
    inputs: Callable[[np.random.Generator, int], list[np.ndarray]]
    check: Callable[..., None]  # (out, *inputs)
    rounds: int
    bits: float
    widths: tuple[int | None, ...] = (None,)  # of the inputs: None for the ring

    def share(self, rng: np.random.Generator, *inputs: np.ndarray) -> list[Ring | Bits]:
        return [
            sharings.ring(rng, x) if width is None else sharings.bits(rng, x, width)
            for x, width in zip(inputs, self.widths, strict=True)
        ]


def same(expected: np.ndarray, out: Ring | Bits) -> None:
    """Equality of words, whatever their signs and widths."""
    got = opened_bits(out) if isinstance(out, Bits) else opened(out)
    np.testing.assert_array_equal(got.astype(U64), expected.astype(U64))


def rounded(out: Ring, x: np.ndarray, shift: int) -> None:
    """The floor of x / 2^shift, or one more."""
    error = opened(out) - (x >> np.int64(shift))
    assert set(np.unique(error)) <= {0, 1}


def factors(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """Pairs whose product is below 2^61 in magnitude."""
    split = rng.uniform(0, 61, n)
    x, y = (np.floor(2.0**e).astype(np.int64) for e in (split, 61 - split))
    return [x * rng.choice([-1, 1], n), y * rng.choice([-1, 1], n)]


def _one(top: int) -> Callable[..., list[np.ndarray]]:
    return lambda rng, n: [numbers(rng, n, top)]


def _words(*widths: int) -> Callable[..., list[np.ndarray]]:
    return lambda rng, n: [words(rng, n, width) for width in widths]


THRESHOLDS = (0, -(1 << 40), 12345)
THRESHOLDS_33 = (0, -(1 << 31), 12345)
WORDS_32 = (1, (1 << 31) + 5, (1 << 32) - 1)
WORDS_13 = (4097, 300)
WEIGHTS = ((1, 2, -4), (1 << 40, 0, (1 << 63) + 1))
SINE, COSINE = Series((1,), (0,), (1 << 30,)), Series((1,), (1 << 30,), (0,))
ODD = Series(tuple(range(1, 37, 2)), (0,) * 18, tuple((1 << 30) // k for k in range(2, 20)), 0.25)


def _waves(out: list[Ring], x: np.ndarray) -> None:
    angle = x / 2.0**64 * 2 * np.pi
    for y, expected in zip(out, (np.sin(angle), np.cos(angle)), strict=True):
        assert np.abs(opened(y) / 2.0**60 - expected).max() < 2**-27


def _odd(out: list[Ring], x: np.ndarray) -> None:
    angle = x / 2.0**64 * 2 * np.pi
    sines = zip(ODD.harmonics, ODD.sines, strict=True)
    expected = 0.25 + sum(b / 2.0**30 * np.sin(k * angle) for k, b in sines)
    assert np.abs(opened(out[0]) / 2.0**55 - expected).max() < 2**-24


def _exp2(out: tuple[Ring, Ring], x: np.ndarray) -> None:
    mantissa, blocks = opened(out[0]), opened(out[1])
    assert (mantissa >= 1 << 46).all() and (mantissa <= 1 << 62).all()
    assert ((blocks == 0) | (blocks == 1)).all() and (blocks.sum(-1) == 1).all()
    q = (blocks.argmax(-1) + 4) % 8 - 4
    assert np.abs(mantissa / 2.0**46 * 2.0 ** (8 * q) / 2.0 ** (x / 2.0**48) - 1).max() < 2**-22.3


def _thresholds(out: list[Bits], x: np.ndarray, thresholds: tuple[int, ...] = THRESHOLDS) -> None:
    for y, t in zip(out, thresholds, strict=True):
        same(x < t, y)


def near(rng: np.random.Generator, n: int, thresholds: Sequence[int]) -> np.ndarray:
    """Numbers of which some lie near these thresholds."""
    x = words(rng, n)
    x[: n // 2] = (
        np.array(rng.choice(np.array(thresholds, U64), n // 2)) + rng.integers(0, 5, n // 2).astype(U64) - U64(2)
    )
    return x.view(np.int64)


def _below(out: list[Bits], x: np.ndarray, thresholds: Sequence[int], width: int) -> None:
    low = x.view(U64) & U64((1 << width) - 1)
    for y, t in zip(out, thresholds, strict=True):
        same(low < U64(t), y)


def _weighted(out: list[Ring], *bits: np.ndarray) -> None:
    for y, row in zip(out, WEIGHTS, strict=True):
        same(sum(U64(w % 2**64) * b.astype(U64) for w, b in zip(row, bits, strict=True)), y)


def relu(p: Protocol, x: Ring) -> Ring:
    return p.inject(p.invert(p.sign(x)), x)


CASES = (
    Case(
        "multiply",
        lambda p, x, y: p.settle(p.multiply(x, y)),
        lambda rng, n: [numbers(rng, n, 63), words(rng, n).view(np.int64)],
        lambda out, x, y: same(x * y, out),
        1,
        192,
        (None, None),
    ),
    Case(
        "square",
        lambda p, x: p.settle(p.square(x)),
        _one(63),
        lambda out, x: same(x * x, out),
        1,
        192,
    ),
    Case(
        "sum_of_products",
        lambda p, x, y: p.settle(p.add(p.subtract(p.multiply(x, y), p.square(y)), p.as_product(p.add_public(x, -7)))),
        lambda rng, n: [numbers(rng, n, 63), numbers(rng, n, 63)],
        lambda out, x, y: same(x * y - y * y + x - 7, out),
        1,
        192,
        (None, None),
    ),
    Case(
        "truncate",
        lambda p, x: p.truncate(x, 18),
        _one(61),
        lambda out, x: rounded(out, x, 18),
        1,
        136,
    ),
    Case(
        "truncate_unsigned",
        lambda p, x: p.truncate(x, 40, signed=False),
        lambda rng, n: [np.abs(numbers(rng, n, 62))],
        lambda out, x: rounded(out, x, 40),
        1,
        64 + 4 * 40,
    ),
    Case(
        "truncate_product",
        lambda p, x, y: p.truncate(p.multiply(x, y), 18),
        factors,
        lambda out, x, y: rounded(out, x * y, 18),
        2,
        246,
        (None, None),
    ),
    Case(
        "truncate_exact",
        lambda p, x: p.truncate_exact(x, 18),
        _one(62),
        lambda out, x: same(x >> 18, out),
        5,
        703,
    ),
    Case("sign", lambda p, x: p.sign(x), _one(63), lambda out, x: same(x < 0, out), 5, 632),
    Case("sign_33", lambda p, x: p.sign(x, 33), _one(32), lambda out, x: same(x < 0, out), 4, 312),
    Case("sign_17", lambda p, x: p.sign(x, 17), _one(16), lambda out, x: same(x < 0, out), 3, 152),
    Case(
        "less_than_each",
        lambda p, x: p.less_than_each(x, THRESHOLDS),
        _one(62),
        _thresholds,
        5,
        632 + 2 * 151,
    ),
    Case(
        "less_than_each_33",
        lambda p, x: p.less_than_each(x, THRESHOLDS_33, 33),
        _one(31),
        lambda out, x: _thresholds(out, x, THRESHOLDS_33),
        4,
        312 + 2 * 71,
    ),
    Case(
        "words_less_than_each",
        lambda p, x: p.words_less_than_each(x, WORDS_32, 32),
        lambda rng, n: [near(rng, n, WORDS_32)],
        lambda out, x: _below(out, x, WORDS_32, 32),
        2,
        2 * 8 * (16 * 4 + 4 * (4 + 16)) + 2 * 3,
    ),
    Case(
        "words_less_than_each_64",
        lambda p, x: p.words_less_than_each(x, [1 << 63], 64),
        lambda rng, n: [near(rng, n, [1 << 63])],
        lambda out, x: _below(out, x, [1 << 63], 64),
        2,
        2 * 16 * (16 * 5 + 2 * (5 + 32)) + 2,
    ),
    Case(
        "shared_words_less_than_each",
        lambda p, x: p.words_less_than_each(x, WORDS_13, 13),
        lambda rng, n: [near(rng, n, WORDS_13).view(U64)],
        lambda out, x: _below(out, x, WORDS_13, 13),
        2,
        2 * 4 * (16 * 3 + 2 * (3 + 8)) + 2 * 2,
        (16,),
    ),
    Case(
        "is_zero",
        lambda p, x: p.is_zero(x),
        lambda rng, n: [numbers(rng, n, 63) * rng.integers(0, 2, n)],
        lambda out, x: same(x == 0, out),
        5,
        557,
    ),
    Case("to_bits", lambda p, x: p.to_bits(x), _one(63), lambda out, x: same(x, out), 6, 1072),
    Case(
        "and",
        lambda p, x, y: p.and_(x, y),
        _words(64, 64),
        lambda out, x, y: same(x & y, out),
        1,
        3 * 64,
        (64, 64),
    ),
    Case(
        "or_13",
        lambda p, x, y: p.invert(p.or_(x, y)),
        _words(13, 13),
        lambda out, x, y: same(~(x | y) & 0x1FFF, out),
        1,
        3 * 13,
        (13, 13),
    ),
    Case(
        "bit_to_ring",
        lambda p, x: p.to_ring([x], [[1]])[0],
        _words(1),
        lambda out, x: same(x, out),
        1,
        256,
        (1,),
    ),
    Case(
        "to_ring",
        lambda p, *bits: p.to_ring(bits, WEIGHTS),
        _words(1, 1, 1),
        _weighted,
        1,
        64 * (2 * 3 + 2 * 2),
        (1, 1, 1),
    ),
    Case(
        "words_to_ring",
        lambda p, x: p.words_to_ring(x),
        _words(64),
        lambda out, x: same(x, out),
        1,
        4736,
        (64,),
    ),
    Case(
        "words_to_ring_13",
        lambda p, x: p.words_to_ring(x),
        _words(13),
        lambda out, x: same(x, out),
        1,
        2 * (8 * 64 + 5 * 56) + 128,
        (13,),
    ),
    Case(
        "inject",
        lambda p, b, x: p.inject(b, x),
        lambda rng, n: [words(rng, n, 1), numbers(rng, n, 63)],
        lambda out, b, x: same(b * x, out),
        1,
        448,
        (1, None),
    ),
    Case(
        "select",
        lambda p, b, x, y: p.select(b, x, y),
        lambda rng, n: [words(rng, n, 1), numbers(rng, n, 63), numbers(rng, n, 63)],
        lambda out, b, x, y: same(np.where(b == 1, x, y), out),
        1,
        448,
        (1, None, None),
    ),
    Case("relu", relu, _one(63), lambda out, x: same(np.maximum(x, 0), out), 6, 1080),
    Case(
        "sine_and_cosine",
        lambda p, x: p.fourier(x, [SINE, COSINE]),
        lambda rng, n: [words(rng, n).view(np.int64)],
        _waves,
        1,
        512,
    ),
    Case(
        "fourier",
        lambda p, x: p.fourier(x, [ODD], (28, 27)),
        lambda rng, n: [words(rng, n).view(np.int64)],
        _odd,
        1,
        64 * (4 * 18 + 2),
    ),
    Case(
        "exp2_blocks",
        lambda p, x: p.exp2_blocks(x, 48),
        lambda rng, n: [np.round(rng.uniform(-20, 25, n) * 2.0**48).astype(np.int64)],
        _exp2,
        1,
        64 * 36,
    ),
    Case(
        "one_hot",
        lambda p, x: p.one_hot(x, 16),
        _one(63),
        lambda out, x: same(np.arange(16) == (x & 15)[:, None], out),
        1,
        64 * 64,
    ),
    Case(
        "one_hot_of_bits",
        lambda p, x: p.one_hot(x, 8),
        _words(5),
        lambda out, x: same(np.arange(8) == (x & 7)[:, None], out),
        1,
        64 * 32,
        (5,),
    ),
)
