"""Loops of unknown length, bounded: what somebody else submits must not go round for ever.

A `while` whose predicate is computed inside compiled code cannot be stopped from outside. Here it is
given a counter that stops it, and one more result that says whether it was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jmpc._compat import scan_counts, source_line
from jmpc.choreography.inline import inline_calls
from jmpc.errors import TraceError

_LOOPS = ("scan", "while", "cond")


def bodies(eqn: JaxprEqn) -> list[Jaxpr]:
    """Every jaxpr among an equation's parameters: of control flow, and of reductions and the like."""
    found = []
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "eqns"):
                found.append(getattr(item, "jaxpr", item))
    return found


def has_while(eqn: JaxprEqn) -> bool:
    """Whether an equation is, or has inside, a loop of unknown length."""
    if eqn.primitive.name == "while":
        return True
    return any(has_while(inner) for body in bodies(eqn) for inner in body.eqns)


def bounded(closed: ClosedJaxpr, limit: int) -> ClosedJaxpr:
    """`closed`, without calls, with one more result: whether all its `while`s together took less than `limit` turns.

    If they did not, they were stopped, and the other results mean nothing.
    """

    def run(*args: Any) -> list[Any]:
        outs, turns = _evaluate(closed.jaxpr, closed.consts, args, jnp.int64(0), limit)
        return [*outs, turns < limit]

    with jax.enable_x64(True):
        return inline_calls(jax.make_jaxpr(run)(*closed.in_avals))


def _evaluate(
    jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], turns: Any, limit: int
) -> tuple[list[Any], Any]:
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        if has_while(eqn):
            outs, turns = _counted(eqn, operands, turns, limit)
        else:
            out = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
            outs = out if eqn.primitive.multiple_results else [out]
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars], turns


def _counted(eqn: JaxprEqn, operands: list[Any], turns: Any, limit: int) -> tuple[list[Any], Any]:
    """A loop or branch with the number of turns so far as one more value that it carries."""
    name, params = eqn.primitive.name, eqn.params
    if name not in _LOOPS:
        raise TraceError(f"{source_line(eqn)}: a loop inside the function of `{name}`")

    def inner(closed: ClosedJaxpr, args: Sequence[Any], turns: Any) -> tuple[list[Any], Any]:
        return _evaluate(closed.jaxpr, closed.consts, args, turns, limit)

    if name == "cond":
        index, *rest = operands
        branches = [lambda t, *xs, branch=branch: inner(branch, xs, t) for branch in params["branches"]]
        return lax.switch(index, branches, turns, *rest)
    if name == "scan":
        num_consts, num_carry = scan_counts(params)
        fixed, init, xs = operands[:num_consts], operands[num_consts:][:num_carry], operands[num_consts + num_carry :]

        def step(carry: tuple[Any, list[Any]], rows: list[Any]) -> tuple[tuple[Any, list[Any]], list[Any]]:
            outs, count = inner(params["jaxpr"], [*fixed, *carry[1], *rows], carry[0])
            return (count, outs[:num_carry]), outs[num_carry:]

        unroll = {key: params[key] for key in ("length", "reverse", "unroll")}
        (turns, final), ys = lax.scan(step, (turns, init), xs, **unroll)
        return [*final, *ys], turns
    cut = params["cond_nconsts"]
    more = cut + params["body_nconsts"]

    def predicate(state: list[Any], count: Any) -> tuple[Any, Any]:
        (go_on,), count = inner(params["cond_jaxpr"], [*operands[:cut], *state], count)
        return go_on, count

    def turn(carry: tuple[Any, Any, list[Any]]) -> tuple[Any, Any, list[Any]]:
        state, count = inner(params["body_jaxpr"], [*operands[cut:more], *carry[2]], carry[1] + 1)
        return (*predicate(state, count), state)

    start = (*predicate(operands[more:], turns), operands[more:])
    _, turns, state = lax.while_loop(lambda carry: carry[0] & (carry[1] < limit), turn, start)
    return state, turns
