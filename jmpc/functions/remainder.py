"""Remainders of secret numbers by secret divisors, from an estimate of the quotient."""

from __future__ import annotations

import jax.numpy as jnp

from jmpc.functions.comparison import flip
from jmpc.functions.normalize import Exponents
from jmpc.functions.reciprocal import ratio
from jmpc.protocols.base import Protocol, Ring

_QUOTIENT_BITS = 18
_QUOTIENT_FRACTION = 8  # with it the estimate of a quotient below 2^18 is off by less than 1/4
_MARGIN = 1 << (_QUOTIENT_FRACTION - 2)


def remainder(protocol: Protocol, x: Ring, y: Ring) -> Ring:
    """x - n y with the integer n = trunc(x / y), exactly: it has the sign of x, and is smaller than |y|.

    Both are words at one scale, whichever it is, of one shape. Domain: |x / y| < 2^18, or below 2 where the words of y
    are 2^43 or more; it is garbage beyond. The remainder by 0 is x. Rounds: 36, 12284 bits.

    The estimate of |x| / |y| is lowered by its largest error, so that it is never above n, and one below at most: one
    comparison finishes. (n - 1 gives a rest of |y| or more.)
    """
    both = protocol.map(lambda a, b: jnp.stack([a, b]), x, y)
    signs = protocol.sign(both)
    sizes = flip(protocol, signs, both)
    size_x, size_y = (protocol.map(lambda slot, i=i: slot[i], sizes) for i in range(2))
    estimate = ratio(protocol, size_x, size_y, _QUOTIENT_FRACTION, _QUOTIENT_BITS, Exponents())
    quotient = protocol.truncate_exact(protocol.add_public(estimate, -_MARGIN), _QUOTIENT_FRACTION)
    rest = protocol.subtract(size_x, protocol.settle(protocol.multiply(quotient, size_y)))
    enough = protocol.invert(protocol.sign(protocol.subtract(rest, size_y)))
    rest = protocol.subtract(rest, protocol.inject(enough, size_y))
    return flip(protocol, protocol.map(lambda slot: slot[0], signs), rest)
