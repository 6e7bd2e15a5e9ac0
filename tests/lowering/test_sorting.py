"""Sorts of every size, by counting and by digits; ties stay in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jmpc.choreography.releases import list_releases
from jmpc.lowering import sorting
from jmpc.protocols.rep3 import Rep3
from jmpc.protocols.rep3.shuffling import SHUFFLED

from .helpers import OWNER, checked, choreography, plain, released, secure

SERVERS = ("s0", "s1", "s2")


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Quarters with many ties."""
    return (np.random.default_rng(seed).integers(-8, 8, shape) / 4).astype(np.float32)


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few elements are many already."""
    monkeypatch.setattr(sorting, "_MOST_PAIRS", 1)
    monkeypatch.setattr(sorting, "_FEW", 1)


def check(x: np.ndarray, **options: Any) -> None:
    (ordered,) = secure(lambda x: jnp.sort(x, axis=-1), x, **options)
    np.testing.assert_array_equal(ordered, np.sort(x, axis=-1))
    places, first = secure(lambda x: (jnp.argsort(x, axis=-1), lax.top_k(x, min(3, x.shape[-1]))[1]), x, **options)
    np.testing.assert_array_equal(places, np.argsort(x, axis=-1, kind="stable"))
    np.testing.assert_array_equal(first, lax.top_k(jnp.asarray(x), min(3, x.shape[-1]))[1])


@pytest.mark.parametrize("n", [*range(1, 10), 16, 31])
def test_all_pairs(n: int) -> None:
    check(numbers(n, seed=n))
    check(np.zeros(n, np.float32))


@pytest.mark.parametrize("n", [2, 7, 13])
@pytest.mark.usefixtures("few_pairs")
def test_many_are_sorted_by_digits(n: int) -> None:
    check(numbers(2, n, seed=n))


@pytest.mark.usefixtures("few_pairs")
def test_digits_of_every_type() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.int8, np.uint8, np.int16, np.uint32, np.int32):
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, 20, dtype, endpoint=True)
        x[:4] = [info.max, info.min, info.max, info.min]
        check(x)
    check(rng.integers(0, 2, 20).astype(np.bool_))
    check(np.full(20, 3, np.int32))


@pytest.mark.usefixtures("few_pairs")
def test_digits_of_extreme_reals() -> None:
    most = 2.0**19
    check(np.array([most, -most, 0, 5, -5, most, -most, 2.0**-18, -(2.0**-18), 0], np.float32))
    check(np.array([0.5, -0.25, 1, -1, 0], np.float32), range=(-1, 1))


ORDERS: dict[str, Callable[..., Any]] = {
    "vector": lambda x, y: y[jnp.argsort(x)],
    "rows": lambda x, y: jnp.stack([x, y], 1)[jnp.argsort(x)],
    "columns": lambda x, y: jnp.take(jnp.stack([x, y, x]), jnp.argsort(x), axis=1),
    "descending": lambda x, y: y[jnp.argsort(x)[::-1]],
    "descending, stable": lambda x, y: y[jnp.argsort(x, descending=True)],
    "part": lambda x, y: (y > 0)[jnp.argsort(x)[3:6].reshape(3, 1)],
    "largest": lambda x, y: y[lax.top_k(x, 4)[1]],
    "clip": lambda x, y: jnp.take(y, jnp.argsort(x), mode="clip"),
    "lexsort": lambda x, y: x[jnp.lexsort((x, y))],
    "of others": lambda x, y: jnp.concatenate([y, x])[jnp.argsort(x)],
    "shifted": lambda x, y: y[jnp.argsort(x) - 2],
    "ranks": lambda x, y: y[jnp.argsort(jnp.argsort(x))],
}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.usefixtures("few_pairs")
def test_reads_in_an_order(name: str) -> None:
    x, y = numbers(12), numbers(12, seed=1)
    for got, expected in zip(secure(ORDERS[name], x, y), plain(ORDERS[name], x, y), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_64_bit_integers_of_any_size() -> None:
    """Whose differences leave the ring."""
    x = np.array([2**63 - 1, -(2**63), 0, -1, 2**63 - 1, 1, -(2**63) + 1], np.int64)
    with jax.enable_x64(True):
        check(x)
        check(x.view(np.uint64))


@pytest.mark.parametrize("many", [False, True])
def test_rows_and_payload(many: bool, request: pytest.FixtureRequest) -> None:
    if many:
        request.getfixturevalue("few_pairs")
    x, y = numbers(2, 3, 6), numbers(2, 3, 6, seed=1)
    key, carried, flags = secure(lambda x, y: lax.sort((x, y * 2, y > 0), num_keys=1, dimension=1), x, y)
    order = np.argsort(x, axis=1, kind="stable")
    np.testing.assert_array_equal(key, np.take_along_axis(x, order, 1))
    np.testing.assert_array_equal(carried, np.take_along_axis(y * 2, order, 1))
    np.testing.assert_array_equal(flags, np.take_along_axis(y > 0, order, 1))
    operands = lambda x, y: lax.sort((x > 0, y, x), num_keys=2, dimension=2)
    for got, expected in zip(secure(operands, x, y), lax.sort((x > 0, y, x), num_keys=2, dimension=2), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_nothing_is_sorted() -> None:
    (empty,) = secure(lambda x: jnp.sort(x, axis=0), np.zeros((0, 2), np.float32))
    assert empty.shape == (0, 2)


def test_the_whole_range_of_reals() -> None:
    x = np.array([2.0**19, -(2.0**19), 0, 5, -5, 2.0**19, 2.0**-18], np.float32)
    (ordered,) = secure(lambda x: jnp.sort(x * 32), x)
    np.testing.assert_array_equal(ordered, np.sort(x * 32))


@pytest.mark.parametrize("n", [6, 7])
def test_with_the_protocol(n: int) -> None:
    x = numbers(n)
    (places,) = checked(jnp.argsort, x, protocol=Rep3(SERVERS), players=SERVERS)
    np.testing.assert_array_equal(places, np.argsort(x, kind="stable"))


@pytest.mark.usefixtures("few_pairs")
def test_digits_with_the_protocol() -> None:
    x = numbers(3, 50)
    (places,) = checked(lambda x: jnp.argsort(x, axis=1), x, protocol=Rep3(SERVERS), players=SERVERS)
    np.testing.assert_array_equal(places, np.argsort(x, axis=1, kind="stable"))


def test_two_thousand() -> None:
    x = np.random.default_rng(0).permutation(2000).astype(np.int32)
    ordered, places = secure(lambda x: lax.sort((x, jnp.arange(2000)), num_keys=1), x)
    np.testing.assert_array_equal(ordered, np.arange(2000))
    np.testing.assert_array_equal(places, np.argsort(x))


def test_three_thousand() -> None:
    x = np.random.default_rng(0).integers(-1000, 1000, 3000).astype(np.int32)
    (places,) = secure(jnp.argsort, x)
    np.testing.assert_array_equal(places, np.argsort(x, kind="stable"))


STATISTICS = {
    "median": jnp.median,
    "percentile": lambda x: jnp.percentile(x, jnp.array([5.0, 95.0])),
    "unique": lambda x: jnp.unique(x, size=20, fill_value=0),
    "search": lambda x: jnp.searchsorted(jnp.sort(x), jnp.array([-0.5, 0.25])),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_of_three_thousand(name: str) -> None:
    f, x = STATISTICS[name], numbers(3000)
    for got, expected in zip(secure(f, x), plain(f, x), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_nobody_learns_the_order() -> None:
    """Nothing is opened but the result, and permutations of many elements which derive from nobody's input."""
    options = dict(protocol=Rep3(SERVERS), players=SERVERS)
    assert released(jax.jit(jnp.argsort), numbers(5), **options) == {"result"}
    traced, _ = choreography(jax.jit(jnp.argsort), numbers(2100), **options)
    opened = list_releases(traced, [frozenset({OWNER})])
    assert {r.why for r in opened if r.inputs} == {"result"}
    assert {r.why for r in opened if not r.inputs} == {SHUFFLED}
