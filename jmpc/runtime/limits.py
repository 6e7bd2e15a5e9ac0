"""Programs that come to an end: what a node makes of a program that somebody else has written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, JaxprEqn, Var

from jmpc._compat import fresh_var, make_closed, make_equation, source_line
from jmpc.choreography import primitives as prim
from jmpc.choreography.iterations import bounded, has_while
from jmpc.choreography.programs import Branch, Guard, Local, Program, Scan, Segment, Step, While
from jmpc.choreography.sizes import costliest_turn
from jmpc.policy import Policy


def bound_loops(program: Program, policy: Policy) -> Program:
    """The program with every `while` in its compiled code bounded, in turns and in what it computes in them.

    One that takes more is an error. A program without one stays as it is. Loops that are steps of the program
    are counted where it runs.
    """
    bounder = _Bounder(program.player, policy)
    return bounder.program(program) if _concerns(program) else program


def _concerns(program: Program) -> bool:
    for step in program.steps:
        match step:
            case Segment(equations=eqns):
                if any(map(has_while, eqns)):
                    return True
            case Local(equation=eqn):
                if has_while(eqn):
                    return True
    return any(_concerns(inner) for _, inner in program.inner())


@dataclasses.dataclass
class _Bounder:
    player: str
    policy: Policy
    constants: list[tuple[Var, object]] = dataclasses.field(default_factory=list)

    def program(self, program: Program) -> Program:
        scope = _Bounder(self.player, self.policy)
        steps: list[Step] = []
        drops: list[tuple[Var, ...]] = []
        for step, dead in zip(program.steps, program.drops, strict=True):
            made = scope.step(step)
            steps += made
            drops += [()] * (len(made) - 1) + [dead]
        constants = (*program.constants, *scope.constants)
        return dataclasses.replace(program, constants=constants, steps=tuple(steps), drops=tuple(drops))

    def step(self, step: Step) -> list[Step]:
        match step:
            case Segment(equations=eqns) if any(map(has_while, eqns)):
                return [self.segment(step)]
            case Local(equation=eqn) if has_while(eqn):
                return self.local(eqn)
            case Scan(body=body):
                return [dataclasses.replace(step, body=self.program(body))]
            case While(cond=cond, body=body):
                return [dataclasses.replace(step, cond=self.program(cond), body=self.program(body))]
            case Branch(programs=programs):
                return [dataclasses.replace(step, programs=tuple(map(self.program, programs)))]
        return [step]

    def segment(self, step: Segment) -> Segment:
        eqns: list[JaxprEqn] = []
        guards, inputs = [], []
        for eqn in step.equations:
            if not has_while(eqn):
                eqns.append(eqn)
                continue
            operands = list(dict.fromkeys(atom for atom in eqn.invars if isinstance(atom, Var)))
            most, rule = self.turns([eqn])
            made = bounded(make_closed([], [], operands, [eqn], eqn.outvars), most)
            ok = _flag()
            eqns += _spliced(made, operands, [*eqn.outvars, ok], eqn)
            guards.append(self.guard(ok, eqn, most, rule))
            inputs += made.jaxpr.constvars
            self.constants += zip(made.jaxpr.constvars, made.consts, strict=True)
        return dataclasses.replace(
            step,
            equations=tuple(eqns),
            inputs=(*step.inputs, *inputs),
            outputs=(*step.outputs, *(guard.ok for guard in guards)),
            guards=(*step.guards, *guards),
        )

    def local(self, eqn: JaxprEqn) -> list[Step]:
        most, rule = self.turns(eqn.params["jaxpr"].jaxpr.eqns)
        closed = bounded(eqn.params["jaxpr"], most)
        ended, ok = _flag(), _flag()
        unit = eqn.replace(params=dict(eqn.params, jaxpr=closed), outvars=[*eqn.outvars, ended])
        check = Segment((_same(ended, ok, eqn),), (), (ended,), (ok,), (self.guard(ok, eqn, most, rule),))
        return [Local(unit), check]

    def turns(self, eqns: Sequence[JaxprEqn]) -> tuple[int, str]:
        """How often all loops in some equations may go round together, and by which rule."""
        affordable = self.policy.max_operations // max(map(costliest_turn, eqns))
        if affordable < self.policy.max_loop_iterations:
            return affordable, "max_operations"
        return self.policy.max_loop_iterations, "max_loop_iterations"

    def guard(self, ok: Var, eqn: JaxprEqn, most: int, rule: str) -> Guard:
        text = f"{self.player}: a loop at {source_line(eqn)} takes more than {most:,} iterations (rule {rule})"
        return Guard(ok, self.player, text)


def _flag() -> Var:
    return fresh_var(ShapedArray((), np.bool_))


def _same(source: object, target: Var, eqn: JaxprEqn) -> JaxprEqn:
    """An equation that gives a value a second name."""
    return make_equation([source], [target], prim.agree_p, {}, eqn.source_info)


def _spliced(closed: ClosedJaxpr, operands: list[Var], results: list[Var], eqn: JaxprEqn) -> list[JaxprEqn]:
    """The equations of a jaxpr in the place of `eqn`."""
    inner = closed.jaxpr
    before = [_same(outer, var, eqn) for outer, var in zip(operands, inner.invars, strict=True)]
    after = [_same(atom, outer, eqn) for atom, outer in zip(inner.outvars, results, strict=True)]
    return [*before, *inner.eqns, *after]
