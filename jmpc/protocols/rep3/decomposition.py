"""All bits of a ring element at once."""

from __future__ import annotations

import numpy as np

from jmpc.protocols.base import RING_BITS, Array, Bits, Ring
from jmpc.protocols.rep3.nibble_gate import add_nibbles
from jmpc.protocols.rep3.nibbles import NIBBLE, nibbles_for, reverse, reverse_indices
from jmpc.protocols.rep3.products import ProductsMixin
from jmpc.protocols.rep3.stacks import unstack

N = nibbles_for(RING_BITS)
DEPTH = N.bit_length() - 1
PLANE = np.uint64(N)
THRICE = np.uint64(1 | 1 << N | 1 << 2 * N)


class DecompositionMixin(ProductsMixin):
    """`to_bits`: a nibble gate and ands, as in the comparisons."""

    def to_bits(self, x: Ring) -> Bits:
        """All 64 bits. Rounds: 6, 1072 bits.

        A nibble gate (736 bits) gives the bits S_b of all c_i + v_i, and whether a carry in would
        change them (D_b). From carries out and propagation, S_4 and D_4, four levels of a prefix
        network (192) make the carries in. Bit b is S_b ^ D_b carry; bit 0 always changes, so the
        last round (144) has three planes.
        """
        roles = self._roles()
        c, v = roles.split(x)
        stack, s0 = add_nibbles(roles, c, v, N, [NIBBLE, 2, 1, 3])
        g, s2, s1, s3, p, d2, d1, d3 = (Bits(slots, N) for slots in unstack(stack.slots, 8))
        carry = self.map(_to_next_nibble, self._prefix(g, p))
        thrice = self.map_bits(lambda w: w.astype(np.uint64) * THRICE, carry, width=3 * N)
        changes = self.map_bits(_join, d2, d1, d3, width=3 * N)
        changed = self.and_(thrice, changes)

        def assemble(low: Array, change: Array, *sums: Array) -> Array:
            planes = _join(low, *sums) ^ (change << PLANE)
            return reverse_indices(planes, RING_BITS)

        return self.map_bits(assemble, self.xor(s0, carry), changed, s2, s1, s3, width=RING_BITS)

    def _prefix(self, g: Bits, p: Bits) -> Bits:
        """The carry out of each nibble: Sklansky's network, with one `and_` of words for a
        level.
        """
        for level in range(DEPTH):
            g, p = self._prefix_level(g, p, level)
        return g

    def _prefix_level(self, g: Bits, p: Bits, level: int) -> tuple[Bits, Bits]:
        """In blocks of 2^(level+1) nibbles, the upper half takes in the last nibble of the lower.

        G ^= P G_last and P &= P_last at the upper places; the second product is made at the lower
        places, which have no use for one.
        """
        step = np.uint16(N >> 1 >> level)  # from a lower place to the upper one that pairs with it
        upper = np.uint16(sum(1 << place for place in range(N) if place & int(step)))
        lower = ~upper

        def operand(own: Array, other: Array) -> Array:
            return (own & upper) | ((other & upper) >> step)

        last = (self.map(lambda w: _from_last(w, level), x) for x in (g, p))
        both = self.and_(self.map(operand, p, p), self.map(operand, *last))
        g = self.map(lambda a, z: a ^ (z & upper), g, both)
        return g, self.map(lambda b, z: (b & lower) | ((z & lower) << step), p, both)


def _from_last(word: Array, level: int) -> Array:
    """The bit of the last nibble of each lower half, at all places of the upper half."""
    half = 1 << level
    last = sum(1 << reverse(i, DEPTH) for i in range(N) if i % (2 * half) == half - 1)
    # Places are reversed indices: those of one half of a block are N / half apart.
    apart = N >> level
    copies = sum(1 << (k * apart + apart // 2) for k in range(half))
    return ((word & np.uint16(last)) >> np.uint16((half - 1) * apart)) * np.uint16(copies)


def _to_next_nibble(word: Array) -> Array:
    """Moves the bit of nibble i to the place of nibble i + 1, for all i."""
    moves: dict[int, int] = {}
    for i in range(N - 1):
        here, there = reverse(i, DEPTH), reverse(i + 1, DEPTH)
        moves[there - here] = moves.get(there - here, 0) | 1 << here
    moved = np.uint16(0)
    for distance, places in moves.items():
        part = word & np.uint16(places)
        far = np.uint16(abs(distance))
        moved = moved | (part << far if distance > 0 else part >> far)
    return moved


def _join(*planes: Array) -> Array:
    """Planes side by side in one word, the first lowest."""
    word = np.uint64(0)
    for k, plane in enumerate(planes):
        word = word | (plane.astype(np.uint64) << np.uint64(k * N))
    return word
