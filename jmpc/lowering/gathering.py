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

    The number of those that are there is known at run time; what to multiply by is looked up in tables of integers that
    are part of the program, so that no player computes floats. No message.

    Raises:
      ChoreographyError: for values that are not reals of one shape, or not as many as `present` has elements.
    """
    if present.shape != (len(values),) or present.dtype != np.bool_ or present.at is not None:
        raise ChoreographyError(f"{context.line}: {len(values)} values, and no vector that says who of them is there")
    if not all(isinstance(x, FixedPoint) and x.shape == values[0].shape for x in values):
        raise ChoreographyError(f"{context.line}: a mean of what are not reals of one shape")
    protocol, bits = context.protocol, _elements(context.operand(present))
    kept = [
        protocol.map(lambda slot, bit=bit: slot * bit.astype(np.uint64), context.ring(x))
        for x, bit in zip(values, bits, strict=True)
    ]
    total, known = functools.reduce(protocol.add, kept), _ZERO.hull(*(x.interval for x in values))
    count = jnp.sum(jnp.stack(bits).astype(np.int64))
    parts = []
    for shift, table in _reciprocals(context.fraction, known, len(values)):
        factor = lax.dynamic_index_in_dim(public(table), count, keepdims=False)
        parts.append(FixedPoint(protocol.scale(total, factor), context.fraction + shift, known, values[0].dtype))
    if len(parts) == 1:
        return parts[0]
    rings = [context.at_fraction(part, context.fraction).ring for part in parts]
    return FixedPoint(functools.reduce(protocol.add, rings), context.fraction, known, values[0].dtype)


def _reciprocals(fraction: int, known: Interval, most: int) -> list[tuple[int, np.ndarray]]:
    """1 / count for count = 0 (where it is 0) to `most`, as a sum of words times 2^-s; s and the words of each summand.

    The values are below 2^b words, so that a sum of `count` of them times 2^s / count stays below 2^62 for s up to
    60 - b; each further summand has what the ones before left of the reciprocal. Their last bit makes an error of at
    most a quarter of a word in the mean; in that of values above 1 perhaps a sixteenth of a word times their size.
    """
    certain = known.trust > Trust.PROMISED
    bits = int(known.magnitude * 2.0**fraction).bit_length() if certain else RANGE_BITS - fraction
    count = most.bit_length()
    wanted, room = min(bits + 1, fraction + 3) + count, max(2 + count, RANGE_BITS - 2 - bits)
    parts, shift, before = [], 0, [0] * (most + 1)
    while shift < wanted:
        step = min(wanted - shift, room if not parts else room - count)
        shift += step
        after = [0, *(((1 << shift) + (k // 2 if shift == wanted else 0)) // k for k in range(1, most + 1))]
        words = [new - (old << step) for new, old in zip(after, before, strict=True)]
        parts.append((shift, np.array(words, np.uint64)))
        before = after
    return parts
