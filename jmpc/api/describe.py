"""A computation, described for whoever decides whether it may run: inputs, what is opened, operations by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from jax.extend.core import ClosedJaxpr, Jaxpr

from jmpc._compat import UNKNOWN_LINE, source_line
from jmpc.api.account import account
from jmpc.choreography.holders import inner_jaxprs
from jmpc.choreography.inline import inline_calls
from jmpc.computation import Assign, Compute, Constant, Output, Publish, Read, Secure, Source
from jmpc.runtime.prepare import Prepared

_MOST_LINES = 200


def describe(prepared: Prepared, driver: str) -> str:
    """The account of a computation. Names of functions and lines are as its author says."""
    computation = prepared.lowered.computation
    lines = [f"computation {computation.identity.hex()}", f"submitted by {driver}", "", "inputs"]
    lines += list(_inputs(prepared)) or ["  none"]
    lines += ["", *str(account(prepared)).splitlines(), "", "operations by source line"]
    operations = [f"  {line}  {what}" for line, what in _operations(prepared)]
    lines += operations[:_MOST_LINES]
    if len(operations) > _MOST_LINES:
        lines.append(f"  and {len(operations) - _MOST_LINES} lines more")
    return "\n".join(lines)


def _inputs(prepared: Prepared) -> Iterator[str]:
    published = {call.arg for call in prepared.lowered.computation.calls if isinstance(call, Publish)}
    for numbers, call in prepared.lowered.computation.numbered():
        match call:
            case Source(player=player, provider=provider, types=types, line=line):
                seen = "for everybody to see" if not published.isdisjoint(numbers) else "private"
                what = f"its {provider!r}" if provider else "what its script brings"
                yield f"  {player}: {what}, {', '.join(map(str, types))}, {seen}  {line}"
            case Read(variable=variable, type=type_, player=player, line=line):
                yield f"  {player or 'shares of all servers'}: the variable {variable}, {type_}  {line}"
            case Constant(value=value, line=line):
                yield f"  everybody: a constant, {value.dtype}{list(value.shape)}  {line}"


def _operations(prepared: Prepared) -> Iterator[tuple[str, str]]:
    """Each line of the author's, with what is computed there and by whom."""
    for call in prepared.lowered.computation.calls:
        match call:
            case Secure(jaxpr=jaxpr, name=name, line=line):
                yield from _counted(jaxpr, line, f"on secrets, in {name}")
            case Compute(jaxpr=jaxpr, name=name, player=player, line=line):
                yield from _counted(jaxpr, line, f"by {player} alone, in {name}")
            case Assign(variable=variable, line=line):
                yield line, f"kept as the variable {variable}"
            case Output(player=player, sink=sink, line=line) if sink:
                yield line, f"handed to {sink!r} of {player}"


def _counted(jaxpr: ClosedJaxpr, called: str, where: str) -> Iterator[tuple[str, str]]:
    by_line: dict[str, Counter[str]] = {}
    for line, name in _equations([inline_calls(jaxpr).jaxpr]):
        by_line.setdefault(called if line == UNKNOWN_LINE else line, Counter())[name] += 1
    for line, names in by_line.items():
        yield line, f"{', '.join(name if n == 1 else f'{name} x {n}' for name, n in names.items())} {where}"


def _equations(jaxprs: Iterable[Jaxpr]) -> Iterator[tuple[str, str]]:
    for jaxpr in jaxprs:
        for eqn in jaxpr.eqns:
            inside = list(inner_jaxprs(eqn))
            if not inside:
                yield source_line(eqn), eqn.primitive.name
            yield from _equations(inside)
