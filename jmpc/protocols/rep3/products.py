"""Products of replicated sharings (Araki, Furukawa, Lindell, Nof, Ohara: CCS 2016).

    x y = sum_i z_i,   z_i = x_i (y_i + y_{i+1}) + x_{i+1} y_i   known to P_i.

A `Product` is the three z_i, as they are: sums and linear maps of products stay local. One round
makes it a `Ring` again: P_i adds its summand of a sharing of zero and sends the result to P_{i-1}.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from jmpc.choreography.primitives import Group, draw, send_masked
from jmpc.protocols.base import Array, Bits, Product, Ring, Sharing
from jmpc.protocols.rep3.roles import Parties, Slots, combine, key

Bilinear = Callable[[Array, Array], Array]


class ProductsMixin(Parties):
    """Products in the ring and of bits."""

    def multiply(self, x: Ring, y: Ring, bilinear: Bilinear = jnp.multiply) -> Product:
        """Any bilinear map of x and y. No message; two calls of `bilinear` for each party."""
        return Product(cross_terms(Group.RING, x, y, bilinear))

    def square(self, x: Ring) -> Product:
        """x * x. No message; z_i = x_i (x_i + 2 x_{i+1}) is one product for each party."""
        x_0, x_1, x_2 = x.slots
        pairs = ((x_0, x_1), (x_1, x_2), (x_2, x_0))
        return Product(tuple(own * (own + right + right) for own, right in pairs))

    def settle(self, x: Product) -> Ring:
        """The product as a `Ring`. Rounds: 1, 192 bits.

        P_{i-1} sees z_i + F(K_i) - F(K_{i+1}). It lacks K_{i+1}, and sees this word nowhere else.
        """
        return Ring(self._reshare(x.slots, Group.RING, 64))

    def and_(self, x: Bits, y: Bits) -> Bits:
        """x & y. Rounds: 1, 3 bits for each bit. The argument is that of `settle`, with xor."""
        terms = cross_terms(Group.XOR, x, y, jnp.bitwise_and)
        return Bits(self._reshare(terms, Group.XOR, x.width), x.width)

    def _reshare(self, terms: Slots, group: Group, bits: int) -> Slots:
        """Replicated slots of the sum of `terms`, z_i known to P_i. Rounds: 1, `bits` a party."""
        p = self.parties
        masks = [draw(key(p, i), terms[i].shape, terms[i].dtype, bits=bits) for i in range(3)]
        slots = [
            send_masked(
                combine(group, terms[i], masks[i]),
                {p[i - 1]: masks[(i + 1) % 3]},
                p[i],
                group=group,
                bits=bits,
            )
            for i in range(3)
        ]
        return slots[0], slots[1], slots[2]


def cross_terms(group: Group, x: Sharing, y: Sharing, bilinear: Bilinear) -> Slots:
    """z_i of the bilinear map of x and y."""

    def term(i: int) -> Array:
        j = (i + 1) % 3
        left = bilinear(x.slots[i], combine(group, y.slots[i], y.slots[j]))
        return combine(group, left, bilinear(x.slots[j], y.slots[i]))

    return term(0), term(1), term(2)
