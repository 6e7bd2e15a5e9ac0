"""Rounds of functions on signed secrets of the full range, with rep3 and the default precision.

Reals are variables and results are kept as variables, so nothing is shared or revealed; so are integers, or they are
the inputs of a player, whose one round of sharing is taken off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jmpc


def rounds(f: Callable[..., Any], *args: Any, range: tuple[float, float] | None = None, variables: bool = False) -> int:
    """Of f(*args) itself; `variables`: integers are variables, too."""
    values = [_value(x, range, variables) for x in args]
    results = jax.tree.leaves(jmpc.function(f)(*values), is_leaf=lambda v: isinstance(v, jmpc.Value))
    kept = [jmpc.define_private_variable(np.zeros(r.shape, r.dtype)) for r in results]
    account = jmpc.explain([variable.assign(r) for variable, r in zip(kept, results, strict=True)])
    assert list(account.cost.rounds()) == [()], "a loop of unknown length"
    shared = range is not None or any(x.dtype != np.float32 for x in args) and not variables
    return account.rounds - shared


def _value(x: jax.ShapeDtypeStruct, range: tuple[float, float] | None, variables: bool) -> Any:
    zero = np.zeros(x.shape, x.dtype)
    if range is None and (variables or x.dtype == np.float32):
        return jmpc.define_private_variable(zero)
    return jmpc.define_private_input("alice", lambda: zero, types=x, **({"range": range} if range else {}))


def real(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.float32)


def index(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.int32)


def layer_norm(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(jnp.square(x - mean).mean(-1, keepdims=True) + 1e-5)


def layer_norm_by_root(x):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


ELEMENTWISE: dict[str, tuple[Callable[..., Any], int]] = {
    "sigmoid": (jax.nn.sigmoid, 6),
    "tanh": (jnp.tanh, 6),
    "gelu": (jax.nn.gelu, 6),
    "exact gelu": (lambda x: jax.nn.gelu(x, approximate=False), 6),
    "silu": (jax.nn.silu, 6),
    "exp": (jnp.exp, 6),
    "reciprocal": (lambda x: 1 / x, 19),
    "divide": (lambda x: x / x[::-1], 19),
    "sqrt": (jnp.sqrt, 19),
    "rsqrt": (lax.rsqrt, 19),
    "log": (jnp.log, 17),
    "relu": (jax.nn.relu, 6),
    "power": (lambda x: x ** x[::-1], 32),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str) -> None:
    f, most = ELEMENTWISE[name]
    assert rounds(f, real(8)) <= most


@pytest.mark.parametrize("f", [lambda x: 1 / x, jnp.sqrt, lax.rsqrt, jnp.log])
def test_declared_range(f: Callable[..., Any]) -> None:
    assert rounds(f, real(8), range=(0.01, 100.0)) <= 12


ALONG_AXES: dict[str, tuple[Callable[..., Any], tuple[int, ...], int]] = {
    "softmax over 10": (jax.nn.softmax, (4, 10), 41),
    "max over 100": (lambda x: x.max(-1), (4, 100), 42),
    "argmax over 10": (lambda x: x.argmax(-1), (4, 10), 24),
    "layer norm": (layer_norm, (4, 64), 24),
    "standardize": (jax.nn.standardize, (4, 64), 25),
    "layer norm by a root": (layer_norm_by_root, (4, 64), 28),
    "sort of 100": (jnp.sort, (100,), 8),
    "argsort of 2000": (jnp.argsort, (2000,), 8),
    "the largest of 100": (lambda x: lax.top_k(x, 5), (3, 100), 8),
    "sort of 2049": (jnp.sort, (2049,), 74),
    "argsort of 10000": (jnp.argsort, (10_000,), 74),
    "the largest of 10000": (lambda x: lax.top_k(x, 5), (10_000,), 74),
    "median of 10000": (jnp.median, (10_000,), 80),
}


@pytest.mark.parametrize("name", ALONG_AXES)
def test_along_axes(name: str) -> None:
    f, shape, most = ALONG_AXES[name]
    assert rounds(f, real(*shape)) <= most


@pytest.mark.parametrize(
    ("dtype", "most"), [(np.int8, 10 + 4 * 2), (np.int32, 10 + 4 * 8), (np.uint16, 10 + 4 * 4), (np.bool_, 4 + 4)]
)
def test_sort_of_few_bits(dtype: type, most: int) -> None:
    """6 rounds for the bits of the keys unless they are bits, 4 for each 4 bits, and 4 in the end."""
    assert rounds(jnp.sort, jax.ShapeDtypeStruct((3000,), dtype), variables=True) <= most


def test_sort_of_declared_range() -> None:
    assert rounds(jnp.sort, real(3000), range=(0, 4095 / 2**18)) <= 10 + 4 * 3
    assert rounds(lambda x, y: lax.sort((x, y, x), num_keys=2), *[real(3000)] * 2, range=(0, 4095 / 2**18)) <= 10 + 24


GATHERS: dict[str, tuple[Callable[..., Any], int]] = {
    "index": (lambda x, i: x[i], 3),
    "take": (lambda x, i: jnp.take(x, i, axis=0), 3),
    "clip": (lambda x, i: jnp.take(x, i, axis=0, mode="clip"), 3),
    "columns": (lambda x, i: x[:, i], 3),
    "labels": (lambda x, i: jnp.take_along_axis(x[:7], i[:, None], axis=1), 3),
    "slice": (lambda x, i: lax.dynamic_slice_in_dim(x, i[0], 5), 3),
    "batch of slices": (lambda x, i: jax.vmap(lambda j: lax.dynamic_slice_in_dim(x, j, 5))(i), 3),
    "pair": (lambda x, i: x[i, i], 4),
    "pair, fill": (lambda x, i: x.at[i, i].get(mode="fill", fill_value=0), 4),
    "pair, promised": (lambda x, i: x.at[i, i].get(mode="promise_in_bounds"), 4),
    "box": (lambda x, i: lax.dynamic_slice(x, (i[0], i[1]), (3, 2)), 4),
    "three": (lambda x, i: x.reshape(4, 5, 4)[i, i, i], 5),
    "four": (lambda x, i: x.reshape(4, 5, 2, 2)[i, i, i, i], 5),
}


@pytest.mark.parametrize("variables", [False, True])
@pytest.mark.parametrize("name", GATHERS)
def test_gather(name: str, variables: bool) -> None:
    f, most = GATHERS[name]
    assert rounds(f, real(20, 4), index(7), variables=variables) <= most


SCATTERS: dict[str, tuple[Callable[..., Any], int]] = {
    "add": (lambda x, i: x.at[i].add(1.0), 4),
    "set one": (lambda x, i: x.at[i[0]].set(1.0), 4),
    "add to pairs": (lambda x, i: x.at[i, i].add(1.0), 5),
    "update a box": (lambda x, i: lax.dynamic_update_slice(x, x[:3, :2], (i[0], i[1])), 5),
}


@pytest.mark.parametrize("variables", [False, True])
@pytest.mark.parametrize("name", SCATTERS)
def test_scatter(name: str, variables: bool) -> None:
    f, most = SCATTERS[name]
    assert rounds(f, real(20, 4), index(7), variables=variables) <= most


def test_known_positions() -> None:
    """Nothing to compare: a unit vector and a product; after an argmax, too."""
    known = rounds(lambda x: x[jnp.argmax(x[:, 0])], real(10, 4)) - rounds(lambda x: jnp.argmax(x[:, 0]), real(10, 4))
    assert known == 2


def test_batched_products_are_as_deep_as_one() -> None:
    def heads(q, k):
        return jnp.einsum("bhqd,bhkd->bhqk", q, k)

    assert rounds(jnp.matmul, real(6, 4), real(4, 6)) == 2
    assert rounds(heads, real(2, 12, 6, 4), real(2, 12, 6, 4)) == 2
