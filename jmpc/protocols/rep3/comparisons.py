"""Signs, comparisons with public numbers, zero tests: bits of c + v, by carries of nibbles."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jmpc.choreography.primitives import Group
from jmpc.protocols.base import RING_BITS, Array, Bits, Ring, as_word, word_dtype
from jmpc.protocols.rep3.cross_gate import Lanes, solo
from jmpc.protocols.rep3.nibble_gate import add_nibbles, equal_nibbles
from jmpc.protocols.rep3.nibbles import NIBBLE, low_nibbles, nibbles_for
from jmpc.protocols.rep3.products import ProductsMixin
from jmpc.protocols.rep3.roles import Roles
from jmpc.protocols.rep3.stacks import column, unstack


class ComparisonsMixin(ProductsMixin):
    """Round 1 is a nibble gate, the others are those of `and_`; see there for what the parties see."""

    def sign(self, x: Ring, range_bits: int = RING_BITS) -> Bits:
        """[x < 0] for |x| < 2^(range_bits - 1). Rounds: 5, 632 bits.

        In general 1 + log2 n rounds, 34 n + 1 + 3 (2 n - 3) bits for the n nibbles below the sign (a power of
        two): 4 rounds and 312 bits up to range_bits = 33, 3 rounds and 152 bits up to 17.
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
        c = c + column(np.array([as_word(-t) for t in thresholds], np.uint64), c.ndim)
        own, other = ((half >> np.uint64(low)).astype(np.uint8) & np.uint8(1) for half in (c, v))
        top = Bits(solo(roles, Group.XOR, Lanes(other, 1), ab=own), 1)
        signs = self.xor(self._carry(roles, c, v, low), top)
        return [Bits(slots, 1) for slots in unstack(signs.slots, len(thresholds))]

    def _carry(self, roles: Roles, c: Array, v: Array, bits: int) -> Bits:
        """The carry out of the low `bits` bits of c + v, width 1; c may have a further leading axis.

        Each nibble generates (G) or propagates (P) a carry; two neighbours do as G_high ^ P_high G_low and
        P_high P_low. G and P are stacked, so that a level is one `and_`.
        """
        n = nibbles_for(bits)
        stack, _ = add_nibbles(roles, low_nibbles(c, bits), low_nibbles(v, bits), n, [NIBBLE])
        while stack.width > 2:
            low, high = self._halves(stack)
            g_high, p_high = self._only_g(high), self.map(_twice_p, high)
            stack = self.xor(g_high, self.and_(p_high, low))
        if stack.width == 2:  # the last level needs no P
            (g_low, _), (g_high, p_high) = (self._rows(half) for half in self._halves(stack))
            return self.xor(g_high, self.and_(p_high, g_low))
        return self._rows(stack)[0]

    def _halves(self, x: Bits) -> tuple[Bits, Bits]:
        """The low and the high half of each word: the even and the odd nibbles, see `nibbles`."""
        width = x.width // 2
        narrow, mask = word_dtype(width), x.dtype.type((1 << width) - 1)
        low = self.map_bits(lambda w: (w & mask).astype(narrow), x, width=width)
        high = self.map_bits(lambda w: (w >> x.dtype.type(width)).astype(narrow), x, width=width)
        return low, high

    def _rows(self, stack: Bits) -> tuple[Bits, Bits]:
        g, p = (Bits(slots, stack.width) for slots in unstack(stack.slots, 2))
        return g, p

    def _only_g(self, stack: Bits) -> Bits:
        """G and, in place of P, zero."""
        keep = column(np.array([(1 << stack.width) - 1, 0], stack.dtype), stack.ndim - 1)
        return self.map(lambda w: w & keep, stack)


def _twice_p(stack: Array) -> Array:
    """P, in place of G too."""
    return jnp.broadcast_to(stack[1:], stack.shape)
