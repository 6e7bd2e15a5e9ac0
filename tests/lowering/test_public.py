"""Public sub-expressions stay ordinary JAX, where they belong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.choreography import primitives as prim
from jmpc.choreography.holders import all_equations
from jmpc.errors import InputError, TraceError
from jmpc.lowering import RangeWarning, public

from .helpers import ULP, Clear, lowered, plain, secure

X = np.array([0.5, -1.25, 2.0], np.float32)
W = np.array([1.5, 0.25, -0.75], np.float32)


def equations(f, *args):
    closed, _ = lowered(f, *args)
    return list(all_equations(closed.jaxpr))


def test_random_numbers_from_a_known_key_are_exact():
    def f(x):
        del x
        return jax.random.uniform(jax.random.key(7), (3,)), jax.random.bits(jax.random.PRNGKey(1), (5,))

    for got, want in zip(secure(f, X), plain(f, X), strict=True):
        np.testing.assert_array_equal(got, want)


def test_known_expressions_are_evaluated_while_tracing():
    found = equations(lambda x: x + jnp.sin(jnp.arange(3.0)) * jnp.exp(jnp.float32(0.5)), X)
    assert not {eqn.primitive.name for eqn in found} & {"sin", "exp", "local", "iota"}


def test_what_evaluates_known_expressions_is_bounded(monkeypatch):
    monkeypatch.setattr(public._EXECUTABLES, "most", 4)
    client, counts = jax.devices()[0].client, []
    for size in range(1, 12):
        equations(lambda x, size=size: x + jnp.sum(jax.lax.iota("float32", size) * 2), X)
        counts.append(len(client.live_executables()))
    assert len(set(counts[-5:])) == 1 and len(public._EXECUTABLES) == 4


def test_a_reduction_with_a_function_of_its_own_may_be_known():
    def f(x):
        return x + jax.lax.reduce(jnp.arange(3.0), np.float32(0), lambda a, b: a + b * 2, (0,))

    np.testing.assert_allclose(secure(f, X)[0], plain(f, X)[0], atol=ULP)


def test_a_players_public_floats_are_one_unit_and_one_release():
    def f(x, w):
        scaled = jnp.tanh(w) * 2 + w
        return x * scaled + scaled * 0.5

    found = equations(f, X, Clear(W))
    units = [eqn for eqn in found if eqn.primitive is prim.local_p]
    assert [unit.params["player"] for unit in units] == ["owner"]
    assert [e.primitive.name for e in units[0].params["jaxpr"].jaxpr.eqns].count("tanh") == 1
    for got, want in zip(secure(f, X, Clear(W)), plain(f, X, Clear(W)), strict=True):
        np.testing.assert_allclose(got, want, atol=4 * ULP)


def test_a_public_value_that_leaves_the_range_is_refused_at_its_player():
    def f(x, w):
        return x * w

    with pytest.raises(InputError, match="test_public.py:.*public value") as caught:
        secure(f, X, Clear(np.float32([1.0, np.nan, 2.0])))
    assert caught.value.player == "owner"


def test_public_results_are_not_computed_on_shares():
    def f(x, w):
        return x, w * 2, w > 0, jnp.argsort(w)

    for got, want in zip(secure(f, X, Clear(W)), plain(f, X, Clear(W)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_division_by_a_public_value_of_run_time():
    def f(x, w):
        return x / w

    np.testing.assert_allclose(secure(f, X, Clear(W))[0], X / W, atol=4 * ULP)


def test_public_index_of_run_time():
    def f(x, i):
        return x[i] + x.at[i].set(7.0)

    for i in (0, 2, -1):
        got = secure(f, X, Clear(np.int32(i)))[0]
        np.testing.assert_allclose(got, plain(f, X, Clear(np.int32(i)))[0], atol=ULP)


def test_infinite_constants():
    assert np.isfinite(secure(lambda x: jnp.where(x > 0, x, -jnp.inf), X)[0]).all()
    with pytest.raises(TraceError, match=r"test_public.py:\d+ .*`add`.*infinite"):
        secure(lambda x: x + jnp.inf, X)
    with pytest.raises(TraceError, match=r"`div`.*division by a public zero"):
        secure(lambda x: x / 0.0, X)


def test_zeros_among_public_divisors():
    counts = np.float32([2, 0, 4])
    with pytest.warns(RangeWarning, match=r"test_public.py:\d+ .*: 1 of 3 public divisors are 0"):
        (got,) = secure(lambda x: jnp.where(counts > 0, x / counts, 7.0), np.float32([1, 5, -2]))
    np.testing.assert_array_equal(got, [0.5, 7, -0.5])


def test_64_bit_types_of_the_user():
    with jax.enable_x64(True):
        x = np.array([0.5, -1.25, 2.0])
        f = lambda x: x * 2 + jnp.arange(3) * 2**40 / 2**42
        (got,), (want,) = secure(f, x), plain(f, x)
    assert got.dtype == want.dtype == np.float64
    np.testing.assert_allclose(got, want, atol=ULP)
