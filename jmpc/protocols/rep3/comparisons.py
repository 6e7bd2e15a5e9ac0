"""Signs, comparisons with public numbers, zero tests: bits of c + v, by carries of nibbles."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from jmpc.choreography.primitives import Group
from jmpc.kernels.bits import bit_at, high_half, low_half
from jmpc.kernels.nibbles import NIBBLE, low_nibbles, nibbles_for
from jmpc.kernels.prefix import tree_generate, tree_left, tree_propagate, tree_right, tree_width
from jmpc.protocols.base import RING_BITS, Array, Bits, Ring, as_word
from jmpc.protocols.rep3.cross_gate import Lanes, solo
from jmpc.protocols.rep3.nibble_gate import add_nibbles, equal_nibbles
from jmpc.protocols.rep3.products import ProductsMixin
from jmpc.protocols.rep3.roles import Roles
from jmpc.protocols.rep3.stacks import column, unstack


class ComparisonsMixin(ProductsMixin):
    """Round 1 is a nibble gate, further rounds are `and_`s: there it says what the parties see."""

    def sign(self, x: Ring, range_bits: int = RING_BITS) -> Bits:
        """[x < 0] for |x| < 2^(range_bits - 1). Rounds: 5, 632 bits.

        In general 1 + log2 n rounds and 34 n + 1 + 3 (2 n - 3) bits for n nibbles below the sign,
        a power of two: 4 rounds and 312 bits up to range_bits = 33, 3 and 152 up to 17.
        """
        return self._signs(x, [0], range_bits)[0]

    def less_than_each(self, x: Ring, thresholds: Sequence[int], range_bits: int = RING_BITS) -> list[Bits]:
        """[x < t] for each t, |x - t| < 2^(range_bits - 1). Rounds: 5, 632 bits, and 151 for each further threshold.

        Thresholds change c alone: C's lanes, which depend on v, are sent once for all. Up to range_bits = 33:
        4 rounds, 312 bits, and 71 for each further threshold.
        """
        return self._signs(x, thresholds, range_bits)

    def is_zero(self, x: Ring) -> Bits:
        """[x == 0], as [c == -v] for all nibbles and a tree of ands. Rounds: 5, 557 bits."""
        roles = self._roles()
        c, v = roles.split(x)
        same = equal_nibbles(roles, c, -v, nibbles_for(RING_BITS))
        while same.width > 1:
            same = self._and_halves(same)
        return same

    def _signs(self, x: Ring, thresholds: Sequence[int], range_bits: int) -> list[Bits]:
        """Bit range_bits - 1 of c - t plus v for all t: its own bits, and the carry from below."""
        roles, low = self._roles(), max(range_bits, 2) - 1
        c, v = roles.split(x)
        c = c[None] + column(np.array([as_word(-t) for t in thresholds], np.uint64), c.ndim)
        top = Bits(solo(roles, Group.XOR, Lanes(bit_at(v[None], low), 1), ab=bit_at(c, low)), 1)
        signs = self.xor(self._carry(roles, c, v, low), top)
        return [Bits(slots, 1) for slots in unstack(signs.slots, len(thresholds))]

    def _carry(self, roles: Roles, c: Array, v: Array, bits: int) -> Bits:
        """The carry out of the low `bits` bits of c + v, width 1; c may have one more axis, in front.

        The gate says of each nibble whether it generates (G) and whether it propagates (P) a carry,
        and each level of a tree makes one digit of two.
        """
        n = nibbles_for(bits)
        (g, p), _ = add_nibbles(roles, low_nibbles(c, bits), low_nibbles(v, bits), n, (NIBBLE,))
        while g.width > 1:
            g, p = self._tree_level(g, p)
        return g

    def _tree_level(self, g: Bits, p: Bits) -> tuple[Bits, Bits]:
        """Rounds: 1, for both products of all pairs of digits."""
        return _joined(g, self.and_(*_operands(g, p)))

    def _and_halves(self, x: Bits) -> Bits:
        """Words of half the width: the ands of neighbours, which are the even and the odd digits."""
        low = self.map_bits(lambda w: low_half(w, x.width), x, width=x.width // 2)
        high = self.map_bits(lambda w: high_half(w, x.width), x, width=x.width // 2)
        return self.and_(low, high)


@jax.jit
def _operands(g: Bits, p: Bits) -> tuple[Bits, Bits]:
    n = g.width
    left = tuple(tree_left(slot, n) for slot in p.slots)
    right = tuple(tree_right(*slots, n) for slots in zip(g.slots, p.slots, strict=True))
    return Bits(left, tree_width(n)), Bits(right, tree_width(n))


@jax.jit
def _joined(g: Bits, both: Bits) -> tuple[Bits, Bits]:
    n = g.width
    generate = tuple(tree_generate(*slots, n) for slots in zip(g.slots, both.slots, strict=True))
    return Bits(generate, n // 2), Bits(tuple(tree_propagate(slot, n) for slot in both.slots), n // 2)
