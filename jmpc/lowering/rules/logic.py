"""And, or, xor, not and shifts: of booleans, and of the bits of integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc.functions.words import leading_one
from jmpc.kernels.bits import arithmetic_shift_right, word_dtype
from jmpc.kernels.bits import shift_left as shift_word_left
from jmpc.kernels.bits import shift_right as shift_word_right
from jmpc.lowering import arithmetic, comparing, shifts
from jmpc.lowering.comparing import complement
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval
from jmpc.lowering.registry import rule
from jmpc.lowering.values import Boolean, Integer, Public, Value, is_boolean
from jmpc.protocols.base import Bits, Ring


@rule("and")
def bitwise_and(context: Context, x: Value, y: Value, **_: Any) -> Value:
    if isinstance(x, Public):
        x, y = y, x
    if isinstance(x, Boolean):
        return _boolean_and(context, x, y)
    bits = _words_and(context, context.words(x), y)
    return Integer(bits, x.dtype, _mask_interval(context, x, y))


@rule("or")
def bitwise_or(context: Context, x: Value, y: Value, **_: Any) -> Value:
    if is_boolean(x.dtype):
        return complement(context, bitwise_and(context, complement(context, x), complement(context, y)))
    if isinstance(x, Public):
        x, y = y, x
    words = context.words(x)
    if isinstance(y, Public):  # x | k = (x & ~k) ^ k
        k = _word(context, y, words)
        bits = context.protocol.map(lambda slot: slot & ~k, words)
        return Integer(context.protocol.xor_public(bits, k), x.dtype)
    return Integer(context.protocol.or_(words, context.words(y)), x.dtype)


@rule("xor")
def exclusive_or(context: Context, x: Value, y: Value, **_: Any) -> Value:
    if isinstance(x, Public):
        x, y = y, x
    words = context.bits(x) if isinstance(x, Boolean) else context.words(x)
    if isinstance(y, Public):
        shape = np.broadcast_shapes(x.shape, y.shape)
        words = context.protocol.map(lambda slot: jnp.broadcast_to(slot, shape), words)
        bits = context.protocol.xor_public(words, _word(context, y, words))
    else:
        bits = context.protocol.xor(words, context.bits(y) if isinstance(y, Boolean) else context.words(y))
    return Boolean(bits) if isinstance(x, Boolean) else Integer(bits, x.dtype)


@rule("not")
def bitwise_not(context: Context, x: Boolean | Integer, **_: Any) -> Value:
    if isinstance(x, Boolean):
        return comparing.invert(context, x)
    if isinstance(x.sharing, Bits):
        return Integer(context.protocol.invert(x.sharing), x.dtype)
    minus_one = Public(np.asarray(-1).astype(x.dtype))
    return arithmetic.add(context, arithmetic.negate(context, x), minus_one)  # -x - 1


def _boolean_and(context: Context, x: Boolean, y: Value) -> Value:
    protocol = context.protocol
    if isinstance(y, Public):
        if isinstance(x.sharing, Ring):
            k = context.encoded(y, 0)
            return Boolean(protocol.scale(arithmetic.broadcast(context, x, _joint(x, y)).sharing, k))
        return Boolean(_words_and(context, x.sharing, y))
    match x.sharing, y.sharing:
        case Ring() as a, Ring() as b:
            return Boolean(protocol.settle(protocol.multiply(a, b)))
        case Ring() as ring, Bits() as bit:
            return Boolean(protocol.inject(bit, ring))
        case Bits() as bit, Ring() as ring:
            return Boolean(protocol.inject(bit, ring))
    return Boolean(protocol.and_(context.bits(x), context.bits(y)))


def _joint(x: Value, y: Value) -> tuple[int, ...]:
    return np.broadcast_shapes(x.shape, y.shape)


def _words_and(context: Context, words: Bits, y: Value) -> Bits:
    if isinstance(y, Public):
        k = _word(context, y, words)
        return context.protocol.map(lambda slot: slot & k, words)
    return context.protocol.and_(words, context.bits(y) if isinstance(y, Boolean) else context.words(y))


def _word(context: Context, k: Public, like: Bits) -> Any:
    """A public integer or boolean as words of the same width."""
    return context.encoded(k, 0).astype(like.dtype)


def _mask_interval(context: Context, x: Integer, y: Value) -> Interval | None:
    """x & y is at most a y that is not negative."""
    for known in (context.interval(y), x.interval):
        if known is not None and known.low >= 0 and known.high < 1 << (x.width - 1):
            return Interval(0, int(known.high))
    return None


# -- shifts ----------------------------------------------------------------------------------------------------


@rule("shift_left")
def shift_left(context: Context, x: Value, amount: Value, **_: Any) -> Value:
    if not isinstance(amount, Public):
        return shifts.by_secret(context, x, amount, shift_word_left)
    x, k = _shifted(context, x, amount)
    if isinstance(x.sharing, Bits):
        return Integer(_map_words(context, x, lambda slot: shift_word_left(slot, k)), x.dtype)
    factor = shift_word_left(jnp.uint64(1), k)
    known = None
    if isinstance(k, int) and x.interval is not None:
        known = Interval(x.interval.low * 2**k, x.interval.high * 2**k)
    sharing = context.protocol.map(lambda slot: slot * factor, x.sharing)
    return arithmetic.wrapped(x, sharing, known)


@rule("shift_right_logical")
def shift_right_logical(context: Context, x: Value, amount: Value, **_: Any) -> Value:
    if not isinstance(amount, Public):
        return shifts.by_secret(context, x, amount, shift_word_right)
    x, k = _shifted(context, x, amount)
    if x.interval is not None and x.interval.low >= 0 and (exact := _exact_shift(context, x, k)):
        return exact
    return Integer(_map_words(context, x, lambda slot: shift_word_right(slot, k)), x.dtype)


@rule("shift_right_arithmetic")
def shift_right_arithmetic(context: Context, x: Value, amount: Value, **_: Any) -> Value:
    if not isinstance(amount, Public):
        return shifts.by_secret(context, x, amount, arithmetic_shift_right)
    x, k = _shifted(context, x, amount)
    if x.signed and (exact := _exact_shift(context, x, k)):
        return exact
    return Integer(_map_words(context, x, lambda slot: arithmetic_shift_right(slot, k)), x.dtype)


@rule("population_count")
def population_count(context: Context, x: Integer, **_: Any) -> Value:
    words = context.words(x)
    bits = [context.protocol.parity(words, 1 << i) for i in range(x.width)]
    (ring,) = context.protocol.to_ring(bits, [[1] * x.width])
    return Integer(ring, x.dtype, Interval(0, x.width))


@rule("clz")
def clz(context: Context, x: Integer, **_: Any) -> Value:
    """The width, less the place of the leading one (from 1), which is read off octal digits."""
    protocol, digits = context.protocol, range(8)
    wide = protocol.map_bits(lambda slot: slot.astype(np.uint64), context.words(x), width=64)
    one = leading_one(protocol, wide)
    bits = [protocol.parity(one, 0xFF << (8 * m)) for m in digits]
    bits += [protocol.parity(one, 0x0101010101010101 << n) for n in digits]
    (place,) = protocol.to_ring(bits, [[*(8 * m for m in digits), *(n + 1 for n in digits)]])
    return Integer(protocol.add_public(protocol.negate(place), x.width), x.dtype, Interval(0, x.width))


def _shifted(context: Context, x: Value, amount: Value) -> tuple[Integer, Any]:
    """The operand, and the amount as an int (if it is one for all) or as an array."""
    x = arithmetic.broadcast(context, x, _joint(x, amount))
    if amount.known and amount.array.size and (amount.array == amount.array.flat[0]).all():
        k = int(amount.array.flat[0])
        return x, k if 0 <= k < x.width else x.width
    return x, context.operand(context.everyone(amount))


def _exact_shift(context: Context, x: Integer, k: Any) -> Integer | None:
    """By the exact truncation, where the words are or can cheaply be the value, and below 2^62."""
    if isinstance(x.sharing, Bits) or not isinstance(k, int) or k >= x.width:
        return None
    x = context.extended(x)
    if x.interval is None or not x.interval.inside(-(2**61), 2**61):
        return None
    ring = context.protocol.truncate_exact(x.ring, k)
    return Integer(ring, x.dtype, Interval(int(x.known.low) >> k, int(x.known.high) >> k))


def _map_words(context: Context, x: Integer, f: Callable[[Any], Any]) -> Bits:
    dtype = word_dtype(x.width)
    return context.protocol.map_bits(lambda slot: f(slot).astype(dtype), context.words(x), width=x.width)
