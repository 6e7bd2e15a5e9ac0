"""`jmpc.function`: pytrees, keyword and static arguments, what is public, what is captured."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmpc

X = np.array([0.5, -1.25, 3.0], np.float32)
Y = np.array([2.0, 4.5, -0.25], np.float32)


class Pair(NamedTuple):
    left: Any
    right: Any


def private(array: np.ndarray, player: str = "alice") -> Any:
    return jmpc.define_private_input(player, lambda: array)


@jmpc.function
def combined(pair: Pair, weights: dict[str, Any], *, mode: str, bias: Any = None, times: int = 1) -> dict[str, Any]:
    assert isinstance(times, int) and isinstance(mode, str)  # what is no array is passed as it is
    total = pair.left * weights["left"] + pair.right * weights["right"]
    for _ in range(times):
        total = total + (0.0 if bias is None else bias)
    return {mode: total, "nothing": None, "parts": (pair.left, [pair.right])}


def test_pytrees_keywords_and_static_arguments() -> None:
    weights = {"left": np.float32(2), "right": jmpc.define_private_variable(Y)}
    result = combined(Pair(private(X), private(Y, "bob")), weights, mode="sum", bias=private(X), times=2)
    assert result["nothing"] is None and set(result) == {"sum", "nothing", "parts"}
    found = jmpc.run(jax.tree.map(lambda value: value.reveal(), result))
    np.testing.assert_allclose(found["sum"], 2 * X + Y * Y + 2 * X, atol=1e-4)
    np.testing.assert_allclose(found["parts"][0], X, atol=1e-5)
    np.testing.assert_allclose(found["parts"][1][0], Y, atol=1e-5)


def test_numbers_in_arguments_stay_numbers() -> None:
    reduced = jmpc.function(lambda x, axis, keep: jnp.sum(x, axis=axis, keepdims=keep))(private(X), 0, keep=True)
    assert reduced.shape == (1,)
    np.testing.assert_allclose(jmpc.run(reduced.reveal()), [X.sum()], atol=1e-5)


def test_functions_call_functions() -> None:
    @jmpc.function
    def double(x):
        return 2 * x

    @jmpc.function
    def outer(x, y):
        return double(x) + jmpc.where(np.array([True, False, True]), y, jmpc.negative(y))

    expected = 2 * X + np.where([True, False, True], Y, -Y)
    np.testing.assert_allclose(jmpc.run(outer(private(X), private(Y)).reveal()), expected, atol=1e-5)
    np.testing.assert_allclose(jax.jit(outer)(X, Y), expected, atol=1e-5)  # plain JAX on plain arrays, where it traces
    np.testing.assert_allclose(jmpc.simulate(outer)(X, Y), expected, atol=1e-5)
    assert jmpc.explain(outer, X, Y).rounds > 0


def test_captured_values_are_errors() -> None:
    secret, variable = private(X), jmpc.define_private_variable(X)
    for captured in (secret, variable):
        with pytest.raises(TypeError, match="not passed to"):
            jmpc.function(lambda y, captured=captured: y * captured)(private(Y))
    with pytest.raises(TypeError, match="<float32\\[3\\] at 'alice'>' .*not a valid JAX type"):
        jmpc.function(lambda y: jnp.dot(y, secret))(private(Y))


def test_gradients_and_random_numbers_with_a_public_key() -> None:
    @jmpc.function
    def step(x, key, old_key):
        noise = jax.random.uniform(key, x.shape) + jax.random.uniform(old_key, x.shape)
        return jax.grad(lambda x: jnp.sum(x * x + noise * x))(x)

    keys = jax.random.key(1), jax.random.PRNGKey(2)
    expected = step.__wrapped__(jnp.asarray(X), *keys)
    np.testing.assert_allclose(jmpc.run(step(private(X), *keys).reveal()), expected, atol=1e-4)


def test_public_values_stay_public() -> None:
    public = jmpc.define_public_input("alice", lambda: X)
    constant = jmpc.define_constant(Y)
    doubled = jmpc.function(lambda x, y: 2 * x + y)(public, constant)
    found = jmpc.run([public, constant, doubled, (doubled * private(Y)).reveal()])
    for value, expected in zip(found, [X, Y, 2 * X + Y, (2 * X + Y) * Y], strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-4)
    account = jmpc.explain([doubled])
    assert account.releases and not any(release.inputs for release in account.releases)
    assert "derived from no private input" in str(account)


def test_names_and_errors_are_those_of_the_function() -> None:
    assert jmpc.matmul.__name__ == "matmul" and "jax.numpy.matmul" in jmpc.matmul.__doc__
    with pytest.raises(TypeError, match="dot_general|contracting"):
        jmpc.matmul(private(X), np.ones((2, 2), np.float32))
    with pytest.raises(TypeError, match="incompatible shapes"):
        private(X) + np.ones(2, np.float32)


def test_what_secrets_cannot_do_names_the_users_line() -> None:
    def fn(x):
        return jax.lax.while_loop(lambda x: x[0] < 1, lambda x: x + 1, x)

    with pytest.raises(jmpc.JmpcError, match=r"test_functions.py:\d+ \(fn\)"):
        jmpc.run(jmpc.function(fn)(private(X)).reveal())
