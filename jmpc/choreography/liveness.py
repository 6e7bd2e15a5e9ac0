"""The last pass of a projection: what each segment returns, and when each buffer dies.

It goes through a player's steps backwards and knows what is still wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jax.extend.core import JaxprEqn, Literal, Var

from jmpc._compat import source_line
from jmpc.choreography import primitives as prim
from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.programs import (
    Atom,
    Branch,
    Delivered,
    Draw,
    Guard,
    Local,
    Program,
    Quorum,
    Receive,
    Scan,
    Segment,
    Send,
    Step,
    While,
)


def finish(
    player: str,
    rough: Sequence[Step | list[JaxprEqn]],
    outputs: tuple[Atom, ...],
    constants: Mapping[Var, Any],
    op_ids: Mapping[Var, int],
) -> Program:
    """The program of these steps, where a list of equations is a segment still to be made."""
    alive = set(_variables(outputs))
    steps, drops = [], []
    for item in reversed(rough):
        step = _segment(item, player, alive, op_ids) if isinstance(item, list) else item
        touched = dict.fromkeys([*reads(step), *writes(step)])
        drops.append(tuple(var for var in touched if var not in alive))
        alive.difference_update(writes(step))
        alive.update(reads(step))
        steps.append(step)
    read = tuple((var, value) for var, value in constants.items() if var in alive)
    return Program(player, read, tuple(reversed(steps)), tuple(reversed(drops)), outputs)


def _segment(eqns: list[JaxprEqn], player: str, alive: set[Var], op_ids: Mapping[Var, int]) -> Segment:
    draws = tuple(
        Draw(eqn.outvars[0], eqn.params["key"], op_ids[eqn.outvars[0]], eqn.params["bits"])
        for eqn in eqns
        if eqn.primitive is prim.draw_p
    )
    rest = tuple(eqn for eqn in eqns if eqn.primitive is not prim.draw_p)
    guards = tuple(
        Guard(eqn.invars[1], eqn.params["player"], _refusal(eqn))
        for eqn in rest
        if eqn.primitive is prim.guard_p and player in (eqn.params["player"], TOGETHER)
    )
    quorums = tuple(
        Quorum(eqn.invars[0], eqn.params["owners"], eqn.params["least"], source_line(eqn))
        for eqn in rest
        if eqn.primitive is prim.quorum_p and player in (eqn.params["player"], TOGETHER)
    )
    made = dict.fromkeys(var for eqn in eqns for var in eqn.outvars)
    inputs = [var for var in _variables(atom for eqn in rest for atom in eqn.invars) if var not in made]
    kept = alive.union(_variables([*(guard.ok for guard in guards), *(quorum.present for quorum in quorums)]))
    return Segment(rest, draws, tuple(inputs), tuple(var for var in made if var in kept), guards, quorums)


def _variables(atoms: Iterable[Atom | None]) -> list[Var]:
    return list(dict.fromkeys(atom for atom in atoms if atom is not None and not isinstance(atom, Literal)))


@functools.singledispatch
def reads(step: Step) -> list[Var]:
    """The outer variables a step reads."""
    raise TypeError(f"not a step: {step!r}")


@functools.singledispatch
def writes(step: Step) -> list[Var]:
    """The outer variables a step writes."""
    raise TypeError(f"not a step: {step!r}")


reads.register(Segment, lambda step: list(step.inputs))
writes.register(Segment, lambda step: list(step.outputs))
reads.register(Delivered, lambda step: _variables(step.equation.invars))
writes.register(Delivered, lambda step: _variables(step.equation.outvars))
reads.register(Local, lambda step: _variables(step.equation.invars))
writes.register(Local, lambda step: _variables(step.equation.outvars))
reads.register(Send, lambda step: _variables(m.payload for f in step.frames for m in f.messages))
writes.register(Send, lambda step: [])
reads.register(Receive, lambda step: [])
writes.register(Receive, lambda step: _variables(m.payload for f in step.frames for m in f.messages))
reads.register(Scan, lambda step: _variables(atom for atom, *_ in (*step.consts, *step.carry, *step.xs)))
writes.register(Scan, lambda step: _variables([*(c[-1] for c in step.carry), *(outer for _, outer in step.ys)]))
reads.register(While, lambda step: _variables(a for a, *_ in (*step.cond_consts, *step.body_consts, *step.carry)))
writes.register(While, lambda step: _variables(c[-1] for c in step.carry))
reads.register(Branch, lambda step: _variables([step.index, *(a for op in step.operands for a, _ in op)]))
writes.register(Branch, lambda step: _variables(outer for _, outer in step.results[0]))


def _refusal(eqn: JaxprEqn) -> str:
    return f"{source_line(eqn)}: {eqn.params['player']}: {eqn.params['message']}"
