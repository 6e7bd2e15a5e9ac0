"""The static check that every masked message really is masked.

Holders say who can compute a value, not that a message is safe. For every `send_masked` and every
receiver this pass demands:

1. the mask is a whole draw, made in the same loop body (so it is fresh in every iteration), that covers
   all the bits that travel, under a key that the receiver does not hold;
2. it masks no other message to that receiver;
3. the receiver's messages can be ordered such that what a message hides depends only on masks of
   messages before it.

Then, by induction along that order, each message is uniform given all earlier ones and everything else
the receiver knows: the view can be simulated. Releases are not judged here; they are listed in the
computation's account, each with its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import source_line
from jmpc.choreography.holders import all_equations, inner_jaxprs
from jmpc.choreography.primitives import draw_p, send_masked_p
from jmpc.errors import ChoreographyError


@dataclass(frozen=True)
class _Hidden:
    """One thing a receiver sees: `line` for errors, its mask's bit, the bits of the draws behind it."""

    line: str
    mask: int
    behind: int


def check_masks(closed: ClosedJaxpr) -> int:
    """Checks all messages of a choreography without calls; returns how many were checked.

    Raises:
      ChoreographyError: naming the author's line and what is wrong with the mask.
    """
    return _check_body(closed.jaxpr)


def _check_body(jaxpr: Jaxpr) -> int:
    draws = {eqn.outvars[0]: eqn for eqn in jaxpr.eqns if eqn.primitive is draw_p}
    bit_of = {var: 1 << index for index, var in enumerate(draws)}
    taint: dict[Var, int] = dict(bit_of)
    seen: dict[str, list[_Hidden]] = defaultdict(list)
    used: dict[tuple[str, Var], str] = {}
    next_bit, checked = len(draws), 0

    def behind(atoms: Iterable[Var | Literal]) -> int:
        bits = 0
        for atom in atoms:
            bits |= 0 if isinstance(atom, Literal) else taint.get(atom, 0)
        return bits

    for eqn in jaxpr.eqns:
        if eqn.primitive is draw_p:
            continue
        marks = behind(eqn.invars)
        if eqn.primitive is send_masked_p:
            value, *masks = eqn.invars
            for dst, mask in zip(eqn.params["dsts"], masks, strict=True):
                _check_mask(eqn, dst, mask, draws, used)
                rest = behind([value, *(other for other in masks if other is not mask)])
                seen[dst].append(_Hidden(source_line(eqn), bit_of[mask], rest))
                checked += 1
        elif bodies := inner_jaxprs(eqn):
            # A loop is one message to each of its receivers: it hides what goes in, and its own masks,
            # which stand behind all that comes out, are one more draw.
            own, next_bit = 1 << next_bit, next_bit + 1
            checked += sum(map(_check_body, bodies))
            for dst in _receivers(bodies):
                seen[dst].append(_Hidden(source_line(eqn), own, marks))
            marks |= own
        taint.update((var, marks) for var in eqn.outvars)
    for dst, messages in seen.items():
        _check_order(dst, messages)
    return checked


def _check_mask(
    eqn: JaxprEqn, dst: str, mask: Var | Literal, draws: dict[Var, JaxprEqn], used: dict[tuple[str, Var], str]
) -> None:
    line = source_line(eqn)
    if mask not in draws:
        raise ChoreographyError(
            f"{line}: the mask of a message to {dst!r} must be a whole `draw` of the same loop body, not a value "
            "computed from one or drawn outside the loop"
        )
    draw = draws[mask].params
    if dst in draw["key"]:
        raise ChoreographyError(
            f"{line}: the mask of a message to {dst!r} is drawn under the key of {set(draw['key'])}, which {dst!r} "
            "holds: it hides nothing from that player"
        )
    if draw["bits"] < eqn.params["bits"]:
        raise ChoreographyError(
            f"{line}: a message of {eqn.params['bits']} bits to {dst!r} is masked by a draw of {draw['bits']} bits only"
        )
    if (dst, mask) in used:
        raise ChoreographyError(
            f"{line}: this draw already masks a message to {dst!r} ({used[dst, mask]}); two messages under one mask "
            "show their difference. Draw a fresh one"
        )
    used[dst, mask] = line


def _receivers(bodies: Iterable[Jaxpr]) -> set[str]:
    sends = (e for body in bodies for e in all_equations(body) if e.primitive is send_masked_p)
    return {dst for eqn in sends for dst in eqn.params["dsts"]}


def _check_order(dst: str, messages: list[_Hidden]) -> None:
    """Looks for the order of rule 3: repeatedly settles messages that hide no unsettled mask."""
    open_masks = 0
    for message in messages:
        open_masks |= message.mask
    waiting = messages
    while waiting:
        blocked = [m for m in waiting if m.behind & open_masks]
        if len(blocked) == len(waiting):
            raise ChoreographyError(
                f"{waiting[0].line}: {len(waiting)} messages to {dst!r} hide each other's masks in a circle; "
                f"together they may show more than each alone: {', '.join(m.line for m in waiting[:4])}"
            )
        for message in waiting:
            if not message.behind & open_masks:
                open_masks &= ~message.mask
        waiting = blocked
