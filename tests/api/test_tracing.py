"""Python that needs the numbers of a private value: the user's line and what to do instead, with JAX's own as cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import errors, lax

import jmpc
from jmpc.errors import TraceError

X = np.array([0.5, -1.25, 3.0], np.float32)


def branch(x):
    if x[0] > 0:
        return x
    return -x


def loop(x):
    while x.sum() < 10:
        x = x * 2
    return x


def asserted(x):
    assert (x > 0).all()
    return x


def largest(x):
    return max(x)


def number(x):
    return float(x[0]) * x


def integer(x):
    return x[: int(x[1])]


def item(x):
    return x * x[0].item()


def as_numpy(x):
    return np.asarray(x) + 1


def by_numpy(x):
    return np.sin(x) + np.array(x)


def counted(x):
    return sum(x for _ in range(x[0].astype(jnp.int32)))


def listed(x):
    return x * [1.0, 2.0][x[0].astype(jnp.int32)]


def masked(x):
    return x[x > 0]


def ranged(x):
    return jnp.arange(x[0])


CASES: list[tuple[Callable[..., Any], str, type[Exception]]] = [
    (branch, "Choose with jnp.where or jax.lax.cond", errors.TracerBoolConversionError),
    (loop, "jax.lax.fori_loop", errors.TracerBoolConversionError),
    (asserted, "combine conditions with & and", errors.TracerBoolConversionError),
    (largest, r"max\(\), sorted\(\)", errors.TracerBoolConversionError),
    (number, "Leave it an array", errors.ConcretizationTypeError),
    (integer, "public Python number", errors.ConcretizationTypeError),
    (item, r"\.item\(\)", errors.ConcretizationTypeError),
    (as_numpy, "the function of jax.numpy", errors.TracerArrayConversionError),
    (by_numpy, "the function of jax.numpy", errors.TracerArrayConversionError),
    (counted, "jax.lax.fori_loop", errors.TracerIntegerConversionError),
    (listed, r"jnp.stack\(items\)\[index\]", errors.TracerIntegerConversionError),
    (masked, r"jnp.where\(mask, x, 0\)", errors.NonConcreteBooleanIndexError),
    (ranged, "must be a public Python number", errors.ConcretizationTypeError),
]

AROUND: dict[str, Callable[..., Any]] = {
    "nothing": lambda f: f,
    "jit in jit": lambda f: jax.jit(lambda x: jax.jit(f)(x) + 1),
    "scan": lambda f: lambda x: lax.scan(lambda total, row: (total, f(x)), 0.0, x)[1],
    "cond": lambda f: lambda x: lax.cond(x[0] > 0, f, lambda x: x, x),
    "vmap": lambda f: lambda x: jax.vmap(f)(x[None]),
    "grad": lambda f: jax.grad(lambda x: jnp.sum(f(x))),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].__name__)
def test_what_needs_numbers(case: Any, around: Callable[..., Any]) -> None:
    f, advice, cause = case
    line = f.__code__.co_firstlineno + 1
    value = jmpc.define_private_input("alice", lambda: X)
    with pytest.raises(TraceError, match=rf"test_tracing.py:{line} \(.*\): .*{advice}") as caught:
        jmpc.function(around(f))(value)
    assert isinstance(caught.value.__cause__, cause)


def test_wherever_functions_are_traced() -> None:
    value = jmpc.define_private_input("alice", lambda: X)
    for trace in (
        lambda: jmpc.simulate(branch)(X),
        lambda: jmpc.explain(branch, X),
        lambda: jmpc.debug.compare(branch, X),
        lambda: jmpc.define_local_computation("alice", branch, value),
        lambda: jmpc.local_computation("alice")(branch)(value),
    ):
        with pytest.raises(TraceError, match=r"test_tracing.py:\d+ \(branch\): Python is to decide"):
            trace()


def test_a_librarys_code_is_reported_where_the_user_calls_it() -> None:
    def f(x):
        return jnp.unique(x)

    with pytest.raises(TraceError, match=r"test_tracing.py:\d+ \(f\): .*a shape"):
        jmpc.simulate(f)(X)


def test_other_errors_are_left_alone() -> None:
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        jmpc.simulate(f)(X)
    with pytest.raises(TypeError, match="Shapes must be"):
        jmpc.simulate(lambda x: jnp.zeros(x[0].astype(jnp.int32)))(X)
    assert jmpc.define_private_input("alice", lambda: np.asarray([float(jnp.ones(())), 2.0])).shape == (2,)


def test_operators_on_values_name_the_line_that_they_stand_in():
    x = jmpc.define_private_input("alice", lambda: jnp.array(X))
    with pytest.raises(TraceError, match=r"test_tracing.py:\d+ \(test_operators_on_values.*a mask is to pick elements"):
        x[x > 0]
