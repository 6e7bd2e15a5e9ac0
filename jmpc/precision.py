"""How many fractional bits a computation's fixed-point numbers have."""

from __future__ import annotations

from dataclasses import dataclass

LOWEST, USUAL, HIGHEST = 8, 18, 30


@dataclass(frozen=True)
class Precision:
    """How reals become integers: x is stored as round(x * 2^fraction).

    Accepted wherever a number of fractional bits is.

    Args:
      fraction: the number of fractional bits, 8 to 30.

    Raises:
      ValueError: for any other number.
    """

    fraction: int = USUAL

    def __post_init__(self) -> None:
        if type(self.fraction) is not int or not LOWEST <= self.fraction <= HIGHEST:
            raise ValueError(
                f"a precision of {self.fraction!r} fractional bits: between {LOWEST} and {HIGHEST} are possible, "
                f"{USUAL} is usual"
            )

    @classmethod
    def of(cls, precision: int | Precision) -> Precision:
        """The precision that is given as a number of fractional bits, or as itself."""
        return precision if isinstance(precision, Precision) else cls(precision)

    @property
    def step(self) -> float:
        """The distance of neighbouring numbers, an ulp."""
        return 2.0**-self.fraction
