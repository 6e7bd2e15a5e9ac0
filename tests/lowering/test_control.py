"""Loops and branches: they stay loops and branches, and secret conditions select."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jmpc.choreography.holders import all_equations
from jmpc.errors import TraceError
from jmpc.lowering.placement import SECRET, Placer

from .helpers import ULP, Clear, lowered, plain, secure

X = np.array([0.5, -1.25, 2.0, 0.75], np.float32)


def close(f, *args, ulps=8.0, **options):
    for got, want in zip(secure(f, *args, **options), plain(f, *args), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, atol=ulps * ULP, rtol=2e-5)


def names(f, *args):
    closed, _ = lowered(f, *args)
    return [eqn.primitive.name for eqn in all_equations(closed.jaxpr)]


def test_fori_loop_keeps_its_counter_public():
    def f(x):
        return lax.fori_loop(0, 5, lambda i, c: c * 0.5 + x * (i + 1), x)

    close(f, X)
    assert names(f, X).count("scan") == 1


def test_scan_of_secret_rows_and_stacked_results():
    def f(x):
        carry, ys = lax.scan(lambda c, row: (c + row * x[0], (c * 2, row > 0)), 0.25, x, reverse=True)
        return carry, ys

    close(f, X)


def test_stacked_products_are_truncated_once_outside_of_the_loop():
    def f(x):
        return lax.scan(lambda c, row: (c, row * row), 0, x)[1]

    close(f, X)


def test_public_carry_becomes_secret():
    close(lambda x: lax.scan(lambda c, row: (jnp.maximum(c, row), c), jnp.float32(-100), x), X, ulps=0)
    close(lambda x: lax.fori_loop(0, 3, lambda i, c: (c[1], c[0] + x), (jnp.zeros(4), jnp.ones(4)))[0], X)


def test_integer_and_boolean_carries():
    def f(x):
        def step(state, row):
            count, seen, best = state
            return (count + (row > 0), seen | (row > 1), jnp.maximum(best, count)), count

        return lax.scan(step, (jnp.int32(0), jnp.bool_(False), jnp.int32(-5)), x)

    close(f, X, ulps=0)


def test_scan_over_public_rows_and_loop_invariant_constants():
    schedule = jnp.array([0.5, 0.25, 0.125])

    def f(x):
        def step(c, row):
            i, rate = row
            return c - rate * (c - x) * i, None

        return lax.scan(step, x * 3, (jnp.arange(3), schedule))[0]

    close(f, X)


def test_public_float_carry_is_computed_at_one_player():
    def f(x):
        def step(i, state):
            rate, c = state
            return rate * 0.9, c - rate * c

        return lax.fori_loop(0, 4, step, (jnp.float32(0.5), x))[1]

    close(f, X)
    assert "local" in names(f, X)


def test_nested_loops():
    def f(x):
        return lax.fori_loop(0, 2, lambda i, c: lax.fori_loop(0, 3, lambda j, d: d * 0.5 + (i * j) * x, c), x)

    close(f, X)


def test_deep_nesting_costs_no_more_than_its_size():
    def nest(x, level):
        if not level:
            return x * 0.5
        return lax.scan(lambda c, _: (nest(c, level - 1), None), x, length=1)[0]

    close(lambda x: nest(x, 14), X)


def test_the_search_for_places_may_be_ended():
    def watch(nbytes):
        raise TimeoutError

    def f(x):
        return lax.scan(lambda c, _: (c * c, None), x, length=3)[0]

    with pytest.raises(TimeoutError):
        Placer("first", watch).equation(jax.make_jaxpr(f)(X).jaxpr.eqns[0], [SECRET])


def test_while_with_public_predicate():
    def f(x):
        state = lax.while_loop(lambda s: s[0] < 6, lambda s: (s[0] * 2, s[1] * 0.5 + 1), (jnp.int32(1), x))
        return state[1]

    close(f, X)
    assert "while" in names(f, X)


def test_while_steered_by_a_public_float():
    def f(x, t):
        return lax.while_loop(lambda s: s[0] > 0.3, lambda s: (s[0] * 0.5, s[1] + s[0]), (t, x))[1]

    close(f, X, Clear(np.float32(2.0)))


def test_secret_while_is_an_error_at_the_users_line():
    def f(x):
        return lax.while_loop(lambda c: c[0] < 1, lambda c: c + 1, x)  # here

    with pytest.raises(TraceError, match=r"test_control.py:\d+ \(f\): `while`.*number of iterations.*fori_loop"):
        secure(f, X)


def test_cond_on_a_known_index_takes_one_branch():
    assert "cond" not in names(lambda x: lax.cond(True, jnp.sin, jnp.exp, x), X)


@pytest.mark.parametrize("flag", [0, 1, 2, 7])
def test_switch_on_a_public_value(flag):
    def f(i, x):
        return lax.switch(i, [lambda x: x * x, lambda x: x.sum() + x, lambda x: jnp.zeros(4)], x)

    close(f, Clear(np.int32(flag)), X)


def test_public_switch_stays_one():
    def f(i, x):
        return lax.switch(i, [lambda x: (x * x, x > 0), lambda x: (-x, x < 0)], x)

    assert "cond" in names(f, Clear(np.int32(1)), X)
    close(f, Clear(np.int32(1)), X)


def test_cond_on_a_loop_counter():
    def f(x):
        return lax.fori_loop(0, 4, lambda i, c: lax.cond(i % 2 == 0, lambda c: c * 0.5, lambda c: c + x, c), x)

    close(f, X)
    assert "cond" in names(f, X)


def test_secret_cond_selects():
    def f(x):
        return lax.cond(x[0] > 0, lambda x: (x * 2, jnp.int32(3)), lambda x: (x - 1, jnp.int32(4)), x)

    close(f, X)
    close(f, -X)


@pytest.mark.parametrize("index", [-2, 0, 1, 2, 9])
def test_secret_switch_selects(index):
    def f(i, x):
        return lax.switch(i, [lambda x: x, lambda x: x * x, lambda x: 1 - x], x)

    close(f, np.int32(index), X)


def test_vmapped_cond():
    close(jax.vmap(lambda v: lax.cond(v > 0, jnp.sqrt, lambda v: -v, jnp.abs(v))), X)


def test_gradient_through_scan():
    def loss(w, x):
        final, _ = lax.scan(lambda h, row: (jnp.tanh(w @ h + row), None), jnp.zeros(2), x.reshape(2, 2))
        return jnp.sum(final**2)

    w = np.array([[0.5, -0.25], [0.75, 1.0]], np.float32)
    close(jax.grad(loss), w, X, ulps=24)


def test_map_and_associative_scan():
    close(lambda x: lax.map(lambda v: v * v, x), X)
    close(lambda x: lax.associative_scan(jnp.add, x), X)


def test_loop_over_random_public_numbers():
    def f(key, x):
        def step(state, _):
            key, c = state
            key, sub = jax.random.split(key)
            return (key, c + jax.random.uniform(sub, (4,))), None

        return lax.scan(step, (key, x), None, length=3)[0][1]

    close(f, Clear(np.asarray(jax.random.PRNGKey(3))), X)
