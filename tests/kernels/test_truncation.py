"""The two sides of a truncation, put together."""

import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.kernels import truncation
from jmpc.kernels.bits import arithmetic_shift_right, word_dtype


@pytest.mark.parametrize("s", [1, 8, 18, 32, 63, 64])
def test_wraps(s, words, each, same):
    x = words(64)
    same(truncation.wrap_bit(jnp.asarray(x), s), each(lambda v: v >> 63, x, word_dtype(s)))
    product = words(s)
    want = x + each(lambda v: v << (64 - s), product, np.uint64)
    same(truncation.add_wrap(jnp.asarray(x), jnp.asarray(product), s), want)


@pytest.mark.parametrize("s", [1, 18, 40])
def test_two_sides_truncate_a_positive_number(s, same):
    generator = np.random.default_rng(s)
    z = generator.integers(0, 1 << 63, 1000, np.uint64)
    c = generator.integers(0, 1 << 64, 1000, np.uint64)
    c, v = jnp.asarray(c), jnp.asarray(z - c)
    both = truncation.wrap_bit(c, s) * truncation.wrap_bit(v, s)
    halves = arithmetic_shift_right(c, s) + arithmetic_shift_right(v, s)
    low = jnp.uint64((1 << s) - 1)
    carry = ((c & low) + (v & low)) >> jnp.uint64(s)
    same(truncation.add_wrap(halves, both, s) + carry, z >> np.uint64(s))
