"""Quotients and remainders: of integers, and remainders of reals; upper halves of products."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.functions.remainder import remainder
from jmpc.kernels.bits import low_mask, word_dtype
from jmpc.lowering import arithmetic, choosing, comparing, division
from jmpc.lowering.composite import composite
from jmpc.lowering.context import Context
from jmpc.lowering.interval import Interval, Trust
from jmpc.lowering.registry import rule
from jmpc.lowering.rules import logic
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Value, is_float
from jmpc.protocols.base import Bits, Ring


@rule("rem")
def rem(context: Context, x: Value, y: Value, **_: Any) -> Value:
    if not is_float(x.dtype):
        return divide_integers(context, x, y)[1]
    if not isinstance(y, Public) or not y.known:
        return _by_real(context, x, y)
    divisor = np.asarray(y.array, np.float64)
    _no_zero(context, divisor)
    x = context.at_fraction(x, context.fraction)
    words = np.abs(divisor * 2.0**x.fraction).round().astype(np.int64)
    x = arithmetic.broadcast(context, x, np.broadcast_shapes(x.shape, y.shape))
    bound = min(int(x.interval.magnitude * 2.0**x.fraction) + 1, (1 << 61) - 1)
    split = division.floor_divide_by_public(context, x.ring, bound, _common(words))
    ring = _toward_zero(context, x, split, _common(words)).remainder
    limit = float(np.abs(divisor).max())
    known = Interval(-limit if x.interval.low < 0 else 0.0, limit if x.interval.high > 0 else 0.0)
    return dataclasses.replace(x, sharing=ring, interval=known, trait=None)


def _by_real(context: Context, x: Value, y: Value) -> FixedPoint:
    f = context.fraction
    shape = np.broadcast_shapes(x.shape, y.shape)
    x, y = (arithmetic.broadcast(context, context.at_fraction(context.secret(v), f), shape) for v in (x, y))
    limit = x.interval.magnitude  # also by 0
    known = Interval(-limit if x.interval.low < 0 else 0.0, limit if x.interval.high > 0 else 0.0, Trust.PROMISED)
    return FixedPoint(remainder(context.protocol, x.ring, y.ring), f, known, x.dtype)


@composite("mulhi")
def multiply_high(x: Any, y: Any) -> Any:
    """The upper half of the bits of x * y, by four products of half words."""
    bits = np.iinfo(x.dtype).bits
    word, half = np.dtype(f"uint{bits}"), bits // 2

    def split(v: Any) -> tuple[Any, Any]:
        v = lax.convert_element_type(v, word)
        return v >> word.type(half), v & word.type((1 << half) - 1)

    (a, b), (c, d) = split(x), split(y)
    middle = a * d + ((b * d) >> word.type(half))
    other = b * c + (middle & word.type((1 << half) - 1))
    high = lax.convert_element_type(a * c + (middle >> word.type(half)) + (other >> word.type(half)), x.dtype)
    if not np.issubdtype(x.dtype, np.signedinteger):
        return high
    none = jnp.zeros_like(high)  # a negative x was taken for x + 2^bits
    return high - jnp.where(x < 0, y, none) - jnp.where(y < 0, x, none)


def divide_integers(context: Context, x: Value, y: Value) -> tuple[Integer, Integer]:
    """(quotient toward zero, remainder with the sign of x)."""
    if isinstance(y, Public) and y.known:
        return _by_public(context, x, np.asarray(y.array))
    return _by_secret(context, x, y)


def _by_public(context: Context, x: Integer, divisors: np.ndarray) -> tuple[Integer, Integer]:
    _no_zero(context, divisors)
    x = arithmetic.broadcast(context, context.extended(x), np.broadcast_shapes(x.shape, divisors.shape))
    magnitudes = _common(np.vectorize(lambda d: abs(int(d)), otypes=[object])(divisors))
    bound = int(x.known.magnitude)
    if bound >= 1 << 61:
        return _wide_by_public(context, x, magnitudes, divisors)
    if magnitudes.size == 1 and (k := int(magnitudes.flat[0])) & (k - 1) == 0:
        split = _by_power_of_two(context, x, k)
    elif not division.can_divide_by_public(bound, magnitudes):
        return _by_secret(context, x, Public(divisors))
    else:
        split = division.floor_divide_by_public(context, x.ring, bound, np.asarray(magnitudes, np.int64))
    split = _toward_zero(context, x, split, np.asarray(magnitudes, np.int64))
    return _results(context, x, split, divisors)


def _by_power_of_two(context: Context, x: Integer, d: int) -> division.Division:
    quotient = context.protocol.truncate_exact(x.ring, d.bit_length() - 1)
    remainder = context.protocol.subtract(x.ring, context.protocol.scale(quotient, d))
    return division.Division(quotient, remainder)


def _toward_zero(context: Context, x: Any, split: division.Division, divisors: np.ndarray) -> division.Division:
    """From the floor to the division that C and JAX have: one more, where x < 0 and something remains."""
    if x.interval.low >= 0:
        return split
    protocol = context.protocol
    negative = context.bits(comparing.negative(context, x))
    (exact,) = protocol.less_than_each(split.remainder, [1])
    up = protocol.and_(negative, protocol.invert(exact))
    (one,) = protocol.to_ring([up], [[1]])
    d = context.constant(divisors.astype(np.uint64))
    remainder = protocol.subtract(split.remainder, protocol.scale(one, d))
    return division.Division(protocol.add(split.quotient, one), remainder)


def _results(context: Context, x: Integer, split: division.Division, divisors: np.ndarray) -> tuple[Integer, Integer]:
    quotient, largest = split.quotient, int(x.known.magnitude)
    if (divisors < 0).any():
        signs = np.where(divisors < 0, -1, 1).astype(np.int64).astype(np.uint64)
        quotient = context.protocol.scale(quotient, context.constant(signs))
    limit = max(abs(int(d)) for d in divisors.flat) - 1
    low, high = (-limit if x.known.low < 0 else 0), (limit if x.known.high > 0 else 0)
    signed = x.known.low < 0 or bool((divisors < 0).any())
    return (
        Integer(quotient, x.dtype, Interval(-largest if signed else 0, largest)),
        Integer(split.remainder, x.dtype, Interval(low, high)),
    )


def _wide_by_public(
    context: Context, x: Integer, magnitudes: np.ndarray, divisors: np.ndarray
) -> tuple[Integer, Integer]:
    """64-bit integers that may use all their bits."""
    k = int(magnitudes.flat[0])
    if x.signed or magnitudes.size != 1 or k & (k - 1):
        return _by_secret(context, x, Public(divisors))
    shift = Public(np.asarray(k.bit_length() - 1).astype(x.dtype))
    mask = Public(np.asarray(k - 1).astype(x.dtype))
    return logic.shift_right_logical(context, x, shift), logic.bitwise_and(context, x, mask)


def _by_secret(context: Context, x: Value, y: Value) -> tuple[Integer, Integer]:
    """As in JAX, x / 0 is -1 and x remains."""
    x, y = (context.extended(context.secret(v)) for v in (x, y))
    shape = np.broadcast_shapes(x.shape, y.shape)
    x, y = (arithmetic.broadcast(context, v, shape) for v in (x, y))
    bits = max(int(v.known.magnitude).bit_length() for v in (x, y))
    split = division.divide_by_secret(context, _magnitude_bits(context, x, bits), _magnitude(context, y))
    remainder = _with_sign(context, split.remainder, _sign(context, x))
    quotient = split.quotient
    signs = _differ(context, _sign(context, x), _sign(context, y))
    if y.known.mignitude == 0:
        zero = context.protocol.is_zero(y.ring)
        if signs is not None:
            signs = Boolean(context.protocol.and_(context.bits(signs), context.protocol.invert(zero)))
        (beyond,) = context.protocol.to_ring([zero], [[-(1 << bits)]])  # all bits set are -1
        quotient = context.protocol.add(quotient, beyond)
    largest = int(x.known.magnitude)
    return (
        arithmetic.wrapped(x, _with_sign(context, quotient, signs), Interval(-largest - 1, largest + 1)),
        arithmetic.wrapped(x, remainder, Interval(-largest, largest)),
    )


def _magnitude(context: Context, x: Integer) -> Ring:
    return x.ring if x.known.low >= 0 else choosing.absolute(context, x).ring


def _magnitude_bits(context: Context, x: Integer, bits: int) -> Bits:
    every = context.protocol.to_bits(_magnitude(context, x))
    dtype = word_dtype(bits)
    mask = low_mask(bits, dtype)
    return context.protocol.map_bits(lambda slot: slot.astype(dtype) & mask, every, width=bits)


def _sign(context: Context, x: Integer) -> Boolean | None:
    return None if x.known.low >= 0 else comparing.negative(context, x)


def _differ(context: Context, a: Boolean | None, b: Boolean | None) -> Boolean | None:
    if a is None or b is None:
        return b if a is None else a
    return Boolean(context.protocol.xor(context.bits(a), context.bits(b)))


def _with_sign(context: Context, x: Ring, negative: Boolean | None) -> Ring:
    if negative is None:
        return x
    protocol = context.protocol
    return protocol.subtract(x, protocol.inject(context.bits(negative), protocol.scale(x, 2)))


def _common(divisors: np.ndarray) -> np.ndarray:
    """One divisor, where all are equal."""
    divisors = np.asarray(divisors)
    if divisors.size and (divisors == divisors.flat[0]).all():
        return divisors.reshape(-1)[:1].reshape(())
    return divisors


def _no_zero(context: Context, divisors: np.ndarray) -> None:
    if not np.all(divisors != 0):
        raise context.refuse(
            "a division by a public zero, whose result is undefined",
            "Replace the zeros of the divisor first, x / jnp.where(y == 0, 1, y)",
        )
