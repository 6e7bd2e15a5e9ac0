"""The user's jaxpr in float64, equation by equation, in the order in which it is lowered and evaluated.

What depends on a secret is float64 in place of any other real type; integers, booleans and what is public stay as
they are, as they do in fixed point. So what differs is what fixed point does.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from jmpc._compat import closed, make_closed, opened, scan_counts
from jmpc.debug.evaluation import Evaluator, literal, taken, turns
from jmpc.lowering.placement import KNOWN, SECRET, Placer, Where
from jmpc.lowering.values import is_float, is_key


@dataclass(frozen=True)
class Entry:
    """A value, and whether it depends on a secret."""

    array: Any
    secret: bool


@dataclass(frozen=True)
class Evaluated:
    """An equation that has a secret operand, once evaluated."""

    equation: JaxprEqn
    operands: list[np.ndarray]
    results: list[np.ndarray]


Steps: TypeAlias = Generator[Evaluated, None, list[Entry]]


class Double:
    """Evaluates jaxprs without calls. `run` yields every equation on secrets, loops and branches after their bodies."""

    def __init__(self) -> None:
        self._evaluate = Evaluator()
        self._placer = Placer("", lambda nbytes: None)
        self._wide: dict[int, tuple[JaxprEqn, JaxprEqn]] = {}  # by the id of the equation, with it

    def run(self, body: ClosedJaxpr, args: Sequence[Entry]) -> Steps:
        """The results of a body on these arguments."""
        jaxpr = body.jaxpr
        env = {var: Entry(const, False) for var, const in zip(jaxpr.constvars, body.consts, strict=True)}
        env.update(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Entry:
            return Entry(literal(atom), False) if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.eqns:
            operands = [read(atom) for atom in eqn.invars]
            results = yield from self._equation(eqn, operands)
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: JaxprEqn, operands: list[Entry]) -> Steps:
        arrays = [entry.array for entry in operands]
        if not any(entry.secret for entry in operands):
            return [Entry(array, False) for array in self._evaluate.equation(eqn, arrays)]
        if eqn.primitive.name not in _CONTROL:
            results = self.equation(eqn, arrays)
            yield Evaluated(eqn, [double(array) for array in arrays], results)
            return [Entry(array, True) for array in results]
        places = self._placer.equation(eqn, [SECRET if entry.secret else KNOWN for entry in operands])
        secret = [place.where is Where.SECRET for place in places]
        results = yield from _CONTROL[eqn.primitive.name](self, eqn, operands, secret)
        yield Evaluated(eqn, [], [entry.array for entry in results])
        return results

    def equation(self, eqn: JaxprEqn, operands: Sequence[Any]) -> list[np.ndarray]:
        """The results of one equation in float64."""
        if eqn.primitive.name == "bitcast_convert_type":  # the sign bit is where the user's own type has it
            given = zip(operands, eqn.invars, strict=True)
            return self._evaluate.equation(eqn, [np.asarray(x, atom.aval.dtype) for x, atom in given])
        if id(eqn) not in self._wide:
            self._wide[id(eqn)] = eqn, eqn.replace(params={k: _widened(v) for k, v in eqn.params.items()})
        return self._evaluate.equation(self._wide[id(eqn)][1], [double(x) for x in operands])

    # -- loops and branches ----------------------------------------------------------------------------------------

    def _scan(self, eqn: JaxprEqn, operands: list[Entry], secret: list[bool]) -> Steps:
        num_consts, num_carry = scan_counts(eqn.params)
        consts, xs = operands[:num_consts], operands[num_consts + num_carry :]
        carry = _placed(operands[num_consts:][:num_carry], secret)
        ys: list[list[Entry]] = []
        for i in turns(eqn.params):
            rows = [Entry(np.asarray(x.array[i]), x.secret) for x in xs]
            outs = yield from self.run(eqn.params["jaxpr"], [*consts, *carry, *rows])
            carry = _placed(outs[:num_carry], secret)
            ys.append(_placed(outs[num_carry:], secret[num_carry:]))
        if eqn.params["reverse"]:
            ys.reverse()
        if not ys:
            return [*carry, *_nothing(eqn, secret, num_carry)]
        columns = zip(*ys, strict=True)
        return [*carry, *(Entry(np.stack([y.array for y in column]), column[0].secret) for column in columns)]

    def _while(self, eqn: JaxprEqn, operands: list[Entry], secret: list[bool]) -> Steps:
        a, b = eqn.params["cond_nconsts"], eqn.params["cond_nconsts"] + eqn.params["body_nconsts"]
        carry = _placed(operands[b:], secret)
        while (yield from self.run(eqn.params["cond_jaxpr"], [*operands[:a], *carry]))[0].array:
            outs = yield from self.run(eqn.params["body_jaxpr"], [*operands[a:b], *carry])
            carry = _placed(outs, secret)
        return carry

    def _cond(self, eqn: JaxprEqn, operands: list[Entry], secret: list[bool]) -> Steps:
        """All branches of a secret index, as they are computed on shares."""
        index, *rest = operands
        chosen = taken(index.array, eqn.params)
        found: list[Entry] = []
        for number, branch in enumerate(eqn.params["branches"]):
            if index.secret or number == chosen:
                outs = yield from self.run(branch, rest)
                found = outs if number == chosen else found
        return _placed(found, secret)


_CONTROL = {"scan": Double._scan, "while": Double._while, "cond": Double._cond}
CONTROL = frozenset(_CONTROL)  # loops and branches


def _placed(entries: Sequence[Entry], secret: Sequence[bool]) -> list[Entry]:
    """The entries as a loop carries them: what is secret in any iteration is from the start."""
    pairs = zip(entries, secret, strict=False)
    return [Entry(double(entry.array), True) if is_secret else entry for entry, is_secret in pairs]


def _nothing(eqn: JaxprEqn, secret: list[bool], num_carry: int) -> list[Entry]:
    """What a scan without iterations stacks."""
    avals = [var.aval for var in eqn.outvars]
    empty = [Entry(np.zeros(aval.shape, aval.dtype), is_secret) for aval, is_secret in zip(avals, secret, strict=True)]
    return _placed(empty, secret)[num_carry:]


def double(x: Any) -> np.ndarray:
    """Reals as float64, anything else as it is."""
    if is_key(x.dtype):
        return x
    return np.asarray(x, np.float64) if is_float(x.dtype) else np.asarray(x)


def _widened(param: Any) -> Any:
    """A parameter of an equation on float64 operands: types and bodies in it are float64, too."""
    if isinstance(param, Jaxpr | ClosedJaxpr):
        body = _widened_body(closed(param))
        return body if isinstance(param, ClosedJaxpr) else opened(body)
    if isinstance(param, np.dtype | type) and _is_real_type(param):
        return np.dtype(np.float64)
    return param


def _is_real_type(param: Any) -> bool:
    try:
        return is_float(param)
    except TypeError:
        return False


def _widened_body(body: ClosedJaxpr) -> ClosedJaxpr:
    """A jaxpr in an equation's parameters, such as what a reduction combines with, traced again in float64."""
    inner = body.jaxpr
    eqns = [eqn.replace(params={k: _widened(v) for k, v in eqn.params.items()}) for eqn in inner.eqns]
    same = make_closed(inner.constvars, body.consts, inner.invars, eqns, inner.outvars, like=body)
    types = [jax.ShapeDtypeStruct(a.shape, np.float64 if is_float(a.dtype) else a.dtype) for a in body.in_avals]
    return jax.make_jaxpr(jaxpr_as_fun(same))(*types)
