"""What is known of a value's size holds for the words that stand for it, which are rounded, and not only for the value.

Comparisons and sorts look at no more bits than that: beyond it, the largest number would count as the smallest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import JaxprEqn

from jmpc.choreography.inline import inline_calls
from jmpc.lowering import Context, FixedPoint, lower
from jmpc.lowering.inputs import share
from jmpc.lowering.interval import Interval
from jmpc.protocols.plain import Plain

from .evaluation import evaluate
from .helpers import OWNER, ULP, secure

LIMIT = 0.7  # 183500.8 ulp
ENDS = (-LIMIT, LIMIT)
CONSTANTS = (60000.45 * ULP, 20000.55 * ULP, 250000.45 * ULP)


class Recording(Context):
    """Keeps the words of all results, and what is known of them."""

    def __init__(self) -> None:
        super().__init__(Plain())
        self.found: list[tuple[str, FixedPoint]] = []

    def lowered(self, eqn: JaxprEqn, operands: Sequence[Any], results: Sequence[Any]) -> None:
        self.found += [(eqn.primitive.name, x) for x in results if isinstance(x, FixedPoint)]


def beyond(f: Callable[..., Any], x: np.ndarray) -> list[tuple[str, Interval, int, int]]:
    """The results of primitives that are an ulp or more beyond their intervals."""
    context, known = Recording(), []

    def run(array: Any) -> list[Any]:
        lower(jax.make_jaxpr(f)(x), [share(context, array, OWNER, ENDS)], context)
        known[:] = [(name, value.interval, value.fraction) for name, value in context.found]
        return [value.sharing.slots[0] for _, value in context.found]

    with jax.enable_x64(True):
        closed = inline_calls(jax.make_jaxpr(run)(x))
    words = [np.asarray(w).astype(np.int64) for w in evaluate(closed, [x])]
    ends = [(int(w.min()), int(w.max())) for w in words]
    scaled = [(i.low * 2.0**f - 1, i.high * 2.0**f + 1) for _, i, f in known]
    rows = zip(known, ends, scaled, strict=True)
    return [(name, i, *end) for (name, i, _), end, (low, high) in rows if not low < end[0] <= end[1] < high]


A, B, C = (np.float32(c) for c in CONSTANTS)
FUNCTIONS = {
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(),
    "product": lambda x: x @ x.T,
    "powers": lambda x: x * x * x,
    "constants": lambda x: x * A + B * x,
    "constant summands": lambda x: (A - (x + A + A)).sum(),
    "concatenated": lambda x: jnp.concatenate([x, jnp.full((3, 20), C)], 1).sum(1),
    "clip": lambda x: jnp.clip(x, -A, B).sum(),
    "clamp": lambda x: lax.clamp(-A, x, B).sum(),
    "maximum": lambda x: jnp.maximum(x, C).sum(),
    "minimum": lambda x: jnp.minimum(x, -A).sum(),
    "choice of constants": lambda x: jnp.where(x > 0, np.full(4, A), B).sum(),
    "branch": lambda x: lax.cond(x[0, 0] > 0, lambda: A, lambda: B) * np.float32(100),
    "filled": lambda x: x.at[jnp.arange(9)].get(mode="fill", fill_value=C).sum(),
    "division": lambda x: x / np.float32(30),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("value", [-LIMIT, LIMIT])
def test_words_are_where_their_intervals_say(name: str, value: float) -> None:
    assert beyond(FUNCTIONS[name], np.full((3, 4), value, np.float32)) == []


def test_comparisons_at_the_end_of_a_range() -> None:
    """Where a bound just below a power of two is passed by rounding."""
    (positive,) = secure(lambda x: x * 0.09999998 > 0, np.array([10, -10], np.float32), range=(-10, 10))
    np.testing.assert_array_equal(positive, [True, False])
    small = np.float32(0.0199998)
    (largest,) = secure(lambda x: jnp.maximum(x.sum(), 0), np.full(100, small), range=(-float(small), float(small)))
    np.testing.assert_allclose(largest, 1.99998, atol=1e-4)


def test_a_sort_whose_least_key_is_the_least_that_is_possible() -> None:
    x = np.linspace(-LIMIT, LIMIT, 2100 * 6, dtype=np.float32).reshape(2100, 6)
    x[0] = -LIMIT
    (got,) = secure(lambda x: jnp.sort(x.sum(1)), x, range=ENDS)
    np.testing.assert_allclose(got, np.sort(x.sum(1)), atol=1e-4)
