"""Integers of every width against numpy, which wraps as JAX does."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from .evaluation import evaluate
from .helpers import ULP, lowered, secure

N = 40
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


def edges(dtype):
    """The extremes, small numbers and powers of two."""
    info = np.iinfo(dtype)
    signed = {-1, -2, -7} if info.min < 0 else set()
    powers = {1 << k for k in range(2, info.bits - 1, 5)}
    return sorted({info.min, info.min + 1, info.max, info.max - 1, 0, 1, 3, 10, *signed, *powers})


def fixed(dtype):
    """An array of constants."""
    return np.resize(np.array(edges(dtype), dtype), N)


def numbers(dtype):
    one = st.one_of(st.sampled_from(edges(dtype)), st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max))
    return st.lists(one, min_size=N, max_size=N).map(lambda values: np.array(values, dtype))


@functools.cache
def programs(f, *dtypes):
    """`f` on secrets of these types, lowered once, and by JAX."""
    args = [np.zeros(N, dtype) for dtype in dtypes]
    return lowered(f, *args)[0], jax.jit(f)


def agrees(f, *args):
    """The same words and types as JAX's own."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        program, reference = programs(f, *(x.dtype for x in args))
        for got, want in zip(evaluate(program, args), jax.tree.leaves(reference(*args)), strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, np.asarray(want))


def arithmetic(x, y):
    return x + y, x - y, x * y, -x, abs(x), jnp.sign(x), x**3, jnp.abs(x - y), x * y + x


def with_constants(x):
    y = fixed(x.dtype)
    return x + y, y - x, x * y, jnp.maximum(x, y), x < y, x >= y, x == y, x & y, x | y, x ^ y


def orders(x, y):
    extrema = jnp.maximum(x, y), jnp.minimum(x, y), jnp.clip(x, 3, 100), x.max(), x.min()
    return *extrema, x < y, x <= y, x == y, x != y, x + y > x, x - y < y


def bits(x, y):
    return x & y, x | y, x ^ y, ~x, lax.population_count(x), lax.clz(x), lax.clz(x - y)


def shifts(x, k):
    return lax.shift_left(x, k), lax.shift_right_logical(x, k), lax.shift_right_arithmetic(x, k)


def shifts_by_constants(x):
    width = np.iinfo(x.dtype).bits
    every = (np.arange(N) * 5 % (width + 2)).astype(x.dtype)
    single = [shifted for k in (0, 3, width - 1, width) for shifted in shifts(x, x.dtype.type(k))]
    return *shifts(x, every), *shifts(x, fixed(x.dtype)), *single


def shifts_of_constants(k):
    return shifts(fixed(k.dtype), k)


def division(x, y):
    return lax.div(x, y), lax.rem(x, y)


def division_by_constants(x):
    y = fixed(x.dtype)
    y = np.where(y == 0, y.dtype.type(5), y)
    single = [
        d for k in (1, 7, 8, np.iinfo(x.dtype).max, np.iinfo(x.dtype).min or 3) for d in division(x, x.dtype.type(k))
    ]
    return *division(x, y), *single, x // y, x % y


def conversions(x, y):
    return [[v.astype(other) for other in WIDTHS] for v in (x, x * y, x > y)], x.astype(bool), (x >> 1).astype(np.int8)


def through_floats(x):
    small = x >> max(0, np.iinfo(x.dtype).bits - 20)
    return small.astype(np.float64), (small.astype(np.float64) / 4).astype(x.dtype)


BINARY = [arithmetic, orders, bits, shifts, division, conversions]
UNARY = [with_constants, shifts_by_constants, shifts_of_constants, division_by_constants, through_floats]


@pytest.mark.parametrize("f", BINARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_of_two_secrets(f, dtype, data):
    agrees(f, data.draw(numbers(dtype)), data.draw(numbers(dtype)))


@pytest.mark.parametrize("f", UNARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_with_constants(f, dtype, data):
    agrees(f, data.draw(numbers(dtype)))


def test_floor_division_and_modulo_by_secrets():
    for dtype in WIDTHS[:3] + WIDTHS[4:7]:
        agrees(lambda x, y: (x // y, x % y), fixed(dtype), fixed(dtype)[::-1])


def test_opened_words_have_no_bits_above_the_width():
    from jmpc.lowering import Context, Integer
    from jmpc.lowering.inputs import outgoing
    from jmpc.protocols.base import Ring
    from jmpc.protocols.plain import Plain

    with jax.enable_x64(True):
        wrapped = Integer(Ring((jnp.asarray([2**40 + 5], jnp.uint64),)), np.dtype(np.int32))
        opened = outgoing(Context(Plain()), wrapped)
        assert int(opened.sharing.slots[0][0]) == 5 << 32


@pytest.mark.parametrize(
    "f",
    [
        jnp.mean,
        lambda x: x / 7,
        lambda x: (x - x.mean()) * 0.001,
        lambda x: x.astype(np.float32).reshape(-1, 5) @ np.float32([0.1, 0.2, 0.7, -0.3, 0.01]),
    ],
    ids=["mean", "quotient by a constant", "difference from the mean", "matrix product"],
)
@pytest.mark.parametrize("rows", [5, 20_000])
def test_constants_beside_integers_have_all_their_digits(f, rows):
    """Whatever the integers might be: 32 bits, and sums of 20000 of them, left 3 bits to a third."""
    x = np.random.default_rng(0).integers(0, 100, rows).astype(np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing was declared, so no range is worth a warning
        (got,) = secure(f, x)
    want = f(x.astype(np.float64))
    np.testing.assert_allclose(got, want, rtol=2.0**-20, atol=4 * ULP)


def test_all_of_a_large_integer_is_multiplied():
    x = np.array([2**31 - 1, -(2**31), 123456789, 3], np.int32)
    (got,) = secure(lambda x: x / 3, x)
    np.testing.assert_allclose(got, x / 3, rtol=1e-6)
