"""Encoding: a jaxpr becomes maps, lists, numbers, text and bytes.

A computation is {"body", "lines"}; a jaxpr {"consts", "eqns", "in", "out", "types"}; an equation [primitive,
operands, parameters, line]. Variables are numbered in the order in which they are bound, constants first, results
of equations included: an operand is that number, or a literal [type, bytes]. Equations come in blocks, so that no
list is long and a hostile length cannot make the reader allocate much.
"""

from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from jmpc import _compat
from jmpc._compat import Atom
from jmpc.choreography.inline import inline_calls
from jmpc.net.codec._limits import CodecError
from jmpc.net.codec._primitives import schemas
from jmpc.net.codec._types import encode_array, encode_type

BLOCK = 1024


def encode_jaxpr(closed: ClosedJaxpr) -> dict[str, Any]:
    """A computation as plain data: what `decode_jaxpr` reads.

    Calls are inlined first. Raises CodecError, with the user's line, for a primitive or a parameter that is not
    in the closed list, and for effects.
    """
    encoder = _Encoder()
    body = encoder.encode(inline_calls(closed))
    return {"body": body, "lines": list(encoder.lines)}


class _Encoder:
    """Holds the table of source lines: each line is sent once."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}

    def encode(self, closed: ClosedJaxpr) -> dict[str, Any]:
        jaxpr = closed.jaxpr
        numbers: dict[Var, int] = {}
        for var in (*jaxpr.constvars, *jaxpr.invars):
            numbers[var] = len(numbers)
        eqns = [self._equation(eqn, numbers) for eqn in jaxpr.eqns]
        consts = [
            [encode_type(var.aval), encode_array(const, var.aval)]
            for var, const in zip(jaxpr.constvars, closed.consts, strict=True)
        ]
        return {
            "consts": consts,
            "eqns": [eqns[i : i + BLOCK] for i in range(0, len(eqns), BLOCK)],
            "in": [encode_type(var.aval) for var in jaxpr.invars],
            "out": [_operand(atom, numbers) for atom in jaxpr.outvars],
            "types": [encode_type(atom.aval, weak=False) for atom in jaxpr.outvars],
        }

    def _equation(self, eqn: JaxprEqn, numbers: dict[Var, int]) -> list[Any]:
        name, line = eqn.primitive.name, _compat.source_line(eqn)
        try:
            params = self._params(eqn)
            operands = [_operand(atom, numbers) for atom in eqn.invars]
        except CodecError as error:
            raise CodecError(f"{line}: primitive `{name}`: {error}") from error.__cause__
        for var in eqn.outvars:
            numbers[var] = len(numbers)
        return [name, operands, params, self.lines.setdefault(line, len(self.lines))]

    def _params(self, eqn: JaxprEqn) -> dict[str, Any]:
        schema = schemas().get(eqn.primitive.name)
        if schema is None or schema.primitive is not eqn.primitive:
            raise CodecError("it is not among those that may travel: no callback, print or other code does")
        if eqn.effects:
            raise CodecError("effects cannot travel")
        if eqn.primitive.name.startswith("random_") and not eqn.ctx.threefry_partitionable:
            raise CodecError("random numbers travel with jax_threefry_partitionable only")
        params = schema.dropped(eqn)
        required = {key for key, kind in schema.kinds.items() if not kind.optional}
        if unknown := (params.keys() - schema.kinds.keys()) | (required - params.keys()):
            raise CodecError(f"parameters other than expected: {sorted(unknown)}")
        return {key: self._param(schema.kinds[key], key, params[key]) for key in sorted(params)}

    def _param(self, kind: Any, key: str, value: Any) -> Any:
        try:
            return kind.encode(value, self)
        except CodecError as error:
            raise CodecError(f"parameter `{key}`: {error}") from error.__cause__


def _operand(atom: Atom, numbers: dict[Var, int]) -> Any:
    if isinstance(atom, Literal):
        return [encode_type(atom.aval), encode_array(atom.val, atom.aval)]
    if atom not in numbers:
        raise CodecError("a variable that nothing computes")
    return numbers[atom]
