"""Projection: from one trace for all players to one program for each.

A player's program is the equations whose results it holds and needs, cut at the messages; all messages of
one depth to one peer travel in one frame, whatever operations they come from. Values are computed as late
as their first use allows, so that what a message waits for comes first; the next segment's keystream is
there to be made while the network waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Primitive, Var

from jmpc._compat import fresh_var, make_equation, scan_counts, source_line
from jmpc.choreography import primitives as prim
from jmpc.choreography.holders import HolderMap, all_bodies, all_equations
from jmpc.choreography.liveness import finish
from jmpc.choreography.needs import TOGETHER, Needs, View, copy_of, mark_needs, takes_part
from jmpc.choreography.positions import END, LAST_LEVEL, Position, Positions, talks
from jmpc.choreography.programs import (
    Atom,
    Branch,
    Delivered,
    Frame,
    Local,
    Message,
    Program,
    Receive,
    Scan,
    Send,
    Step,
    While,
)

pack_p = Primitive("pack")  # words to the bytes of their low bits; only ever inside a segment
unpack_p = Primitive("unpack")


@dataclass(frozen=True)
class Schedule:
    """Everything the scheduler knows of a choreography under one view; `program` projects it."""

    closed: ClosedJaxpr
    view: View
    positions: dict[int, Positions]  # by the id of each body
    needs: Needs
    op_ids: dict[Var, int]
    numbers: dict[int, int]  # id of a control-flow equation to its number
    payloads: dict[Var, Var]
    deadlines: dict[Var, float | None]  # of the messages of players that may be missing
    outputs: dict[str, tuple[Atom, ...]]

    def program(self, player: str) -> Program:
        """The program of one player of the view."""
        return _Projection(self, self.closed, player).program(self.outputs.get(player, ()))


def schedule(
    closed: ClosedJaxpr,
    holders: HolderMap | None,
    players: Sequence[str],
    outputs: Mapping[str, Sequence[int]],
    *,
    cut_messages: bool = True,
    record: Mapping[Var, tuple[str, ...]] | None = None,
) -> Schedule:
    """Prepares a choreography without calls for projection.

    Args:
      closed: the choreography; see `inline_calls`.
      holders: of every variable, or None for the fused reading in which one player does everything.
      players: the players whose programs are wanted (ignored in the fused reading).
      outputs: for each player the positions of the outputs that it returns.
      cut_messages: whether messages end segments in the fused reading, too.
      record: the messages (to their receivers, see `Needs.receivers`) that a fused reading sends although
        nobody waits for them, so that tests can compare them with those of real players.
    """
    jaxpr = closed.jaxpr
    cut = cut_messages or holders is not None or record is not None
    eager = cut and holders is None and record is None
    view = View((TOGETHER,) if holders is None else tuple(players), holders, cut, eager)
    needs = Needs()
    wanted = {player: tuple(jaxpr.outvars[i] for i in positions) for player, positions in outputs.items()}
    if holders is None:
        wanted = {TOGETHER: tuple(jaxpr.outvars[i] for i in sorted({i for p in outputs.values() for i in p}))}
        needs.add(TOGETHER, record or ())
        needs.receivers.update(record or {})
    for player, atoms in wanted.items():
        needs.add(player, atoms)
    mark_needs(jaxpr, view, needs)
    everything = list(all_equations(jaxpr))
    draws = [eqn.outvars[0] for eqn in everything if eqn.primitive is prim.draw_p]
    control = [eqn for eqn in everything if eqn.primitive.name in ("scan", "while", "cond")]
    return Schedule(
        closed,
        view,
        {id(body): Positions(body, view) for body in all_bodies(jaxpr)},
        needs,
        op_ids={var: number for number, var in enumerate(draws)},
        numbers={id(eqn): number for number, eqn in enumerate(control)},
        payloads={eqn.outvars[0]: _payload(eqn) for eqn in everything if eqn.primitive in prim.TALK},
        deadlines=_deadlines(everything),
        outputs=wanted,
    )


def _payload(eqn: JaxprEqn) -> Var:
    """What travels: the value itself, or its packed low bits where its elements are partly empty."""
    (value,) = eqn.outvars
    bits = eqn.params["bits"]
    if bits == 8 * value.aval.dtype.itemsize:
        return value
    return fresh_var(ShapedArray((-(-value.aval.size * bits // 8),), np.uint8))


def _deadlines(eqns: Sequence[JaxprEqn]) -> dict[Var, float | None]:
    return {
        atom: eqn.params["deadline"]
        for eqn in eqns
        if eqn.primitive is prim.delivered_p
        for atom in eqn.invars
        if not isinstance(atom, Literal)
    }


class _Projection:
    """One player's program for one body."""

    def __init__(self, plan: Schedule, closed: ClosedJaxpr, player: str) -> None:
        self.plan, self.jaxpr, self.player = plan, closed.jaxpr, player
        self.constants = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        self.need = plan.needs.of_player[player]
        self.positions = plan.positions[id(closed.jaxpr)]
        self.first_use: dict[Var, Position] = {}
        self.segments: dict[Position, list[JaxprEqn]] = defaultdict(list)
        self.units: dict[Position, list[Step]] = defaultdict(list)  # after the segment of the same position
        self.control: dict[int, list[Step]] = defaultdict(list)  # loops and branches that talk, by depth
        self.sends: dict[tuple[int, str, str], list[Message]] = defaultdict(list)  # by depth, src, dst
        self.receives: dict[tuple[int, str, str], list[Message]] = defaultdict(list)

    def program(self, outputs: Sequence[Atom]) -> Program:
        self._use(outputs, END)
        for eqn in reversed(self.jaxpr.eqns):
            if eqn.primitive in prim.TALK:
                self._place_message(eqn)
            elif self.plan.view.is_step(eqn):
                if takes_part(self.need, eqn):
                    self._place_control(eqn)
            elif self.need.isdisjoint(eqn.outvars):
                continue
            elif eqn.primitive is prim.local_p:
                self._place_unit(eqn, Local(eqn), eqn.invars)
            elif eqn.primitive is prim.delivered_p:
                self._place_unit(eqn, Delivered(eqn), eqn.invars)
            else:
                self._place(eqn)
        return self._assemble(tuple(outputs))

    # -- placing equations, last to first ----------------------------------------------------------------------

    def _use(self, atoms: Sequence[Atom], at: Position) -> None:
        for atom in atoms:
            if not isinstance(atom, Literal):
                self.first_use[atom] = min(self.first_use.get(atom, END), at)

    def _place(self, eqn: JaxprEqn) -> None:
        """Puts an equation into the segment of its first use; what may end the run before the next messages."""
        at = min(self.first_use.get(var, END) for var in eqn.outvars)
        if eqn.primitive in (prim.guard_p, prim.quorum_p):
            depth, _ = self.positions[eqn]
            at = min(at, (depth, LAST_LEVEL))
        if self.plan.view.eager:
            at = self.positions.earliest(eqn, at)
        if eqn.primitive is prim.agree_p:  # only the copy that this player has
            eqn = eqn.replace(invars=[copy_of(eqn, self.player, self.plan.view)])
        self.segments[at].append(eqn)
        self._use(eqn.invars, at)

    def _place_message(self, eqn: JaxprEqn) -> None:
        (value,) = eqn.outvars
        if value not in self.need:
            return
        depth, _ = self.positions[eqn]
        view, payload, src = self.plan.view, self.plan.payloads[value], eqn.params["src"]
        receivers = self.plan.needs.receivers.get(value, ())
        message = Message(value, payload, eqn.params["bits"], source_line(eqn), eqn.params.get("why"))
        if self.player in receivers:
            self.receives[depth, src, self.player].append(message)
            if payload is not value:
                self._place(_packing(eqn, unpack_p, payload, value))
            return
        if receivers and self.player in (src, TOGETHER):
            for dst in receivers:
                self.sends[depth, src, dst].append(message)
            self._use([payload], (depth, LAST_LEVEL))
            if payload is not value:
                self._place(_packing(eqn, pack_p, value, payload))
        if all(view.holds(self.player, atom) for atom in eqn.invars):
            self._place(eqn)

    def _place_unit(self, eqn: JaxprEqn, step: Step, operands: Sequence[Atom]) -> None:
        at = self.positions[eqn]
        self.units[at].append(step)
        self._use(operands, at)

    # -- loops and branches ------------------------------------------------------------------------------------

    def _inner(self, closed: ClosedJaxpr, outputs: Sequence[Atom]) -> Program:
        return _Projection(self.plan, closed, self.player).program(outputs)

    def _place_control(self, eqn: JaxprEqn) -> None:
        build = {"scan": self._scan, "while": self._while, "cond": self._branch}[eqn.primitive.name]
        step, operands = build(eqn, self.plan.numbers[id(eqn)])
        if not talks(eqn):
            self._place_unit(eqn, step, operands)
            return
        depth, _ = self.positions[eqn]
        self.control[depth].append(step)
        self._use(operands, (depth, LAST_LEVEL))

    def _needed(self, atoms: Sequence, invars: Sequence[Var]) -> tuple[tuple[Atom, Var], ...]:
        return tuple((atom, var) for atom, var in zip(atoms, invars, strict=True) if var in self.need)

    def _scan(self, eqn: JaxprEqn, number: int) -> tuple[Scan, list[Atom]]:
        num_consts, num_carry = scan_counts(eqn.params)
        body, stop = eqn.params["jaxpr"].jaxpr, num_consts + num_carry
        consts = self._needed(eqn.invars[:num_consts], body.invars[:num_consts])
        xs = self._needed(eqn.invars[stop:], body.invars[stop:])
        carry = tuple(
            (init, before, after, final if final in self.need else None)
            for init, before, after, final in zip(
                eqn.invars[num_consts:stop],
                body.invars[num_consts:stop],
                body.outvars[:num_carry],
                eqn.outvars[:num_carry],
                strict=True,
            )
            if before in self.need
        )
        ys = tuple(
            (inner, outer)
            for inner, outer in zip(body.outvars[num_carry:], eqn.outvars[num_carry:], strict=True)
            if outer in self.need
        )
        program = self._inner(eqn.params["jaxpr"], [*(after for _, _, after, _ in carry), *(inner for inner, _ in ys)])
        step = Scan(
            number, source_line(eqn), eqn.params["length"], eqn.params["reverse"], consts, carry, xs, ys, program
        )
        return step, [atom for atom, *_ in (*consts, *carry, *xs)]

    def _while(self, eqn: JaxprEqn, number: int) -> tuple[While, list[Atom]]:
        cond, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
        cut, more = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        cond_consts = self._needed(eqn.invars[:cut], cond.invars[:cut])
        body_consts = self._needed(eqn.invars[cut : cut + more], body.invars[:more])
        carry = tuple(
            (
                init,
                in_cond if in_cond in self.need else None,
                in_body,
                after,
                final if final in self.need else None,
            )
            for init, in_cond, in_body, after, final in zip(
                eqn.invars[cut + more :], cond.invars[cut:], body.invars[more:], body.outvars, eqn.outvars, strict=True
            )
            if in_body in self.need
        )
        step = While(
            number,
            source_line(eqn),
            cond_consts,
            body_consts,
            carry,
            self._inner(eqn.params["cond_jaxpr"], cond.outvars),
            self._inner(eqn.params["body_jaxpr"], [after for _, _, _, after, _ in carry]),
        )
        return step, [atom for atom, *_ in (*cond_consts, *body_consts, *carry)]

    def _branch(self, eqn: JaxprEqn, number: int) -> tuple[Branch, list[Atom]]:
        index, *atoms = eqn.invars
        branches = [branch.jaxpr for branch in eqn.params["branches"]]
        operands = tuple(self._needed(atoms, branch.invars) for branch in branches)
        results = tuple(
            tuple((inner, outer) for inner, outer in zip(b.outvars, eqn.outvars, strict=True) if outer in self.need)
            for b in branches
        )
        programs = tuple(
            self._inner(branch, [inner for inner, _ in result])
            for branch, result in zip(eqn.params["branches"], results, strict=True)
        )
        step = Branch(number, source_line(eqn), index, operands, results, programs)
        return step, [index, *(atom for operand in operands for atom, _ in operand)]

    # -- putting the steps together ----------------------------------------------------------------------------

    def _assemble(self, outputs: tuple[Atom, ...]) -> Program:
        ordered: list[tuple[tuple[int, int, int], Step | list[JaxprEqn]]] = []
        ordered += [((*at, 0), list(reversed(eqns))) for at, eqns in self.segments.items()]
        ordered += [((*at, 1), unit) for at, units in self.units.items() for unit in reversed(units)]
        ordered += [((depth, LAST_LEVEL, 1), Send(depth, frames)) for depth, frames in _frames(self.sends)]
        ordered += [((depth, LAST_LEVEL, 2), step) for depth, steps in self.control.items() for step in reversed(steps)]
        ordered += [((depth, LAST_LEVEL, 3), self._receive(depth, frames)) for depth, frames in _frames(self.receives)]
        ordered.sort(key=lambda item: item[0])
        return finish(self.player, [step for _, step in ordered], outputs, self.constants, self.plan.op_ids)

    def _receive(self, depth: int, frames: tuple[Frame, ...]) -> Receive:
        """The step with the longest deadline of its messages."""
        values = [message.value for frame in frames for message in frame.messages]
        found = [self.plan.deadlines[value] for value in values if value in self.plan.deadlines]
        known = [deadline for deadline in found if deadline is not None]
        return Receive(depth, frames, max(known) if known and len(known) == len(found) else None)


def _frames(messages: dict[tuple[int, str, str], list[Message]]) -> list[tuple[int, tuple[Frame, ...]]]:
    by_depth: dict[int, list[Frame]] = defaultdict(list)
    for (depth, src, dst), group in sorted(messages.items(), key=lambda item: item[0]):
        by_depth[depth].append(Frame(src, dst, tuple(reversed(group))))
    return [(depth, tuple(frames)) for depth, frames in by_depth.items()]


def _packing(eqn: JaxprEqn, primitive: Primitive, source: Var, target: Var) -> JaxprEqn:
    return make_equation([source], [target], primitive, {"bits": eqn.params["bits"]}, eqn.source_info)
