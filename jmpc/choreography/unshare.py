"""Gives every loop and branch a body of its own.

JAX traces a function once and may hand one and the same jaxpr to several control-flow equations. Who holds
and needs a variable, and the address of a draw, are properties of the place it stands in; so each place
gets fresh variables.
"""

from __future__ import annotations

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import fresh_var, make_closed
from jmpc.choreography.holders import inner_jaxprs


def unshare(closed: ClosedJaxpr) -> ClosedJaxpr:
    """`closed` with distinct variables everywhere."""
    seen: set[Var] = set()
    jaxpr = closed.jaxpr
    eqns = [_own_bodies(eqn, seen) for eqn in jaxpr.eqns]
    return make_closed(jaxpr.constvars, closed.consts, jaxpr.invars, eqns, jaxpr.outvars, like=closed)


def _own_bodies(eqn: JaxprEqn, seen: set[Var]) -> JaxprEqn:
    if not inner_jaxprs(eqn):
        return eqn
    params = dict(eqn.params)
    for name, value in params.items():
        if isinstance(value, ClosedJaxpr | Jaxpr):
            params[name] = _own(value, seen)
        elif isinstance(value, tuple) and value and all(isinstance(v, ClosedJaxpr | Jaxpr) for v in value):
            params[name] = tuple(_own(v, seen) for v in value)
    return eqn.replace(params=params)


def _own(closed: ClosedJaxpr, seen: set[Var]) -> ClosedJaxpr:
    jaxpr = closed.jaxpr
    bound = {*jaxpr.constvars, *jaxpr.invars, *(var for eqn in jaxpr.eqns for var in eqn.outvars)}
    if not seen.isdisjoint(bound):
        return _copy(closed, seen)
    seen |= bound
    eqns = [_own_bodies(eqn, seen) for eqn in jaxpr.eqns]
    return make_closed(jaxpr.constvars, closed.consts, jaxpr.invars, eqns, jaxpr.outvars, like=closed)


def _copy(closed: ClosedJaxpr, seen: set[Var]) -> ClosedJaxpr:
    jaxpr = closed.jaxpr
    renamed: dict[Var, Var] = {}

    def rename(atom: Var | Literal) -> Var | Literal:
        if isinstance(atom, Literal):
            return atom
        return renamed.setdefault(atom, fresh_var(atom.aval))

    eqns = [
        _own_bodies(
            eqn.replace(invars=[rename(a) for a in eqn.invars], outvars=[rename(v) for v in eqn.outvars]), seen
        )
        for eqn in jaxpr.eqns
    ]
    return make_closed(
        [rename(v) for v in jaxpr.constvars],
        closed.consts,
        [rename(v) for v in jaxpr.invars],
        eqns,
        [rename(v) for v in jaxpr.outvars],
        like=closed,
    )
