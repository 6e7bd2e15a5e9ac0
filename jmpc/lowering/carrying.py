"""Values across the boundary of a loop or branch: brought to static types that its two sides agree on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jax.core import ShapedArray

from jmpc.lowering import choosing, interval
from jmpc.lowering.context import Context
from jmpc.lowering.placement import Placement, Where
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value, is_boolean
from jmpc.protocols.base import Product


def carried(context: Context, value: Value, place: Placement, aval: ShapedArray) -> Value:
    """A loop's carry, or a branch's result, in the one form that all iterations or branches have.

    Secret reals: a `Ring` at the precision's fraction, of unknown size; integers: a `Ring`, of unknown size;
    booleans: bits. Public values where `place` says, as tracers.
    """
    if place.where is Where.SECRET:
        return canonical(context, value)
    assert isinstance(value, Public)
    return traced(context, value, place, aval)


def canonical(context: Context, value: Value) -> Secret:
    """A value of any form as a secret of the form that only its type decides."""
    if is_boolean(value.dtype):
        return Boolean(context.bits(value))
    secret = context.secret(choosing.finite(context, value))
    if isinstance(secret, Integer):
        return Integer(context.settled(secret).sharing, secret.dtype)
    standard = context.at_fraction(secret, context.fraction)
    return FixedPoint(standard.sharing, context.fraction, interval.representable(context.fraction), standard.dtype)


def traced(context: Context, value: Public, place: Placement, aval: ShapedArray) -> Public:
    """A public value as a tracer at its place."""
    if place.where is Where.PLAYER:
        player = str(place.player)
        return Public(context.at_player(value, player), player)
    array = context.operand(context.everyone(value))
    return Public(np.broadcast_to(array, aval.shape) if isinstance(array, np.ndarray) else array)


def settled(context: Context, value: Value) -> Value:
    """A value that a loop's body reads in every iteration, in a form that needs no work there."""
    if isinstance(value, FixedPoint):
        ready = context.at_most(value)
        return value if ready is value else dataclasses.replace(ready, trait=None)
    if isinstance(value, Integer):
        return context.settled(value) if isinstance(value.sharing, Product) else value
    return value


def crossing(context: Context, values: Sequence[Value]) -> list[Value]:
    """Results that leave a loop's body as they are, stacked: constants become tracers, relations are forgotten."""
    return [_crossing(context, value) for value in values]


def _crossing(context: Context, value: Value) -> Value:
    if isinstance(value, Public):
        return Public(context.operand(value), value.at)
    return value if isinstance(value, Integer) else dataclasses.replace(value, trait=None)


def sliced(context: Context, value: Value) -> Value:
    """What a scan reads one row of in every iteration: as an array that has rows."""
    if isinstance(value, Public):
        return Public(context.operand(value), value.at)
    return _crossing(context, settled(context, value))
