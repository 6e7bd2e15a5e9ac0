"""Radix sort of many elements: by a few bits of the keys at a time, from the lowest on.

Each pass is `Protocol.sort_by_digit`, which moves what is left of the keys and the place that each element came from.
In the end these places are turned around, and what is sorted moves once. 6 rounds for the bits, 4 for each pass (16
of full-range reals), 4 for the rest, and about 220 bytes for each element and pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jax import lax

from jmpc._compat import remote_source, user_context
from jmpc.choreography.primitives import low_bits
from jmpc.kernels.bits import shift_right, word_dtype
from jmpc.lowering.context import Context
from jmpc.lowering.values import FixedPoint, Integer
from jmpc.protocols.base import RING_BITS, Bits, Ring

_DIGIT = 4  # bits of a pass: half of the bytes are the digit's unit vectors, which double with each bit more


def sort_by(context: Context, keys: Sequence[FixedPoint | Integer], rows: Sequence[Ring]) -> list[Ring]:
    """The rows in the order of the keys along the last axis, the first key first; equal ones as they are."""
    protocol, shape = context.protocol, keys[0].shape
    width = max(1, (shape[-1] - 1).bit_length())
    positions = lax.broadcasted_iota(word_dtype(width), shape, len(shape) - 1)
    origins = protocol.constant_bits(positions, width)
    waiting = [_bits(context, key) for key in keys]
    while waiting:
        origins, *waiting = _sorted(context, waiting[-1], [origins, *waiting[:-1]])
    (places,) = protocol.permute(origins, [protocol.constant_bits(positions, width)])
    return protocol.permute(places, rows)


def _bits(context: Context, key: FixedPoint | Integer) -> Bits:
    """Words that are ordered as the key, as narrow as what is known of it allows."""
    protocol, known = context.protocol, context.interval(key)
    scale = 2**key.fraction if isinstance(key, FixedPoint) else 1
    low, high = math.floor(known.low * scale), math.ceil(known.high * scale)
    width = min(RING_BITS, max(1, (high - low).bit_length()))
    words = protocol.to_bits(protocol.add_public(key.ring, -low))
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

    (_, *moved), _ = lax.scan(one_pass, (key, *columns), None, length=passes)
    return moved
