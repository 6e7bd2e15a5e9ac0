"""Every precision: how far results may be off, in steps of 2^-f, and what range is left.

Up to 24 bits the errors are those of 18 bits in steps. At 30 bits a word has no room for more digits: constants and the
tables of smooth functions are right to 2^-23 or so of the result, and products stay below 4.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc import Precision
from jmpc.debug import Concern, compare
from jmpc.errors import InputError
from jmpc.lowering.interval import RANGE_BITS
from jmpc.protocols.rep3 import Rep3

from .helpers import checked, secure

RNG = np.random.default_rng(0)
X = RNG.uniform(-1.5, 1.5, 64).astype(np.float32)
Y = RNG.uniform(-1.5, 1.5, 64).astype(np.float32)
A = RNG.uniform(-0.3, 0.3, (8, 16)).astype(np.float32)
B = RNG.uniform(-0.3, 0.3, (16, 4)).astype(np.float32)
LABELS = (RNG.random(8) < 0.5).astype(np.float32)


def step(w, x, y):
    """Of logistic regression."""
    return w - 0.1 * x.T @ (jax.nn.sigmoid(x @ w) - y) / y.size


# the function, its arguments, steps at 8 to 24 bits, and how many steps of 2^-23 more there may be at 30
CASES = {
    "product": (lambda x, y: x * y, (X, Y), 3, 0),
    "matrix product": (lambda a, b: a @ b, (A, B), 5, 0),
    "sum": (lambda x: jnp.sum(x), (X,), 16, 0),
    "mean": (lambda x: jnp.mean(x), (X,), 2, 0),
    "constant factor": (lambda x: x * 0.3, (X,), 3, 2),
    "quotient": (lambda x, y: x / (jnp.abs(y) + 0.25), (X, Y), 24, 12),
    "softmax": (jax.nn.softmax, (A,), 3, 1),
    "sigmoid": (jax.nn.sigmoid, (X,), 4, 2),
    "training step": (step, (A[0], A, LABELS), 3, 1),
}


def exact(f, args):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        return np.asarray(f(*(jnp.asarray(x, np.float64) for x in args)))


@pytest.mark.parametrize("fraction", [8, 12, 18, 24, 30])
@pytest.mark.parametrize("name", CASES)
def test_errors_in_steps(name, fraction):
    f, args, steps, more = CASES[name]
    report = compare(f, *args, precision=fraction)
    limit = steps * 2.0**-fraction + (more * 2.0**-23 if fraction > 24 else 0)
    assert report.max_error <= limit
    (got,) = secure(f, *args, precision=Precision(fraction))
    np.testing.assert_allclose(got, exact(f, args), atol=limit + 2.0**-23)  # float32 itself is no better
    assert Concern.OVERFLOW not in {row.concern for row in report.rows}


@pytest.mark.parametrize("fraction", [8, 12, 24, 30])
@pytest.mark.parametrize("name", ["product", "quotient", "training step"])
def test_errors_in_steps_among_servers(name, fraction):
    f, args, steps, more = CASES[name]
    servers = ("s0", "s1", "s2")
    (got,) = checked(f, *args, precision=Precision(fraction), protocol=Rep3(servers), players=servers)
    limit = steps * 2.0**-fraction + (more * 2.0**-23 if fraction > 24 else 0)
    np.testing.assert_allclose(got, exact(f, args), atol=limit + 2.0**-23)


@pytest.mark.parametrize("fraction", [8, 12, 18, 24, 30])
def test_ranges(fraction):
    """Inputs below 2^(38-f), products below 2^(62-2f)."""
    limit, precision = 2.0 ** (38 - fraction), Precision(fraction)
    (same,) = secure(lambda x: x, np.float32([limit * 0.99]), precision=precision)
    np.testing.assert_allclose(same, np.float32(limit * 0.99), rtol=1e-6)
    with pytest.raises(InputError):
        secure(lambda x: x, np.float32([limit]), precision=precision)
    most = 2.0 ** (RANGE_BITS - 2 * fraction)
    side = np.float32([np.sqrt(most) * 0.9])
    (product,) = secure(lambda x: x * x, side, precision=precision)
    np.testing.assert_allclose(product, side.astype(float) ** 2, rtol=1e-5)
    beyond = compare(lambda x: x * x, np.float32([np.sqrt(most) * 1.1]), precision=precision)
    assert beyond.worst().concern is Concern.OVERFLOW and beyond.worst().limit == most
