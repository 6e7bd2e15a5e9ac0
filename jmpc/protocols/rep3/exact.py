"""Truncation that rounds down, always."""

from __future__ import annotations

from jmpc.protocols.base import Ring
from jmpc.protocols.rep3.comparisons import ComparisonsMixin
from jmpc.protocols.rep3.conversions import ConversionsMixin
from jmpc.protocols.rep3.truncation import LIFT_BITS, TruncationMixin, truncate_ring


class ExactTruncationMixin(TruncationMixin, ComparisonsMixin, ConversionsMixin):
    """What `truncate` leaves out, the carry of the low parts, computed."""

    def truncate_exact(self, x: Ring, shift: int) -> Ring:
        """floor(x / 2^shift) for |x| < 2^62. Rounds: 2 + log2 n, for n nibbles in `shift` bits.

        5 rounds and 136 + 311 + 256 = 703 bits for a shift of 18: `truncate` without its offset,
        the carry of the low bits of the same two operands, and the conversion of that bit. What the
        parties see is what they see in these parts, on fresh masks.
        """
        if not 0 <= shift <= LIFT_BITS:
            raise ValueError(f"A truncation shifts by 0 to {LIFT_BITS} bits, not by {shift}")
        if shift == 0:
            return x
        roles = self._roles()
        floor = Ring(truncate_ring(roles, x, shift, 1 << LIFT_BITS, rounding=0))
        carry = self._carry(roles, *roles.split(x), shift)
        (unit,) = self.to_ring([carry], [[1]])
        return self.add(floor, unit)
