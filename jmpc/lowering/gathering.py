"""Contributions of owners of whom some may be missing, and their mean over those that are there.

Every server says whose contributions have come to it, keys and messages; all tell each other (one round), and an owner
is there if all three say so. Each server judges that set, and tells the others that it goes on with it (one more round:
a server that refuses must not depend on being needed for what follows). The set is fixed then, before anything is
computed of it: each server multiplies its slots by the public bit, which makes a missing owner's zero at all of them.
What is opened is who took part, which derives from no input.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.choreography.primitives import contribution, delivered, public, quorum, release
from jmpc.computation import Gather
from jmpc.errors import ChoreographyError, TraceError
from jmpc.lowering.context import Context
from jmpc.lowering.inputs import share
from jmpc.lowering.interval import RANGE_BITS, Interval, Trust
from jmpc.lowering.values import Boolean, FixedPoint, Public, Secret

ATTENDANCE = "who took part"  # the account's word for it
_ZERO = Interval(0, 0)


def gather(context: Context, call: Gather, arrays: Sequence[Any]) -> list[Secret | Public]:
    """The contributions `arrays`, located at their owners, as secrets, and who of the owners is there.

    Rounds: 1 for sharing, and 2, of one bit for each owner and pair of servers.
    """
    per = len(arrays) // len(call.owners)
    owners = [owner for owner in call.owners for _ in range(per)]
    if servers := sorted(set(owners) & set(context.parties)):
        raise TraceError(f"{context.line}: {', '.join(servers)} cannot contribute to a gather: no run does without it")
    rows = zip(arrays, owners, call.ranges, strict=True)
    shared = [share(context, array, owner, range_) for array, owner, range_ in rows]
    present = _present(context, call, shared)
    bits = dict(zip(call.owners, _elements(present), strict=True))
    return [*(_kept(context, x, bits[owner], owner) for x, owner in zip(shared, owners, strict=True)), Public(present)]


def _present(context: Context, call: Gather, shared: Sequence[Secret]) -> Any:
    """The owners that all parties have everything of: booleans known to all parties, judged by each of them."""
    came: dict[str, list[Any]] = {party: [] for party in context.parties}
    for secret in shared:
        for party, slots in context.protocol.arrivals(secret.sharing).items():
            came[party] += slots
    there = _by_all(context, lambda party: delivered(came[party], call.owners, party, call.deadline))
    return _by_all(context, lambda party: quorum(there, call.owners, party, call.min_owners))


def _by_all(context: Context, said: Callable[[str], Any]) -> Any:
    """Of what every party says, what all of them say; known to all parties."""
    told = []
    for party in context.parties:
        others = tuple(other for other in context.parties if other != party)
        told.append(release(said(party), party, others, ATTENDANCE) if others else said(party))
    return functools.reduce(operator.and_, told)


def _elements(x: Any) -> list[Any]:
    return [lax.index_in_dim(x, i, keepdims=False) for i in range(x.shape[0])]


def _kept(context: Context, x: Secret, bit: Any, owner: str) -> Secret:
    kept = context.protocol.map(lambda slot: contribution(slot, bit, owner), x.sharing)
    if isinstance(x, Boolean):
        return Boolean(kept)
    return dataclasses.replace(x, sharing=kept, interval=x.interval and x.interval.hull(_ZERO))


def average(context: Context, values: Sequence[Secret], present: Public) -> FixedPoint:
    """The mean of those real `values` whose element of `present` is true; 0 if none is.

    Off by half an ulp or less before it is truncated, if the values' range allows: the number of those that are there
    is known at run time, and 2^s divided by it is looked up in a table that is part of the program. No message.

    Raises:
      ChoreographyError: for values that are not reals of one shape, or not as many as `present` has elements.
    """
    if present.shape != (len(values),) or present.dtype != np.bool_ or present.at is not None:
        raise ChoreographyError(f"{context.line}: {len(values)} values, and no vector that says who of them is there")
    if not all(isinstance(x, FixedPoint) and x.shape == values[0].shape for x in values):
        raise ChoreographyError(f"{context.line}: a mean of what are not reals of one shape")
    protocol, bits = context.protocol, _elements(context.operand(present))
    rings = [context.ring(x) for x in values]
    kept = [
        protocol.map(lambda slot, bit=bit: slot * bit.astype(np.uint64), ring)
        for ring, bit in zip(rings, bits, strict=True)
    ]
    total = functools.reduce(protocol.add, kept)
    known = _ZERO.hull(*(x.interval for x in values))
    shift = _shift(context.fraction, known, len(values))
    table = [0, *(((1 << shift) + count // 2) // count for count in range(1, len(values) + 1))]
    count = jnp.sum(jnp.stack(bits).astype(np.int64))
    factor = lax.dynamic_index_in_dim(public(np.array(table, np.uint64)), count, keepdims=False)
    return FixedPoint(protocol.scale(total, factor), context.fraction + shift, known, values[0].dtype)


def _shift(fraction: int, known: Interval, most: int) -> int:
    """The s for which 2^s / count, rounded, is exact enough and total * 2^s / count stays below 2^62.

    With |values| <= M words, |total| <= count M, so that half a unit of the factor makes an error of count M / 2 in
    units of 2^-s, at most a quarter of a word if 2^s >= 2 most M. Where nothing certain is known of the values, they
    count as below 1 for what can be lost, as for other constants.
    """
    words = known.magnitude * 2.0**fraction if known.trust > Trust.PROMISED else 2.0**fraction
    bits, count = int(words).bit_length(), most.bit_length()
    return max(1, min(bits + count + 1, RANGE_BITS - 2 - bits))
