"""Segments evaluated equation by equation with numpy: at once, where compiled code would have to be made first."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from jmpc.choreography import primitives as prim
from jmpc.choreography.holders import inner_jaxprs
from jmpc.choreography.programs import Segment
from jmpc.choreography.schedule import pack_p, unpack_p
from jmpc.kernels.packing import packed_size
from jmpc.runtime.evaluate import CHOREOGRAPHY, keystream_layout, literal
from jmpc.runtime.in_numpy import Operation, operation

Array = Any


Part = Callable[[Segment], Callable[..., Sequence[Array]]]
_CONTRACTIONS = ("ring_dot_general", "ring_conv_general_dilated")
_FEW_PRODUCTS = 1 << 22  # take numpy some milliseconds
_MUCH_WORK = 1 << 19  # scalars for each equation: more is worth waiting for a compiler


def interpreter(segment: Segment, part: Part) -> Interpreter | None:
    """The segment as a function of (flat keystream buffers, inputs) to its outputs.

    None if numpy cannot do it all, or would take long. `part` makes executables of large products alone, which are
    then the same for many segments; so there is nothing to interpret in one of nothing else.
    """
    eqns = segment.equations
    products = {id(eqn) for eqn in eqns if eqn.primitive.name in _CONTRACTIONS and work([eqn]) > _FEW_PRODUCTS}
    if len(products) == len(eqns) or work(eqn for eqn in eqns if id(eqn) not in products) > _MUCH_WORK * len(eqns):
        return None
    operations = []
    for eqn in eqns:
        found = _compiled(eqn, part) if id(eqn) in products else _operation(eqn)
        if found is None:
            return None
        operations.append(found)
    return Interpreter(segment, operations, has_parts=bool(products))


def _compiled(eqn: JaxprEqn, part: Part) -> Operation:
    """A product as a segment of its own."""
    inputs = dict.fromkeys(atom for atom in eqn.invars if isinstance(atom, Var))
    run = part(Segment((eqn,), (), tuple(inputs), tuple(eqn.outvars)))
    if len(inputs) < len(eqn.invars):  # a square
        return lambda x, *_: np.asarray(run([], [x])[0])
    return lambda *operands: np.asarray(run([], list(operands))[0])


class Interpreter:
    """A segment that may run at several players and in several threads at once.

    Args:
      operations: what computes each of its equations.
      has_parts: whether executables are among them.
    """

    def __init__(self, segment: Segment, operations: Sequence[Operation], *, has_parts: bool) -> None:
        self.has_parts = has_parts
        self._segment = segment
        self._layout = keystream_layout(segment.draws)
        self._steps: list[tuple[JaxprEqn, Operation, list[Any], list[Var]]] = []
        wanted = set(segment.outputs)
        for eqn, function in zip(reversed(segment.equations), reversed(operations), strict=True):
            operands = [literal(atom) if isinstance(atom, Literal) else atom for atom in eqn.invars]
            touched = {atom for atom in (*eqn.invars, *eqn.outvars) if not isinstance(atom, Literal)}
            self._steps.append((eqn, function, operands, [var for var in touched if var not in wanted]))
            wanted |= touched
        self._steps.reverse()

    def __call__(self, buffers: Sequence[Array], inputs: Sequence[Array]) -> list[Array]:
        env: dict[Var, np.ndarray] = dict(zip(self._segment.inputs, map(np.asarray, inputs), strict=True))
        for buffer, rows in zip(buffers, self._layout.values(), strict=True):
            words = np.asarray(buffer)
            for draw, start in rows:
                aval = draw.var.aval
                env[draw.var] = prim.low_bits(words[start : start + aval.size].reshape(aval.shape), draw.bits)
        with np.errstate(all="ignore"):
            for eqn, function, operands, dead in self._steps:
                result = function(*(env[x] if isinstance(x, Var) else x for x in operands))
                (var,) = eqn.outvars
                assert result.dtype == var.aval.dtype and result.shape == var.aval.shape, f"{eqn} gave {result.dtype}"
                env[var] = result
                for gone in dead:
                    del env[gone]
        return [_own(env[var]) for var in self._segment.outputs]


def work(eqns: Iterable[JaxprEqn]) -> float:
    """About how many scalars some equations compute, products inside contractions included."""
    total = 0.0
    for eqn in eqns:
        size = sum(var.aval.size for var in eqn.outvars)
        if "dot_general" in eqn.primitive.name or "conv_general" in eqn.primitive.name:
            size = math.sqrt(size * math.prod(atom.aval.size for atom in eqn.invars[:2]))
        turns = eqn.params.get("length", 100) if eqn.primitive.name in ("scan", "while") else 1
        total += size + turns * sum(work(body.eqns) for body in inner_jaxprs(eqn))
    return total


def _own(x: Any) -> np.ndarray:
    """An array that keeps no other alive, as a slice of a keystream buffer would."""
    return x if isinstance(x, np.ndarray) and x.base is None else np.array(x)


def _operation(eqn: JaxprEqn) -> Operation | None:
    if rule := CHOREOGRAPHY.get(eqn.primitive):
        return functools.partial(rule, eqn)
    make = _PACKING.get(eqn.primitive, operation)
    return make(eqn)


def _pack(eqn: JaxprEqn) -> Operation:
    bits = eqn.params["bits"]

    def pack(x: np.ndarray) -> np.ndarray:
        octets = np.ascontiguousarray(x).reshape(-1, 1).view(np.uint8)
        return np.packbits(np.unpackbits(octets, axis=1, count=bits, bitorder="little"), bitorder="little")

    return pack


def _unpack(eqn: JaxprEqn) -> Operation:
    bits, aval = eqn.params["bits"], eqn.outvars[0].aval
    octets = aval.dtype.itemsize

    def unpack(buffer: np.ndarray) -> np.ndarray:
        assert buffer.size == packed_size(aval.size, bits)
        rows = np.unpackbits(buffer, count=aval.size * bits, bitorder="little").reshape(aval.size, bits)
        words = np.zeros((aval.size, octets), np.uint8)
        packed = np.packbits(rows, axis=1, bitorder="little")
        words[:, : packed.shape[1]] = packed
        return words.view(aval.dtype).reshape(aval.shape)

    return unpack


_PACKING: dict[Any, Callable[[JaxprEqn], Operation]] = {pack_p: _pack, unpack_p: _unpack}
