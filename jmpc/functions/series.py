"""Smooth functions on a bounded interval: one Fourier gate and one truncation, two rounds.

x becomes an angle by a free multiplication, theta = x * 2^(64 - f) / T mod 2^64, and the protocol evaluates
a fitted Fourier series at it. The wrap-around of the ring is the period of the series, so no range
reduction is needed, and a series stays bounded outside its interval: what comes out there is wrong, but
never leaves the ring, and can be multiplied by a zero bit.

Sines of shared angles by the addition theorem have been used for sigmoid (Zheng, Zhang, Wang, Wang, "Secure
softmax/sigmoid for machine-learning computation", ACSAC 2023) and, with a restricted range, for GELU.
"""

from __future__ import annotations

from dataclasses import dataclass

from jmpc.protocols.base import Protocol, Ring, Series

Bounds = tuple[float, float]
"""A promise about an operand in real units: bounds[0] <= x <= bounds[1]."""

TURN_BITS = 64
GATE_SCALE = 60
"""Scale of a gate's result; |values| < 4."""

LEAST_FRACTION = 8
MOST_FRACTION = 30


@dataclass(frozen=True)
class Fit:
    """A Fourier series fitted on [low, high] with the given period, all in real units.

    The function is 2^exponent times the series, whose values and coefficients are small. `error` is the largest
    deviation on the interval (absolute, or relative for reciprocals and roots); `most_fraction` is the largest
    number of fractional bits at which it is meant to be used.
    """

    period: float
    low: float
    high: float
    error: float
    most_fraction: int
    series: Series
    exponent: int = 0

    @property
    def limits(self) -> Bounds:
        """What the function lies between, also outside of the interval."""
        amplitude = sum(map(abs, (*self.series.cosines, *self.series.sines))) * 2.0**-30
        low, high = self.series.constant - amplitude, self.series.constant + amplitude
        return low * 2.0**self.exponent, high * 2.0**self.exponent


def choose(fits: tuple[Fit, ...], fraction: int) -> Fit:
    """The first of `fits`, cheapest first, that is good enough for `fraction` bits."""
    check_fraction(fraction)
    return next(fit for fit in fits if fraction <= fit.most_fraction)


def check_fraction(fraction: int) -> None:
    """The functions of this package are derived for 8 to 30 fractional bits."""
    if not LEAST_FRACTION <= fraction <= MOST_FRACTION:
        raise ValueError(
            f"functions work with {LEAST_FRACTION} to {MOST_FRACTION} fractional bits, not with {fraction}"
        )


def to_turn(protocol: Protocol, x: Ring, period: float, fraction: int) -> Ring:
    """The angle of x: one turn (2^64) for each `period`. No message.

    Rounding the multiplier moves the angle by at most |x| * 2^(f - 65) turns.
    """
    return protocol.scale(x, round(2.0 ** (TURN_BITS - fraction) / period))


def gate(protocol: Protocol, turn: Ring, series: Series, scales: tuple[int, int] = (30, 30)) -> Ring:
    """The series at an angle, at scale 2^sum(scales), not truncated. 1 round."""
    (value,) = protocol.fourier(turn, (series,), scales)
    return value


def smooth(protocol: Protocol, x: Ring, fit: Fit, fraction: int, out_fraction: int | None = None) -> Ring:
    """The fitted function at x, right on [low, high] of the fit, at `out_fraction` (default: the same).

    Error: the fit's, 2^-24 of noise in the gate, and one unit of the rounding. 2 rounds.
    """
    out_fraction = fraction if out_fraction is None else out_fraction
    value = gate(protocol, to_turn(protocol, x, fit.period, fraction), fit.series)
    return protocol.truncate(value, GATE_SCALE - fit.exponent - out_fraction)
