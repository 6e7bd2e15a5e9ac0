"""Signs, comparisons with public numbers, zero tests: bits of c + v, by carries of nibbles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jmpc.choreography.primitives import Group
from jmpc.kernels.bits import low_mask
from jmpc.protocols.base import RING_BITS, Array, Bits, Ring, as_word, word_dtype
from jmpc.protocols.rep3.cross_gate import Lanes, solo
from jmpc.protocols.rep3.nibble_gate import add_nibbles, equal_nibbles
from jmpc.protocols.rep3.nibbles import NIBBLE, low_nibbles, nibbles_for
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

    def less_than_each(self, x: Ring, thresholds: Sequence[int]) -> list[Bits]:
        """[x < t] for each t. Rounds: 5, 632 bits, and 151 for each further threshold.

        Thresholds change c alone: C's lanes, which depend on v, are sent once for all.
        """
        return self._signs(x, thresholds, RING_BITS)

    def is_zero(self, x: Ring) -> Bits:
        """[x == 0], as [c == -v] for all nibbles and a tree of ands. Rounds: 5, 557 bits."""
        roles = self._roles()
        c, v = roles.split(x)
        same = equal_nibbles(roles, c, -v, nibbles_for(RING_BITS))
        while same.width > 1:
            same = self.and_(*self._halves(same))
        return same

    def _signs(self, x: Ring, thresholds: Sequence[int], range_bits: int) -> list[Bits]:
        """Bit range_bits - 1 of c - t plus v for all t: its own bits, and the carry from below."""
        roles, low = self._roles(), max(range_bits, 2) - 1
        c, v = roles.split(x)
        c = c[None] + column(np.array([as_word(-t) for t in thresholds], np.uint64), c.ndim)
        own, other = ((half >> np.uint64(low)).astype(np.uint8) & np.uint8(1) for half in (c, v[None]))
        top = Bits(solo(roles, Group.XOR, Lanes(other, 1), ab=own), 1)
        signs = self.xor(self._carry(roles, c, v, low), top)
        return [Bits(slots, 1) for slots in unstack(signs.slots, len(thresholds))]

    def _carry(self, roles: Roles, c: Array, v: Array, bits: int) -> Bits:
        """The carry out of the low `bits` bits of c + v, width 1; c may have a further leading
        axis.

        Each nibble generates (G) or propagates (P) a carry; two neighbours do as G_high ^ P_high
        G_low and P_high P_low. Both products of a level travel in one word.
        """
        n = nibbles_for(bits)
        stack, _ = add_nibbles(roles, low_nibbles(c, bits), low_nibbles(v, bits), n, [NIBBLE])
        g, p = (Bits(slots, n) for slots in unstack(stack.slots, 2))
        while g.width > 1:
            (g_low, g_high), (p_low, p_high) = self._halves(g), self._halves(p)
            if g.width == 2:  # the last level needs no P
                return self.xor(g_high, self.and_(p_high, g_low))
            both = self.and_(self._beside(p_high, p_high), self._beside(g_low, p_low))
            from_low, p = self._halves(both)
            g = self.xor(g_high, from_low)
        return g

    def _halves(self, x: Bits) -> tuple[Bits, Bits]:
        """The low and the high half of each word: the even and the odd nibbles, see `nibbles`."""
        width = x.width // 2
        narrow, mask = word_dtype(width), low_mask(width, x.dtype)
        low = self.map_bits(lambda w: (w & mask).astype(narrow), x, width=width)
        high = self.map_bits(lambda w: (w >> x.dtype.type(width)).astype(narrow), x, width=width)
        return low, high

    def _beside(self, low: Bits, high: Bits) -> Bits:
        """Words of twice the width."""
        width = low.width
        wide = word_dtype(2 * width)

        def join(a: Array, b: Array) -> Array:
            return a.astype(wide) | (b.astype(wide) << wide.type(width))

        return self.map_bits(join, low, high, width=2 * width)
