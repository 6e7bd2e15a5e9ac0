"""Powers with public integer exponents, by squaring, and with all other exponents, by logarithms."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from jmpc.functions.exponential import clamp, exp2_core, result_octaves
from jmpc.functions.logarithm import log2
from jmpc.functions.normalize import Method
from jmpc.functions.reciprocal import reciprocal
from jmpc.functions.series import Bounds, check_fraction
from jmpc.protocols.base import Protocol, Ring

_PRODUCT_SCALE = 36
_CORE_SCALE = 48
_LARGEST_WORD = 61
_LOG_BITS = 6  # |log2 x| < 2^6


def integer_power(protocol: Protocol, x: Ring, exponent: int, fraction: int) -> Ring:
    """x^n for a public integer n, for either sign of x; x^0 is 1. Of a negative n it is (1 / x)^-n.

    Domain: |x|^n < 2^(62 - 2f), and of a negative n the domain of `reciprocal`. Every product adds at most
    one ulp to the error it has from its factors, n |x|^(n - 1) times that of x (of 1 / x). Rounds: 2 for each bit of n
    after the first, and 19 more for a negative n.
    """
    if exponent < 0:
        return integer_power(protocol, reciprocal(protocol, x, fraction), -exponent, fraction)
    if exponent == 0:
        return protocol.constant(jnp.full(x.shape, 1 << fraction, np.uint64))
    power: Ring | None = None
    while True:
        if exponent & 1:
            power = x if power is None else _product(protocol, power, x, fraction)
        exponent >>= 1
        if not exponent:
            assert power is not None
            return power
        x = protocol.truncate(protocol.square(x), fraction)


def public_power(
    protocol: Protocol,
    x: Ring,
    exponent: float,
    fraction: int,
    *,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """x^y for x > 0 and a public y, as 2^(y log2 x) with a precise product.

    Domain: 0 < |y| < 2^12; the result is clamped like that of `exp`; 0^y is 0 for y > 0, 2^(-f y) for y < 0, and
    garbage comes out for x < 0. Error for |y| <= 1: 2 ulp + 2^-21.5 x^y; beyond, the relative error grows with y.
    Rounds: 24, 12257 bits (25, 13341 for 0 < y <= 1, where 0 is looked for); 8 less with narrow `bounds` of x.
    """
    log_fraction = _log_fraction(fraction)
    logarithm = log2(protocol, x, fraction, out_fraction=log_fraction, bounds=bounds, method=method)
    scale = _LARGEST_WORD - log_fraction - _LOG_BITS - math.frexp(exponent)[1]
    scale = min(scale, _LARGEST_WORD - _LOG_BITS - log_fraction)
    product = protocol.scale(logarithm, round(exponent * 2.0**scale))
    octave = protocol.truncate(product, log_fraction + scale - _PRODUCT_SCALE)
    result = _from_octave(protocol, octave, fraction)
    if exponent < 0 or exponent * fraction > fraction + 1 or (bounds is not None and bounds[0] > 0):
        return result
    (positive,) = protocol.less_than_each(protocol.negate(x), [0])
    return protocol.inject(positive, result)


def power(
    protocol: Protocol,
    x: Ring,
    y: Ring,
    fraction: int,
    *,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """x^y for x > 0, as 2^(y log2 x) with the logarithm at 28 bits (fewer for f > 24).

    Domain: |y log2 x| < 2^min(15, 33 - f), or 2^9 for f > 24; the result is clamped like that of `exp`;
    0^y is 2^(-f y), garbage for x < 0. Error for |y| <= 16: 2 ulp + 2^-19.5 x^y (the error of the
    logarithm, times y). Rounds: 25, 12343 bits; 17 with narrow `bounds` of x.
    """
    log_fraction = _log_fraction(fraction)
    logarithm = log2(protocol, x, fraction, out_fraction=log_fraction, bounds=bounds, method=method)
    product = protocol.multiply(logarithm, y)
    octave = protocol.truncate(product, log_fraction + fraction - _PRODUCT_SCALE)
    return _from_octave(protocol, octave, fraction)


def _log_fraction(fraction: int) -> int:
    check_fraction(fraction)
    return min(28, 52 - fraction)


def _from_octave(protocol: Protocol, octave: Ring, fraction: int) -> Ring:
    """2^y of a y with 36 fractional bits, clamped."""
    octaves = result_octaves(fraction)
    angle = protocol.scale(octave, 1 << (_CORE_SCALE - _PRODUCT_SCALE))
    core = exp2_core(protocol, angle, _CORE_SCALE, fraction, octaves)
    limits = [round(end * 2**_PRODUCT_SCALE) for end in (octaves.low, octaves.high)]
    below, not_above = protocol.less_than_each(octave, limits)
    return clamp(protocol, core, below, not_above, round(2.0 ** (octaves.high + fraction)))


def _product(protocol: Protocol, x: Ring, y: Ring, fraction: int) -> Ring:
    return protocol.truncate(protocol.multiply(x, y), fraction)
