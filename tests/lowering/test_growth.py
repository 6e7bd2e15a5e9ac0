"""What a small function becomes stays small however large its arrays are: in equations, and in constants made for it.

A node lowers what somebody else has written, and looks at the size of the result only when it has it.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jmpc.choreography.holders import all_equations
from jmpc.choreography.inline import inline_calls
from jmpc.lowering import Context, lower
from jmpc.lowering.inputs import share
from jmpc.protocols.plain import Plain

from .helpers import OWNER

SMALL, LARGE = 1 << 13, 1 << 17
Growing = Callable[[jax.Array, int], jax.Array]


def lowered_size(f: Growing, n: int, most: int = 1 << 40) -> tuple[int, int]:
    """Equations, and bytes of constants, at `most`, of f(x, n) for a secret x of 4 elements."""
    made = 0

    def watch(nbytes: int) -> None:
        nonlocal made
        made += nbytes
        if made > most:
            raise MemoryError

    def run(array: jax.Array) -> list[jax.Array]:
        context = Context(Plain(), watch=watch)
        values = lower(closed, [share(context, array, OWNER)], context)
        return [slot for value in values for slot in context.ring(value).slots]

    x = np.zeros(4, np.float32)
    closed = inline_calls(jax.make_jaxpr(lambda x: f(x, n))(x))
    with jax.enable_x64(True):
        traced = inline_calls(jax.make_jaxpr(run)(x))
    return sum(1 for _ in all_equations(traced.jaxpr)), made


def wide(x: jax.Array, n: int) -> jax.Array:
    return jnp.broadcast_to(x, (n // 4, 4)).reshape(-1)


def ordered_rows(x: jax.Array, n: int) -> jax.Array:
    order = jnp.argsort(jnp.broadcast_to(x[:1], (2100,)))
    return jnp.broadcast_to(x[1:2], (2100, n // 64))[order]


FUNCTIONS: dict[str, Growing] = {
    "maximum of a window": lambda x, n: lax.reduce_window(wide(x, n), -np.inf, lax.max, (n,), (1,), "VALID"),
    "product in a window": lambda x, n: lax.reduce_window(wide(x, n), 1.0, lax.mul, (n,), (1,), "VALID"),
    "derivative of a maximum": lambda x, n: jax.grad(
        lambda y: lax.reduce_window(wide(y, n), -jnp.inf, lax.max, (n // 2,), (n // 2,), "VALID").sum()
    )(x),
    "pivots of a column": lambda x, n: lax.linalg.lu(wide(x, n)[:, None])[0],
    "permutation of pivots": lambda x, n: lax.linalg.lu_pivots_to_permutation(x.astype(np.int32), n),
    "rows in an order": ordered_rows,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_large_array_takes_few_more_equations_and_constants_of_its_size(name: str) -> None:
    """What is combined in halves takes one level more for twice the size, and windows say where their elements are."""
    small, large = (lowered_size(FUNCTIONS[name], n) for n in (SMALL, LARGE))
    assert large[0] < 2 * small[0] < 20_000
    assert large[1] <= 32 * LARGE


def test_what_is_made_for_each_update_is_refused_before_it_is_made() -> None:
    def updates(x: jax.Array, n: int) -> jax.Array:
        places = jnp.broadcast_to(x[:1].astype(np.int32), (n // 64,))
        return wide(x, n).at[places].multiply(2.0)

    tracemalloc.start()
    with pytest.raises(MemoryError):
        lowered_size(updates, LARGE, most=1 << 28)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 28
