"""Selection by secret conditions, maxima, and values of several kinds brought to one type."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc.lowering import encoding, interval, origins
from jmpc.lowering.arithmetic import add, align, multiply, same_sharing, subtract
from jmpc.lowering.comparing import invert, less, negative
from jmpc.lowering.context import Context
from jmpc.lowering.interval import RANGE_BITS, Interval
from jmpc.lowering.values import (
    Boolean,
    FixedPoint,
    Integer,
    Public,
    Secret,
    Value,
    is_boolean,
    is_float,
)
from jmpc.protocols.base import Bits, Ring

_AS_GOOD_AS_INFINITE = 2.0**64  # no number of 64 bits, whatever the precision


def unify(context: Context, values: Sequence[Value]) -> list[Secret]:
    """Values of one dtype as secrets of one static form, for operations that are the same map of every slot."""
    values = [context.secret(finite(context, x, *values)) for x in values]
    if isinstance(values[0], Boolean):
        return [Boolean(context.bits(x)) for x in values]
    if isinstance(values[0], Integer):
        return same_sharing(context, [context.settled(x) if isinstance(x.sharing, Bits) else x for x in values])
    return align(context, values)


def joint_interval(values: Sequence[Secret]) -> Interval | None:
    """What holds of every one of these reals or integers."""
    known = [x.interval for x in values]
    return None if None in known else known[0].hull(*known[1:])


def with_interval(value: Secret, known: Interval | None) -> Secret:
    """A value of which something else is known, and nothing relative to other values."""
    if isinstance(value, Boolean):
        return Boolean(value.sharing)
    if isinstance(value, FixedPoint):
        return dataclasses.replace(value, interval=known or interval.representable(value.fraction), trait=None)
    return dataclasses.replace(value, interval=known)


def finite(context: Context, x: Value, *others: Value) -> Value:
    """A public value with its infinities replaced by numbers beyond those that it is selected with, and NaN by 0.

    Beyond half of what products may be, and beyond the `others` as far as their size is known. For selections and
    padding, where an infinity stands for "never the maximum" or "weight zero" (so do the extremes of a floating type,
    such as the -3.4e38 with which flax masks attention), and NaN for what is not defined.
    """
    if not (isinstance(x, Public) and x.known and is_float(x.dtype)):
        return x
    infinite = np.abs(np.asarray(x.array, np.float64)) >= _AS_GOOD_AS_INFINITE
    if not infinite.any() and np.isfinite(np.asarray(x.array, np.float64)).all():
        return x
    limit = min(beyond(context, others), float(jnp.finfo(x.dtype).max))

    def replaced() -> Public:
        # numpy's own types only: extension floats have no copysign
        array = np.nan_to_num(np.asarray(x.array, np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
        return Public(np.where(infinite, np.copysign(limit, array), array).astype(x.dtype))

    return context.once(x, ("finite", limit), replaced)


def beyond(context: Context, others: Sequence[Value]) -> float:
    """The number that an infinity becomes where it is selected with these."""
    f = context.fraction
    sizes = [x.interval.magnitude for x in others if isinstance(x, FixedPoint) and x.interval.certain]
    usual = max(2.0 ** (RANGE_BITS - 1 - 2 * f), 2.0 ** (encoding.INPUT_BITS - 1 - f))
    return min(max([usual, *(2 * size for size in sizes)]), 2.0 ** (RANGE_BITS - 2 - f))


def is_zero(x: Value) -> bool:
    """Whether a value is publicly known to be zero."""
    return isinstance(x, Public) and x.known and not np.asarray(x.array).any()


# -- selection -------------------------------------------------------------------------------------------------


def filled(context: Context, x: Secret, fill: Any) -> Interval | None:
    """The interval of x or `fill`, if that of x is known."""
    if x.interval is None:
        return None
    if not is_float(x.dtype):
        return x.interval.hull(Interval(int(fill), int(fill)))
    return x.interval.hull(Interval(float(fill), float(fill)).with_rounded(context.fraction))


def gate(context: Context, condition: Boolean, x: Secret) -> Secret:
    """x where the condition holds, otherwise 0. 1 round."""
    if isinstance(x, Boolean):
        return Boolean(context.protocol.and_(context.bits(condition), context.bits(x)))
    x = context.settled(context.at_most(x) if isinstance(x, FixedPoint) else x)
    known = x.interval.hull(Interval(0, 0)) if x.interval is not None else None
    if isinstance(condition.sharing, Ring):
        product = context.protocol.multiply(condition.sharing, x.ring)
        return with_interval(dataclasses.replace(x, sharing=product), known)
    sharing = context.protocol.inject(condition.sharing, x.ring)
    return with_interval(dataclasses.replace(x, sharing=sharing), known)


def number(context: Context, condition: Boolean, dtype: np.dtype) -> FixedPoint | Integer:
    """0 or 1 of a real or integer type."""
    if is_float(dtype):
        return FixedPoint(context.ring(condition), 0, Interval(0, 1), np.dtype(dtype))
    return Integer(context.ring(condition), np.dtype(dtype), Interval(0, 1))


def select(context: Context, condition: Boolean, x: Value, y: Value) -> Secret:
    """x where the secret condition holds, otherwise y; both of one dtype and shape."""
    x, y = finite(context, x, y), finite(context, y, x)
    if is_boolean(x.dtype):
        return _select_boolean(context, condition, context.secret(x), context.secret(y))
    if is_zero(y) and not isinstance(x, Public):
        return gate(context, condition, x)
    if is_zero(x) and not isinstance(y, Public):
        return gate(context, invert(context, condition), y)
    if isinstance(x, Public) and isinstance(y, Public) and x.known and y.known:
        return _select_public(context, condition, x, y)
    x, y = (_compact(context, context.secret(v)) for v in (x, y))
    known = joint_interval([x, y])
    chosen = add(context, gate(context, condition, subtract(context, x, y)), y)
    return with_interval(chosen, known)


def select_many(context: Context, index: Integer, cases: Sequence[Value]) -> Secret:
    """The case of a secret index, clamped: case 0 + sum_i [index >= i] (case i - case i-1). One round of products."""
    index = context.extended(index)
    below = context.protocol.less_than_each(index.ring, range(1, len(cases)))
    return chain(context, [invert(context, Boolean(bit)) for bit in below], cases)


def chain(context: Context, reached: Sequence[Boolean], cases: Sequence[Value]) -> Secret:
    """The last case whose condition is reached, if the conditions hold up to one case and not beyond."""
    if is_boolean(cases[0].dtype):
        chosen = context.secret(cases[0])
        for condition, case in zip(reached, cases[1:], strict=True):
            chosen = _select_boolean(context, condition, context.secret(case), chosen)
        return chosen
    secrets = [_compact(context, context.secret(finite(context, case, *cases))) for case in cases]
    total = secrets[0]
    for condition, before, after in zip(reached, secrets, secrets[1:], strict=False):
        total = add(context, total, gate(context, condition, subtract(context, after, before)))
    return with_interval(total, joint_interval(secrets))


def _compact(context: Context, x: Secret) -> Secret:
    return context.at_most(x) if isinstance(x, FixedPoint) else context.settled(x)


def _select_public(context: Context, condition: Boolean, x: Public, y: Public) -> Secret:
    wide = np.float64 if is_float(x.dtype) else x.dtype
    with np.errstate(over="ignore"):  # integers wrap
        difference = Public((np.asarray(x.array, wide) - np.asarray(y.array, wide)).astype(x.dtype))
    scaled = multiply(context, number(context, condition, x.dtype), difference)
    known = context.interval(x).hull(context.interval(y))
    if is_float(x.dtype):  # x is the sum of y and their difference, both of which are rounded
        steps = [np.asarray(v.array, np.float64) * 2.0**context.fraction for v in (x, y)]
        slack = 0 if all((v == np.round(v)).all() for v in steps) else 2.0**-context.fraction
        known = Interval(known.low - slack, known.high + slack)
    return with_interval(scaled if is_zero(y) else add(context, scaled, y), known)


def _select_boolean(context: Context, condition: Boolean, x: Boolean, y: Boolean) -> Boolean:
    protocol = context.protocol
    a, b = context.bits(x), context.bits(y)
    return Boolean(protocol.xor(b, protocol.and_(context.bits(condition), protocol.xor(a, b))))


# -- maxima ----------------------------------------------------------------------------------------------------


def maximum(context: Context, x: Value, y: Value) -> Value:
    """max(x, y), or `or` of booleans."""
    return _extreme(context, x, y, largest=True)


def minimum(context: Context, x: Value, y: Value) -> Value:
    """min(x, y), or `and` of booleans."""
    return _extreme(context, x, y, largest=False)


def _extreme(context: Context, x: Value, y: Value, *, largest: bool) -> Value:
    if isinstance(x, Public):
        x, y = y, x
    if isinstance(x, Boolean):
        a, b = context.bits(x), context.bits(y)
        return Boolean(context.protocol.or_(a, b) if largest else context.protocol.and_(a, b))
    if isinstance(y, Public) and y.known and is_float(y.dtype) and (decided := _infinite(y, largest)) is not None:
        return x if decided else Public(np.broadcast_to(y.array, np.broadcast_shapes(x.shape, y.shape)), y.at)
    if isinstance(x, Integer):
        return _extreme_integers(context, x, y, largest)
    if is_zero(y):  # the sign of x itself: x is settled and truncated once for all uses
        condition = _condition(context, x, largest)
        chosen = gate(context, condition, x)
    else:
        x = context.at_most(x)
        y = y if isinstance(y, Public) else context.at_most(y)
        difference = subtract(context, x, y)
        condition = _condition(context, difference, largest)
        chosen = add(context, gate(context, condition, difference), y)
    pick = max if largest else min
    a, b = x.interval, context.interval(y)
    if isinstance(y, Public):
        b = b.with_rounded(chosen.fraction)
    known = Interval(pick(a.low, b.low), pick(a.high, b.high), min(a.trust, b.trust))
    chosen = with_interval(chosen, known)
    return origins.maximum(context, x, y, condition, chosen) if largest else chosen


def _condition(context: Context, difference: FixedPoint, largest: bool) -> Boolean:
    below = negative(context, difference)
    return invert(context, below) if largest else below


def _infinite(y: Public, largest: bool) -> bool | None:
    """True if y never is the extreme, False if it always is, None if that depends."""
    array = np.asarray(y.array, np.float64)
    if (array <= -_AS_GOOD_AS_INFINITE).all():
        return largest
    if (array >= _AS_GOOD_AS_INFINITE).all():
        return not largest
    return None


def _extreme_integers(context: Context, x: Integer, y: Value, largest: bool) -> Integer:
    x = context.extended(x)
    y = y if isinstance(y, Public) else context.extended(y)
    below = less(context, x, y)
    a, b = (y, x) if largest else (x, y)
    return select(context, below, a, b)


def absolute(context: Context, x: Secret) -> Secret:
    """|x| of a real, or of an integer whose words are its value."""
    if isinstance(x, Integer) and not x.signed:
        return x
    below = negative(context, x)
    x = _compact(context, x)
    twice = dataclasses.replace(x, sharing=context.protocol.scale(x.sharing, 2))
    flipped = subtract(context, x, gate(context, below, twice))
    known = x.interval
    if known is None:
        return with_interval(flipped, None)
    return with_interval(flipped, Interval(known.mignitude, known.magnitude, known.trust))


def sign_of(context: Context, x: Secret) -> Secret:
    """-1, 0 or 1: 1 - [x < 0] - [x < 1] in words."""
    settled = context.settled(x)
    below, not_above = context.protocol.less_than_each(settled.ring, [0, 1])
    if isinstance(x, Integer) and x.known.low <= -(2**63):  # of which 1 cannot be subtracted
        not_above = context.protocol.or_(below, not_above)
    (minus,) = context.protocol.to_ring([below, not_above], [[-1, -1]])
    ring = context.protocol.add_public(minus, 1)
    if isinstance(x, Integer):
        return Integer(ring, x.dtype, Interval(-1, 1))
    return FixedPoint(ring, 0, Interval(-1, 1), x.dtype)
