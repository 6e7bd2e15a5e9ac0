"""Equations that are written out: collectives of `vmap`, ragged products; what stays is what devices do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_batching import custom_vmap
from jax.extend.core import jaxpr_as_fun

from jmpc.choreography.inline import inline_calls

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((3, 4)).astype(np.float32)


def mapped(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return jax.vmap(f, axis_name="i")


def inlined(f: Callable[..., Any], *args: Any) -> tuple[set[str], Sequence[Any]]:
    """The primitives of the inlined function, and what it gives."""
    closed = inline_calls(jax.make_jaxpr(f)(*args))
    return {eqn.primitive.name for eqn in closed.jaxpr.eqns}, jax.jit(jaxpr_as_fun(closed))(*jax.tree.leaves(args))


MAPPED: dict[str, Callable[[Any], Any]] = {
    "psum": lambda v: v - lax.psum(v, "i"),
    "pmean": lambda v: v - lax.pmean(v, "i"),
    "pmax": lambda v: lax.pmax(v, "i") * v,
    "pmin": lambda v: lax.pmin(v, "i") * v,
    "tuple": lambda v: lax.psum((v, v * v), "i"),
    "gradient": jax.grad(lambda v: jnp.sum(lax.pmean(v, "i") ** 2)),
}


@pytest.mark.parametrize("name", MAPPED)
def test_collectives_of_vmap(name: str) -> None:
    f = mapped(MAPPED[name])
    primitives, got = inlined(f, X)
    assert not {"psum", "psum_invariant", "pmax", "pmin"} & primitives
    for x, want in zip(got, jax.tree.leaves(f(X)), strict=True):
        np.testing.assert_allclose(x, want, rtol=1e-6, atol=1e-6)


@custom_vmap
def doubled(x):
    return x * 2


doubled.def_vmap(lambda size, batched, x: (x * 2, True))


def test_what_only_says_how_to_map_or_where_to_place() -> None:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    primitives, got = inlined(lambda x: lax.with_sharding_constraint(doubled(x), device), X)
    assert primitives == {"mul"}
    np.testing.assert_array_equal(got[0], X * 2)


SIZES = np.array([2, 0, 4], np.int32)
OF_EACH = np.array([[2, 0, 4], [1, 1, 1]], np.int32)
RAGGED = {
    "rows": ((6, 4), (3, 4, 5), SIZES, ((1,), (1,)), ((), ()), 0, (0,)),
    "fewer rows than there are": ((8, 4), (3, 4, 5), SIZES, ((1,), (1,)), ((), ()), 0, (0,)),
    "contracted": ((5, 6), (6, 7), SIZES, ((1,), (0,)), ((), ()), 1, ()),
    "batch": ((6, 4, 3), (6, 3, 5), SIZES, ((2,), (1,)), ((0,), (0,)), 0, ()),
    "rows of batches": ((2, 6, 4), (2, 3, 4, 5), OF_EACH, ((2,), (2,)), ((0,), (0,)), 1, (1,)),
    "rows of rows": ((2, 6, 4), (3, 4, 5), OF_EACH, ((2,), (1,)), ((), ()), 1, (0,)),
    "contracted of batches": ((2, 5, 6), (2, 6, 7), OF_EACH, ((2,), (1,)), ((0,), (0,)), 2, ()),
}


@pytest.mark.parametrize("name", RAGGED)
def test_ragged_products(name: str) -> None:
    lhs, rhs, sizes, contracting, batch, ragged, group = RAGGED[name]
    numbers = lax.RaggedDotDimensionNumbers((contracting, batch), [ragged], group)

    def f(x, y, n):
        return lax.ragged_dot_general(x, y, n, numbers)

    args = *(RANDOM.standard_normal(shape).astype(np.float32) for shape in (lhs, rhs)), sizes
    primitives, (got,) = inlined(f, *args)
    assert "ragged_dot_general" not in primitives
    np.testing.assert_allclose(got, f(*args), rtol=1e-5, atol=1e-5)
