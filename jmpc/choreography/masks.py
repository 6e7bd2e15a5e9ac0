"""The static check that every masked message really is masked.

Holders say who can compute a value, not that a message is safe. For every `send_masked` and every
receiver this pass demands:

1. the mask is a whole draw, made in the same loop body (so it is fresh in every iteration), that covers
   all the bits that travel, under a key that the receiver does not hold;
2. it masks no other message to that receiver, and no other receiver of the same message (two equal masks
   cancel under xor, and leave the lowest bit bare in the ring);
3. the receiver's messages can be ordered such that what a message hides depends only on masks of
   messages before it. A loop counts as one message to each of its receivers, whose masks stand behind
   everything that comes out of it; its iterations are ordered by time, and its body is checked by itself.

Then, by induction along that order, each message is uniform given all earlier ones and everything else
the receiver knows: the masked part of its view can be simulated by uniform words.

What this does not say:

- Releases are not judged; they are listed in the computation's account, each with its reason. The argument
  above is about masked messages *alone*: if a release to P depends on a draw that masks a message to P
  without being cancelled (in the extreme: releases the draw), the two together may show what was hidden.
  Every reveal of a replicated sharing depends on such draws, which cancel against slots that P has; whether
  they do is arithmetic, which a check of dependencies cannot see. That is the protocol author's proof.
- Each receiver is judged alone: nothing is said about players that pool what they see.
- How often a loop runs and which branch is taken is known to all that talk in it (see `holders`) and is
  not hidden by anything here.
- That keys hide anything, and that no two draws are equal, is up to whoever makes the keystream.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import source_line
from jmpc.choreography.holders import inner_jaxprs
from jmpc.choreography.primitives import draw_p, send_masked_p
from jmpc.errors import ChoreographyError

Atom = Var | Literal


@dataclass(frozen=True)
class _Hiding:
    """A message to one receiver: what its mask hides."""

    equation: JaxprEqn
    hidden: tuple[Atom, ...]  # the value, and the masks that are meant for others

    @property
    def line(self) -> str:
        return source_line(self.equation)


def check_masks(closed: ClosedJaxpr) -> int:
    """Checks all messages of a choreography without calls; returns how many were checked.

    Raises:
      ChoreographyError: naming the author's line and what is wrong with the mask.
    """
    return _check_body(closed.jaxpr)


def _check_body(jaxpr: Jaxpr) -> int:
    maker = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
    messages: dict[str, dict[Var, _Hiding]] = defaultdict(dict)  # by receiver and mask
    checked = 0
    for eqn in jaxpr.eqns:
        checked += sum(map(_check_body, inner_jaxprs(eqn)))
        if eqn.primitive is send_masked_p:
            value, *masks = eqn.invars
            for index, (dst, mask) in enumerate(zip(eqn.params["dsts"], masks, strict=True)):
                others = masks[:index] + masks[index + 1 :]
                draw = _check_mask(eqn, dst, mask, others, maker, messages[dst])
                messages[dst][draw] = _Hiding(eqn, (value, *others))
                checked += 1
    for dst, hiding in messages.items():
        _check_order(dst, hiding, maker)
    return checked


def _check_mask(
    eqn: JaxprEqn,
    dst: str,
    mask: Atom,
    others: Iterable[Atom],
    maker: Mapping[Var, JaxprEqn],
    messages: Mapping[Var, _Hiding],
) -> Var:
    """Rules 1 and 2; returns the mask, which is a draw."""
    line = source_line(eqn)
    if isinstance(mask, Literal) or mask not in maker or maker[mask].primitive is not draw_p:
        raise ChoreographyError(
            f"{line}: the mask of a message to {dst!r} must be a whole `draw` of the same loop body, not a value "
            "computed from one or drawn outside the loop"
        )
    draw = maker[mask].params
    if dst in draw["key"]:
        raise ChoreographyError(
            f"{line}: the mask of a message to {dst!r} is drawn under the key of {{{', '.join(draw['key'])}}}, which "
            f"{dst!r} holds: it hides nothing from that player"
        )
    if draw["bits"] < eqn.params["bits"]:
        raise ChoreographyError(
            f"{line}: a message of {eqn.params['bits']} bits to {dst!r} is masked by a draw of {draw['bits']} bits only"
        )
    if any(mask is other for other in others):
        raise ChoreographyError(f"{line}: one draw masks a message to {dst!r} twice over; draw one for each receiver")
    if mask in messages:
        raise ChoreographyError(
            f"{line}: this draw already masks a message to {dst!r} ({messages[mask].line}); two messages under one "
            "mask show their difference. Draw a fresh one"
        )
    return mask


def _check_order(dst: str, messages: Mapping[Var, _Hiding], maker: Mapping[Var, JaxprEqn]) -> None:
    """Rule 3: if a mask counts as made from what it hides, then no value may be made from itself.

    A depth-first search from the masks through operands; a mask that is met again before its search has
    ended closes a circle. (Any order in which operands precede results is then one for the messages.)
    """
    done: set[Var] = set()
    for start in messages:
        if start in done:
            continue
        path = {start: reversed(messages[start].hidden)}  # variables being searched: the operands still to visit
        last = [start]
        while last:
            for atom in path[last[-1]]:
                if isinstance(atom, Literal) or atom in done or atom not in maker:
                    continue
                if atom in path:
                    _refuse_circle(dst, [messages[v] for v in last[last.index(atom) :] if v in messages])
                path[atom] = reversed(messages[atom].hidden if atom in messages else maker[atom].invars)
                last.append(atom)
                break
            else:
                var = last.pop()
                del path[var]
                done.add(var)


def _refuse_circle(dst: str, circle: list[_Hiding]) -> None:
    lines = list(dict.fromkeys(message.line for message in circle))
    raise ChoreographyError(
        f"{lines[0]}: {len(circle)} messages to {dst!r} hide each other's masks in a circle; together they may show "
        f"more than each alone: {', '.join(lines[:4])}"
    )
