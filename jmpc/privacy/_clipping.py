"""The norm of what an owner brings, bounded under MPC."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jmpc.api.functions import function
from jmpc.clipping import clip_norm


@function
def clip(tree: Any, norm: float) -> Any:
    """A pytree of reals, as one vector x of n numbers, times min(1, norm / ||x||).

    The Euclidean norm of what comes out is at most `norm`, exactly, for whatever its owner has shared: as integers on
    the grid of fixed-point numbers, roundings included. An honest vector is within 2 steps in each element and 2^-19 of
    itself of what floating point gives, if the norm to clip to is taken sqrt(n) + 2 steps lower, which is what makes
    roundings fit; it loses a further 2^-26 of itself for each time that it is longer than that. One with an element of
    2^k steps or more, k = (62 - log2 n) / 2, counts as zeros: of 32 at 18 fractional bits for 30 000 numbers, 8 for a
    million.

    Rounds: 15 for up to 32 numbers, otherwise 10 + log2 n. Sends 133 bytes for each number, all servers together, and
    1.5 kB. Works on values, and in functions under `jmpc.function`, also under `jax.vmap`; has no derivative.

    Args:
      norm: a Python number, above 2 sqrt(n) steps, and below 2^k steps.

    Raises:
      TypeError: for leaves that are not real.
      TraceError: where it is run, if `norm` is outside these bounds.
    """
    leaves, structure = jax.tree.flatten(tree)
    if not leaves or (wrong := [x for x in leaves if not jnp.issubdtype(x.dtype, jnp.floating)]):
        raise TypeError(f"clip takes real arrays, not {wrong[0].dtype if leaves else 'an empty pytree'}")
    vector = clip_norm(as_vector(leaves), norm)
    return jax.tree.unflatten(structure, like(leaves, vector))


def as_vector(leaves: list[Any]) -> jax.Array:
    """All numbers of real arrays, one after the other."""
    common = jnp.result_type(*(x.dtype for x in leaves))
    return jnp.concatenate([jnp.ravel(x).astype(common) for x in leaves])


def like(leaves: list[Any], vector: jax.Array) -> list[jax.Array]:
    """The inverse of `as_vector`."""
    found, start = [], 0
    for leaf in leaves:
        found.append(vector[start : start + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
        start += leaf.size
    return found
