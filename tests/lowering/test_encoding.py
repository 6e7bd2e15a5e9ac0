"""Arrays as ring words and back; what is known of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jmpc
from jmpc.lowering import Interval, Precision, RangeWarning, decode
from jmpc.lowering.encoding import Encoding, encode_factor, encode_precisely, to_words
from jmpc.lowering.interval import Trust, of_dtype, symmetric

PRECISION = Precision(18)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_reals_are_rounded_to_the_nearest_word(dtype):
    x = np.array([0.0, 1.5, -2.25, 0.1, -1e-7, 1000.125]).astype(jnp.dtype(dtype))
    words = to_words(x, 18)
    np.testing.assert_array_equal(words.astype(np.int64), np.round(x.astype(np.float64) * 2**18).astype(np.int64))
    back = decode(words, Encoding(x.dtype, 18))
    assert back.dtype == x.dtype
    np.testing.assert_allclose(back.astype(np.float64), x.astype(np.float64), atol=2.0**-19, rtol=2.0**-8)


@pytest.mark.parametrize("dtype", [f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)])
def test_integers_are_extended_and_opened_from_the_top(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, info.max, 0, 1, info.max // 3], dtype)
    words = to_words(x, 18)
    unused = np.uint64(64 - info.bits)
    np.testing.assert_array_equal(decode(words << unused, Encoding(x.dtype)), x)
    assert [int(w) - (2**64 if int(w) >> 63 and info.min < 0 else 0) for w in words] == x.tolist()


def test_players_and_the_tracer_of_a_function_encode_alike():
    x = np.random.default_rng(0).standard_normal(100).astype(np.float32) * 100
    with jax.enable_x64(True):
        traced = jax.jit(lambda v: to_words(v, 18))(x)
    np.testing.assert_array_equal(np.asarray(traced), to_words(x, 18))


@given(st.floats(1e-6, 1e6), st.floats(1e-3, 2.0**20))
@settings(deadline=None, max_examples=200)
def test_constants_suit_what_they_are_multiplied_with(c, limit):
    known = symmetric(limit)
    constant = encode_factor(np.float64(c), known, PRECISION)
    error = abs(int(constant.words) * 2.0**-constant.fraction - c)
    assert limit * 2**18 * abs(int(constant.words)) <= 2.0**62
    wanted = 2.0**-18 / 4  # a quarter ulp of the product, if 62 bits allow it
    fits = limit * c * 2.0 ** (18 + 18 + 4) * limit < 2.0**61
    assert error * limit <= wanted or not fits or constant.fraction >= 60


def test_simple_constants_need_few_bits():
    for c, words, fraction in ((0.5, 1, 1), (3.0, 3, 0), (-0.75, -3, 2), (0.0, 0, 0), (2.0**-20, 1, 20)):
        constant = encode_factor(np.float64(c), symmetric(4.0), PRECISION)
        assert (int(constant.words), constant.fraction) == (words, fraction)
        assert encode_precisely(np.float64(c), PRECISION).words == constant.words


def test_precisions_are_bounded():
    for fraction in (7, 31):
        with pytest.raises(ValueError, match="between 8 and 30"):
            Precision(fraction)


numbers = st.integers(-1000, 1000)


@given(numbers, numbers, numbers, numbers, st.floats(0, 1), st.floats(0, 1))
def test_intervals_contain_what_they_should(a, b, c, d, s, t):
    x, y = Interval(min(a, b), max(a, b)), Interval(min(c, d), max(c, d))
    u, v = x.low + s * (x.high - x.low), y.low + t * (y.high - y.low)
    for result, value in ((x + y, u + v), (x - y, u - v), (x * y, u * v), (-x, -u), (x.hull(y), v)):
        assert result.low - 1e-6 <= value <= result.high + 1e-6
    assert x.mignitude - 1e-6 <= abs(u) <= x.magnitude + 1e-6
    assert abs(u) * 2**18 < 2 ** (x.range_bits(18) - 1)


def test_clipped_intervals_are_promises():
    assert Interval(-1, 1).clip(-2, 2).certain
    assert Interval(-3, 1).clip(-2, 2) == Interval(-2, 1, Trust.PROMISED)
    assert of_dtype(np.dtype(np.uint8)) == Interval(0, 255)


def test_declared_ranges_that_allow_an_overflow_are_warned_of_at_the_users_line() -> None:
    x = jmpc.define_private_input("alice", lambda: np.float32([3e4, 4e4]), range=(0, 50_000))
    with pytest.warns(RangeWarning, match=r"test_encoding.py:\d+ .*a product may reach 2.5e\+09.*lower the precision"):
        jmpc.explain(jmpc.function(lambda v: jnp.sum(v * v))(x).reveal())
    y = jmpc.define_private_input("alice", lambda: np.float32([3, 4]), range=(0, 5))
    jmpc.explain(jmpc.function(lambda v: jnp.sum(v * v))(y).reveal())
    undeclared = jmpc.define_private_input("alice", lambda: np.float32([3, 4]))
    jmpc.explain(jmpc.function(lambda v: jnp.sum(v * v))(undeclared).reveal())
