"""What cannot be lowered says so, with the primitive, the user's line and what to do instead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jmpc.errors import InputError, TraceError
from jmpc.lowering import RangeWarning

from .helpers import secure

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
        (lambda x: x.at[0].multiply(x[1]), "scatter-mul", r"\.at\[\]\.set"),
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
        with pytest.raises(InputError, match="not a number in") as caught:
            secure(lambda x: x, bad)
        assert caught.value.player == "owner"
    with pytest.raises(InputError, match=r"\[-2, 1.5\]"):
        secure(lambda x: x, X, range=(-2, 1.5))


def test_a_product_that_must_overflow_warns_at_the_users_line():
    def f(x):
        return x * x

    with pytest.warns(RangeWarning, match=r"test_errors.py:\d+ \(f\): a product of at least"):
        secure(f, np.float32([3e4]), range=(2e4, 4e4))


def test_a_division_by_a_public_integer_zero():
    with pytest.raises(TraceError, match=r"`div`: a division by a public zero"):
        secure(lambda x: lax.div(x, jnp.int32(0)), np.int32(4))
