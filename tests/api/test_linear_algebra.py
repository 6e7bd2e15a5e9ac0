"""Factorisations on shares: their rounds, as `docs/linear-algebra.md` states them, and a run."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jmpc

OTHERS = 2  # rounds in which inputs are shared and results opened

A = np.float32([[4, -1, 0.5], [1, 3, -2], [0.25, 1, -5]])


def digits(n: int) -> int:
    return math.ceil(math.log2(n))


ROUNDS = {
    "cholesky": (jnp.linalg.cholesky, lambda n: 13 * n + 26),
    "lu": (lax.linalg.lu, lambda n: 36 * n + 1),
    "triangular_solve": (lambda a: lax.linalg.triangular_solve(a, a, left_side=True), lambda n: 2 * n + 11),
    "qr": (jnp.linalg.qr, lambda n: 44 * (n - 1) + 4 * n + 6 * digits(n) + 20),
    "eigh": (jnp.linalg.eigh, lambda n: 31 * (n + n % 2 - 1) * (digits(n) + 2) + 12 * digits(n) + 29),
}


def rounds_of(f, n):
    return jmpc.explain(f, jax.ShapeDtypeStruct((n, n), "float32")).rounds - OTHERS


@pytest.mark.parametrize("name", ROUNDS)
def test_rounds(name):
    f, rounds = ROUNDS[name]
    assert rounds_of(f, 3) == rounds(3)


def test_run():
    solution = jmpc.simulate(functools.partial(jnp.linalg.solve, b=np.ones(3, np.float32)))(A)
    np.testing.assert_allclose(A @ solution, 1, atol=5e-5)
