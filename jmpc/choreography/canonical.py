"""One order for segments that compute the same.

Which party is who rotates from gate to gate, so the same operation is traced with its slots in three orders. Here the
inputs, draws, equations and outputs of a segment are put in an order that follows from what is computed alone, not from
the order in which it was written: segments that are equal up to names and order become equal up to names, and share
one executable (see `fingerprint`).

Each variable gets a label of what it is made from and what is made from it, as in the colour refinement of
Weisfeiler and Leman (1968), which sorts them. Where labels coincide by symmetry any order will do; where they coincide
by accident two segments are compiled that might have been one, and nothing worse.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from jmpc.choreography.holders import inner_jaxprs
from jmpc.choreography.primitives import COMPUTED
from jmpc.choreography.programs import Program, Segment

Labels = Mapping[Var, int]
_WORD = (1 << 64) - 1


def canonical(program: Program) -> Program:
    """The same program with all segments in canonical order."""
    return program.with_segments(_ordered)


def _ordered(segment: Segment) -> Segment:
    kinds = [_kind(eqn) for eqn in segment.equations]
    plain = {var: _type_of(var) for var in segment.inputs}
    plain |= {draw.var: hash((_type_of(draw.var), draw.bits)) for draw in segment.draws}
    made = _made(segment.equations, kinds, plain)
    used = _used(segment.equations, kinds, made, segment.outputs)
    sources = {var: hash((label, used[var])) for var, label in plain.items()}
    made = _made(segment.equations, kinds, sources)
    numbers = {var: number for number, var in enumerate(sorted(sources, key=lambda var: sources[var]))}
    equations = _sorted(segment.equations, made, used, numbers)

    def place(var: Var) -> int:
        return numbers[var]

    return dataclasses.replace(
        segment,
        equations=equations,
        draws=tuple(sorted(segment.draws, key=lambda draw: place(draw.var))),
        inputs=tuple(sorted(segment.inputs, key=place)),
        outputs=tuple(sorted(segment.outputs, key=place)),
    )


def _sorted(eqns: Sequence[JaxprEqn], made: Labels, used: Labels, numbers: dict[Var, int]) -> tuple[JaxprEqn, ...]:
    """The equations level by level; numbers their results. What is alike stands in the order of its operands."""
    levels: dict[Var, int] = {}
    by_level: dict[int, list[JaxprEqn]] = defaultdict(list)
    for eqn in eqns:
        level = 1 + max((levels.get(atom, 0) for atom in eqn.invars if not isinstance(atom, Literal)), default=0)
        levels.update((var, level) for var in eqn.outvars)
        by_level[level].append(eqn)

    def rank(eqn: JaxprEqn) -> tuple[list[tuple[int, int]], list[int]]:
        operands = [numbers[atom] for atom in eqn.invars if not isinstance(atom, Literal)]
        return [(made[var], used[var]) for var in eqn.outvars], operands

    ordered: list[JaxprEqn] = []
    for level in sorted(by_level):
        for eqn in sorted(by_level[level], key=rank):
            for var in eqn.outvars:
                numbers[var] = len(numbers)
            ordered.append(eqn)
    return tuple(ordered)


# -- labels: hashes of integers alone, which are the same in every process ---------------------------------------


def _made(eqns: Sequence[JaxprEqn], kinds: Sequence[int], sources: Labels) -> Labels:
    """Labels of what each variable is made from."""
    made = dict(sources)
    for eqn, kind in zip(eqns, kinds, strict=True):
        label = hash((kind, *(_constant(atom) if isinstance(atom, Literal) else made[atom] for atom in eqn.invars)))
        made.update((var, hash((label, index))) for index, var in enumerate(eqn.outvars))
    return made


def _used(eqns: Sequence[JaxprEqn], kinds: Sequence[int], made: Labels, outputs: Sequence[Var]) -> Labels:
    """Labels of what is made from each variable: the sum over its uses."""
    used: dict[Var, int] = defaultdict(int, dict.fromkeys(outputs, 1))
    for eqn, kind in zip(reversed(eqns), reversed(kinds), strict=True):
        label = hash((kind, *(hash((made[var], used[var])) for var in eqn.outvars)))
        for index, atom in enumerate(eqn.invars):
            if not isinstance(atom, Literal):
                used[atom] = (used[atom] + hash((label, index))) & _WORD
    return used


def _kind(eqn: JaxprEqn) -> int:
    """Of what an equation does, apart from bodies, which would take long to describe."""
    names = COMPUTED.get(eqn.primitive, eqn.params)
    params = {} if inner_jaxprs(eqn) else {name: eqn.params[name] for name in names}
    plain = [(name, value) for name, value in params.items() if isinstance(value, int | str | tuple)]
    return zlib.crc32(repr((eqn.primitive.name, plain)).encode())


def _type_of(var: Var) -> int:
    return hash((zlib.crc32(str(var.aval.dtype).encode()), *var.aval.shape))


def _constant(atom: Literal) -> int:
    return zlib.crc32(np.asarray(atom.val, atom.aval.dtype).tobytes())
