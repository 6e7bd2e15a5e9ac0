"""What a computation knows of floats is computed before it travels, once."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, JaxprEqn

import jmpc
from jmpc.api.graph import build
from jmpc.choreography.holders import inner_jaxprs
from jmpc.computation import Computation, Secure
from jmpc.errors import TraceError
from jmpc.lowering import public
from jmpc.lowering.computation import lower_computation
from jmpc.lowering.placement import is_exact
from jmpc.protocols.rep3 import Rep3

SERVERS = ("server0", "server1", "server2")
X = np.array([0.5, -1.25, 2.0], np.float32)
KEY = jax.random.key(7)


def computation(value: jmpc.Value) -> Computation:
    return build([value.reveal()], SERVERS, "driver", 18).computation


def private() -> jmpc.Value:
    return jmpc.define_private_input("alice", lambda: X)


def every_equation(closed: ClosedJaxpr) -> Iterator[JaxprEqn]:
    for eqn in closed.jaxpr.eqns:
        yield eqn
        for body in inner_jaxprs(eqn):
            yield from every_equation(body)


def in_a_loop(x):
    def body(i, carry):
        return carry * jnp.exp(0.5) + jnp.sin(jnp.arange(3.0)) * jnp.sqrt(2.0)

    return jax.lax.fori_loop(0, 3, body, x)


def in_a_while(x):
    def body(state):
        return state[0] + 1, state[1] * jnp.tanh(0.25)

    return jax.lax.while_loop(lambda state: state[0] < 3 + jnp.int32(jnp.exp(0.1)), body, (0, x))[1]


def in_a_branch(x):
    return jax.lax.cond(jnp.sum(x) > 0, lambda v: v * jnp.log(3.0), lambda v: v - jnp.cos(1.0), x)


def with_noise(x):
    return x + jax.random.normal(KEY, (3,)) * jnp.exp(-1.0)


def over_known_values(x):
    def step(carry, row):
        return jnp.tanh(carry + row), carry

    return x * jax.lax.scan(step, 0.0, jnp.arange(3.0))[1]


FUNCTIONS = [in_a_loop, in_a_while, in_a_branch, with_noise, over_known_values]


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_players_find_no_float_to_compute(fn, monkeypatch: pytest.MonkeyPatch) -> None:
    made = computation(jmpc.function(fn)(private()))
    evaluated, original = [], public.evaluate_known
    monkeypatch.setattr(public, "evaluate_known", lambda eqn, x: evaluated.append(eqn) or original(eqn, x))
    lower_computation(made, Rep3)
    assert all(is_exact(eqn) for eqn in evaluated)
    np.testing.assert_allclose(jmpc.simulate(fn)(X), fn(jnp.asarray(X)), atol=1e-4)


def test_constants_and_results_of_other_functions_count_as_known() -> None:
    scale = jmpc.define_constant(np.float32(3.0))
    known = jmpc.function(lambda s: jnp.exp(s / 7))(scale)
    made = computation(jmpc.function(lambda x, s, k: x * jnp.log(s) * jnp.sqrt(k))(private(), scale, known))
    left = {eqn.primitive.name for call in made.calls if isinstance(call, Secure) for eqn in every_equation(call.jaxpr)}
    assert left == {"mul"}


def test_large_arrays_of_equal_elements_do_not_travel() -> None:
    made = computation(jmpc.function(lambda x: x[0] * jnp.full((1000, 1000), jnp.exp(1.0)))(private()))
    (call,) = (call for call in made.calls if isinstance(call, Secure))
    assert sum(np.asarray(const).size for const in call.jaxpr.consts) < 10


def test_parts_of_large_arrays_travel_alone() -> None:
    made = computation(jmpc.function(lambda x: x * jnp.sin(jnp.arange(1e6))[:3])(private()))
    (call,) = (call for call in made.calls if isinstance(call, Secure))
    assert sum(np.asarray(const).size for const in call.jaxpr.consts) == 3


def test_what_is_folded_is_the_same_computation() -> None:
    one, two = (computation(jmpc.function(in_a_loop)(private())) for _ in range(2))
    assert one.structure == two.structure


def test_a_loop_over_constants_that_does_not_end() -> None:
    def endless(x):
        return x * jax.lax.while_loop(lambda v: v > 0, lambda v: v + 1.0, 1.0)

    with pytest.raises(TraceError, match=r"test_folding.py:\d+ \(endless\): a loop over known values"):
        computation(jmpc.function(endless)(private()))
