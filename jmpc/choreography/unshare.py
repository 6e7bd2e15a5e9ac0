"""Gives every loop and branch a body of its own.

JAX traces a function once and may hand one and the same jaxpr to several control-flow equations. Who holds
and needs a variable, and the address of a draw, are properties of the place it stands in; so each place
gets fresh variables.
"""

from __future__ import annotations

from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from jmpc._compat import fresh_var, make_closed
from jmpc.choreography.holders import inner_jaxprs


def unshare(closed: ClosedJaxpr) -> ClosedJaxpr:
    """`closed` with distinct variables in all loops and branches."""
    jaxpr = closed.jaxpr
    eqns = [_own_bodies(eqn) for eqn in jaxpr.eqns]
    return make_closed(jaxpr.constvars, closed.consts, jaxpr.invars, eqns, jaxpr.outvars, like=closed)


def _own_bodies(eqn: JaxprEqn) -> JaxprEqn:
    if not inner_jaxprs(eqn):
        return eqn
    return eqn.replace(params={name: _own(value) for name, value in eqn.params.items()})


def _own(param: Any) -> Any:
    if isinstance(param, ClosedJaxpr):
        return _copy(param)
    if type(param) is tuple:
        return tuple(_own(item) for item in param)
    return param


def _copy(closed: ClosedJaxpr) -> ClosedJaxpr:
    jaxpr = closed.jaxpr
    renamed: dict[Var, Var] = {}

    def rename(atoms: list[Any]) -> list[Any]:  # variables or literals
        return [a if isinstance(a, Literal) else renamed.setdefault(a, fresh_var(a.aval)) for a in atoms]

    eqns = [_own_bodies(eqn.replace(invars=rename(eqn.invars), outvars=rename(eqn.outvars))) for eqn in jaxpr.eqns]
    constvars, invars, outvars = map(rename, (jaxpr.constvars, jaxpr.invars, jaxpr.outvars))
    return make_closed(constvars, closed.consts, invars, eqns, outvars, like=closed)
