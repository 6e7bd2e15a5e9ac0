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

        A nibble gate (736 bits) gives the bits S_b of c_i + v_i, by how much a carry in would change them (D_b),
        and carries and propagation, out of which four levels of a prefix network (192) make all carries.
        Bit b of nibble i is S_b ^ D_b carry_i; bit 0 always changes, so the last round (144) has three planes.
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
        """The carry out of each nibble: Sklansky's network, with one and of whole words a level.

        At level l the upper halves of blocks of 2^(l+1) nibbles (`upper`) take over what the last nibble of the
        lower half says. The product with its P goes to a place that its own G leaves free.
        """
        for level in range(DEPTH):
            step = np.uint16(N >> 1 >> level)  # how far apart the places of the two halves are
            upper = np.uint16(sum(1 << place for place in range(N) if place & int(step)))
            lower = ~upper

            def spread(w: Array, level: int = level) -> Array:
                return _from_last(w, level)

            left = self.map(lambda w: (w & upper) | ((w & upper) >> step), p)
            right = self.map(lambda a, b: spread(a) | (spread(b) >> step), g, p)
            both = self.and_(left, right)
            g = self.map(lambda a, z: a ^ (z & upper), g, both)
            p = self.map(lambda b, z: (b & lower) | ((z & lower) << step), p, both)
        return g


def _from_last(word: Array, level: int) -> Array:
    """The bit of the last nibble of each lower half, at all nibbles of the upper half."""
    half, places = 1 << level, N >> level  # nibbles i and i + 1 ... of a block: places reverse(i)
    last = sum(1 << reverse(i, DEPTH) for i in range(N) if i % (2 * half) == half - 1)
    down = (half - 1) * places
    copies = sum(1 << (k * places + places // 2) for k in range(half))
    return ((word & np.uint16(last)) >> np.uint16(down)) * np.uint16(copies)


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
