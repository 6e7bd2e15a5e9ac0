"""Bit functions against Python integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.choreography.inline import inline_calls
from jmpc.kernels import bits

WIDTHS = pytest.mark.parametrize("width", [8, 16, 32, 64])
SHIFTS = (0, 1, 3, 7, 8, 9, 15, 16, 31, 32, 63, 64, 65, 200, -1)


def test_the_oracle(each, same):
    same(each(lambda v: v + 1, np.array([255], np.uint8)), np.array([0], np.uint8))


def test_word_dtype():
    for width in range(1, 65):
        size = bits.word_dtype(width).itemsize
        assert 8 * size >= width and (size == 1 or 4 * size < width)


@WIDTHS
def test_low_mask(width):
    dtype = bits.word_dtype(width)
    for count in range(width + 1):
        mask = bits.low_mask(count, dtype)
        assert mask.dtype == dtype and int(mask) == (1 << count) - 1


@WIDTHS
def test_shifts(width, words, each, same):
    x = words(width, 50)
    on_device = jnp.asarray(x)
    signed = lambda v: v - (v >> (width - 1) << width)
    for k in SHIFTS:
        by = k if k >= 0 else 200  # a negative amount shifts everything out
        for amount in (k, jnp.full(x.shape, k, jnp.int32)):
            same(bits.shift_left(on_device, amount), each(lambda v, k=by: v << k, x))
            same(bits.shift_right(on_device, amount), each(lambda v, k=by: v >> k, x))
            same(bits.arithmetic_shift_right(on_device, amount), each(lambda v, k=by: signed(v) >> k, x))


@pytest.mark.parametrize("shift", [bits.shift_left, bits.shift_right, bits.arithmetic_shift_right])
def test_shifts_by_different_amounts(shift, words, same):
    x, amounts = jnp.asarray(words(16, 0)), jnp.array([0, 5, 15, 16], jnp.uint8)
    same(shift(x, amounts), np.stack([shift(word, int(k)) for word, k in zip(x, amounts, strict=True)]))
    with pytest.raises(ValueError, match="words are unsigned"):
        shift(jnp.zeros(1, jnp.int64), 1)


@WIDTHS
def test_single_bits(width, words, each, same):
    x = words(width)
    for place in (0, 1, width // 2, width - 1):
        same(bits.bit_at(jnp.asarray(x), place), each(lambda v, k=place: v >> k & 1, x, np.uint8))
    for mask in (0, 1, 0x5A, (1 << width) - 1):
        same(bits.parity(jnp.asarray(x), mask), each(lambda v, m=mask: (v & m).bit_count() & 1, x, np.uint8))


@WIDTHS
@pytest.mark.parametrize("places", [range(8), range(3, 6), range(7, -1, -1), range(0)])
def test_spread_and_gathered_bits(width, places, words, each, same):
    x = words(width).reshape(2, -1)
    rows = bits.spread_bits(jnp.asarray(x), places)
    assert rows.shape == (len(places), *x.shape)
    for place, row in zip(places, rows, strict=True):
        same(row, each(lambda v, k=place: v >> k & 1, x))
    chosen = sum(1 << place for place in places)
    for dtype in (np.uint8, np.uint64):
        same(bits.gather_bits(rows, places, dtype), each(lambda v: v & chosen, x, dtype))


def test_xor_all(words, same):
    x = words(16).reshape(2, 3, -1)
    for axis in (0, 1):
        same(bits.xor_all(jnp.asarray(x), axis), np.bitwise_xor.reduce(x, axis=axis))


@pytest.mark.parametrize("width", [2, 4, 8, 16, 32, 64])
def test_halves(width, words, each, same):
    x = words(width)
    half, narrow = width // 2, bits.word_dtype(width // 2)
    low, high = (f(jnp.asarray(x), width) for f in (bits.low_half, bits.high_half))
    same(low, each(lambda v: v & ((1 << half) - 1), x, narrow))
    same(high, each(lambda v: v >> half, x, narrow))
    same(bits.join(low, high, width=half), x)


def test_join_three(words, same):
    parts = [words(16, seed=seed) for seed in range(3)]
    want = sum(part.astype(np.uint64) << np.uint64(16 * i) for i, part in enumerate(parts))
    same(bits.join(*map(jnp.asarray, parts), width=16), want)


@pytest.mark.parametrize("width", [2, 4, 8, 16, 32, 64])
def test_reverse_indices(width, words, each, same):
    x = words(width)
    depth = width.bit_length() - 1
    order = [bits.reverse(j, depth) for j in range(width)]
    assert sorted(order) == list(range(width))
    assert all(order[j] < width // 2 for j in range(0, width, 2))  # even places: the lower half
    moved = bits.reverse_indices(jnp.asarray(x), width)
    same(moved, each(lambda v: sum((v >> j & 1) << order[j] for j in range(width)), x))
    same(bits.reverse_indices(moved, width), x)


def test_few_equations():
    # These are compiled into many segments.
    x = jnp.zeros(10, jnp.uint64)
    for f, most in (
        (lambda x: bits.shift_left(x, 18), 1),
        (lambda x: bits.arithmetic_shift_right(x, 18), 3),
        (lambda x: bits.spread_bits(x, range(8)), 6),
        (lambda x: bits.reverse_indices(x, 64), 18),
    ):
        assert len(inline_calls(jax.make_jaxpr(f)(x)).jaxpr.eqns) <= most
