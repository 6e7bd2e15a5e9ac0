"""Inlining: a jaxpr without calls, which is what every other pass over jaxprs reads.

JAX wraps a function in a call equation wherever a transform wants to find it again: `jit`, `custom_jvp`, `remat`
and their like. None of them changes a value, and neither does where an array is placed, so `device_put` and the like
disappear too. What is a program of simpler equations is written out (see `expansion`); uninitialised memory
(`jnp.empty`) becomes zeros, because players must agree on every bit; and what is concatenated is not empty, because a
compiler fails there.
Loops and branches stay; their bodies are inlined in themselves.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var

from jmpc import _compat
from jmpc._compat import Atom
from jmpc.choreography.expansion import expansion

# The identity on values: hints for one compiler, one device or one differentiation.
_IDENTITIES = frozenset(
    {
        "device_put",
        "copy",
        "name",
        "random_clone",
        "stop_gradient",
        "sharding_constraint",
        "layout_constraint",
        "reshard",
    }
)

_Env = dict[Var, Atom]


def inline_calls(jaxpr: ClosedJaxpr, source: Any = None) -> ClosedJaxpr:
    """Substitutes the body of every call for the call, with fresh variables for every copy.

    Equations keep their source information, except those of a library function: JAX traces it once for all of
    its callers, so its equations carry the first caller's line; they get the line of the call instead. With `source`
    all equations get that.
    """
    return _inline(jaxpr, source, {})


def captured(jaxpr: ClosedJaxpr) -> Iterator[Any]:
    """Every array that a jaxpr has as a constant, at any depth: its own, those of bodies, branches and parameters.

    Numbers in the traced code are no constants but literals, and so are scalars of Python and numpy from outside of it.
    """
    yield from jaxpr.consts
    for eqn in jaxpr.jaxpr.eqns:
        for leaf in jax.tree.leaves(eqn.params):
            if isinstance(leaf, (ClosedJaxpr, Jaxpr)):
                yield from captured(_compat.closed(leaf))
            elif isinstance(leaf, (np.ndarray, jax.Array)):
                yield leaf


# (id of a jaxpr, id of the line imposed on it) -> (both, to keep the ids taken; the inlined jaxpr)
_Bodies = dict[tuple[int, int], tuple[Any, Any, ClosedJaxpr]]


def _inline(jaxpr: ClosedJaxpr, source: Any, bodies: _Bodies) -> ClosedJaxpr:
    key = (id(jaxpr), id(source))
    if key not in bodies:
        inner = jaxpr.jaxpr
        scope = _Scope(inner.constvars, jaxpr.consts, bodies)
        env: _Env = {}
        scope.add(inner.eqns, env, source, copy=False)
        outvars = [_read(env, v) for v in inner.outvars]
        new = _compat.make_closed(*scope.constants(), inner.invars, scope.eqns, outvars, like=jaxpr)
        bodies[key] = (jaxpr, source, new)
    return bodies[key][-1]


def _read(env: _Env, atom: Atom) -> Atom:
    return atom if isinstance(atom, Literal) else env.get(atom, atom)


class _Scope:
    """One jaxpr under construction: the equations and constants that inlining gathers in it."""

    def __init__(self, constvars: Sequence[Var], consts: Sequence[Any], bodies: _Bodies) -> None:
        self.eqns: list[JaxprEqn] = []
        self._consts = {id(c): (v, c) for v, c in zip(constvars, consts, strict=True)}
        # two variables of the jaxpr itself may hold one constant
        self._own = list(zip(constvars, consts, strict=True))
        self._hoisted: list[tuple[Var, Any]] = []
        self._bodies = bodies

    def constants(self) -> tuple[list[Var], list[Any]]:
        pairs = [*self._own, *self._hoisted]
        return [v for v, _ in pairs], [c for _, c in pairs]

    def add(self, eqns: Sequence[JaxprEqn], env: _Env, source: Any, *, copy: bool) -> None:
        for eqn in eqns:
            name, info = eqn.primitive.name, source or eqn.source_info
            invars = [_read(env, v) for v in eqn.invars]
            body = _compat.call_jaxpr(eqn)
            if body is None:
                body = expansion(eqn)
            if body is not None:
                operands = [_read(env, v) for v in _compat.call_operands(eqn)]
                outs = self._enter(body, operands, info)
                env.update(zip(eqn.outvars, outs, strict=True))
            elif name in _IDENTITIES:
                env.update(zip(eqn.outvars, invars, strict=True))
            elif name == "platform_index":
                pass  # only ever the index of the branch that is chosen below
            elif name == "cond" and eqn.params.get("branches_platforms") is not None:
                outs = self._enter(_default_branch(eqn), invars[1:], info)
                env.update(zip(eqn.outvars, outs, strict=True))
            else:
                self._keep(eqn, invars, env, info, copy)

    def _keep(self, eqn: JaxprEqn, invars: list[Atom], env: _Env, info: Any, copy: bool) -> None:
        outvars = eqn.outvars
        if copy:
            outvars = [_compat.fresh_var(v.aval) for v in eqn.outvars]
            env.update(zip(eqn.outvars, outvars, strict=True))
        joins = eqn.primitive is lax.concatenate_p
        if eqn.primitive.name == "empty" or (joins and not eqn.outvars[0].aval.size):
            primitive, params, invars = _zeros(eqn.outvars[0].aval)
            self.eqns.append(_compat.make_equation(invars, outvars, primitive, params, info))
            return
        if joins:  # at an empty operand XLA's compiler for CPUs may abort the process (jaxlib 0.10.2)
            invars = [x for x in invars if x.aval.size]
        params = {key: self._param(value, info) for key, value in eqn.params.items()}
        self.eqns.append(eqn.replace(invars=invars, outvars=outvars, params=params, source_info=info))

    def _enter(self, body: ClosedJaxpr, operands: list[Atom], info: Any) -> list[Atom]:
        inner = body.jaxpr
        env: _Env = dict(zip(inner.invars, operands, strict=True))
        for var, const in zip(inner.constvars, body.consts, strict=True):
            env[var] = self._constant(var, const)
        self.add(inner.eqns, env, _imposed(body, info), copy=True)
        return [_read(env, v) for v in inner.outvars]

    def _constant(self, var: Var, const: Any) -> Var:
        if id(const) not in self._consts:
            self._consts[id(const)] = (_compat.fresh_var(var.aval), const)
            self._hoisted.append(self._consts[id(const)])
        return self._consts[id(const)][0]

    def _param(self, value: Any, info: Any) -> Any:
        if isinstance(value, ClosedJaxpr):
            return _inline(value, _imposed(value, info), self._bodies)
        if isinstance(value, Jaxpr):  # only in JAX <= 0.10, and never with constants
            new = _inline(_compat.closed(value), _imposed(value, info), self._bodies)
            return value if new.consts else _compat.opened(new)
        if type(value) is tuple and any(isinstance(v, (ClosedJaxpr, Jaxpr)) for v in value):
            return tuple(self._param(v, info) for v in value)
        return value


def _imposed(body: Jaxpr | ClosedJaxpr, info: Any) -> Any:
    """The source information that the equations of `body` get, or None if they keep their own."""
    return None if _compat.defined_by_user(body) else info


def _default_branch(eqn: JaxprEqn) -> ClosedJaxpr:
    """Of the branches for several platforms the one for all others: players' platforms may differ."""
    platforms = eqn.params["branches_platforms"]
    default = platforms.index(None) if None in platforms else len(platforms) - 1
    return eqn.params["branches"][default]


def _zeros(aval: Any) -> tuple[Primitive, dict[str, Any], list[Atom]]:
    """The equation that makes zeros: its primitive, parameters and operands."""
    zero = _compat.make_literal(np.zeros((), aval.dtype), ShapedArray((), aval.dtype))
    params = dict(shape=aval.shape, broadcast_dimensions=(), sharding=None)
    return lax.broadcast_in_dim_p, params, [zero]
