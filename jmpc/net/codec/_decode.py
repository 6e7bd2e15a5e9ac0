"""Decoding: data from anyone becomes a jaxpr, or an error, and nothing is ever executed.

No type of an intermediate value is sent. Every equation's operands are handed to the type rule of its primitive,
JAX's own, which derives the result's shape and dtype or refuses; bodies of loops are checked against the operands
that will enter them. The types of the results are sent, and compared at the end. (Tracing the equations again would
run the same rules, but JAX folds constants and forwards operands while it traces; built this way, what is decoded
is what was encoded, equation by equation, and encoding it again gives the same bytes.)
"""

from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Var

from jmpc import _compat
from jmpc._compat import Atom
from jmpc.net.codec import _bodies
from jmpc.net.codec._encode import BLOCK
from jmpc.net.codec._limits import CodecError, LimitError, Limits, Tally
from jmpc.net.codec._plain import as_fields, as_int, as_list, as_map, as_size, as_text
from jmpc.net.codec._primitives import Schema, schemas
from jmpc.net.codec._types import (
    check_type,
    decode_array,
    decode_type,
    size_in_bytes,
    to_jax,
)


def decode_jaxpr(data: Any, limits: Limits | None = None, tally: Tally | None = None) -> ClosedJaxpr:
    """The jaxpr of a computation that `encode_jaxpr` made. Raises CodecError for anything else.

    The `limits` are those of `tally`, if that is given: it counts what several jaxprs take together.
    Every dtype is exact whatever this process's own x64 flag says. Of each equation, `source_line` is the line
    that the sender's user wrote.
    """
    try:
        # the first two are part of what an equation means: widths beyond 32 bits, the layout of random bits;
        # and no size that a type rule computes may overflow
        with jax.enable_x64(True), jax.threefry_partitionable(True), np.errstate(all="raise"):
            body, lines = as_fields(data, "body", "lines")
            return _Decoder(lines, tally or Tally(limits or Limits())).decode(body)
    except CodecError:
        raise
    except Exception as error:  # JAX's own rules refuse with whatever they like
        raise CodecError(f"malformed computation: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200] if text else ''}"


class _Decoder:
    """Holds what is known around the jaxpr that is being read."""

    def __init__(self, lines: Any, tally: Tally) -> None:
        self._tally, self._limits = tally, tally.limits
        self._limits.check("operands", len(as_list(lines)), "the number of source lines")
        if any(len(as_text(line)) > _compat.LINE_LENGTH for line in lines):
            raise CodecError("a source line is too long")
        self._sources = [_compat.remote_source(line) for line in lines]
        self._depth = 0
        self._repeat = 1  # how often the body that is being read is unrolled
        self._trips = 1  # how often it runs, as far as scans around it say

    def decode(self, data: Any) -> ClosedJaxpr:
        """One jaxpr, nested or not."""
        self._depth += 1
        self._limits.check("depth", self._depth, "the nesting of loops and branches")
        consts, blocks, inputs, out, types = as_fields(data, "consts", "eqns", "in", "out", "types")
        values = [self._constant(item) for item in self._listed(consts)]
        constvars = [self._variable(aval) for aval, _ in values]
        invars = [self._variable(decode_type(t, self._limits)) for t in self._listed(inputs)]
        env = [*constvars, *invars]
        eqns = [eqn for block in _blocks(blocks) for eqn in self._block(block, env)]
        outvars = [self._operand(atom, env) for atom in self._listed(out)]
        declared = [decode_type(t, self._limits) for t in self._listed(types)]
        _bodies.require(declared, [atom.aval for atom in outvars], "the results")
        self._depth -= 1
        arrays = [to_jax(array, aval) for aval, array in values]
        return _compat.make_closed(constvars, arrays, invars, eqns, outvars)

    def _listed(self, data: Any) -> list[Any]:
        self._limits.check("operands", len(as_list(data)), "the length of a list")
        return data

    def _constant(self, item: Any) -> tuple[Any, Any]:
        """The type and the value of a constant or a literal."""
        declared, raw = as_list(item, 2)
        aval = decode_type(declared, self._limits)
        self._tally.add(constant_bytes=size_in_bytes(aval))
        return aval, decode_array(raw, aval)

    def _variable(self, aval: Any) -> Var:
        self._tally.add(variables=1)
        return _compat.fresh_var(aval)

    def _operand(self, data: Any, env: list[Var]) -> Atom:
        if type(data) is not list:
            if as_size(data) >= len(env):
                raise CodecError("a variable is used before it is bound")
            return env[data]
        aval, array = self._constant(data)
        if aval.shape or aval.dtype != array.dtype:  # an array would be compiled into the code
            raise CodecError("a literal that is no number")
        return _compat.make_literal(array, aval)

    def _block(self, data: list[Any], env: list[Var]) -> list[JaxprEqn]:
        """The equations of a block; binds their results."""
        eqns = []
        for item in data:
            self._tally.add(equations=self._repeat)
            eqn = self._equation(item, env)
            env.extend(eqn.outvars)
            eqns.append(eqn)
        return eqns

    def _equation(self, data: Any, env: list[Var]) -> JaxprEqn:
        name, operands, params, line = as_list(data, 4)
        schema = schemas().get(as_text(name))
        if schema is None:
            raise CodecError("a primitive that is not among those that may travel")
        if as_size(line) >= len(self._sources):
            raise CodecError("a source line that is not in the table")
        source = self._sources[line]
        try:
            invars = [self._operand(atom, env) for atom in self._listed(operands)]
            avals = [atom.aval for atom in invars]
            given = self._params(schema, params)
            _bodies.check_axes(given, [key for key, kind in schema.kinds.items() if kind.axis], avals)
            values = schema.restored(given, avals)
            types = _compat.infer_types(schema.primitive, avals, values)
            for aval in types:
                check_type(aval, self._limits)
        except Exception as error:  # see `decode_jaxpr`
            reason = str(error) if isinstance(error, CodecError) else _first_line(error)
            text = f"{_compat.line_of(source)}: primitive `{name}`: {reason}"
            raise LimitError(error.field, text) if isinstance(error, LimitError) else CodecError(text) from None
        outvars = [self._variable(aval) for aval in types]
        return _compat.make_equation(invars, outvars, schema.primitive, values, source)

    def _params(self, schema: Schema, data: Any) -> dict[str, Any]:
        fields = as_map(data)
        required = {key for key, kind in schema.kinds.items() if not kind.optional}
        if not required <= fields.keys() <= schema.kinds.keys():
            raise CodecError("parameters other than expected")
        repeat, trips = self._repeat, self._trips
        if schema.primitive.name == "scan":
            self._enter_scan(fields)
        values = {key: schema.kinds[key].decode(value, self) for key, value in fields.items()}
        self._repeat, self._trips = repeat, trips
        return values

    def _enter_scan(self, fields: dict[str, Any]) -> None:
        length = max(as_int(fields["length"]), 1)
        self._repeat *= min(max(as_int(fields["unroll"]), 1), length)
        self._trips *= length
        self._limits.check("trip_count", self._trips, "the number of iterations")


def _blocks(data: Any) -> list[list[Any]]:
    """Blocks of equations: full, but for the last."""
    blocks = [as_list(block) for block in as_list(data)]
    if any(len(block) != BLOCK for block in blocks[:-1]) or (blocks and not 0 < len(blocks[-1]) <= BLOCK):
        raise CodecError("blocks of equations that are not full")
    return blocks
