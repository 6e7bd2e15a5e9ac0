"""Loops stay loops and branches stay branches; a secret condition selects between results.

A loop's carries have one static type for all iterations: what becomes secret in the body is secret from the start
(`Placer` finds that out), reals are brought to the precision's fraction, and intervals are forgotten. Counters
and what else only depends on public values stay public.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr

from jmpc._compat import scan_counts
from jmpc.lowering import carrying, choosing, missing, placement, unbounded
from jmpc.lowering.comparing import invert
from jmpc.lowering.context import Context
from jmpc.lowering.placement import Where
from jmpc.lowering.registry import rule
from jmpc.lowering.values import Boolean, Public, Value, is_boolean


@rule("scan")
def scan(
    context: Context, *operands: Value, jaxpr: ClosedJaxpr, length: int, reverse: bool, unroll: Any = 1, **params: Any
) -> Sequence[Value]:
    num_consts, num_carry = scan_counts(params)
    consts = [carrying.settled(context, x) for x in operands[:num_consts]]
    init, xs = operands[num_consts:][:num_carry], operands[num_consts + num_carry :]
    assert context.equation is not None
    places = context.placer().equation(context.equation, [placement.of_value(x) for x in operands])[:num_carry]
    kept = placement.invariants(jaxpr.jaxpr.invars[num_consts:], jaxpr.jaxpr.outvars[:num_carry])
    fixed = [keep and isinstance(x, Public) and x.known for keep, x in zip(kept, init, strict=True)]
    avals = jaxpr.in_avals[num_consts:][:num_carry]

    def pack(scope: Context, values: Sequence[Value]) -> list[Value]:
        moving = zip(values, places, avals, fixed, strict=True)
        return [carrying.carried(scope, x, place, aval) for x, place, aval, keep in moving if not keep]

    def body(carry: list[Value], rows: list[Value]) -> tuple[list[Value], list[Value]]:
        scope = context.child()
        moving = iter(carry)
        state = [x if keep else next(moving) for x, keep in zip(init, fixed, strict=True)]
        inside = [*consts, *state, *rows]
        _enter(scope, operands, inside)
        outs = _run(scope, jaxpr, inside)
        return pack(scope, outs[:num_carry]), carrying.crossing(scope, outs[num_carry:])

    rows = [carrying.sliced(context, x) for x in xs]
    carry, ys = lax.scan(body, pack(context, init), rows, length=length, reverse=reverse, unroll=unroll)
    moving = iter(carry)
    return [*(x if keep else next(moving) for x, keep in zip(init, fixed, strict=True)), *ys]


def _enter(scope: Context, operands: Sequence[Value], inside: Sequence[Value]) -> None:
    """Marks what these operands of a loop are inside of its body."""
    for outer, inner in zip(operands, inside, strict=True):
        missing.follow(scope, [outer], [inner])
        unbounded.follow(scope, [outer], [inner])


def _run(context: Context, jaxpr: ClosedJaxpr, args: Sequence[Value]) -> list[Value]:
    from jmpc.lowering.interpreter import run  # the interpreter imports the rules

    return run(context, jaxpr.jaxpr, jaxpr.consts, args)


@rule("while")
def while_(
    context: Context,
    *operands: Value,
    cond_jaxpr: ClosedJaxpr,
    body_jaxpr: ClosedJaxpr,
    cond_nconsts: int,
    body_nconsts: int,
    **_: Any,
) -> Sequence[Value]:
    """The predicate is part of the carry, where everyone who talks in the body knows it."""
    split = cond_nconsts + body_nconsts
    cond_consts = [carrying.settled(context, x) for x in operands[:cond_nconsts]]
    body_consts = [carrying.settled(context, x) for x in operands[cond_nconsts:split]]
    init = operands[split:]
    assert context.equation is not None
    places = context.placer().equation(context.equation, [placement.of_value(x) for x in operands])
    avals = body_jaxpr.in_avals[body_nconsts:]
    at_start = [placement.of_value(x) for x in cond_consts]
    if context.placer().jaxpr(cond_jaxpr.jaxpr, [*at_start, *places])[0].where is Where.SECRET:
        raise context.refuse(
            "the loop's condition depends on a secret, and the number of iterations would show it",
            "Run a fixed number of iterations with lax.fori_loop or lax.scan, and keep a finished state with jnp.where",
        )

    def pack(scope: Context, values: Sequence[Value]) -> list[Value]:
        state = zip(values, places, avals, strict=True)
        return [carrying.carried(scope, x, place, aval) for x, place, aval in state]

    def goes_on(scope: Context, state: Sequence[Value]) -> Any:
        (predicate,) = _run(scope, cond_jaxpr, [*cond_consts, *state])
        return jnp.asarray(scope.operand(scope.everyone(predicate)))

    def body(carry: tuple[Any, list[Value]]) -> tuple[Any, list[Value]]:
        scope = context.child()
        inside = [*body_consts, *carry[1]]
        _enter(scope, operands[cond_nconsts:], inside)
        state = pack(scope, _run(scope, body_jaxpr, inside))
        return goes_on(scope, state), state

    start = pack(context, init)
    _predicate, final = lax.while_loop(lambda carry: carry[0], body, (goes_on(context, start), start))
    return final


@rule("cond")
def cond(
    context: Context, index: Value, *operands: Value, branches: Sequence[ClosedJaxpr], **_: Any
) -> Sequence[Value]:
    if not isinstance(index, Public):
        return _select_results(context, index, operands, branches)
    if index.known:
        chosen = min(max(int(index.array), 0), len(branches) - 1)
        return _run(context, branches[chosen], operands)
    assert context.equation is not None
    places = context.placer().equation(context.equation, [placement.of_value(x) for x in (index, *operands)])

    def taken(branch: ClosedJaxpr) -> Callable[[], list[Value]]:
        def run() -> list[Value]:
            scope = context.child()
            outs = _run(scope, branch, operands)
            results = zip(outs, places, branch.out_avals, strict=True)
            return [carrying.carried(scope, x, place, aval) for x, place, aval in results]

        return run

    which = context.operand(context.everyone(index))
    return lax.switch(which, [taken(branch) for branch in branches])


def _select_results(
    context: Context, index: Value, operands: Sequence[Value], branches: Sequence[ClosedJaxpr]
) -> Sequence[Value]:
    """All branches are computed; the secret index selects among their results."""
    outs = [_run(context, branch, operands) for branch in branches]
    if is_boolean(index.dtype):
        assert isinstance(index, Boolean)
        reached = [index]
    else:
        extended = context.extended(index)
        below = context.protocol.less_than_each(extended.ring, list(range(1, len(branches))))
        reached = [invert(context, Boolean(bit)) for bit in below]
    return [_chosen(context, reached, cases) for cases in zip(*outs, strict=True)]


def _chosen(context: Context, reached: Sequence[Boolean], cases: Sequence[Value]) -> Value:
    if all(case is cases[0] for case in cases):
        return cases[0]
    known = [case for case in cases if isinstance(case, Public) and case.known]
    if len(known) == len(cases) and all(np.array_equal(case.array, cases[0].array) for case in known):
        return cases[0]
    if len(cases) == 2:
        condition = reached[0]
        shape = np.broadcast_shapes(cases[0].shape)
        wide = Boolean(context.protocol.map(lambda slot: jnp.broadcast_to(slot, shape), condition.sharing))
        return choosing.select(context, wide, cases[1], cases[0])
    return choosing.chain(context, reached, cases)
