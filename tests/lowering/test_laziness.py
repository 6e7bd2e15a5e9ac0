"""What is truncated, settled and compared, and how often."""

from __future__ import annotations

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.protocols.plain import Plain

from .helpers import ULP, lowered, plain, secure

X = np.array([[0.5, -1.25], [2.0, 0.75]], np.float32)
Y = np.array([[1.5, 0.25], [-0.75, 1.0]], np.float32)


class Counting(Plain):
    """Counts calls of the protocol, and remembers the range bits of comparisons."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "calls", collections.Counter())
        object.__setattr__(self, "range_bits", [])

    def truncate(self, x: Any, shift: int, *, signed: bool = True) -> Any:
        self.calls["truncate"] += 1
        self.calls["truncated elements"] += x.size
        return super().truncate(x, shift, signed=signed)

    def settle(self, x: Any) -> Any:
        self.calls["settle"] += 1
        return super().settle(x)

    def multiply(self, x: Any, y: Any, bilinear: Any = jnp.multiply) -> Any:
        self.calls["multiply"] += 1
        return super().multiply(x, y, bilinear)

    def sign(self, x: Any, range_bits: int = 64) -> Any:
        self.calls["sign"] += 1
        self.range_bits.append(range_bits)
        return super().sign(x, range_bits)

    def to_bits(self, x: Any) -> Any:
        self.calls["to_bits"] += 1
        return super().to_bits(x)


def counts(f, *args, **options) -> collections.Counter:
    counting = Counting()
    lowered(f, *args, protocol=counting, **options)
    return counting.calls


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x * y,
        lambda x, y: x * y + y * y,
        lambda x, y: x * y + x - 3.5,
        lambda x, y: x @ y + x,
        lambda x, y: jnp.sum(x * y, axis=0),
        lambda x, y: (x * y).T.reshape(4)[1:],
        lambda x, y: jnp.concatenate([x * y, x]),
        lambda x, y: x * y - y * x + jnp.zeros((2, 2)).at[0].add(x[0] * y[1]),
        lambda x, y: jnp.mean(x),
        lambda x, y: x * 0.3 + y * 0.7,
        lambda x, y: jnp.where(jnp.array([True, False]), x * y, y),
        lambda x, y: (x * y) * 0.5,
        lambda x, y: (x * y) / 4 - y * 3,
    ],
)
def test_one_truncation(f):
    assert counts(f, X, Y)["truncate"] == 1
    np.testing.assert_allclose(secure(f, X, Y)[0], plain(f, X, Y)[0], atol=2 * ULP)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x + y * 2 - 7,
        lambda x, y: jnp.where(x > 0, y, -y),
        lambda x, y: jax.nn.relu(x),
        lambda x, y: (x > y) * x,
        lambda x, y: x * 3 + jnp.sum(y),
        lambda x, y: jnp.sign(x) * jnp.array([2.0, 3.0]),
        lambda x, y: x * 0.5 > y,
        lambda x, y: x * y > 1,
        lambda x, y: jnp.sum(x > y) * 2,
        lambda x, y: (x.astype(np.int32) + 1) * y.astype(np.int32),
    ],
)
def test_no_truncation(f):
    assert counts(f, X, Y)["truncate"] == 0


def test_a_dot_of_a_dot_truncates_in_between():
    assert counts(lambda x, y: (x @ y) @ x, X, Y)["truncate"] == 2


def test_two_uses_share_one_truncation():
    def f(x, y):
        p = x * y
        return jnp.maximum(p, 0), p @ x, p * 2 + 1

    assert counts(f, X, Y)["truncate"] == 2  # p, which p * 2 may start from too, and p @ x


def test_what_was_truncated_for_one_use_is_not_truncated_again_for_a_sum():
    def f(x, y):
        p = x @ y
        return jnp.maximum(p, 0.5), p + y, jax.nn.softmax(p)

    def g(x, y):
        p = (x @ y) * 1.0
        return jnp.maximum(p, 0.5), p, jax.nn.softmax(p)

    assert counts(f, X, Y)["truncate"] == counts(g, X, Y)["truncate"]


def test_a_broadcast_product_is_truncated_before_it_is_broadcast():
    def f(x, y):
        return jnp.maximum(jnp.broadcast_to(jnp.sum(x * y), (2, 2)), y)

    assert counts(f, X, Y)["truncated elements"] == 1


def test_a_square_is_a_square():
    assert counts(lambda x, y: x * x + y**2 + jnp.square(x), X, Y)["multiply"] == 0


def test_relu_settles_once_and_compares_what_is_not_truncated():
    calls = counts(lambda x, y: jax.nn.relu(x @ y), X, Y)
    assert (calls["settle"], calls["sign"], calls["truncate"]) == (1, 1, 1)


def test_a_sum_is_truncated_after_it_is_summed():
    assert counts(lambda x, y: jnp.sum(x * y), X, Y)["truncated elements"] == 1


def test_division_by_a_broadcast_denominator_inverts_it_once():
    wide = counts(lambda x, y: x / jnp.broadcast_to(jnp.sum(y, axis=1, keepdims=True), (2, 2)), X, np.abs(Y))
    narrow = counts(lambda x, y: x / jnp.sum(y, axis=1, keepdims=True), X, np.abs(Y))
    assert wide == narrow


@pytest.mark.parametrize(("n", "truncations"), [(3, 1), (10, 1), (1000, 2), (4096, 1)])
@pytest.mark.parametrize("limit", [None, 2.0**10])
def test_a_mean_is_exact_to_an_ulp_or_two(n, truncations, limit):
    x = np.linspace(-900.0, 1000.0, n, dtype=np.float32)
    ranges = {"range": (-limit, limit)} if limit else {}
    assert counts(jnp.mean, x, **ranges)["truncate"] <= truncations
    (got,) = secure(jnp.mean, x, **ranges)
    exact = (np.round(np.float64(x) * 2**18) / 2**18).mean()
    ulps = 1 if limit else 64  # without a declared range the constant has a relative precision of 2^-20
    assert abs(got - exact) <= ulps * ULP + abs(exact) * 2.0**-23


def test_declared_ranges_narrow_comparisons():
    def bits(**options):
        counting = Counting()
        lowered(lambda x, y: x > y, X, Y, protocol=counting, **options)
        return counting.range_bits

    assert bits() == [41]  # |x - y| <= 2^21 by the default range
    assert bits(range=(-8.0, 8.0)) == [24]


def test_integers_are_extended_only_where_they_may_have_wrapped():
    x = np.array([3, -4], np.int32)
    assert counts(lambda x: x > 5, x)["to_bits"] == 0
    assert counts(lambda x: x + x > 5, x)["to_bits"] == 1
    assert counts(lambda x: x * 2 + x * x - 7, x)["to_bits"] == 0
    assert counts(lambda x: x + x > 5, x, range=(-100, 100))["to_bits"] == 0
    assert counts(lambda x: (x + x).astype(np.float32), x)["to_bits"] == 1


def test_softmax_costs_one_reciprocal_for_each_row():
    rows = counts(jax.nn.softmax, np.ones((4, 8), np.float32))
    assert rows["to_bits"] == 0  # thresholds, not a bit decomposition: the sum of 8 is in [1, 8]
