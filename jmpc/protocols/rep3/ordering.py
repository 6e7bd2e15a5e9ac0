"""A stable sort by words of few bits.

The unit vector of a word says which of the 2^width values it has. In the sequence of these bits, those of value 0
for all elements, then those of value 1, and so on, the number of ones before an element's own one is its place in
the order; a sum of products selects it. (As in Hamada, Ikarashi, Chida, Takahashi, "Oblivious radix sort", eprint
2014/121, for one bit.) All this is done mod 2^b for n <= 2^b elements, in words of b bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from jmpc.choreography.primitives import Group
from jmpc.protocols.base import Array, Bits, Ring, Sharing
from jmpc.protocols.rep3.products import ProductsMixin, cross_terms
from jmpc.protocols.rep3.roles import Slots
from jmpc.protocols.rep3.shuffling import ShufflingMixin, put
from jmpc.protocols.rep3.units import unit_vectors


class OrderingMixin(ProductsMixin, ShufflingMixin):
    """Sorts by a digit."""

    def sort_by_digit(self, digits: Bits, columns: Sequence[Sharing]) -> list[Any]:
        """The columns in the order of `digits`. Rounds: 4.

        With n <= 2^b elements of w bits: 4 2^w b bits for the unit vectors, 3 b for the product, 6 b for the places,
        and 4 words of each column. What the parties see is what they see in a cross gate, in a product, and in
        `permute`, on fresh masks.
        """
        bits = max(1, (digits.shape[-1] - 1).bit_length())
        return put(self._roles(), Group.RING, self._places(digits, bits), bits, columns)

    def _places(self, digits: Bits, bits: int) -> Slots:
        """Where each element goes, mod 2^bits. Rounds: 2."""
        values = 1 << digits.width
        units = unit_vectors(self._roles(), digits, values, bits)

        def flat(slot: Array) -> Array:
            """All elements of value 0, then all of value 1, ..."""
            return jnp.swapaxes(slot, -1, -2).reshape(*slot.shape[:-2], -1)

        def summed(x: Array, y: Array) -> Array:
            each = (x * y).reshape(*x.shape[:-1], values, -1)
            return jnp.sum(each, axis=-2, dtype=x.dtype)

        ones = Ring(tuple(map(flat, units)))
        before = Ring(tuple(lax.cumsum(slot, axis=slot.ndim - 1) - slot for slot in ones.slots))
        return self._reshare(cross_terms(Group.RING, ones, before, summed), Group.RING, bits)
