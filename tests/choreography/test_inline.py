"""Inlining changes no value, leaves no call, and reports the user's own lines."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun, jaxprs_in_params

from jmpc import _compat
from jmpc.choreography.inline import inline_calls
from jmpc.kernels.bits import spread_bits

X = np.linspace(-2, 3, 12, dtype=np.float32).reshape(3, 4)


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for body in jaxprs_in_params(eqn.params):
            yield from equations(getattr(body, "jaxpr", body))


def layer(x):
    return jax.nn.relu(x) + jax.nn.silu(x)


def shared_constant(x):
    table = np.arange(4, dtype=np.float32)
    return lax.scan(lambda c, y: (jax.jit(lambda z: z * table)(c) + y, c), x[0] + table, x)


FUNCTIONS = {
    "layers": lambda x: layer(layer(x)),
    "loops": lambda x: lax.scan(lambda c, y: (layer(c + y), layer(y)), x[0], x),
    "while": lambda x: lax.while_loop(lambda c: jax.nn.relu(c).sum() < 99, lambda c: layer(c) + 1, x),
    "cond": lambda x: lax.cond(x[0, 0] > 0, layer, jnp.sin, x),
    "grad": jax.grad(lambda x: jax.checkpoint(layer)(x).sum()),
    "constants": shared_constant,
    "passed through": jax.jit(lambda x: (x, 1.0, x)),
    "solve": lambda x: jnp.linalg.solve(x[:, :3] + 5 * jnp.eye(3), x),
    "platforms": lambda x: lax.platform_dependent(x, tpu=jnp.cos, default=jnp.sin),
    "empty": lambda x: x + jnp.empty(x.shape[:1])[:, None],
    "placement": lambda x: jax.device_put(jnp.array(x), jax.devices()[0]),
    "reducer": lambda x: lax.reduce(x, np.float32(0), jnp.maximum, (0,)),
}
CALLS = {"jit", "custom_jvp_call", "custom_vjp_call", "remat2", "custom_linear_solve", "device_put",
         "copy", "empty", "platform_index", "closed_call", "eval_jaxpr", "call_hi_primitive"}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_stay_and_calls_go(name):
    closed = jax.make_jaxpr(FUNCTIONS[name])(X)
    inlined = inline_calls(closed)
    assert not CALLS & {eqn.primitive.name for eqn in equations(inlined.jaxpr)}
    for a, b in zip(jaxpr_as_fun(closed)(X), jaxpr_as_fun(inlined)(X), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # jit may fuse what is now separate


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_variable_is_bound_once(name):
    inlined = inline_calls(jax.make_jaxpr(FUNCTIONS[name])(X))

    def check(jaxpr):
        bound = [*jaxpr.constvars, *jaxpr.invars]
        for eqn in jaxpr.eqns:
            assert all(v in bound for v in eqn.invars if not hasattr(v, "val"))
            bound += eqn.outvars
            for body in jaxprs_in_params(eqn.params):
                check(getattr(body, "jaxpr", body))
        assert len(set(map(id, bound))) == len(bound)

    check(inlined.jaxpr)


def test_lines_are_those_of_the_calls():
    def function(x):
        x = jax.nn.relu(x)
        return jax.nn.relu(layer(x))

    start = function.__code__.co_firstlineno
    lines = [_compat.source_line(e) for e in inline_calls(jax.make_jaxpr(function)(X)).jaxpr.eqns]
    # one jaxpr of relu, traced once by JAX, reported at three lines
    inside = f"test_inline.py:{layer.__code__.co_firstlineno + 1} (layer)"
    assert lines[0] == f"test_inline.py:{start + 1} (function)"
    assert lines[-1] == f"test_inline.py:{start + 2} (function)"
    assert set(lines[1:-1]) == {inside}


def test_inlining_twice_changes_nothing():
    once = inline_calls(jax.make_jaxpr(FUNCTIONS["loops"])(X))
    assert str(inline_calls(once)) == str(once)


def test_ten_thousand_equations_are_quick():
    def function(x):
        for _ in range(700):
            x = layer(x)
        return x

    closed = jax.make_jaxpr(function)(X)
    start = time.process_time()
    inlined = inline_calls(closed)
    assert len(inlined.jaxpr.eqns) > 2000
    assert time.process_time() - start < 5


def test_lines_in_jitted_functions_of_jmpc_are_those_of_the_calls():
    """JAX traces `spread_bits` once; what stands at the second call is that line, not the first one."""

    def function(x):
        a = spread_bits(x, range(3))
        return a, spread_bits(x + x, range(3))

    start = function.__code__.co_firstlineno
    with jax.enable_x64(True):
        words = jax.ShapeDtypeStruct((3,), "uint64")
        equations_ = inline_calls(jax.make_jaxpr(function)(words)).jaxpr.eqns
    lines = [_compat.source_line(e) for e in equations_]
    assert set(lines) == {f"test_inline.py:{start + n} (function)" for n in (1, 2)}
    assert lines == sorted(lines) and lines.count(lines[0]) == lines.count(lines[-1]) - 1 > 1
