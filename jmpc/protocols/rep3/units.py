"""Unit vectors of a shared number: C's unit vector of v, moved by c, in one cross gate.

To move the elements of a vector is a linear map, which A and B apply to masked lanes: a rotation by c
where the number is c + v mod n, and where it is c ^ v an exchange of halves, of quarters, ... for the
ones of c. Rounds: 1, 4 n elements for each number. C receives nothing, A and B see lanes and outputs
masked under keys that they lack.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jmpc.choreography.primitives import Group, public
from jmpc.kernels.bits import word_dtype
from jmpc.protocols.base import RING_BITS, Array, Bits, Ring
from jmpc.protocols.rep3.cross_gate import Lanes, cross
from jmpc.protocols.rep3.roles import Roles, Slots

Move = Callable[[Array, Array, int], Array]


def unit_vectors(roles: Roles, x: Ring | Bits, n: int, bits: int) -> Slots:
    """The unit vectors of x mod n = 2^k on a new last axis, shared mod 2^bits."""
    if isinstance(x, Bits):
        c, v = (half.astype(np.uint64) for half in roles.split(x, Group.XOR))
        return _moved_units(roles, c, v, n, bits, _exchange)
    return _moved_units(roles, *roles.split(x), n, bits, _rotate)


def rotated_units(roles: Roles, c: Array, v: Array, n: int) -> Slots:
    """The unit vectors of (c + v) mod n."""
    return _moved_units(roles, c, v, n, RING_BITS, _rotate)


def _moved_units(roles: Roles, c: Array, v: Array, n: int, bits: int, move: Move) -> Slots:
    places = public(np.arange(n, dtype=np.uint64).reshape((1,) * v.ndim + (n,)))
    own = ((v & np.uint64(n - 1))[..., None] == places).astype(word_dtype(bits))
    slots, _ = cross(roles, Group.RING, [Lanes(own, bits)], lambda m: move(m, c, n), bits=bits)
    return slots


def _rotate(vectors: Array, by: Array, n: int) -> Array:
    """out[..., j] = vectors[..., (j - by) mod n]: log2(n) conditional rotations, no gather by
    data.
    """
    return _in_steps(vectors, by, n, lambda x, step: jnp.roll(x, step, axis=-1))


def _exchange(vectors: Array, by: Array, n: int) -> Array:
    """out[..., j] = vectors[..., j ^ (by mod n)], as `_rotate`."""

    def swapped(x: Array, step: int) -> Array:
        pairs = x.reshape(*x.shape[:-1], n // (2 * step), 2, step)
        return jnp.flip(pairs, axis=-2).reshape(x.shape)

    return _in_steps(vectors, by, n, swapped)


def _in_steps(vectors: Array, by: Array, n: int, moved: Callable[[Array, int], Array]) -> Array:
    step = 1
    while step < n:
        there = ((by & np.uint64(step)) != np.uint64(0))[..., None]
        vectors = jnp.where(there, moved(vectors, step), vectors)
        step *= 2
    return vectors
