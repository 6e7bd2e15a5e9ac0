"""A computation, described for whoever decides whether it may run: inputs, what is opened and kept, all operations."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jmpc._compat import UNKNOWN_LINE, source_line
from jmpc.api.account import account
from jmpc.choreography.holders import inner_jaxprs
from jmpc.choreography.inline import captured, inline_calls
from jmpc.computation import Assign, Average, Compute, Constant, Noise, Output, Publish, Read, Secure, Source
from jmpc.leaves import listed
from jmpc.lowering.noise import HONEST
from jmpc.runtime.prepare import Prepared

# Parameters of operations that change nothing of what they compute.
_HOW = frozenset(
    {"accuracy", "linear", "out_sharding", "sharding", "unroll", "weak_type", "_split_transpose"}
    | {"num_consts", "num_carry", "body_nconsts", "cond_nconsts", "update_consts"}
)
_LONGEST = 200  # characters of one parameter


def describe(prepared: Prepared, driver: str) -> str:
    """The account of a computation. Names of functions and lines are as its author says; all else was found here."""
    computation = prepared.lowered.computation
    sections = {
        "inputs": list(_inputs(prepared)),
        "kept for later computations": list(_kept(prepared)),
        "handed to code of players": list(_handed(prepared)),
    }
    lines = [f"computation {computation.identity.hex()}", f"submitted by {driver}"]
    for title, rows in sections.items():
        lines += ["", title, *(f"  {row}" for row in dict.fromkeys(rows) or ["nothing"])]
    operations = [f"  {line}  {what}" for line, what in _operations(prepared)]
    operations = operations or ["  nothing is computed: what is opened or kept are the inputs as they are"]
    return "\n".join(
        [*lines, "", *str(account(prepared, driver)).splitlines(), "", "operations by source line", *operations]
    )


def _inputs(prepared: Prepared) -> Iterator[str]:
    computation = prepared.lowered.computation
    published = {call.arg for call in computation.calls if isinstance(call, Publish)}
    for numbers, call in computation.numbered():
        match call:
            case Source(player=player, provider=provider, types=types, names=names, line=line):
                seen = "for everybody to see" if not published.isdisjoint(numbers) else "private"
                what = f"its {provider!r}" if provider else "what its script brings"
                yield f"{player}, {seen}: {what}, {listed(names, types)}  {line}"
            case Read(variable=variable, type=type_, player=player, line=line):
                yield f"{player or 'shares of all servers'}: the variable {variable}, {type_}  {line}"
            case Noise(arg=arg, deviation=deviation, line=line):
                whose, type_ = ", ".join(computation.servers), computation.types[arg]
                each = f"discrete Gaussian noise for {type_}, standard deviation {deviation / math.sqrt(HONEST):.6g}"
                yield f"{whose}, each private: {each} ({deviation:.6g} of any two servers together)  {line}"
            case Constant(value=value, line=line):
                yield f"everybody: a constant, {_summary(value)}  {line}"


def _kept(prepared: Prepared) -> Iterator[str]:
    origins = prepared.provenance(dict.fromkeys(prepared.reads, frozenset()))
    types = prepared.lowered.computation.written
    for call in prepared.lowered.computation.calls:
        if isinstance(call, Assign):
            whose = ", ".join(sorted(origins.get(call.variable, ()))) or "nobody"
            where = f"in the clear at {call.player}" if call.player else "as shares"
            yield f"{types[call.variable][0]} {where}, derived from {whose}: the variable {call.variable}  {call.line}"


def _handed(prepared: Prepared) -> Iterator[str]:
    for call in prepared.lowered.computation.calls:
        if isinstance(call, Output):
            taker = f"its sink {call.sink!r}" if call.sink else "what its script gets"
            yield f"{call.player}: {taker}  {call.line}"


def _operations(prepared: Prepared) -> Iterator[tuple[str, str]]:
    """Each line of the author's, with what is computed there and by whom."""
    for call in prepared.lowered.computation.calls:
        match call:
            case Secure(jaxpr=jaxpr, name=name, line=line):
                yield from _counted(jaxpr, line, f"on secrets, in {name}")
            case Compute(jaxpr=jaxpr, name=name, player=player, line=line):
                yield from _counted(jaxpr, line, f"by {player} alone, in {name}")
            case Average(args=args, line=line):
                yield line, f"on secrets: the mean of those of {len(args)} contributions that came"
            case Noise(line=line):
                yield line, "on secrets: noise is added"


def _counted(jaxpr: ClosedJaxpr, called: str, where: str) -> Iterator[tuple[str, str]]:
    by_line: dict[str, Counter[str]] = {}
    for eqn in _equations([inline_calls(jaxpr).jaxpr]):
        line = source_line(eqn)
        by_line.setdefault(called if line == UNKNOWN_LINE else line, Counter())[_written(eqn)] += 1
    for line, names in by_line.items():
        yield line, f"{where}: {'; '.join(name if n == 1 else f'{name} x {n}' for name, n in names.items())}"
    for value in captured(jaxpr):
        yield called, f"{where}: with the constant {_summary(value)}"


def _equations(jaxprs: Iterable[Jaxpr]) -> Iterator[JaxprEqn]:
    """All of them, also those that loops, branches and reductions have inside."""
    for jaxpr in jaxprs:
        for eqn in jaxpr.eqns:
            yield eqn
            yield from _equations(inner_jaxprs(eqn))


def _written(eqn: JaxprEqn) -> str:
    """An operation with the numbers that are written in it, its parameters, and what it gives."""
    numbers = [str(np.asarray(atom.val)) for atom in eqn.invars if isinstance(atom, Literal) and np.ndim(atom.val) == 0]
    parameters = [f"{name}={_short(str(value))}" for name, value in sorted(eqn.params.items()) if _is_told(name, value)]
    name = eqn.primitive.name + (f"[{', '.join(parameters)}]" if parameters else "")
    return f"{' '.join([name, *numbers])} -> {', '.join(var.aval.str_short() for var in eqn.outvars)}"


def _is_told(name: str, value: Any) -> bool:
    """Whether a parameter tells what is computed: not how XLA does it, nor what is listed by itself."""
    bodies = value if isinstance(value, tuple) else (value,)
    inside = any(isinstance(body, Jaxpr | ClosedJaxpr) or callable(body) for body in bodies)
    return value is not None and not inside and name not in _HOW


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... (SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]})"


def _summary(value: Any) -> str:
    """An array that is part of a computation, as far as it fits on a line."""
    try:
        array = np.asarray(value)
    except TypeError:  # a typed random key
        return f"{value.dtype}{list(value.shape)}"
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    ends = f" from {array.min()} to {array.max()}" if array.size and array.dtype.kind in "biuf" else ""
    return f"{array.dtype}{list(array.shape)}{ends}, SHA-256 {digest}"
