"""The interpreter: the user's jaxpr, equation by equation, onto protocol operations."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import UNKNOWN_LINE, dce, source_line, user_context
from jmpc.choreography.holders import inner_jaxprs
from jmpc.choreography.inline import inline_calls
from jmpc.lowering import missing, placement, public, unbounded, univariate
from jmpc.lowering.context import Context
from jmpc.lowering.idioms import with_sign_tests
from jmpc.lowering.placement import Placement, Where
from jmpc.lowering.public import Unit, read
from jmpc.lowering.registry import REFUSED, RULES, Rule
from jmpc.lowering.values import FixedPoint, Public, Value


def lower(closed_jaxpr: ClosedJaxpr, args: Sequence[Value], context: Context) -> list[Value]:
    """Computes a traced JAX function on values; emits the protocol operations into the trace around it.

    Args:
      closed_jaxpr: the user's function, traced with the user's own flags.
      args: a value for each argument.
      context: of this lowering, with the protocol.

    Returns:
      A value for each result, lazy as it is: see `outgoing` for opening one, `Context.ring` for storing it.

    Raises:
      TraceError: for what cannot be computed on secrets, with the primitive's name and the user's line.
    """
    lean = dce(inline_calls(closed_jaxpr), [True] * len(closed_jaxpr.jaxpr.outvars))
    with jax.enable_x64(True):
        return run(context, lean.jaxpr, lean.consts, args)


def run(context: Context, jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Value]) -> list[Value]:
    """Interprets a jaxpr without calls: what is public first, then the rules of what is secret."""
    env: public.Env = {var: public.constant(const) for var, const in zip(jaxpr.constvars, consts, strict=True)}
    env.update(zip(jaxpr.invars, args, strict=True))
    outer = context.equation
    rest = with_sign_tests(_public_part(context, jaxpr, env), jaxpr.outvars)
    recognised = univariate.find(rest, env, jaxpr.outvars)
    for eqn in rest:
        context.watch(0)
        context.equation = eqn
        found = recognised.get(id(eqn))
        argument = None if found is None else env.get(found.argument)
        if found is not None and isinstance(argument, FixedPoint):
            if found.rule is not None:
                env.update(zip(eqn.outvars, apply(context, eqn, [argument], found.rule), strict=True))
            continue
        operands = [read(env, atom) for atom in eqn.invars]
        if all(isinstance(x, Public) for x in operands):
            place = context.placer().equation(eqn, [placement.of_value(x) for x in operands])[0]
            results: Sequence[Value] = public.evaluate(context, eqn, place, operands)
        else:
            results = apply(context, eqn, operands)
        env.update(zip(eqn.outvars, results, strict=True))
    context.equation = outer
    return [read(env, atom) for atom in jaxpr.outvars]


def apply(context: Context, eqn: JaxprEqn, operands: Sequence[Value], rule: Rule | None = None) -> list[Value]:
    """The rule of an equation with a secret operand, or the given one for it, at the user's line."""
    name = eqn.primitive.name
    if name not in RULES:
        reason, instead = REFUSED.get(name, ("there is no protocol for it on secret values", _ADVICE))
        raise context.refuse(reason, instead)
    if eqn.effects and not inner_jaxprs(eqn):  # of a loop or branch, the body's own equations say so
        raise context.refuse("it has side effects on secret values", _ADVICE)
    if any(jnp.issubdtype(public.dtype_of(var), np.complexfloating) for var in eqn.outvars):
        raise context.refuse("its result is complex, and complex numbers have no secret form", _AS_TWO_REALS)
    if eqn.outvars and all(math.prod(getattr(var.aval, "shape", ())) == 0 for var in eqn.outvars):
        return [context.secret(public.constant(np.zeros(var.aval.shape, public.dtype_of(var)))) for var in eqn.outvars]
    known = source_line(eqn) != UNKNOWN_LINE  # otherwise what is traced stays at the line of the call
    with user_context(eqn.source_info) if known else contextlib.nullcontext():
        out = (rule or RULES[name])(context, *operands, **eqn.params)
    results = list(out) if eqn.primitive.multiple_results else [out]
    for var, result in zip(eqn.outvars, results, strict=True):
        expected = (getattr(var.aval, "shape", None), public.dtype_of(var))
        assert (result.shape, result.dtype) == expected, f"the rule of `{name}` gave {result}, not {var.aval}"
    missing.follow(context, operands, results)
    unbounded.follow(context, operands, results)
    context.lowered(eqn, operands, results)
    return results


_AS_TWO_REALS = "Compute with the real and the imaginary part as two real arrays"
_ADVICE = "Compute it from public values, or express it with operations listed in jmpc.lowering.supported_primitives()"


def _public_part(context: Context, jaxpr: Jaxpr, env: public.Env) -> list[JaxprEqn]:
    """Evaluates all equations that no secret leads to; returns the others, in order."""
    placer = context.placer()
    places: dict[Var, Placement] = {var: placement.of_value(value) for var, value in env.items()}
    late: set[Var] = set()  # public, but the result of a loop or branch that also handles secrets
    rest = []
    units = _Units(context, jaxpr, env)
    for eqn in jaxpr.eqns:
        inputs = [placement.KNOWN if isinstance(a, Literal) else places[a] for a in eqn.invars]
        context.watch(0)
        outs = placer.equation(eqn, inputs)
        places.update(zip(eqn.outvars, outs, strict=True))
        joined = placer.join(*inputs)
        if joined.where is Where.SECRET or any(v in late for v in eqn.invars if isinstance(v, Var)):
            late.update(eqn.outvars)
            rest.append(eqn)
        else:
            units.add(eqn, outs[0] if outs else joined)
    units.flush()
    return rest


class _Units:
    """Public equations on their way: those of one player gather in one unit until something needs them."""

    def __init__(self, context: Context, jaxpr: Jaxpr, env: public.Env) -> None:
        self.context = context
        self.env = env
        self.units: dict[str, Unit] = {}
        self.readers: dict[Var, list[JaxprEqn]] = {}
        for eqn in jaxpr.eqns:
            for atom in eqn.invars:
                if isinstance(atom, Var):
                    self.readers.setdefault(atom, []).append(eqn)
        self.results = {atom for atom in jaxpr.outvars if isinstance(atom, Var)}

    def add(self, eqn: JaxprEqn, place: Placement) -> None:
        if place.where is Where.PLAYER:
            player = str(place.player)
            for other, unit in self.units.items():
                if other != player and not unit.defined.isdisjoint(v for v in eqn.invars if isinstance(v, Var)):
                    self._run(unit)
            self.units.setdefault(player, Unit(self.context, player)).eqns.append(eqn)
            return
        operands = [read(self.env, atom) for atom in eqn.invars]
        self.context.equation = eqn
        self.env.update(zip(eqn.outvars, public.evaluate(self.context, eqn, place, operands), strict=True))

    def flush(self) -> None:
        for unit in self.units.values():
            self._run(unit)

    def _run(self, unit: Unit) -> None:
        inside = {id(eqn) for eqn in unit.eqns}
        used = {
            var
            for var in unit.defined
            if var in self.results or any(id(eqn) not in inside for eqn in self.readers.get(var, ()))
        }
        self.context.equation = unit.eqns[0] if unit.eqns else self.context.equation
        unit.run(self.env, used)
