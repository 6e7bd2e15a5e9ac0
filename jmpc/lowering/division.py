"""Exact division of words: by public divisors with a few estimates, by secret ones bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.kernels.bits import gather_bits, spread_bits, word_dtype
from jmpc.lowering.context import Context
from jmpc.protocols.base import Bits, Protocol, Ring

_WORD_BITS = 61
_MOST_SHIFT = 60
_SIGNED_BITS = 60  # up to which remainders and their differences are signed numbers of the ring
_STEPS = 2  # how many multiples of the divisor the last estimate may be off


@dataclass(frozen=True)
class Division:
    """x = quotient * d + remainder with 0 <= remainder < d, as words."""

    quotient: Ring
    remainder: Ring


def floor_divide_by_public(context: Context, x: Ring, bound: int, divisors: np.ndarray) -> Division:
    """The floor of x / d for words |x| <= bound < 2^61 and positive public integers d (one, or one for each x).

    x * floor(2^s / d) / 2^s, truncated, is off by at most |x| / 2^s + 1 quotients. What remains of x is
    smaller, so that a larger s fits and the next estimate is better; at last comparisons count the rest.
    """
    quotient, rest, off = _estimate(context, x, bound, divisors)
    while off > _STEPS:
        estimate, rest, better = _estimate(context, rest, (off + 1) * int(divisors.max()), divisors)
        if better >= off:
            raise context.refuse(
                "a division of large integers by constants of very different size",
                "Declare a smaller range for the input, or divide by the large and the small constants separately",
            )
        quotient, off = context.protocol.add(quotient, estimate), better
    return _count_rest(context, quotient, rest, off, divisors)


def can_divide_by_public(bound: int, divisors: np.ndarray) -> bool:
    """Whether the estimates of `floor_divide_by_public` get better until they are good enough.

    They do not where small and large divisors stand side by side, because they share one s.
    """
    smallest, largest = int(divisors.min()), int(divisors.max())
    off = _error(bound, smallest)
    while bound < 1 << _WORD_BITS and off > _STEPS:
        better = _error((off + 1) * largest, smallest)
        if better >= off:
            return False
        off = better
    return bound < 1 << _WORD_BITS


def _error(bound: int, smallest: int) -> int:
    """By how many quotients an estimate for |x| <= bound may be off."""
    return -(-bound // (1 << _shift(bound, smallest))) + 1


def _estimate(context: Context, x: Ring, bound: int, divisors: np.ndarray) -> tuple[Ring, Ring, int]:
    """(quotient, x - quotient * d, by how much the quotient may be off)."""
    protocol = context.protocol
    shift = _shift(bound, int(divisors.min()))
    factors = np.vectorize(lambda d: (1 << shift) // int(d), otypes=[object])(divisors)
    estimate = protocol.truncate(protocol.scale(x, context.constant(np.asarray(factors, np.uint64))), shift)
    multiple = protocol.scale(estimate, context.constant(divisors.astype(np.uint64)))
    return estimate, protocol.subtract(x, multiple), _error(bound, int(divisors.min()))


def _shift(bound: int, smallest: int) -> int:
    """The largest s with bound * 2^s / d < 2^61 for every d."""
    return min(_MOST_SHIFT, max(0, _WORD_BITS - bound.bit_length() + smallest.bit_length() - 1))


def _count_rest(context: Context, quotient: Ring, x: Ring, off: int, divisors: np.ndarray) -> Division:
    """Finishes where -off d <= x < (off + 1) d: floor(x / d) = -off + sum_k [x >= k d] over -off < k <= off."""
    protocol = context.protocol
    multiples = range(-off + 1, off + 1)
    if divisors.size == 1:
        d = int(divisors.flat[0])
        below = protocol.less_than_each(x, [k * d for k in multiples])
    else:
        below = [
            protocol.sign(protocol.add_public(x, context.constant((-k * divisors).astype(np.uint64))))
            for k in multiples
        ]
    (count,) = protocol.to_ring(below, [[-1] * len(below)])
    correction = protocol.add_public(count, len(below) - off)
    d_words = context.constant(divisors.astype(np.uint64))
    remainder = protocol.subtract(x, protocol.scale(correction, d_words))
    return Division(protocol.add(quotient, correction), remainder)


def divide_by_secret(context: Context, x: Bits, d: Ring) -> Division:
    """The floor of x / d for unsigned words x of w bits and d < 2^w: long division in a loop.

    By 0 all w bits of the quotient are set, and x remains. Rounds: 6 for each bit of x; 8 for w > 60, where remainders
    take all bits of the ring.
    """
    protocol, width = context.protocol, x.width
    places = range(width - 1, -1, -1)  # the highest bit first

    def spread(slot: Any) -> Any:
        return spread_bits(slot, places).astype(np.uint8)

    (bits,) = protocol.to_ring([protocol.map_bits(spread, x, width=1)], [[1]])
    zero = protocol.constant(jnp.zeros(d.shape, np.uint64))
    exceeds = _wide_comparison(protocol, d) if width > _SIGNED_BITS else None

    def step(rest: Ring, bit: Ring) -> tuple[Ring, Bits]:
        doubled = protocol.add(protocol.scale(rest, 2), bit)
        difference = protocol.subtract(doubled, d)
        below = exceeds(rest, doubled, difference) if exceeds else protocol.sign(difference, width + 2)
        fits = protocol.invert(below)
        return protocol.subtract(doubled, protocol.inject(fits, d)), fits

    rest, digits = jax.lax.scan(step, zero, bits)

    words = protocol.map_bits(lambda slot: gather_bits(slot, places, word_dtype(width)), digits, width=width)
    return Division(protocol.words_to_ring(words), rest)


def _wide_comparison(protocol: Protocol, d: Ring) -> Callable[[Ring, Ring, Ring], Bits]:
    """[2 rest + bit < d] for rest < d < 2^64, from the signs of rest, of the word 2 rest + bit, and of that minus d."""
    d_top = protocol.sign(d)

    def exceeds(rest: Ring, doubled: Ring, difference: Ring) -> Bits:
        words = protocol.map(lambda *slots: jnp.stack(slots), rest, doubled, difference)
        overflow, top, negative = (protocol.map(lambda slot, i=i: slot[i], protocol.sign(words)) for i in range(3))
        # words with unequal top bits: the one that has it is larger; with equal ones the difference does not wrap
        differ = protocol.xor(top, d_top)
        below = protocol.xor(negative, protocol.and_(differ, protocol.xor(negative, d_top)))
        return protocol.and_(below, protocol.invert(overflow))

    return exceeds
