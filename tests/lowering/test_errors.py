"""What cannot be lowered says so, with the primitive, the user's line and what to do instead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jmpc.choreography import primitives as prim
from jmpc.errors import InputError, TraceError
from jmpc.lowering import PrecisionWarning, RangeWarning

from . import evaluation
from .helpers import ULP, secure

X = np.array([0.5, -1.25, 2.0], np.float32)
HERE = r"test_errors.py:\d+ \(<lambda>\): "


@pytest.mark.parametrize(
    ("f", "primitive", "advice"),
    [
        (lambda x: jax.pure_callback(np.sin, x, x), "pure_callback", "Reveal the value"),
        (lambda x: lax.bitcast_convert_type(x, np.int32), "bitcast_convert_type", "Use arithmetic"),
        (lambda x: jnp.fft.fft(x).real, "", "two real arrays"),
        (lambda x: lax.lgamma(x), "lgamma", "polynomials"),
        (lambda x: jnp.linalg.cholesky(jnp.outer(x, x)), "cholesky", "iteration"),
        (lambda x: jax.random.normal(jax.random.key(x[0].astype(np.int32))), "", "public key"),
        (lambda x: x % x[0], "rem", "floor"),
        (lambda x: x * 1e25, "mul", "Scale the computation"),
        (lambda x: lax.clz(x.astype(np.int32)), "clz", "supported_primitives"),
    ],
)
def test_refused(f, primitive, advice):
    with pytest.raises(TraceError, match=HERE + f"`{primitive}.*`: .*{advice}"):
        secure(f, X)


def test_effects_of_secret_values_are_refused():
    def f(x):
        jax.debug.print("{}", x)
        return x

    with pytest.raises(TraceError, match=r"test_errors.py:\d+ \(f\): .*debug_print|debug_callback"):
        secure(f, X)


def test_an_input_out_of_range_is_refused_at_its_owner():
    for bad in (np.float32([1, np.nan, 0]), np.float32([np.inf, 1, 0]), np.float32([2.0**20, 1, 0])):
        with pytest.raises(InputError, match="not finite, or not in") as caught:
            secure(lambda x: x, bad)
        assert caught.value.player == "owner"
    with pytest.raises(InputError, match=r"\[-2, 1.5\]"):
        secure(lambda x: x, X, range=(-2, 1.5))


@pytest.mark.parametrize(
    ("dtype", "bad", "range"),
    [
        ("float16", np.inf, (0.0, 1e6)),  # as float16 the end is infinite itself
        ("float16", np.inf, (0.0, 1e4)),
        ("float16", np.nan, (-1.0, 1e6)),
        ("bfloat16", -np.inf, (-1e13, 1e13)),
        ("float32", 1.75e13, (0.0, 1.7e13)),
        ("float64", 1.0000001, (0.0, 1.0)),
        ("int64", 2**53 + 1, (0, 2**53)),  # equal as float64
        ("uint8", 8, (0.5, 7.5)),
        ("int32", 0, (0.5, 1e300)),
    ],
)
def test_what_is_in_no_declared_range_is_refused(dtype, bad, range):
    for array in (np.array([1, bad]), np.array([bad])):
        with jax.enable_x64(True), pytest.raises(InputError, match="not finite, or not in"):
            secure(lambda x: x, array.astype(jnp.dtype(dtype)), range=range)


def test_the_ends_of_a_range_are_in_it():
    for dtype, end in (("float32", 0.1), ("float16", 0.1), ("bfloat16", 0.7), ("float32", 2.0**44), ("int32", 7)):
        x = np.array([end, -end]).astype(jnp.dtype(dtype))
        (same,) = secure(lambda x: x, x, range=(-end, end))
        np.testing.assert_allclose(same.astype(float), x.astype(float), atol=ULP)


@pytest.mark.parametrize("range", [(0, 1e300), (-(2.0**44) - 1, 0), (0, 2.0**45)])
def test_a_range_that_words_cannot_represent_is_refused(range):
    with pytest.raises(TraceError, match=r"beyond what 18 fraction bits can represent, \+-2\^44 \(about 1.759"):
        secure(lambda x: x, X, range=range)


def test_a_range_without_a_value_of_the_type_is_refused():
    for x, range in ((np.float16([1]), (1e5, 1e6)), (np.uint8([1]), (300, 400)), (np.int32([1]), (0.25, 0.75))):
        with pytest.raises(TraceError, match=f"no value of type {x.dtype} is in the range"):
            secure(lambda x: x, x, range=range)


def test_zeros_leave_in_place_of_what_is_refused(monkeypatch):
    """Even where nobody enforces the guard."""
    monkeypatch.setitem(evaluation._STEPS, prim.guard_p.name, lambda operands, params: operands[:1])
    np.testing.assert_array_equal(secure(lambda x: x, np.float32([1.5, 2.0**20, -3]))[0], [0, 0, 0])


def test_a_product_that_must_overflow_warns_at_the_users_line():
    def f(x):
        return x * x

    with pytest.warns(RangeWarning, match=r"test_errors.py:\d+ \(f\): a product of at least"):
        secure(f, np.float32([3e4]), range=(2e4, 4e4))


def test_a_division_by_a_public_integer_zero():
    with pytest.raises(TraceError, match=r"`div`: a division by a public zero"):
        secure(lambda x: lax.div(x, jnp.int32(0)), np.int32(4))


def test_constants_that_vanish_are_a_warning():
    def f(x):
        return x[0] / (jnp.sqrt(x[1]) + 1e-8)

    with pytest.warns(PrecisionWarning, match=r"test_errors.py:\d+ \(f\): a constant of 1e-08 that is added.*3.8e-06"):
        got = secure(f, np.array([3.0, 4.0], np.float32))
    np.testing.assert_allclose(got, 1.5, atol=1e-5)
