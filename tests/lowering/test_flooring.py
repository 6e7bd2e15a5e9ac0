"""Functions of maxima with constants: right on both sides, and the maximum adds one round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from .helpers import ULP, plain, secure

X = np.array([-(2.0**19), -3.0, -(2.0**-10), 0.0, 2.0**-10, 3 * 2.0**-8, 0.5, 3.0, 900.0], np.float32)

CASES: dict[str, Callable[..., Any]] = {
    "rsqrt": lambda x: lax.rsqrt(jnp.maximum(x, 0) + 2.0**-6),
    "rsqrt of rows": lambda x: lax.rsqrt(jnp.maximum(x, 0)[:, None] + 0.25) * jnp.ones((1, 2)),
    "sqrt": lambda x: jnp.sqrt(jnp.maximum(x, 0)),
    "log": lambda x: jnp.log(jnp.maximum(x, 0.125)),
    "log of nothing": lambda x: jnp.log(jnp.maximum(x, 0.125) - 0.125 + 0.0625),
    "reciprocal": lambda x: 1 / jnp.maximum(x, 0.25),
    "bounded": lambda x: 1 / jnp.maximum(jnp.clip(x, -9, 9), 0.25),
    "two maxima": lambda x: jnp.sqrt(jnp.maximum(jnp.maximum(x, -1) + 1, 0.5) + 1),
    "reshaped": lambda x: jnp.sqrt(jnp.maximum(x, 1.0).reshape(3, 3).T[::-1]),
}


@pytest.mark.parametrize("name", CASES)
def test_both_sides(name: str) -> None:
    for a, b in zip(secure(CASES[name], X), plain(CASES[name], X), strict=True):
        np.testing.assert_allclose(a, b, atol=4 * ULP, rtol=2e-6)


def test_gradients() -> None:
    def f(x):
        return jnp.sum(jnp.log(jnp.maximum(x, 0.125)))

    x = X[1:]
    np.testing.assert_allclose(secure(jax.grad(f), x)[0], plain(jax.grad(f), x)[0], atol=16 * ULP, rtol=1e-3)
