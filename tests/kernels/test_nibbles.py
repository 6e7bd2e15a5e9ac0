"""Nibbles, planes and their functions against Python integers, for all pairs of nibbles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.choreography.inline import inline_calls
from jmpc.kernels import bits, nibbles

SIZES = pytest.mark.parametrize("n", [1, 2, 4, 8, 16])


def plane(f, n, *words):
    """The plane of a bit function of nibbles: nibble i at place reverse(i)."""
    places = [bits.reverse(i, n.bit_length() - 1) for i in range(n)]
    rows = zip(*(word.reshape(-1).tolist() for word in words), strict=True)
    values = [sum(f(*(w >> 4 * i & 15 for w in row)) << places[i] for i in range(n)) for row in rows]
    return np.array(values, bits.word_dtype(n)).reshape(words[0].shape)


def all_pairs(n):
    """Words of n nibbles in which every place has every pair of nibbles."""
    order = np.random.default_rng(n)
    pairs = np.stack([order.permutation(256).astype(np.uint64) for _ in range(n)])
    places = 4 * np.arange(n, dtype=np.uint64)[:, None]
    kind = bits.word_dtype(4 * n)
    return [np.bitwise_or.reduce(half << places).astype(kind) for half in (pairs >> 4, pairs & 15)]


@pytest.mark.parametrize(("count", "n"), [(1, 1), (4, 1), (5, 2), (16, 4), (17, 8), (32, 8), (33, 16), (64, 16)])
def test_low_nibbles(count, n, words, each, same):
    assert nibbles.nibbles_for(count) == n
    x = words(64)
    on_top = each(lambda v: v % (1 << count) << (4 * n - count), x, bits.word_dtype(4 * n))
    same(nibbles.low_nibbles(jnp.asarray(x), count), on_top)


@SIZES
def test_planes(n, words, same):
    x = words(4 * n)
    for b, got in enumerate(nibbles.planes(jnp.asarray(x), n)):
        same(got, plane(lambda a, b=b: a >> b & 1, n, x))


@SIZES
def test_planes_side_by_side(n, words, same):
    x = words(4 * n)
    own = nibbles.planes(jnp.asarray(x), n)
    word = bits.join(*(own[b] for b in nibbles.PLANES), width=n)
    same(bits.reverse_indices(word, 4 * n), x)


@SIZES
def test_comparisons_with_numbers(n, words, same):
    x = words(4 * n).reshape(2, -1)
    own = nibbles.planes(jnp.asarray(x), n)
    same(nibbles.equals(own, n), np.stack([plane(lambda a, j=j: a == j, n, x) for j in range(16)]))
    same(nibbles.at_least(own, n), np.stack([plane(lambda a, j=j: a >= j, n, x) for j in range(1, 16)]))


def results(functions, v, n):
    lanes = nibbles.at_least(nibbles.planes(jnp.asarray(v), n), n)
    return functions.start ^ nibbles.advance(functions.steps, lanes)


@SIZES
def test_equality(n, same):
    c, v = all_pairs(n)
    (got,) = results(nibbles.equality(nibbles.planes(jnp.asarray(c), n), n), v, n)
    same(got, plane(lambda a, b: a == b, n, c, v))


@SIZES
@pytest.mark.parametrize("levels", [[4], [4, 2, 1, 3], [1, 2]])
def test_sums(n, levels, same):
    c, v = all_pairs(n)
    got = results(nibbles.sums(nibbles.planes(jnp.asarray(c), n), levels, n), v, n)
    want = [plane(lambda a, b, k=k: a + b >> k & 1, n, c, v) for k in levels]
    want += [plane(lambda a, b, k=k: (a + b >> k & 1) != (a + b + 1 >> k & 1), n, c, v) for k in levels]
    same(got, np.stack(want))


def test_several_words_with_one(same):
    (c, v), n = all_pairs(4), 4
    many = np.stack([c, ~c, c + np.uint16(5)])
    got = results(nibbles.sums(nibbles.planes(jnp.asarray(many), n), [4], n), v, n)
    for i, own in enumerate(many):
        same(got[0, i], plane(lambda a, b: a + b >> 4, n, own, v))


def test_advance_is_linear(words, same):
    c, first, second = (jnp.asarray(words(width, seed=width)) for width in (64, 16, 15))
    steps = nibbles.sums(nibbles.planes(c, 16), [4, 1], 16).steps
    lanes = [jnp.stack([word ^ jnp.uint16(31 * j) for j in range(15)]) for word in (first, second)]
    apart = [nibbles.advance(steps, part) for part in lanes]
    same(nibbles.advance(steps, lanes[0] ^ lanes[1]), np.asarray(apart[0] ^ apart[1]))


def test_few_equations():
    # These are compiled into many segments.
    x = jnp.zeros(10, jnp.uint64)
    own = [jnp.zeros(10, jnp.uint16)] * 4
    for f, most in (
        (lambda: nibbles.planes(x, 16), 30),
        (lambda: nibbles.at_least(own, 16), 30),
        (lambda: nibbles.sums(own, [4], 16), 40),
    ):
        assert len(inline_calls(jax.make_jaxpr(f)()).jaxpr.eqns) <= most
