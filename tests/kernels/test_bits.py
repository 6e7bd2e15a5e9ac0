"""Bit functions against Python integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.kernels import bits, prefix, truncation

UNSIGNED = pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])


def width_of(dtype):
    return 8 * np.dtype(dtype).itemsize


def words(dtype, count=200):
    edges = [0, 1, (1 << width_of(dtype)) - 1, 1 << (width_of(dtype) - 1)]
    drawn = np.random.default_rng(0).integers(0, 1 << width_of(dtype), count, np.uint64)
    return np.concatenate([np.array(edges, np.uint64), drawn]).astype(dtype)


def each(f, x, dtype=None):
    """A function of Python integers on each element, reduced to the width of the dtype."""
    dtype = np.dtype(dtype or x.dtype)
    values = [f(value) % (1 << width_of(dtype)) for value in x.reshape(-1).tolist()]
    return np.array(values, np.uint64).astype(dtype).reshape(x.shape)


def same(got, want):
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def test_the_oracle():
    same(each(lambda v: v + 1, np.array([255], np.uint8)), np.array([0], np.uint8))


@UNSIGNED
def test_low_mask(dtype):
    for count in range(width_of(dtype) + 1):
        mask = bits.low_mask(count, dtype)
        assert mask.dtype == dtype and int(mask) == (1 << count) - 1


@UNSIGNED
def test_shifts(dtype):
    x = words(dtype, 50)
    width = width_of(dtype)
    signed = lambda v: v - (v >> (width - 1) << width)
    for k in (0, 1, 3, width - 1, width, width + 1, 64, 200):
        same(bits.shift_left(jnp.asarray(x), k), each(lambda v, k=k: v << k, x))
        same(bits.shift_right(jnp.asarray(x), k), each(lambda v, k=k: v >> k, x))
        same(bits.arithmetic_shift_right(jnp.asarray(x), k), each(lambda v, k=k: signed(v) >> k, x))


@pytest.mark.parametrize("shift", [bits.shift_left, bits.shift_right, bits.arithmetic_shift_right])
def test_wrong_shifts(shift):
    with pytest.raises(ValueError, match="shifts are at least 0"):
        shift(jnp.zeros(1, jnp.uint64), -1)
    with pytest.raises(ValueError, match="words are unsigned"):
        shift(jnp.zeros(1, jnp.int64), 1)


@UNSIGNED
def test_parity(dtype):
    x = words(dtype)
    for mask in (0, 1, 0x5A, (1 << width_of(dtype)) - 1):
        same(bits.parity(jnp.asarray(x), mask), each(lambda v, m=mask: (v & m).bit_count() & 1, x))


def test_nibble_equals():
    x = words(np.uint64).reshape(2, -1)

    def indicators(value):
        return lambda v: sum((v >> 4 * i & 15 == value) << i for i in range(16))

    got = bits.nibble_equals(jnp.asarray(x))
    same(got, np.stack([each(indicators(value), x, np.uint16) for value in range(16)]))
    same(bits.nibble_equals(jnp.asarray(x), range(1, 16)), np.asarray(got)[1:])
    same(bits.nibble_equals(jnp.asarray(x), (7, 2)), np.asarray(got)[[7, 2]])


def test_compress_and_expand_nibbles():
    x = words(np.uint64)
    same(
        bits.compress_nibbles(jnp.asarray(x)),
        each(lambda v: sum((v >> 4 * i & 1) << i for i in range(16)), x, np.uint16),
    )
    narrow = words(np.uint16)
    expanded = bits.expand_nibbles(jnp.asarray(narrow))
    want = each(lambda v: sum((v >> i & 1) << 4 * i for i in range(16)), narrow, np.uint64)
    same(expanded, want)
    same(bits.compress_nibbles(expanded), narrow)


@UNSIGNED
def test_evens_and_odds(dtype):
    x = words(dtype)
    half = range(width_of(dtype) // 2)
    same(bits.evens(jnp.asarray(x)), each(lambda v: sum((v >> 2 * i & 1) << i for i in half), x))
    same(bits.odds(jnp.asarray(x)), each(lambda v: sum((v >> 2 * i + 1 & 1) << i for i in half), x))


@UNSIGNED
def test_spread(dtype):
    x = words(dtype, 50)
    for level in range(prefix.levels(dtype)):
        half = 1 << level
        active = [index for index in range(width_of(dtype)) if index & half]
        assert int(prefix.active(level, dtype)) == sum(1 << index for index in active)

        def copies(v, active=active, half=half):
            # The last position below the active half of its block.
            return sum((v >> (index // half * half - 1) & 1) << index for index in active)

        same(prefix.spread(jnp.asarray(x), level), each(copies, x))


@UNSIGNED
def test_a_prefix_gives_the_carries_of_an_addition(dtype):
    x, y = words(dtype), words(dtype)[::-1]
    y = np.where(np.arange(len(x)) % 3 == 0, ~x, y)  # long chains of carries
    generate, propagate = jnp.asarray(x & y), jnp.asarray(x ^ y)
    for level in range(prefix.levels(dtype)):
        left = prefix.prefix_left(propagate, level)
        right = prefix.prefix_right(generate, propagate, level)
        generate, propagate = prefix.prefix_merge(generate, propagate, left & right, level)
    total = (x ^ y) ^ (np.asarray(generate) << np.dtype(dtype).type(1))
    same(total, x + y)
    last = int(prefix.active(prefix.levels(dtype) - 1, dtype))
    assert not np.any(np.asarray(left & right) & ~np.dtype(dtype).type(last))


def test_prefix_steps_are_linear():
    slots = np.random.default_rng(0).integers(0, 1 << 16, (2, 3, 40), np.uint16)
    generate, propagate = slots
    for level in range(4):
        for step in (
            lambda g, p, level=level: prefix.prefix_left(p, level),
            lambda g, p, level=level: prefix.prefix_right(g, p, level),
        ):
            per_slot = step(generate, propagate)
            of_all = step(np.bitwise_xor.reduce(generate, axis=0), np.bitwise_xor.reduce(propagate, axis=0))
            same(np.bitwise_xor.reduce(np.asarray(per_slot), axis=0), np.asarray(of_all))


@pytest.mark.parametrize("s", [0, 1, 18, 32, 63, 64])
def test_truncation(s):
    x = words(np.uint64)
    on_device = jnp.asarray(x)
    signed = lambda v: v - (v >> 63 << 64)
    same(truncation.floor_shift_signed(on_device, s), each(lambda v: signed(v) >> s, x))
    same(truncation.wrap_bit(on_device), each(lambda v: v >> 63, x))
    same(truncation.wrap_weight(on_device, s), each(lambda v: v << (64 - s), x))
    same(truncation.fraction(on_device, s), each(lambda v: v % (1 << s), x))


@pytest.mark.parametrize("s", [1, 18, 40])
def test_two_sides_truncate_a_positive_number(s):
    generator = np.random.default_rng(s)
    z = generator.integers(0, 1 << 63, 1000, np.uint64)
    c = generator.integers(0, 1 << 64, 1000, np.uint64)
    c, v = jnp.asarray(c), jnp.asarray(z - c)
    both = truncation.wrap_bit(c) * truncation.wrap_bit(v)
    y = truncation.floor_shift_signed(c, s) + truncation.floor_shift_signed(v, s)
    y = y + truncation.wrap_weight(both, s)
    carry = (truncation.fraction(c, s) + truncation.fraction(v, s)) >> jnp.uint64(s)
    same(np.asarray(y + carry), z >> np.uint64(s))


def test_few_equations():
    # These are compiled into many segments.
    x = jnp.zeros(10, jnp.uint64)
    for f, most in (
        (bits.nibble_equals, 21),
        (bits.compress_nibbles, 14),
        (bits.evens, 16),
        (lambda x: prefix.prefix_right(x, x, 2), 8),
        (lambda x: truncation.floor_shift_signed(x, 18), 3),
    ):
        assert len(jax.make_jaxpr(f)(x).eqns) <= most
