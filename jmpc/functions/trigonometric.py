"""Sine, cosine, tangent and arctangents.

Angles need no range reduction: a turn is a whole power of two in the ring, and 2^64 is a whole number of turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jmpc.functions import coefficients as fitted
from jmpc.functions.comparison import flip
from jmpc.functions.normalize import Exponents, Method
from jmpc.functions.reciprocal import inverse_of, ratio
from jmpc.functions.series import GATE_SCALE, check_fraction, choose, smooth, to_turn
from jmpc.protocols.base import Bits, Protocol, Ring, Series

_ONE = 1 << 30
_SINE = Series(harmonics=(1,), cosines=(0,), sines=(_ONE,))
_COSINE = Series(harmonics=(1,), cosines=(_ONE,), sines=(0,))
_ATAN = (fitted.ATAN, fitted.ATAN_FINE)
_TAN_FRACTION = 28


def sin(protocol: Protocol, x: Ring, fraction: int) -> Ring:
    """The sine of x in radians.

    Domain: every |x| < 2^(62 - f), with an error of 1.2 ulp + |x| 2^(2f - 62.3) ulp: at f = 18 1.2 ulp
    for |x| < 64, 2.0 for |x| < 2^26. Rounds: 2, 616 bits.
    """
    return _waves(protocol, x, fraction, fraction, (_SINE,))[0]


def cos(protocol: Protocol, x: Ring, fraction: int) -> Ring:
    """The cosine of x in radians; as `sin`."""
    return _waves(protocol, x, fraction, fraction, (_COSINE,))[0]


def sin_cos(protocol: Protocol, x: Ring, fraction: int) -> tuple[Ring, Ring]:
    """(sin(x), cos(x)) from one gate. Rounds: 2, 976 bits."""
    sine, cosine = _waves(protocol, x, fraction, fraction, (_SINE, _COSINE))
    return sine, cosine


def tan(protocol: Protocol, x: Ring, fraction: int, *, method: Method | None = None) -> Ring:
    """The tangent of x in radians.

    Domain: |tan x| < 2^(Q - 1) with Q = `tangent_bits`, 2^14 at f = 18. Nearer to a pole, from 2^Q on, it is 0, like a
    quotient by 0. Error at f = 18: 2.2 ulp + 2^-21.3 |tan x| + 2^-24 tan^2 x, for |x| < 64: what an error of 2^-24 in
    x would do. Rounds: 21, 9201 bits.
    """
    sine, cosine = _waves(protocol, x, fraction, _TAN_FRACTION, (_SINE, _COSINE))
    quotient_bits = tangent_bits(fraction)
    # A smaller cosine counts as 0, but for one octave, see `normalize`.
    least = _TAN_FRACTION + 2 - quotient_bits
    exponents = Exponents(least, _TAN_FRACTION + 1, signed=True)
    return ratio(protocol, sine, cosine, fraction, quotient_bits, exponents, method)


def tangent_bits(fraction: int) -> int:
    """The Q for which tangents are below 2^Q."""
    return max(8, min(15, 33 - fraction))


def atan_unit(protocol: Protocol, x: Ring, fraction: int) -> Ring:
    """The arctangent for |x| <= 1, to be promised (a few ulp more are harmless).

    Error: 1.2 ulp. Rounds: 2, 2408 bits.
    """
    return smooth(protocol, x, choose(_ATAN, fraction), fraction)


def atan(protocol: Protocol, x: Ring, fraction: int, *, method: Method | None = None) -> Ring:
    """The arctangent of any x.

    Outside [-1, 1] it is +-pi/2 - atan(1/x). Error: 3.5 ulp. Rounds: 23, 12795 bits.
    """
    check_fraction(fraction)
    one = 1 << fraction
    below, not_above = protocol.less_than_each(x, (1 - one, one))
    outside = protocol.invert(protocol.xor(below, not_above))
    # [x <= -1] and [x < 1]: both give -pi/2, one gives 0, none gives pi/2.
    quarter = round(math.pi / 2 * one)
    (side,) = protocol.to_ring([below, not_above], [[-quarter, -quarter]])
    side = protocol.add_public(side, quarter)
    # 1/x where |x| < 1/2 is 0, so that it cannot overflow; it is not used there.
    inverse = inverse_of(protocol, x, fraction, Exponents(low=fraction + 1, signed=True), method)
    argument = protocol.select(outside, inverse, x)
    return protocol.add(flip(protocol, outside, atan_unit(protocol, argument, fraction)), side)


def atan2(protocol: Protocol, y: Ring, x: Ring, fraction: int, *, method: Method | None = None) -> Ring:
    """The angle of the point (x, y), in [-pi, pi]; shapes broadcast; atan2(0, 0) is 0.

    Domain: |x|, |y| < 2^(59 - f). Error: 3.5 ulp. Rounds: 28, 14931 bits.

    With p = x + y and q = x - y: D = |p| + |q| = 2 max(|x|, |y|) and N = |p| - |q| = 2 min(|x|, |y|) sgn(xy),
    so |N / D| <= 1 and t = atan(N / D) needs no further comparison. |x| < |y| where the signs of p
    and q differ ("steep"); then the angle is sgn(y) pi/2 - t, else t + [x < 0] sgn(y) pi.
    """
    check_fraction(fraction)
    shape = jnp.broadcast_shapes(y.shape, x.shape)
    corners = protocol.map(lambda a, b: jnp.stack([jnp.broadcast_to(s, shape) for s in (a, b, a + b, a - b)]), x, y)
    signs = protocol.sign(corners)
    x_negative, y_negative, *diagonal = (protocol.map(lambda slot, i=i: slot[i], signs) for i in range(4))
    steep = protocol.xor(*diagonal)
    lengths = flip(
        protocol,
        protocol.map(lambda slot: slot[2:], signs),
        protocol.map(lambda slot: slot[2:], corners),
    )
    smaller = protocol.map(lambda slot: slot[0] - slot[1], lengths)
    larger = protocol.map(lambda slot: slot[0] + slot[1], lengths)
    slope = ratio(protocol, smaller, larger, fraction, 1, Exponents(), method)
    angle = flip(protocol, steep, atan_unit(protocol, slope, fraction))
    return protocol.add(angle, _quadrant(protocol, x_negative, y_negative, steep, fraction))


def _quadrant(protocol: Protocol, x_negative: Bits, y_negative: Bits, steep: Bits, fraction: int) -> Ring:
    """sgn(y) times pi/2 where steep, pi where not steep and x < 0, otherwise 0. 3 rounds."""
    behind = protocol.and_(x_negative, protocol.invert(steep))
    cases = [steep, behind]
    both = protocol.map(lambda *slots: jnp.stack(slots), *cases)
    below = protocol.and_(both, protocol.map(lambda s: jnp.stack([s, s]), y_negative))
    cases += [protocol.map(lambda slot, i=i: slot[i], below) for i in range(2)]
    quarter = round(math.pi / 2 * 2**fraction)
    (angle,) = protocol.to_ring(cases, [[quarter, 2 * quarter, -2 * quarter, -4 * quarter]])
    return angle


def _waves(protocol: Protocol, x: Ring, fraction: int, out_fraction: int, series: Sequence[Series]) -> list[Ring]:
    check_fraction(fraction)
    turn = to_turn(protocol, x, 2 * math.pi, fraction)
    return [protocol.truncate(value, GATE_SCALE - out_fraction) for value in protocol.fourier(turn, series)]
