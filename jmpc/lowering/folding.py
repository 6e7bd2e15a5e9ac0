"""Floats that are known when a computation is written are computed once, by whoever submits it.

Floating point differs between devices, and constants must be the same bits at all players. So every float
sub-expression of constants alone is evaluated here, and travels as an array. What gives the same bits everywhere
(moves, integer code) is left to the players: a large array of equal elements stays a broadcast.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from jmpc._compat import dce, make_closed, scan_counts
from jmpc.choreography.inline import inline_calls
from jmpc.computation import Computation, Constant, Secure
from jmpc.lowering import public
from jmpc.lowering.placement import is_exact
from jmpc.lowering.values import is_complex, is_key

Known = Any  # an array, or a typed PRNG key


def fold_known_floats(computation: Computation) -> Computation:
    """The computation with constants in the place of all known floats.

    Raises:
      TraceError: naming the user's line, for a loop over known values that does not end.
    """
    known: dict[int, Known] = {}
    calls = []
    for numbers, call in computation.numbered():
        match call:
            case Constant(value=value):
                known[numbers.start] = value
            case Secure(jaxpr=jaxpr, args=args):
                lean = dce(inline_calls(jaxpr), [True] * len(jaxpr.jaxpr.outvars))
                folded, results = _fold(lean, [known.get(number) for number in args])
                call = dataclasses.replace(call, jaxpr=folded)
                known.update((n, result) for n, result in zip(numbers, results, strict=True) if result is not None)
        calls.append(call)
    return dataclasses.replace(computation, calls=tuple(calls))


def fold(body: ClosedJaxpr) -> ClosedJaxpr:
    """A jaxpr without calls, with constants in the place of all floats that are known in it."""
    return _fold(body, [None] * len(body.in_avals))[0]


def _fold(body: ClosedJaxpr, args: Sequence[Known | None]) -> tuple[ClosedJaxpr, list[Known | None]]:
    """A jaxpr without calls, folded; and its results, as far as they are known."""
    jaxpr = body.jaxpr
    values: dict[Var, Known] = dict(zip(jaxpr.constvars, body.consts, strict=True))
    values.update((var, arg) for var, arg in zip(jaxpr.invars, args, strict=True) if arg is not None)
    known = _known_equations(jaxpr.eqns, set(values))
    # in the order of the program, so that the same function is the same computation every time
    replaced = dict.fromkeys(_to_replace(known, values))
    _evaluate(known, [*replaced, *jaxpr.outvars], values)
    rest = [_fold_bodies(eqn, values) for eqn in jaxpr.eqns if replaced.keys().isdisjoint(eqn.outvars)]
    constants = {**dict(zip(jaxpr.constvars, body.consts, strict=True)), **{var: values[var] for var in replaced}}
    folded = make_closed(list(constants), list(constants.values()), jaxpr.invars, rest, jaxpr.outvars, like=body)
    results = [_read(values, atom) for atom in jaxpr.outvars]
    return dce(folded, [True] * len(results)), results


def _known_equations(eqns: Sequence[JaxprEqn], known: set[Var]) -> list[JaxprEqn]:
    """Those that need nothing but what is `known`."""
    found = []
    for eqn in eqns:
        if not eqn.effects and all(isinstance(atom, Literal) or atom in known for atom in eqn.invars):
            known.update(eqn.outvars)
            found.append(eqn)
    return found


def _to_replace(eqns: Sequence[JaxprEqn], given: Iterable[Var]) -> Iterator[Var]:
    """The results of known equations that travel as they are: floats, and what is smaller than what it is made of."""
    travels = {var: var.aval.size for var in given}  # elements
    for eqn in eqns:
        operands = {atom for atom in eqn.invars if isinstance(atom, Var)}
        through = sum(travels[atom] for atom in operands)
        for var in eqn.outvars:
            moved = is_exact(eqn) and not is_complex(var.aval.dtype)  # what is complex will be split
            replace = not is_key(var.aval.dtype) and (not moved or var.aval.size < through)
            travels[var] = var.aval.size if replace else through
            if replace:
                yield var


def _evaluate(eqns: Sequence[JaxprEqn], wanted: Sequence[Var | Literal], values: dict[Var, Known]) -> None:
    """Adds what is `wanted` of the results of `eqns` to `values`, and what leads there."""
    needed = {atom for atom in wanted if isinstance(atom, Var)}
    for eqn in reversed(eqns):
        if not needed.isdisjoint(eqn.outvars):
            needed.update(atom for atom in eqn.invars if isinstance(atom, Var))
    for eqn in eqns:
        if not needed.isdisjoint(eqn.outvars):
            operands = [public.constant(_read(values, atom)) for atom in eqn.invars]
            results = public.evaluate_known(eqn, operands)
            values.update(zip(eqn.outvars, (result.array for result in results), strict=True))


def _read(values: dict[Var, Known], atom: Var | Literal) -> Known | None:
    return public.read({}, atom).array if isinstance(atom, Literal) else values.get(atom)


def _fold_bodies(eqn: JaxprEqn, values: dict[Var, Known]) -> JaxprEqn:
    """A loop or branch whose bodies are folded, given those of its operands that stay what they are."""
    given = [_read(values, atom) for atom in eqn.invars]
    match eqn.primitive.name, eqn.params:
        case "scan", {"jaxpr": body}:
            folded: dict[str, Any] = {"jaxpr": _body(body, given[: scan_counts(eqn.params)[0]])}
        case "while", {"cond_jaxpr": cond, "body_jaxpr": body, "cond_nconsts": cut, "body_nconsts": more}:
            folded = {"cond_jaxpr": _body(cond, given[:cut]), "body_jaxpr": _body(body, given[cut : cut + more])}
        case "cond", {"branches": branches}:
            folded = {"branches": tuple(_body(branch, given[1:]) for branch in branches)}
        case _:
            return eqn
    return eqn.replace(params={**eqn.params, **folded})


def _body(body: ClosedJaxpr, consts: Sequence[Known | None]) -> ClosedJaxpr:
    rest = len(body.in_avals) - len(consts)
    return _fold(body, [*consts, *[None] * rest])[0]
