"""Integers of every width against numpy, which wraps as JAX does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .helpers import secure

WIDTHS = [np.dtype(f"{kind}int{bits}") for kind in ("", "u") for bits in (8, 16, 32, 64)]


def samples(dtype):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(info.bits)
    edges = np.array([info.min, info.min + 1, info.max, info.max - 1, 0, 1], dtype)
    x = np.concatenate([edges, rng.integers(info.min, info.max, 10, dtype, endpoint=True)])
    return x, rng.permutation(x)


@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
def test_against_numpy(dtype):
    x, y = samples(dtype)
    bits = np.iinfo(dtype).bits

    def f(x, y):
        return (
            x + y,
            x * y - x,
            (x < y, x >= y, x == y, x + x < y),
            jnp.maximum(x, y) ^ (x & y),
            (x >> 1, x << 3, ~x | y),
            jnp.where(x > y, x, y - x),
            jnp.sum(x),
            (x * x).astype(np.int8),
            x.astype(np.uint16) + np.uint16(1),
        )

    with jax.enable_x64(bits == 64), np.errstate(over="ignore"):
        got = secure(f, x, y)
        want = jax.tree.leaves(f(jnp.asarray(x), jnp.asarray(y)))
        for a, b in zip(got, want, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, np.asarray(b))


@pytest.mark.parametrize("dtype", WIDTHS[:3] + WIDTHS[4:7], ids=str)
def test_division_by_constants_and_secrets(dtype):
    x, y = samples(dtype)
    y = np.where(y == 0, np.array(3, dtype), y)
    if np.iinfo(dtype).min < 0:  # the one quotient that C leaves undefined
        y = np.where(y == -1, np.array(2, dtype), y)

    def f(x, y):
        return x // y, jax.lax.rem(x, y), jax.lax.div(x, np.array(7, dtype)), x % np.array(8, dtype)

    got = secure(f, x, y)
    want = jax.tree.leaves(f(jnp.asarray(x), jnp.asarray(y)))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


def test_opened_words_have_no_bits_above_the_width():
    from jmpc.lowering import Context, Integer
    from jmpc.lowering.inputs import outgoing
    from jmpc.protocols.base import Ring
    from jmpc.protocols.plain import Plain

    with jax.enable_x64(True):
        wrapped = Integer(Ring((jnp.asarray([2**40 + 5], jnp.uint64),)), np.dtype(np.int32))
        opened = outgoing(Context(Plain()), wrapped)
        assert int(opened.sharing.slots[0][0]) == 5 << 32
