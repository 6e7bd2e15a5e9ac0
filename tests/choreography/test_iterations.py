"""Loops of unknown length with a bound: the same results as long as they end in time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun

from jmpc.choreography.inline import inline_calls
from jmpc.choreography.iterations import bounded, has_while
from jmpc.errors import TraceError


def count_to(limit, step=1):
    return lambda x: jax.lax.while_loop(lambda c: c < limit, lambda c: c + step, x)


def in_a_scan(x):
    return jax.lax.scan(lambda c, row: (count_to(row)(c), c * 2), x, jnp.arange(4) * 10)


def in_a_branch(x):
    return jax.lax.switch(x % 3, [count_to(50), lambda v: v, count_to(99, 7)], x)


def in_a_predicate(x):
    return jax.lax.while_loop(lambda c: count_to(3)(c) < 20, lambda c: c + 2, x)


def in_a_while(x):
    return jax.lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, count_to(c[0] * 10)(c[1])), (0, x))


def beside_others(x):
    return jnp.cumsum(jnp.arange(5) * count_to(9)(x)), jnp.sin(x.astype(jnp.float32)), x


EVERYTHING = [count_to(40), in_a_scan, in_a_branch, in_a_predicate, in_a_while, beside_others]


def traced(fn):
    return inline_calls(jax.make_jaxpr(fn)(jnp.int32(0)))


def run(closed, x):
    with jax.enable_x64(True):
        return jaxpr_as_fun(closed)(np.int32(x))


@pytest.mark.parametrize("fn", EVERYTHING)
@pytest.mark.parametrize("x", [0, 1, 8])
def test_a_loop_that_ends_in_time_is_not_changed(fn, x):
    *results, ended = run(bounded(traced(fn), 1000), x)
    assert ended
    for result, expected in zip(results, jax.tree.leaves(fn(jnp.int32(x))), strict=True):
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("fn", EVERYTHING)
def test_a_loop_that_takes_too_long_is_stopped(fn):
    closed = bounded(traced(fn), 3)
    assert not run(closed, 0)[-1]
    assert has_while(traced(fn).jaxpr.eqns[-1]) or any(has_while(eqn) for eqn in traced(fn).jaxpr.eqns)


def test_all_turns_count_together():
    def fn(x):
        return jax.lax.scan(lambda c, _: (count_to(10)(c) * 0, None), x, length=5)[0]

    assert run(bounded(traced(fn), 51), 0)[-1] and not run(bounded(traced(fn), 50), 0)[-1]


def test_an_endless_loop_ends():
    assert not run(bounded(traced(lambda x: jax.lax.while_loop(lambda c: c > -1, lambda c: c ^ 1, x)), 100), 0)[-1]


def test_a_loop_inside_a_reduction_is_refused():
    def fn(x):
        return jax.lax.reduce(jnp.arange(4) + x, np.int32(0), lambda a, b: count_to(5)(a + b), (0,))

    with pytest.raises(TraceError, match="a loop inside the function of `reduce`"):
        bounded(traced(fn), 10)
