"""Logarithms: of the mantissa by a Fourier gate, plus the exponent, whose digits just add up."""

from __future__ import annotations

import math
from dataclasses import replace

from jmpc.functions import coefficients as fitted
from jmpc.functions.normalize import (
    Exponents,
    Linear,
    Method,
    known_exponents,
    normalize,
)
from jmpc.functions.series import GATE_SCALE, Bounds, check_fraction, choose, gate
from jmpc.protocols.base import Protocol, Ring

_LOG2 = (fitted.LOG2, fitted.LOG2_FINE)
_LOG = (fitted.LOG, fitted.LOG_FINE)
_SUM_SCALES = (28, 27)  # |ln x| < 44 at scale 2^55 stays below 2^62


def log2(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    *,
    out_fraction: int | None = None,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """log2(x) for x > 0.

    Domain: every positive x; log2(0) is -f, as at the smallest positive x; garbage for x < 0. Error:
    1.3 ulp. Rounds: 17, 7000 bits; 9 with narrow bounds.

    Args:
      out_fraction: fractional bits of the result.
      bounds: a promise about x.
    """
    check_fraction(fraction)
    out = fraction if out_fraction is None else out_fraction
    exponents = replace(known_exponents(bounds, fraction), signed=False)
    turn, (exponent,) = normalize(protocol, x, exponents, [Linear(2.0**out)], method)
    value = gate(protocol, turn, choose(_LOG2, out).series)
    mantissa = protocol.truncate(value, GATE_SCALE - out)
    return protocol.add_public(protocol.add(mantissa, exponent), -(fraction << out))


def log(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    *,
    in_fraction: int | None = None,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """The natural logarithm for x > 0.

    Domain: every positive x; log(0) is -f ln 2, as at the smallest positive x; garbage for x < 0. Error:
    1.6 ulp. Rounds: 17, 6980 bits; 9 with narrow bounds (5270 in [0.1, 10]).

    Args:
      in_fraction: fractional bits of x, where they are not those of the result.
      bounds: a promise about x.
    """
    check_fraction(fraction)
    in_fraction = fraction if in_fraction is None else in_fraction
    exponents = replace(known_exponents(bounds, in_fraction), signed=False)
    return log_of(protocol, x, fraction, in_fraction, exponents, method)


def log_of(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    in_fraction: int,
    exponents: Exponents,
    method: Method | None = None,
) -> Ring:
    """The natural logarithm of an x with known exponents."""
    scale = sum(_SUM_SCALES)
    unit = math.log(2.0) * 2.0**scale
    turn, (exponent,) = normalize(protocol, x, exponents, [Linear(unit)], method)
    # The exponent's part joins before the only truncation, since it is no multiple of an ulp.
    value = gate(protocol, turn, choose(_LOG, fraction).series, _SUM_SCALES)
    value = protocol.add_public(protocol.add(value, exponent), -round(unit * in_fraction))
    return protocol.truncate(value, scale - fraction)


def log1p(
    protocol: Protocol,
    x: Ring,
    fraction: int,
    *,
    bounds: Bounds | None = None,
    method: Method | None = None,
) -> Ring:
    """log(1 + x) for x > -1.

    Error: 1.6 ulp, absolute: for small x no better than `log`. Rounds: 17, 6980 bits.
    """
    check_fraction(fraction)
    shifted = None if bounds is None else (bounds[0] + 1, bounds[1] + 1)
    x = protocol.add_public(x, 1 << fraction)
    return log(protocol, x, fraction, bounds=shifted, method=method)
