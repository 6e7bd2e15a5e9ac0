"""Sums and means over owners that are differentially private once they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmpc.api.functions import function
from jmpc.clipping import clip_norm
from jmpc.privacy._clipping import as_vector, like
from jmpc.privacy._gaussian import Gaussian
from jmpc.privacy._noise import add_noise


def private_sum(values: Sequence[Any], mechanism: Gaussian) -> Any:
    """The sum of pytrees of real values, one of each owner: each clipped (`clip`), with noise (`add_noise`).

    Secret; to open it, and whatever is computed from it, is one release of `mechanism`, whose `epsilon` says what that
    guarantees to every owner, whatever the others have shared.
    """
    return add_noise(_clipped_sum(list(values), mechanism.clip), mechanism.standard_deviation)


def private_mean(values: Sequence[Any], mechanism: Gaussian) -> Any:
    """The same, divided by the number of owners."""
    values = list(values)
    return _divided(private_sum(values, mechanism), len(values))


@function
def _clipped_sum(trees: list[Any], norm: float) -> Any:
    rows = [jax.tree.leaves(tree) for tree in trees]
    _check_alike(trees)
    clipped = clip_norm(jnp.stack([as_vector(row) for row in rows]), norm)  # all rows in the same rounds
    total = jnp.sum(clipped, axis=0)
    return jax.tree.unflatten(jax.tree.structure(trees[0]), like(rows[0], total))


@function
def _divided(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda x: x / count, tree)


def _check_alike(trees: list[Any]) -> None:
    if not trees or not jax.tree.leaves(trees[0]):
        raise TypeError("a private sum is over one pytree of real values for each owner")
    kinds = [jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree) for tree in trees]
    for index, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise TypeError(f"all owners bring the same: that of owner 0 is {kinds[0]}, of owner {index} {kind}")
    if wrong := [x for x in jax.tree.leaves(trees[0]) if not jnp.issubdtype(x.dtype, jnp.floating)]:
        raise TypeError(f"a private sum is over reals, not {wrong[0].dtype}")
