"""Square roots, their reciprocals, and Euclidean norms.

x = m * 2^e by `normalize`; the root of the mantissa is a Fourier gate of period 1 and the root of the power is
a table of half powers of two, so that odd exponents are no special case.
"""

from __future__ import annotations

import math
from dataclasses import replace

import jax.numpy as jnp

from jmpc.functions import coefficients as fitted
from jmpc.functions.normalize import (
    Exponents,
    HalfPower,
    Method,
    known_exponents,
    normalize,
)
from jmpc.functions.series import GATE_SCALE, Bounds, check_fraction, gate
from jmpc.protocols.base import Array, Product, Protocol, Ring

_LARGEST_EXPONENT = 62
_PRODUCT_BITS = 61
_PRECISION = 24  # the fits are good to 2^-24
_LEAST_PRECISION = 16
_SQRT_GUARD = 2
_RATIO_GUARD = 6  # a numerator's truncation costs 2^-(_RATIO_GUARD - 1) ulp of the quotient


def rsqrt(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    *,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """x^(-1/2) for x > 0.

    Domain: x >= 2^-f at f <= 23, x >= 2^(2f - 72) above; 0 for an x below (so 0 at 0), garbage for x < 0.
    Error: 2.2 ulp + 2^-22.8 x^(-1/2) (f > 18: 2^-21.4). Rounds: 19, 7528 bits; 11 with narrow bounds.

    Args:
      bounds: a promise about x; a negative lower end counts as 0.
    """
    check_fraction(fraction)
    exponents = _positive(bounds, fraction)
    if exponents.zero:
        low = min(max(exponents.low, 3 * fraction - 71), exponents.high)
        exponents = replace(exponents, low=low)
    # The largest result has these bits left over, for the precision of the gate and that of the table.
    largest = fraction + (fraction - exponents.low) / 2
    left = _PRODUCT_BITS - 0.5 - largest
    guard = max(3, min(10, math.floor(left) - _PRECISION))
    precision = min(_PRECISION, math.floor(left) - guard)
    _check_precision(precision, f"x^-1/2 for x >= 2^{exponents.low - 1 - fraction}", fraction)
    table = HalfPower(guard + 1.5 * fraction, -0.5, exponents)
    turn, (power,) = normalize(protocol, x, exponents, [table], method)
    value = gate(protocol, turn, fitted.RSQRT.series)
    root = protocol.truncate(value, GATE_SCALE - precision)
    return protocol.truncate(protocol.multiply(root, power), precision + guard)


def sqrt(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    *,
    in_fraction: int | None = None,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """x^(1/2) for x >= 0.

    Domain: 0 <= x < 2^(72 - 2f), 2^36 at f = 18, or as far as `bounds` say, at a relative precision of
    2^-(59 - f/2 - log2(bounds[1]) / 2); garbage for x < 0. Error: 2.2 ulp + 2^-22 x^(1/2).
    Rounds: 19, 7505 bits; 11 with narrow bounds.

    Args:
      in_fraction: fractional bits of x, for example 2f of an untruncated sum of squares.
      bounds: a promise about x, in real units; a negative lower end counts as 0.
    """
    check_fraction(fraction)
    in_fraction = fraction if in_fraction is None else in_fraction
    exponents = _positive(bounds, in_fraction)
    if bounds is None:
        exponents = replace(exponents, high=min(_LARGEST_EXPONENT, 72 - 2 * fraction + in_fraction))
    largest = _SQRT_GUARD + fraction + (exponents.high - in_fraction) / 2
    precision = min(_PRECISION, math.floor(_PRODUCT_BITS - largest))
    _check_precision(precision, f"sqrt(x) for x < 2^{exponents.high - in_fraction}", fraction)
    table = HalfPower(_SQRT_GUARD + fraction - in_fraction / 2, 0.5, exponents)
    turn, (power,) = normalize(protocol, x, exponents, [table], method)
    value = gate(protocol, turn, fitted.SQRT.series)
    root = protocol.truncate(value, GATE_SCALE - precision)
    return protocol.truncate(protocol.multiply(root, power), precision + _SQRT_GUARD)


def ratio_to_root(
    protocol: Protocol,
    x: Ring,
    y: Ring,
    fraction: int,
    *,
    quotient_bits: int | None = None,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """x / y^(1/2) for y > 0, without the error that x * y^(-1/2) has where y is large; shapes broadcast.

    Domain: |x / y^(1/2)| < 2^Q, with Q = 33 - f unless told; garbage beyond, and for y < 0. x / 0 is 0. Error:
    2.2 ulp + 2^-20.5 |x / y^(1/2)| + 2^-(60 - Q - f) |x|. Rounds: 19, 7777 bits; 11 with narrow bounds.

    Args:
      quotient_bits: Q.
      bounds: a promise about y; a negative lower end counts as 0.
    """
    check_fraction(fraction)
    quotient_bits = 33 - fraction if quotient_bits is None else quotient_bits
    exponents = _positive(bounds, fraction)
    # y = m 2^e in words: x 2^(scale - e/2) is q m^(1/2) 2^left for the quotient q, and m is in [1/2, 1].
    left = _PRODUCT_BITS - quotient_bits
    kept = fraction + _RATIO_GUARD
    precision = min(_PRECISION, left - 1 - kept)
    _check_precision(precision, f"a quotient below 2^{quotient_bits}", fraction)
    table = HalfPower(left - fraction / 2, -0.5, exponents)
    turn, (power,) = normalize(protocol, y, exponents, [table], method)
    root = protocol.truncate(gate(protocol, turn, fitted.RSQRT.series), GATE_SCALE - precision)
    numerator = protocol.truncate(protocol.multiply(x, power), left - kept)
    return protocol.truncate(protocol.multiply(numerator, root), kept + precision - fraction)


def norm(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    *,
    axis: int = -1,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """The Euclidean norm along `axis`, from the exact sum of squares.

    Domain: a sum of squares below 2^(62 - 2f), 2^26 at f = 18. Error: 2.2 ulp + 2^-21.5 norm.
    Rounds: 20, 7696 bits for each norm; `bounds` are those of the sum of squares.
    """

    def total(slot: Array) -> Array:
        return jnp.sum(slot, axis=axis)

    squares: Product = protocol.map(total, protocol.square(x))
    x = protocol.settle(squares)
    return sqrt(protocol, x, fraction, in_fraction=2 * fraction, bounds=bounds, method=method)


def _positive(bounds: Bounds | None, fraction: int) -> Exponents:
    return replace(known_exponents(bounds, fraction), signed=False)


def _check_precision(precision: int, what: str, fraction: int) -> None:
    if precision < _LEAST_PRECISION:
        raise ValueError(
            f"{what} leaves {precision} bits of precision at {fraction} fractional bits, at "
            f"least {_LEAST_PRECISION} are needed: use fewer fractional bits or a narrower range"
        )
