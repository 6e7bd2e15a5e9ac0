"""Carries of additions, by the prefix networks, with plain ANDs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.choreography.inline import inline_calls
from jmpc.kernels import bits, prefix

SIZES = pytest.mark.parametrize("n", [2, 4, 8, 16, 32, 64])


def operands(words, n):
    """Pairs of numbers of n bits, some with long chains of carries."""
    x, y = words(n), words(n)[::-1]
    return x, np.where(np.arange(len(x)) % 3 == 0, x ^ bits.low_mask(n, x.dtype), y)


def digits(x, y, n):
    """Which binary digits of x + y generate a carry, and which propagate one."""
    return [bits.reverse_indices(jnp.asarray(word), n) for word in (x & y, x ^ y)]


def pairwise(f, x, y, dtype):
    return np.array([f(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)], np.uint64).astype(dtype)


@SIZES
def test_a_tree_gives_the_carry_out(n, words, same):
    x, y = operands(words, n)
    carry_out = pairwise(lambda a, b: a + b >> n, x, y, np.uint8)
    generate, propagate = digits(x, y, n)
    while n > 1:
        z = prefix.tree_left(propagate, n) & prefix.tree_right(generate, propagate, n)
        assert z.dtype == bits.word_dtype(prefix.tree_width(n))
        assert int(jnp.max(z)).bit_length() <= prefix.tree_width(n)
        generate, propagate = prefix.tree_generate(generate, z, n), prefix.tree_propagate(z, n)
        n //= 2
    same(generate, carry_out)


@SIZES
def test_a_network_gives_all_carries(n, words, same):
    x, y = operands(words, n)
    generate, propagate = digits(x, y, n)
    for level in range(n.bit_length() - 1):
        left = prefix.prefix_left(propagate, n, level)
        z = left & prefix.prefix_right(generate, propagate, n, level)
        generate = prefix.prefix_generate(generate, z, n, level)
        propagate = prefix.prefix_propagate(propagate, z, n, level)
        assert int(jnp.max(z)).bit_length() <= n
    carries = bits.reverse_indices(prefix.to_next_digit(generate, n), n)
    same(carries ^ x ^ y, pairwise(lambda a, b: a + b & (1 << n) - 1, x, y, x.dtype))


@SIZES
def test_to_next_digit(n, words, each, same):
    x = words(n)
    moved = prefix.to_next_digit(bits.reverse_indices(jnp.asarray(x), n), n)
    same(bits.reverse_indices(moved, n), each(lambda v: v << 1 & (1 << n) - 1, x))


@SIZES
def test_steps_are_linear(n, words, same):
    slots = [jnp.stack([words(n, seed=seed) for seed in seeds]) for seeds in ((0, 1, 2), (3, 4, 5), (6, 7, 8))]
    level = n.bit_length() // 2 - 1
    for step in (
        lambda g, p, z: prefix.tree_left(p, n),
        lambda g, p, z: prefix.tree_right(g, p, n),
        lambda g, p, z: prefix.tree_generate(g, z, n),
        lambda g, p, z: prefix.tree_propagate(z, n),
        lambda g, p, z: prefix.prefix_left(p, n, level),
        lambda g, p, z: prefix.prefix_right(g, p, n, level),
        lambda g, p, z: prefix.prefix_generate(g, z, n, level),
        lambda g, p, z: prefix.prefix_propagate(p, z, n, level),
        lambda g, p, z: prefix.to_next_digit(p, n),
    ):
        of_all = step(*(bits.xor_all(x, 0) for x in slots))
        same(bits.xor_all(step(*slots), 0), np.asarray(of_all))


def test_few_equations():
    # These are compiled into many segments.
    x = jnp.zeros(10, jnp.uint16)
    for f, most in (
        (lambda x: prefix.prefix_left(x, 16, 2), 3),
        (lambda x: prefix.prefix_right(x, x, 16, 2), 8),
        (lambda x: prefix.tree_right(x, x, 16), 8),
        (lambda x: prefix.to_next_digit(x, 16), 12),
    ):
        assert len(inline_calls(jax.make_jaxpr(f)(x)).jaxpr.eqns) <= most
