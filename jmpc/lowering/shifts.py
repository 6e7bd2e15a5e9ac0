"""Shifts of secret words by secret amounts: a barrel shifter, one stage for each bit of the amount."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jmpc.lowering.arithmetic import broadcast
from jmpc.lowering.context import Context
from jmpc.lowering.values import Integer, Value
from jmpc.protocols.base import Bits

Shift = Callable[[Any, int], Any]


def by_secret(context: Context, x: Value, amount: Value, shift: Shift) -> Integer:
    """`x` shifted, in words; an amount that is negative or at least the width shifts everything out.

    Rounds: 6 for the bits of either, then 1 for each of the log2(width) stages.
    """
    shape = np.broadcast_shapes(x.shape, amount.shape)
    x, amount = (broadcast(context, context.secret(v), shape) for v in (x, amount))
    words, steps = context.words(x), context.words(amount)
    stages = x.width.bit_length() - 1
    for stage in range(stages):
        bit = context.protocol.parity(steps, 1 << stage)
        words = _where(context, bit, context.protocol.map(lambda slot, k=1 << stage: shift(slot, k), words), words)
    below, not_above = context.protocol.less_than_each(context.extended(amount).ring, [0, x.width])
    if amount.width == 64:  # the comparison with the width wraps for the least of all numbers
        inside = context.protocol.and_(not_above, context.protocol.invert(below))
    else:
        inside = context.protocol.xor(below, not_above)
    outside = context.protocol.invert(inside)
    emptied = context.protocol.map(lambda slot: shift(slot, x.width), words)
    return Integer(_where(context, outside, emptied, words), x.dtype)


def _where(context: Context, bit: Bits, x: Bits, y: Bits) -> Bits:
    """x where the bit is set, otherwise y: the bit is copied to all of a word, which is linear over xor."""
    protocol, ones = context.protocol, x.dtype.type((1 << x.width) - 1)
    mask = protocol.map_bits(lambda slot: slot.astype(x.dtype) * ones, bit, width=x.width)
    return protocol.xor(y, protocol.and_(mask, protocol.xor(x, y)))
