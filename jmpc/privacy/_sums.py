"""Sums and means over owners that are differentially private once they are opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmpc.api.functions import function
from jmpc.clipping import clip_norm
from jmpc.privacy._clipping import as_vector, like
from jmpc.privacy._gaussian import Gaussian
from jmpc.privacy._noise import add_noise


def private_sum(values: Mapping[str, Any] | Sequence[Any], mechanism: Gaussian) -> Any:
    """The sum of pytrees of real values, one of each owner: each clipped (`clip`), with noise (`add_noise`).

    Secret. To open it, and whatever is computed from it, in one run is one release of `mechanism`, whose `epsilon` says
    what that guarantees to every owner, whatever the others have shared. The noise is drawn anew in every run: opening
    the same value in another `jmpc.run` is another release, and so is repeating a run that failed after it began, since
    its receiver may have had the result. To use it in several runs, assign it to a variable.

    Args:
      values: of each owner a pytree of values, all of the same shapes; by its name, as `jmpc.gather` may return them,
        or in order.

    Raises:
      TypeError: for values that are not real, that differ in shape, or of no owner.
    """
    return add_noise(_clipped_sum(_trees(values), mechanism.clip), mechanism.standard_deviation)


def private_mean(values: Mapping[str, Any] | Sequence[Any], mechanism: Gaussian) -> Any:
    """The same, divided by the number of owners. A release in every run that opens it, as `private_sum`."""
    trees = _trees(values)
    return _divided(private_sum(trees, mechanism), len(trees))


def _trees(values: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
    return list(values.values()) if isinstance(values, Mapping) else list(values)


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
