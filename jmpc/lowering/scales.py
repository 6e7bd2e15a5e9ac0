"""How large numbers are made before they are multiplied, so that products fit and roundings do not matter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scales:
    """For products below 2^(62 - 2 f), at f fraction bits; figures are those of f = 18."""

    fraction: int

    @property
    def _guard_bits(self) -> int:
        return max(0, (28 - self.fraction) // 2)

    @property
    def guard(self) -> float:
        """What has size 1 is held at so many times its size: 2^5."""
        return 2.0**self._guard_bits

    @property
    def one(self) -> float:
        """The square of a unit vector at `guard` times its size."""
        return self.guard**2

    @property
    def column(self) -> float:
        """Norms that can be squared, and whose inverses have some five bits: 2^12."""
        return 2.0 ** min(30 - self.fraction, self.fraction - 6)

    @property
    def matrix(self) -> float:
        """Norms of what is multiplied by unit vectors at `guard` times their size: 2^14."""
        return 2.0 ** min(32 - self.fraction, 58 - 2 * self.fraction - self._guard_bits)

    @property
    def square(self) -> float:
        """A square of which some four bits are known: 2^-14."""
        return 2.0 ** (4 - self.fraction)

    @property
    def nothing(self) -> float:
        """A sum of squares, before it is rounded, of numbers of a few ulp: 2^-30."""
        return 2.0 ** (6 - 2 * self.fraction)
