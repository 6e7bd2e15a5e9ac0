"""Sums and products of values: scales are aligned, truncation is put off.

A product of reals stays at the sum of the factors' fractions until something needs it otherwise, and sums of
such products, with summands of any fraction lifted to theirs, are still one truncation.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc.lowering import encoding, interval, origins, wrapping
from jmpc.lowering.context import Context
from jmpc.lowering.interval import RANGE_BITS, Interval, Trust
from jmpc.lowering.values import Boolean, FixedPoint, Integer, PrecisionWarning, Public, Secret, Value
from jmpc.protocols.base import Product, Ring

Bilinear = Callable[[Any, Any], Any]
# So many of a constant's digits may be left out beside reals that may be large, for one product instead of two.
_SPARE_DIGITS = 4


# -- sums ------------------------------------------------------------------------------------------------------


def add(context: Context, x: Value, y: Value) -> Secret:
    """x + y, broadcasting; at least one is secret, both are reals or integers of one type."""
    if isinstance(x, Public):
        x, y = y, x
    if isinstance(y, Public):
        return _add_public(context, x, y, negative=False)
    return _sum(context, x, y, context.protocol.add, Interval.__add__)


def subtract(context: Context, x: Value, y: Value) -> Secret:
    """x - y."""
    if isinstance(y, Public):
        return _add_public(context, x, y, negative=True)
    if isinstance(x, Public):
        return add(context, negate(context, y), x)
    return _sum(context, x, y, context.protocol.subtract, Interval.__sub__)


def negate(context: Context, x: Secret) -> Secret:
    """-x."""
    if isinstance(x, Integer):
        x = context.settled(x) if not isinstance(x.sharing, (Ring, Product)) else x
        return wrapped(x, context.protocol.negate(x.sharing), None if x.interval is None else -x.interval)
    return dataclasses.replace(x, sharing=context.protocol.negate(x.sharing), interval=-x.interval, trait=None)


def _sum(context: Context, x: Secret, y: Secret, combine: Callable, combine_intervals: Callable) -> Secret:
    if isinstance(x, Integer):
        x, y = same_sharing(context, [_in_ring(context, x), _in_ring(context, y)])
        known = combine_intervals(x.interval, y.interval) if x.interval and y.interval else None
        return wrapped(x, combine(x.sharing, y.sharing), known)
    x, y = align(context, [x, y])
    known = combine_intervals(x.interval, y.interval)
    limit = interval.representable(x.fraction).high
    return FixedPoint(combine(x.sharing, y.sharing), x.fraction, known.clip(-limit, limit), x.dtype)


def _add_public(context: Context, x: Secret, y: Public, *, negative: bool) -> Secret:
    x = broadcast(context, x, np.broadcast_shapes(x.shape, y.shape))
    if y.known and not np.asarray(y.array).any():
        return x if isinstance(x, Integer) else dataclasses.replace(x, trait=None)
    known = context.interval(y)
    known = -known if negative else known

    def moved(x: Any, fraction: int) -> Any:
        words = context.encoded(y, fraction)
        return context.protocol.add_public(x.sharing, _negated(words) if negative else words)

    if isinstance(x, Integer):
        ring = _in_ring(context, x)
        total = wrapped(ring, moved(ring, 0), x.interval + known if x.interval else None)
        return total if negative else wrapping.added(context, x, y, total)
    real = _ready_for_summand(context, x, y)
    if y.known and context.vanishes(y, real.fraction):
        _warn_of_vanishing(context, y, real.fraction)
    limit = interval.representable(real.fraction).high
    sum_interval = (real.interval + known.with_rounded(real.fraction)).clip(-limit, limit)
    total = FixedPoint(moved(real, real.fraction), real.fraction, sum_interval, real.dtype)
    again = lambda of: _add_public(context, of, y, negative=negative)
    return origins.added(context, x, y, -1 if negative else 1, total, again)


def _warn_of_vanishing(context: Context, y: Public, fraction: int) -> None:
    size, step = float(np.abs(np.asarray(y.array, np.float64)).max()), 2.0**-fraction
    context.warn(
        f"a constant of {size:g} that is added to a secret counts as 0 (also in an extremum): numbers have steps of "
        f"{step:.2g} there. "
        f"Nothing is infinite without it: quotients by 0, and reciprocals of 0 and its root, are 0. To limit them add "
        f"{step:.2g} or more, scale the computation up, or raise the precision",
        PrecisionWarning,
    )


def _negated(words: Any) -> Any:
    # numpy warns when a scalar wraps, and a scalar is what a constant with equal elements is
    return np.uint64(-int(words) % 2**64) if isinstance(words, np.generic) else -words


def _ready_for_summand(context: Context, x: FixedPoint, y: Public) -> FixedPoint:
    """`x` at a fraction at which the public `y` can be added to it."""
    needed = context.fraction
    if y.known:
        context.check_finite(y)
        needed = min(needed, encoding.encode_factor(y.array, interval.symmetric(1), context.precision).fraction)
    if x.fraction < needed:
        return context.lift(x, needed)
    fits = context.interval(y).magnitude * 2.0**x.fraction <= 2.0**RANGE_BITS
    return x if fits or x.fraction <= context.fraction else context.at_most(x)


def wrapped(like: Integer, sharing: Any, known: Interval | None) -> Integer:
    """An integer of the same type, whose interval is forgotten if the ring may have wrapped."""
    if known is not None and not known.inside(-(2**63), 2**63 - 1):
        known = None
    return Integer(sharing, like.dtype, known)


def _in_ring(context: Context, x: Integer) -> Integer:
    return x if isinstance(x.sharing, (Ring, Product)) else context.settled(x)


# -- common forms ----------------------------------------------------------------------------------------------


def align(context: Context, values: Sequence[FixedPoint]) -> list[FixedPoint]:
    """The reals at one fraction, all `Ring` or all `Product`.

    The lower ones are lifted if they fit below 2^62 there; otherwise, or if that was done already for another
    use, the products are truncated first.
    """
    values = _truncated_already(context, values)
    highest = max(x.fraction for x in values)
    if not all(context.fits(x, highest) for x in values if x.fraction < highest):
        values = [x if x.fraction <= context.fraction else context.at_most(x) for x in values]
        highest = max(x.fraction for x in values)
    lifted = [x if x.fraction == highest else context.lift(x, highest) for x in values]
    return same_sharing(context, lifted)


def _truncated_already(context: Context, values: Sequence[FixedPoint]) -> Sequence[FixedPoint]:
    forms = [x if x.fraction <= context.fraction else context.remembered(x, context.fraction) for x in values]
    return values if None in forms else forms


def same_sharing(context: Context, values: Sequence[Any]) -> list[Any]:
    """The values all as `Product` if one of them is."""
    if not any(isinstance(x.sharing, Product) for x in values):
        return list(values)
    as_product = context.protocol.as_product
    return [
        x if isinstance(x.sharing, Product) else dataclasses.replace(x, sharing=as_product(x.sharing)) for x in values
    ]


def broadcast(context: Context, x: Secret, shape: tuple[int, ...]) -> Secret:
    """`x` with this shape; keeps what is known of it."""
    if x.shape == shape:
        return x
    return dataclasses.replace(x, sharing=context.protocol.map(lambda s: jnp.broadcast_to(s, shape), x.sharing))


# -- products --------------------------------------------------------------------------------------------------


def multiply(context: Context, x: Value, y: Value) -> Secret:
    """x * y elementwise, broadcasting."""
    return bilinear(context, x, y, jnp.multiply, elementwise=True)


def square(context: Context, x: Secret) -> Secret:
    """x * x."""
    return bilinear(context, x, x, jnp.multiply, elementwise=True)


def bilinear(
    context: Context,
    x: Value,
    y: Value,
    f: Bilinear,
    *,
    terms: int = 1,
    elementwise: bool = False,
    precise: bool = False,
) -> Secret:
    """Any bilinear map of two values of one type, where each result is a sum of `terms` products.

    If it is to be `precise`, a known factor is as exact beside an input of unknown range as beside one of about 1.
    """
    if isinstance(x, Public):
        return bilinear(context, y, x, lambda b, a: f(a, b), terms=terms, elementwise=elementwise, precise=precise)
    if elementwise and isinstance(y, Public):
        x = broadcast(context, x, np.broadcast_shapes(x.shape, y.shape))
    if isinstance(x, Integer):
        return _integer_product(context, x, y, f, terms, elementwise)
    if isinstance(y, Public):
        times = _times_words if precise and y.known else _times_public
        return times(context, x, y, f, terms, elementwise)
    return _product(context, x, y, f, terms, elementwise)


def _integer_product(context: Context, x: Integer, y: Value, f: Bilinear, terms: int, elementwise: bool) -> Integer:
    x_known = x.interval
    y_known = context.interval(y) if isinstance(y, Public) else y.interval
    known = _summed(x_known * y_known, terms) if x_known and y_known else None
    x = _in_ring(context, x)
    if isinstance(y, Public):
        words = context.encoded(y, 0)
        words = words if elementwise else context.full(words, y.shape)
        return wrapped(x, context.protocol.map(lambda s: f(s, words), x.sharing), known)
    left, right = context.settled(x), context.settled(y)
    same = elementwise and left is right
    product = context.protocol.square(left.ring) if same else context.protocol.multiply(left.ring, right.ring, f)
    return wrapped(x, product, known)


def _times_public(context: Context, x: FixedPoint, y: Public, f: Bilinear, terms: int, elementwise: bool) -> FixedPoint:
    if y.known:
        context.check_constant(y, 0)
        x, constant = _with_room(context, x, y, terms)
        missing = encoding.encode_precisely(y.array, context.precision).fraction - constant.fraction
        if missing > (0 if x.fraction == 0 else _SPARE_DIGITS) and (x.fraction == 0 or elementwise):
            return _times_words(context, x, y, f, terms, elementwise, relative=True)
        words = context.once(y, ("factor", constant.fraction), lambda: context.constant(constant.ring))
        return _times_constant(context, x, constant, words, f, terms, elementwise)
    x, fraction = context.at_most(x), context.fraction
    encoded = context.encoded(y, fraction)
    words = encoded if elementwise else context.full(encoded, y.shape)
    sharing = context.protocol.map(lambda s: f(s, words), x.sharing)
    return _real(context, x, sharing, x.fraction + fraction, _summed(x.interval * context.interval(y), terms))


def _times_constant(
    context: Context, x: FixedPoint, y: encoding.Constant, ring: Any, f: Bilinear, terms: int, elementwise: bool
) -> FixedPoint:
    """The product with a constant, whose words are declared as `ring`."""
    x = _below(context, x, float(np.abs(y.words).max(initial=0)) * terms)
    words = ring if elementwise else context.full(ring, y.words.shape)
    sharing = context.protocol.map(lambda s: f(s, words), x.sharing)
    return _real(context, x, sharing, x.fraction + y.fraction, _summed(x.interval * y.interval, terms))


def _times_words(
    context: Context, x: FixedPoint, y: Public, f: Bilinear, terms: int, elementwise: bool, *, relative: bool = False
) -> FixedPoint:
    """The product with a constant as the sum of those with its words: mostly one, see `encode_in_words`."""
    context.check_constant(y, 0)
    factor = _summed(x.interval, terms)
    constants = encoding.encode_in_words(
        np.asarray(y.array), factor, context.precision, terms, x.fraction, relative=relative
    )
    products = [
        _times_constant(context, x, constant, context.constant(constant.ring), f, terms, elementwise)
        for constant in constants
    ]
    return functools.reduce(lambda a, b: add(context, a, b), products)


def _with_room(context: Context, x: FixedPoint, y: Public, terms: int) -> tuple[FixedPoint, encoding.Constant]:
    """`x`, and the constant at the scale that suits its interval.

    Where a large x leaves too few bits to a small constant, x gives some of its own, which the product does
    not need: an ulp of the result is 1 / |y| ulp of x. That is a truncation more, of a sum of many numbers mostly.
    """
    factor = _summed(x.interval, terms)
    constant = encoding.encode_factor(y.array, factor, context.precision, x.fraction)
    precise = encoding.encode_precisely(y.array, context.precision)
    largest = int(np.abs(precise.words).max(initial=0)).bit_length()
    if not factor.certain or constant.fraction >= precise.fraction:
        return x, constant
    bits = math.frexp(factor.magnitude)[1]
    fraction = RANGE_BITS - 1 - bits - largest
    needed = context.fraction + 1 + largest - precise.fraction
    if not max(0, needed) <= fraction < min(x.fraction, context.fraction):
        return x, constant
    return context.at_fraction(x, fraction), precise


def _below(context: Context, x: FixedPoint, factor: float) -> FixedPoint:
    """`x`, truncated first if its product with integers up to `factor` might leave 2^62."""
    if x.fraction <= context.fraction:
        return x
    return x if x.interval.magnitude * 2.0**x.fraction * factor <= 2.0**RANGE_BITS else context.at_most(x)


def _product(context: Context, x: FixedPoint, y: FixedPoint, f: Bilinear, terms: int, elementwise: bool) -> FixedPoint:
    same = elementwise and x is y
    x, y = _factors(context, x, y, terms)
    protocol = context.protocol
    known = _summed(x.interval * y.interval, terms)
    if same:
        product = protocol.square(x.ring)
        known = Interval(x.interval.mignitude**2, x.interval.magnitude**2, x.interval.trust)
    else:
        product = protocol.multiply(x.ring, y.ring, f)
    return _real(context, x, product, x.fraction + y.fraction, known)


def _factors(context: Context, x: FixedPoint, y: FixedPoint, terms: int) -> tuple[FixedPoint, FixedPoint]:
    """The factors as `Ring`, truncated as far as their product needs it to fit below 2^62.

    What nothing certain is known of may have 2 f + 2 bits after the point together.
    """

    def fit(x: FixedPoint, y: FixedPoint) -> bool:
        total = x.fraction + y.fraction
        size = x.interval.magnitude * y.interval.magnitude * terms
        return total <= 2 * context.fraction + 2 or size * 2.0**total <= 2.0**RANGE_BITS

    same = x is y
    while not fit(x, y) and max(x.fraction, y.fraction) > context.fraction:
        if same:
            x = y = context.at_most(x)
        elif x.fraction >= y.fraction:
            x = context.at_most(x)
        else:
            y = context.at_most(y)
    x = context.settled(x)
    return x, (x if same else context.settled(y))


def _summed(product: Interval, terms: int) -> Interval:
    return Interval(product.low * terms, product.high * terms, product.trust)


def _real(context: Context, like: FixedPoint, sharing: Any, fraction: int, known: Interval) -> FixedPoint:
    limit = interval.representable(fraction).high
    if known.certain and known.mignitude > limit:
        context.warn(
            f"a product of at least {known.mignitude:g} in magnitude is certain to leave the range of {limit:g} at "
            f"{fraction} fraction bits; scale the computation down, or lower the precision"
        )
    elif known.trust is Trust.DECLARED and known.magnitude > limit:
        context.warn(
            f"by the ranges that were declared, a product may reach {known.magnitude:g}, and wraps around beyond "
            f"{limit:g} at {fraction} fraction bits. Scale the inputs, declare narrower ranges, or lower the precision"
        )
    return FixedPoint(sharing, fraction, known.clip(-limit, limit), like.dtype)


# -- booleans as numbers ---------------------------------------------------------------------------------------


def as_real(context: Context, x: Boolean, dtype: Any) -> FixedPoint:
    """0.0 and 1.0, at fraction 0: products with it need no truncation."""
    return FixedPoint(context.ring(x), 0, Interval(0, 1), np.dtype(dtype), x.trait)


def as_integer(context: Context, x: Boolean, dtype: Any) -> Integer:
    """0 and 1."""
    return Integer(context.ring(x), np.dtype(dtype), Interval(0, 1))
