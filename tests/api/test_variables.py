"""Variables: across runs, at one player, initial values that depend on others, assignments that do not fit."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jmpc

X = np.array([0.5, -1.25, 3.0], np.float32)


def value_of(variable: jmpc.Variable) -> np.ndarray:
    return jmpc.run(variable.reveal())


@pytest.fixture(params=["fused", "threads"])
def mode(request: pytest.FixtureRequest) -> str:
    jmpc.set_config(jmpc.LocalConfig(mode=request.param))
    return request.param


def test_assignments_last(mode: str) -> None:
    v = jmpc.define_private_variable(X)
    grow = v.assign(v + jmpc.define_private_input("alice", lambda: X))
    assert jmpc.run(grow) is None
    jmpc.run([grow, v.reveal()])
    np.testing.assert_allclose(value_of(v), 3 * X, atol=1e-4)


def test_a_run_reads_what_was_there_before(mode: str) -> None:
    v = jmpc.define_private_variable(X)
    _, before = jmpc.run([v.assign(2 * v), v.reveal()])
    np.testing.assert_allclose(before, X, atol=1e-5)


def test_integers_and_booleans_are_kept(mode: str) -> None:
    whole = jmpc.define_private_variable(np.array([1, -2, 2**31 - 1], np.int32))
    truths = jmpc.define_private_variable(np.array([True, False, True]))
    jmpc.run([whole.assign(whole + 1), truths.assign(~truths)])
    np.testing.assert_array_equal(value_of(whole), np.array([2, -1, -(2**31)], np.int32))  # int32 wraps
    np.testing.assert_array_equal(value_of(truths), [False, True, False])


def test_initial_values_may_depend_on_other_variables() -> None:
    a = jmpc.define_private_variable(X)
    b = jmpc.define_private_variable(2 * a)
    c = jmpc.define_private_variable(a + b)
    found = jmpc.run([c.reveal(), b.reveal(), a.reveal()])
    for value, times in zip(found, (3, 2, 1), strict=True):
        np.testing.assert_allclose(value, times * X, atol=1e-4)
    jmpc.run(a.assign(a - a))
    d = jmpc.define_private_variable(a + 1)
    np.testing.assert_allclose(value_of(d), np.ones(3), atol=1e-5)  # of the current value, not the initial one


def test_local_variables_stay_at_their_player(mode: str) -> None:
    v = jmpc.define_local_variable("owner", lambda: jnp.arange(3.0))
    x = jmpc.define_private_input("alice", lambda: X)
    opened = (x + v).reveal("owner")
    step = jmpc.define_local_computation("owner", lambda v, o, rate: v - rate * o, v, opened, 0.5)
    jmpc.run(v.assign(step))
    np.testing.assert_allclose(value_of(v), np.arange(3) - 0.5 * (X + np.arange(3)), atol=1e-5)
    assert jmpc.run(v) is None  # it is in the clear, but not here
    mine = jmpc.define_local_variable("driver", np.arange(3.0))
    np.testing.assert_array_equal(jmpc.run(mine), np.arange(3.0))


def test_assignments_that_do_not_fit() -> None:
    v = jmpc.define_private_variable(X)
    with pytest.raises(TypeError, match=r"variable is float32\[3\], the value float32\[2\]"):
        v.assign(v[:2])
    with pytest.raises(TypeError, match=r"float32\[3\], the value int32\[3\]"):
        v.assign(np.arange(3))
    local = jmpc.define_local_variable("owner", X)
    with pytest.raises(TypeError, match=r"'owner' in the clear, the value is secret.*reveal\('owner'\)"):
        local.assign(local + v)
    with pytest.raises(TypeError, match="the value is at 'alice'"):
        local.assign(jmpc.define_private_input("alice", lambda: X))


def test_another_configuration_starts_anew() -> None:
    v = jmpc.define_private_variable(X)
    jmpc.run(v.assign(2 * v))
    jmpc.set_config(jmpc.LocalConfig())
    np.testing.assert_allclose(value_of(v), X, atol=1e-5)


def test_a_failed_run_changes_nothing(mode: str) -> None:
    v = jmpc.define_private_variable(X)
    bad = jmpc.define_private_input("alice", lambda: np.full(3, np.nan, np.float32))
    with pytest.raises(jmpc.JmpcError, match="alice"):
        jmpc.run([v.assign(2 * v), (2 * bad).reveal()])
    np.testing.assert_allclose(value_of(v), X, atol=1e-5)
