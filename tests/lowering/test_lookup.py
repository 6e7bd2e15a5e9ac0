"""Reads and writes at secret positions, for every index: inside, from the end, and far outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from .helpers import plain, secure

X = np.arange(20, dtype=np.float32)
PLACES = np.array([-(2**31), -1000, -21, -20, -18, -5, -4, -1, 0, 3, 4, 16, 17, 19, 20, 100, 2**31 - 1], np.int32)
TABLE = X.reshape(5, 4)

ONE: dict[str, Callable[..., Any]] = {
    "index": lambda x, i: x[i],
    "row": lambda x, i: x.reshape(5, 4)[i],
    "row of booleans": lambda x, i: (x.reshape(5, 4) > 7)[i],
    "row of integers": lambda x, i: x.astype(int).reshape(5, 4)[i],
    "row of constants": lambda x, i: jnp.asarray(TABLE)[i] + x[0],
    "pair": lambda x, i: x.reshape(5, 4)[i, i],
    "of words": lambda x, i: x[(i ^ 21) ^ 21],  # shared by xor
    "of wrapped sums": lambda x, i: x[(i + 5) - 5],  # above the bits of its type the shares hold anything
    "narrow": lambda x, i: x[i.astype(jnp.int8) ^ 1],
    "unsigned": lambda x, i: x[i.astype(jnp.uint16)],
    "three": lambda x, i: x.reshape(2, 5, 2)[i, i, i],
    "three in a box": lambda x, i: lax.dynamic_slice(x.reshape(2, 5, 2), (i, i + 1, i - 1), (1, 2, 1)),
    "four": lambda x, i: x[:18].reshape(3, 2, 1, 3)[i, i, i, i],
    "pair with a public one between": lambda x, i: x.reshape(2, 2, 5)[i, 1, i],
    "pair, fill": lambda x, i: x.reshape(5, 4).at[i, i].get(mode="fill", fill_value=0),
    "pair, clip": lambda x, i: x.reshape(5, 4).at[i, i].get(mode="clip"),
    "pair of booleans": lambda x, i: (x.reshape(5, 4) > 7)[i, i],
    "pair of constants": lambda x, i: jnp.asarray(TABLE)[i, i] + x[0],
    "rows of a pair": lambda x, i: x.reshape(2, 2, 5)[i, i],
    "set a pair": lambda x, i: x.reshape(5, 4).at[i, i].set(7.0),
    "public row": lambda x, i: x.reshape(5, 4)[2, i],
    "public column": lambda x, i: x.reshape(5, 4)[i, 3],
    "each row": lambda x, i: x.reshape(5, 4)[jnp.arange(5), i],
    "slice": lambda x, i: lax.dynamic_slice(x, (i,), (4,)),
    "row slice": lambda x, i: lax.dynamic_slice(x.reshape(5, 4), (i, 1), (2, 2)),
    "beyond the end": lambda x, i: x.at[(i & 63) + 20].get(mode="fill", fill_value=7),
    "far beyond, clip": lambda x, i: x.at[(i & 63) + 25].get(mode="clip"),
    "far before, clip": lambda x, i: x.at[-(i & 63) - 25].get(mode="clip"),
    "clip": lambda x, i: jnp.take(x, i, mode="clip"),
    "fill": lambda x, i: jnp.nan_to_num(jnp.take(x, i, mode="fill")),
    "set": lambda x, i: x.at[i].set(7.0),
    "set far beyond": lambda x, i: x.at[(i & 63) + 25].set(7.0),
    "add": lambda x, i: x.at[i].add(7.0),
    "update": lambda x, i: lax.dynamic_update_slice(x, x[:4] + 50, (i,)),
}


@pytest.mark.parametrize("name", ONE)
def test_every_index(name: str) -> None:
    fn = jax.vmap(ONE[name], (None, 0))
    for a, b in zip(secure(fn, X, PLACES), plain(fn, X, PLACES), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = ONE[name]
    for i in (np.int32(-21), np.int32(-2), np.int32(18), np.int32(20)):
        for a, b in zip(secure(alone, X, i), plain(alone, X, i), strict=True):
            np.testing.assert_array_equal(a, b)


def test_sums_of_indices_from_the_end() -> None:
    """What is known of each index holds of no sum of them."""
    i = np.array([-1, 3], np.int32)

    def part(x: Any, i: Any) -> Any:
        anew = lax.scan(lambda c, _: (c + 0, None), i, None, length=1)[0]  # of which nothing is known
        start = jnp.sum(jnp.where(anew < 0, anew + 20, anew))
        return lax.dynamic_slice(x, (start,), (4,), allow_negative_indices=False)

    np.testing.assert_array_equal(*secure(part, X, i), *plain(part, X, i))


@pytest.mark.parametrize(
    "f",
    [
        lambda x, i: x.at[i[0]].set(x[0] / 64),
        lambda x, i: jnp.full(4, 50.0).at[i[0]].set(x[0]),
        lambda x, i: jnp.full(4, 50.0).at[i].set(x),
        lambda x, i: jnp.full(4, 50.0).at[i].min(x),
        lambda x, i: jnp.full(4, 50.0).at[i].multiply(x),
        lambda x, i: lax.dynamic_update_slice(jnp.full(4, 50.0), x, (i[0],)),
        lambda x, i: jnp.full(4, 50).at[i].min(x.astype(int)),
    ],
)
def test_what_is_known_of_updated_arrays_holds_of_both(f):
    """Comparisons, which are as narrow as what is known allows, with declared ranges far from what is updated."""
    x, i = np.float32([0.5, 1.25]), np.int32([1, 2])
    (got,) = secure(lambda x, i: f(x, i) > 25, x, i, range=(0, 2))
    np.testing.assert_array_equal(got, f(jnp.asarray(x), i) > 25)
