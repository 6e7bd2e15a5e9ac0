"""Functions of one secret are recognised by their values: every spelling, no other function, and nothing twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.choreography.inline import inline_calls
from jmpc.lowering import univariate
from jmpc.lowering.univariate import find

from .helpers import ULP, plain, secure

X = np.array([-900.0, -30.0, -6.5, -2.25, -0.75, -0.0625, 0.0, 0.5, 1.0, 3.125, 4.9, 7.0, 25.0, 5000.0], np.float32)
ROOT = np.float32(np.sqrt(2 / np.pi))

KNOWN: dict[str, Callable[..., Any]] = {
    "gelu": jax.nn.gelu,
    "exact gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "sigmoid by exp": lambda x: 1 / (1 + jnp.exp(-x)),
    "silu by division": lambda x: x / (1 + jnp.exp(-x)),
    "silu by tanh": lambda x: x * (jnp.tanh(x / 2) + 1) / 2,
    "gelu by erf": lambda x: x * 0.5 * (1.0 + jax.lax.erf(x / np.float32(np.sqrt(2)))),
    "gelu by powers": lambda x: 0.5 * x * (1 + jnp.tanh(ROOT * x * (1 + np.float32(0.044715) * x * x))),
    "of a sum": lambda x: jax.nn.silu(x * 0.5 + 0.25),
}

OTHERS: dict[str, Callable[..., Any]] = {
    "quick gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "half a silu": lambda x: 0.5 * x * jax.nn.sigmoid(x),
    "gate": lambda x: x[::-1] * jax.nn.sigmoid(x),
    "square": lambda x: x * x,
    "nearly silu": lambda x: x * jax.nn.sigmoid(x * 1.001),
}


def recognised(f: Callable[..., Any], x: np.ndarray) -> int:
    jaxpr = inline_calls(jax.make_jaxpr(f)(x)).jaxpr
    return sum(found.rule is not None for found in find(jaxpr.eqns, {}, jaxpr.outvars).values())


@pytest.mark.parametrize("name", KNOWN)
def test_spellings(name: str) -> None:
    f = KNOWN[name]
    assert recognised(f, X) == 1
    with np.errstate(over="ignore"):
        want = plain(f, X)
    np.testing.assert_allclose(secure(f, X)[0], want[0], atol=4 * ULP, rtol=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_other_functions_are_lowered_as_written(name: str) -> None:
    x = X[2:-2]
    assert recognised(OTHERS[name], x) == 0
    np.testing.assert_allclose(secure(OTHERS[name], x)[0], plain(OTHERS[name], x)[0], atol=32 * ULP)


def test_what_is_used_elsewhere_is_not_computed_twice() -> None:
    def f(x):
        s = jax.nn.sigmoid(x)
        return x * s, s

    assert recognised(f, X) == 0
    for a, b in zip(secure(f, X), plain(f, X), strict=True):
        np.testing.assert_allclose(a, b, atol=4 * ULP, rtol=1e-5)


def test_gradients() -> None:
    x = X[2:-2]
    for f in (jax.nn.gelu, jax.nn.silu):
        slope = jax.vmap(jax.grad(f))
        np.testing.assert_allclose(secure(slope, x)[0], plain(slope, x)[0], atol=64 * ULP)


def test_in_a_loop() -> None:
    def f(x):
        return jax.lax.fori_loop(0, 3, lambda i, x: jax.nn.silu(x) + 0.5, x)

    x = X[2:-2]
    np.testing.assert_allclose(secure(f, x)[0], plain(f, x)[0], atol=16 * ULP)


def test_what_is_known_differs() -> None:
    values = [exact(univariate._POINTS) for exact, _ in univariate.KNOWN]
    for i, a in enumerate(values):
        assert all(np.abs(a - b).max() > 1e-4 for b in values[:i])


def test_what_is_skipped_is_not_lowered() -> None:
    """Nothing is said of x^3, which nobody computes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (got,) = secure(jax.nn.gelu, X, range=(-1000.0, 5000.0))
    np.testing.assert_allclose(got, np.maximum(X, 0), atol=0.2)


def test_a_spelling_within_a_spelling() -> None:
    def f(x):
        return x * (1 / (1 + jnp.exp(-x)))

    jaxpr = jax.make_jaxpr(f)(X).jaxpr
    found = find(jaxpr.eqns, {}, jaxpr.outvars)
    assert [found[id(eqn)].rule is not None for eqn in jaxpr.eqns] == [False] * (len(jaxpr.eqns) - 1) + [True]
    np.testing.assert_allclose(secure(f, X)[0], plain(jax.nn.silu, X)[0], atol=4 * ULP, rtol=1e-6)
