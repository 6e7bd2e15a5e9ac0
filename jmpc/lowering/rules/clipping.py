"""Clipping the norm of secret vectors, with a bound that holds for every word that an owner can share.

All in integers on the grid: x of n elements is what was shared, words of 64 bits of which nothing is taken for granted,
C is the norm to clip to, and what comes out is y with ||y|| <= C, exactly:

1. inside = [|x_j| < 2^k for all j], with 2k + log2 n <= 62, by comparisons of whole words.
2. q = sum x_j^2 mod 2^64, which is ||x||^2 < 2^62, without a wrap, if inside.
3. s = T / ||x|| from below, where q > T^2, and otherwise 1; 0 if not inside. T = C - sqrt(n).
4. y_j = s x_j, rounded up or down to the grid: by less than a step, so that ||y|| < ||s x|| + sqrt(n) <= T + sqrt(n).

The root is approximate, with a bound on its error that tests hold it to; step 3 takes off more than twice that. A
vector that is not inside counts as zeros: clamping its elements instead would cost more.
"""

from __future__ import annotations

import math
from fractions import Fraction

import jax.numpy as jnp

from jmpc.functions import coefficients as fitted
from jmpc.functions.normalize import Exponents, HalfPower, Method, normalize
from jmpc.functions.series import GATE_SCALE, gate
from jmpc.lowering.context import Context
from jmpc.lowering.interval import symmetric
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.reductions import reduce_and
from jmpc.lowering.values import Boolean, FixedPoint
from jmpc.protocols.base import Bits, Protocol, Ring

_SQUARES_BITS = 62
_LEAST_TARGET = 256  # steps
_ROOT_BITS = 24  # of the root of a mantissa, whose fit is good to 2^-24
_FACTOR_BITS = 28  # of s
_GUARD_BITS = 8
_BELOW = 1 - 2.0**-20  # the root is off by less than 2^-22.8 of itself,
_STEPS_BELOW = 2  # and by less than two steps of s


@rule("clip_norm", hint=True)
def clip_norm(context: Context, x: FixedPoint, *, norm: float) -> FixedPoint:
    f, n = context.fraction, x.shape[-1]
    limit = math.floor(Fraction(norm) * (1 << f))
    target = limit - math.isqrt(n - 1) - 1
    element_bits = (_SQUARES_BITS - (n - 1).bit_length()) // 2
    if target < max(_LEAST_TARGET, limit // 2):
        raise context.refuse(
            f"the norm {norm:g} is too small: {n} numbers of {f} fractional bits are rounded by up to "
            f"{math.sqrt(n) * 2.0**-f:.2g} together, and it has to be twice as much, and 2^{8 - f} at least",
            "Use a higher precision, or scale the values",
        )
    if limit >= 1 << element_bits:
        raise context.refuse(
            f"the norm {norm:g} is too large: squares of {n} numbers of {f} fractional bits are summed up exactly for "
            f"numbers below {2.0 ** (element_bits - f):g} only",
            "Use a lower precision, or scale the values",
        )
    words = context.at_fraction(x, f).ring
    sharing = _clipped(context, words, target, element_bits)
    return FixedPoint(sharing, f, symmetric((limit + 1) * 2.0**-f), x.dtype)


def _clipped(context: Context, x: Ring, target: int, element_bits: int) -> Ring:
    """Rounds: 15 for up to 32 elements, otherwise 10 + ceil(log2 n). 1065 bits for each element.

    And some 12,000 for each row, 281 of them for each possible exponent of its norm.
    """
    protocol = context.protocol
    squares = protocol.settle(protocol.map(lambda slot: jnp.sum(slot, axis=-1, dtype=slot.dtype), protocol.square(x)))
    inside = _all_inside(context, x, 1 << element_bits)
    larger = protocol.sign(protocol.add_public(protocol.negate(squares), target**2))
    # s is 1 where inside, and changes from there to the root where the vector is larger, too.
    (whole,) = protocol.to_ring([inside], [[1 << _FACTOR_BITS]])
    change = protocol.add_public(_target_to_root(protocol, squares, target), -(1 << _FACTOR_BITS) - _STEPS_BELOW)
    factor = protocol.add(whole, protocol.inject(protocol.and_(inside, larger), change))
    factor = protocol.map(lambda slot: slot[..., None], factor)
    return protocol.truncate(protocol.multiply(x, factor), _FACTOR_BITS)


def _all_inside(context: Context, x: Ring, bound: int) -> Bits:
    """[|x_j| < bound for all j of a row], for any words, although x_j - bound may wrap around.

    The sign of x_j - bound is set, and that of x_j + bound - 1 is not: if x_j >= bound, the first is not set unless it
    wraps, which x_j >= 0 does not; if x_j <= -bound, the second is set unless it wraps, which x_j < 0 does not.
    """
    protocol = context.protocol
    below, under = protocol.less_than_each(x, (1 - bound, bound))
    inside = Boolean(protocol.and_(under, protocol.invert(below)))
    return context.bits(reduce_and(context, inside, axes=(x.ndim - 1,)))


def _target_to_root(protocol: Protocol, squares: Ring, target: int) -> Ring:
    """target / squares^(1/2), times 1 - 2^-20, with 28 fractional bits, where it is below 1.

    Off by less than 2^-22.8 of it, and two units. squares = m 2^e with m in [1/2, 1]: the root of m is a Fourier gate,
    and target 2^(-e/2), which is at most 1, a table. 11 rounds.
    """
    exponents = Exponents((target**2).bit_length(), _SQUARES_BITS, zero=False)
    scale = math.log2(target) + math.log2(_BELOW)
    table = HalfPower(_FACTOR_BITS + _GUARD_BITS + scale, -0.5, exponents)
    turn, (power,) = normalize(protocol, squares, exponents, [table], Method.THRESHOLDS)
    root = protocol.truncate(gate(protocol, turn, fitted.RSQRT.series), GATE_SCALE - _ROOT_BITS)
    return protocol.truncate(protocol.multiply(root, power), _ROOT_BITS + _GUARD_BITS)
