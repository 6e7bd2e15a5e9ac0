"""Radix sort of many elements: by a few bits of the keys at a time, from the lowest on.

Each pass is `Protocol.sort_by_digit`, which moves what is left of the keys and the place that each element came from.
In the end these are turned around, and what is sorted moves once. 6 rounds for the bits, 4 for each pass (16 for
full-range reals), 4 for the rest; about 170 bytes for each element and pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jax import lax

from jmpc._compat import remote_source, user_context
from jmpc.choreography.primitives import low_bits
from jmpc.kernels.bits import shift_right, word_dtype
from jmpc.lowering import interval
from jmpc.lowering.context import Context
from jmpc.lowering.values import Boolean, Integer, Secret
from jmpc.protocols.base import RING_BITS, Bits

_DIGIT = 4  # bits of a pass: most of the bytes are unit vectors of a digit, which double with each bit more


def places(context: Context, keys: Sequence[Secret]) -> Bits:
    """Where each element of the last axis goes in the order of the keys, for `Protocol.permute`.

    The first key comes first; elements of equal keys stay in order.
    """
    protocol, shape = context.protocol, keys[0].shape
    width = max(1, (shape[-1] - 1).bit_length())
    positions = protocol.constant_bits(lax.broadcasted_iota(word_dtype(width), shape, len(shape) - 1), width)
    origins, waiting = positions, [_bits(context, key) for key in keys]
    while waiting:
        origins, *waiting = _sorted(context, waiting[-1], [origins, *waiting[:-1]])
    (goes,) = protocol.permute(origins, [positions])
    return goes


def _bits(context: Context, key: Secret) -> Bits:
    """Words that are ordered as the key, as narrow as what is known of it allows."""
    protocol = context.protocol
    match key:
        case Boolean():
            return context.bits(key)
        case Integer(sharing=Bits() as words):
            return protocol.xor_public(words, 1 << (key.width - 1)) if key.signed else words
        case Integer():
            limits = interval.of_dtype(key.dtype)  # of other words only the low bits count
            known = key.interval if key.interval and key.interval.inside(limits.low, limits.high) else limits
            low, high = math.floor(known.low), math.ceil(known.high)
        case _:
            low, high = key.interval.words(key.fraction)
    width = min(RING_BITS, max(1, (high - low).bit_length()))
    words = protocol.to_bits(protocol.add_public(context.settled(key).ring, -low))
    dtype = word_dtype(width)
    return protocol.map_bits(lambda slot: low_bits(slot, width).astype(dtype), words, width=width)


def _sorted(context: Context, key: Bits, columns: Sequence[Bits]) -> list[Bits]:
    """The columns in the stable order of the key."""
    protocol = context.protocol
    passes = -(-key.width // _DIGIT)
    digit = -(-key.width // passes)

    def one_pass(carry: tuple[Bits, ...], _: None) -> tuple[tuple[Bits, ...], None]:
        rest, *others = carry
        lowest = protocol.map_bits(lambda word: low_bits(word, digit).astype(word_dtype(digit)), rest, width=digit)
        rest = protocol.map(lambda word: shift_right(word, digit), rest)
        with user_context(remote_source(context.line)):  # a loop's body is traced by itself
            return tuple(protocol.sort_by_digit(lowest, [rest, *others])), None

    start = (key, *columns)
    (_, *moved), _ = one_pass(start, None) if passes == 1 else lax.scan(one_pass, start, None, length=passes)
    return moved
