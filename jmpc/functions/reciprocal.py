"""Reciprocals and quotients.

x = m * 2^e by `normalize`; 1/m on [1/2, 1] is a Fourier gate whose angle is m itself, and the power of two is
a table of the secret exponent. A quotient multiplies its numerator by the power first, which loses nothing
however small the denominator is, and by 1/m afterwards: a * (1/b) would lose log2(1/b) bits.

Signs are free to choose: a negative denominator puts its sign on the table. Depths of the word method:
tables 14, sign 15, turn 15, gate 16, its truncation 17, last product 19; the numerator's truncated product
fits beside them. (Division by normalising first: Catrina and Saxena, "Secure computation with fixed-point
numbers", FC 2010; they then iterate, where a gate of one round stands here.)
"""

from __future__ import annotations

from dataclasses import replace

from jmpc.functions import coefficients as fitted
from jmpc.functions.normalize import (
    Exponents,
    Method,
    PowerOfTwo,
    known_exponents,
    normalize,
)
from jmpc.functions.series import GATE_SCALE, Bounds, check_fraction, choose, gate
from jmpc.protocols.base import Protocol, Ring

_RECIPROCAL = (fitted.RECIPROCAL, fitted.RECIPROCAL_FINE)

_WANTED_PRECISION = 22
_LEAST_PRECISION = 14
_MOST_PRECISION = 28  # the gate's noise is at 2^-24
_PRODUCT_BITS = 61  # what a truncation takes, without its last half
_GUARD = 6  # a numerator's truncation costs 2^-(_GUARD - 1) ulp of the quotient


def reciprocal(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    *,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """1/x for either sign.

    Domain: 2^-Q <= |x| with Q = min(f, 38 - f), so every x at f <= 19. 1/0 is 0, and so is 1/x for an x
    closer to 0 than that. Error: 2.2 ulp + 2^-22.5 |1/x| (f > 18: 2^-21.9). Rounds: 19, 8327 bits; 7687 where
    `bounds` exclude negative x. With narrow `bounds` (15 thresholds): 11, 5805 bits in [1, 256].

    Args:
      bounds: a promise about x. Positive bounds save bits, narrow ones save rounds; at f > 19 a lower
        bound trades precision, 60 - f + log2(bounds[0]) bits of it, for a wider range.
    """
    check_fraction(fraction)
    exponents = known_exponents(bounds, fraction)
    if exponents.zero:
        start = 2 * fraction - (_PRODUCT_BITS - 1) + _WANTED_PRECISION + exponents.signed
        low = min(max(exponents.low, start), exponents.high)
        exponents = replace(exponents, low=low)
    return inverse_of(protocol, x, fraction, exponents, method)


def inverse_of(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    exponents: Exponents,
    method: Method | None = None,
) -> Ring:
    """1/x for an x with known exponents."""
    # A signed x below the known exponents is let through one octave further down, see `normalize`.
    low = exponents.low - 1 if exponents.signed and exponents.low > 1 else exponents.low
    # |result| <= 2 * 2^(2f - low) is held at `precision` more bits below 2^61.
    precision = _PRODUCT_BITS - 1 - (2 * fraction - low)
    _check_precision(precision, f"1/x for |x| >= 2^{low - 1 - fraction}", fraction)
    precision = min(precision, _MOST_PRECISION)
    turn, (power,) = normalize(protocol, x, exponents, [PowerOfTwo(2 * fraction)], method)
    inverse = _inverse_mantissa(protocol, turn, fraction, precision)
    return protocol.truncate(protocol.multiply(inverse, power), precision)


def divide(
    protocol: Protocol,
    x: Ring,
    y: Ring,
    fraction: int,
    *,
    quotient_bits: int | None = None,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """x / y for both of either sign; shapes broadcast.

    Domain: |x / y| < 2^Q and |y| < 2^(61 - Q - f); x / 0 is 0, and so is the quotient by a larger y. By
    default Q = 33 - f: at f = 18 quotients up to 2^15 and denominators up to 2^28. Beyond |x / y| = 2^Q the
    result is garbage. Error: 2.2 ulp + 2^-21.3 |x / y|. Rounds: 19, 8606 bits; 11 with narrow bounds.

    Args:
      quotient_bits: Q; a quotient has a relative precision of min(28, 55 - Q - f) bits.
      bounds: a promise about y.
    """
    check_fraction(fraction)
    if quotient_bits is None:
        quotient_bits = 33 - fraction
    exponents = known_exponents(bounds, fraction)
    return ratio(protocol, x, y, fraction, quotient_bits, exponents, method)


def ratio(
    protocol: Protocol,
    x: Ring,
    y: Ring,
    out_fraction: int,
    quotient_bits: int,
    exponents: Exponents,
    method: Method | None = None,
) -> Ring:
    """x / y of two words at one scale, whichever it is, at scale 2^out_fraction."""
    # |x * 2^(top - e)| = |x / y| m 2^top is below 2^(quotient_bits + top).
    top = min(_PRODUCT_BITS - quotient_bits, 8 * (exponents.high // 8) + 7)
    kept = min(top, out_fraction + _GUARD)
    precision = _PRODUCT_BITS - quotient_bits - kept
    _check_precision(precision, f"a quotient below 2^{quotient_bits}", out_fraction)
    precision = min(precision, _MOST_PRECISION)
    turn, (power,) = normalize(protocol, y, exponents, [PowerOfTwo(top)], method)
    inverse = _inverse_mantissa(protocol, turn, out_fraction, precision)
    numerator = protocol.truncate(protocol.multiply(x, power), top - kept)
    return protocol.truncate(protocol.multiply(numerator, inverse), kept + precision - out_fraction)


def _inverse_mantissa(protocol: Protocol, turn: Ring, fraction: int, precision: int) -> Ring:
    """1/m in [1, 2] at `precision` bits. 2 rounds."""
    value = gate(protocol, turn, choose(_RECIPROCAL, fraction).series)
    return protocol.truncate(value, GATE_SCALE - precision)


def _check_precision(precision: int, what: str, fraction: int) -> None:
    if precision < _LEAST_PRECISION:
        raise ValueError(
            f"{what} leaves {precision} bits of precision at {fraction} fractional bits, at "
            f"least {_LEAST_PRECISION} are needed: use fewer fractional bits or a narrower range"
        )
