"""All bits of a ring element at once."""

from __future__ import annotations

import jax

from jmpc.kernels.bits import join, reverse_indices, shift_left
from jmpc.kernels.nibbles import NIBBLE, PLANES, nibbles_for
from jmpc.kernels.prefix import prefix_generate, prefix_left, prefix_propagate, prefix_right, to_next_digit
from jmpc.protocols.base import RING_BITS, Array, Bits, Ring
from jmpc.protocols.rep3.nibble_gate import add_nibbles
from jmpc.protocols.rep3.products import ProductsMixin

N = nibbles_for(RING_BITS)
DEPTH = N.bit_length() - 1


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
        outputs, s0 = add_nibbles(roles, c, v, N, (NIBBLE, *PLANES[1:]))
        g, s2, s1, s3, p, d2, d1, d3 = outputs
        for level in range(DEPTH):
            g, p = self._prefix_level(g, p, level)
        carry = self.map(lambda w: to_next_digit(w, N), g)
        thrice = self.map_bits(lambda w: join(w, w, w, width=N), carry, width=3 * N)
        changes = self.map_bits(lambda *d: join(*d, width=N), d2, d1, d3, width=3 * N)
        changed = self.and_(thrice, changes)

        return self.map_bits(_assemble, self.xor(s0, carry), changed, s2, s1, s3, width=RING_BITS)

    def _prefix_level(self, g: Bits, p: Bits, level: int) -> tuple[Bits, Bits]:
        """Rounds: 1, for both products of all digits that take one in."""
        left = self.map(lambda p: prefix_left(p, N, level), p)
        right = self.map(lambda g, p: prefix_right(g, p, N, level), g, p)
        both = self.and_(left, right)
        g = self.map(lambda g, z: prefix_generate(g, z, N, level), g, both)
        return g, self.map(lambda p, z: prefix_propagate(p, z, N, level), p, both)


@jax.jit
def _assemble(low: Array, change: Array, *sums: Array) -> Array:
    planes = join(low, *sums, width=N) ^ shift_left(change, N)
    return reverse_indices(planes, RING_BITS)
