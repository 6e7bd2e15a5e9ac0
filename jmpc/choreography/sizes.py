"""How large code is, read off its jaxpr before anything is done with it.

Rough, and rather too much than too little: what a node judges before it spends time and memory on
what somebody else has written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Var

from jmpc.choreography.iterations import bodies

# Scalars computed for one scalar of the result, or of the operands.
_HEAVY = dict.fromkeys("igamma igammac igamma_grad_a random_gamma regularized_incomplete_beta".split(), 2000)
_HEAVY |= dict.fromkeys("lgamma digamma polygamma zeta bessel_i0e bessel_i1e integer_pow fft sort top_k".split(), 64)
_CUBIC = frozenset(
    "cholesky cholesky_update eig eigh hessenberg householder_product lu ormqr qr schur svd symmetric_product"
    " triangular_solve tridiagonal tridiagonal_solve".split()
)
_PER_ELEMENT = ("reduce", "scatter", "select_and")  # whose functions are called for single scalars
_CONTROL = frozenset({"scan", "while", "cond"})
_TURN = 1000  # scalars that could be computed in the time that a loop's turn takes, even if it does nothing


@dataclass(frozen=True)
class Size:
    """`iterations` of scans, nested ones multiplied; `memory_bytes` are held at once.

    `known_operations` are those of `operations` that are done where a computation is lowered.
    """

    equations: int = 0
    iterations: int = 0
    operations: int = 0
    memory_bytes: int = 0
    known_operations: int = 0


def size_of(jaxpr: Jaxpr) -> Size:
    """Of one jaxpr, everything inside it included; a `while` counts as one turn."""
    equations, operations, iterations = 0, 0, 0
    for eqn in jaxpr.eqns:
        inner = [size_of(body) for body in bodies(eqn)]
        trips = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        equations += 1 + sum(size.equations for size in inner)
        operations += operations_of(eqn)
        if eqn.primitive.name in ("scan", "while"):
            iterations = max([iterations, trips, *(trips * size.iterations for size in inner)])
        else:
            iterations = max([iterations, *(size.iterations for size in inner)])
    return Size(equations, iterations, operations, peak_bytes(jaxpr))


def operations_of(eqn: JaxprEqn) -> int:
    """About how many scalars an equation computes; a `while` goes round once."""
    name = eqn.primitive.name
    times = eqn.params["length"] if name == "scan" else elements(eqn.invars) if name.startswith(_PER_ELEMENT) else 1
    turn = _TURN if name in ("scan", "while") else 0
    return _own_operations(eqn) + times * (turn + sum(operations_of(e) for body in bodies(eqn) for e in body.eqns))


def costliest_turn(eqn: JaxprEqn) -> int:
    """About how many scalars one turn of a `while` in an equation computes, of the one that computes most; or 0."""
    turns = [costliest_turn(inner) for body in bodies(eqn) for inner in body.eqns]
    return max([*turns, operations_of(eqn) if eqn.primitive.name == "while" else 0])


def _own_operations(eqn: JaxprEqn) -> int:
    """Without the code inside it."""
    name, size = eqn.primitive.name, elements(eqn.outvars)
    if name in _CONTROL:
        return size
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return size * math.prod(eqn.invars[0].aval.shape[dim] for dim in contracted)
    if name == "conv_general_dilated":
        return size * eqn.invars[1].aval.size
    if "window_dimensions" in eqn.params:
        return size * math.prod(eqn.params["window_dimensions"])
    touched = max([size, *(elements([atom]) for atom in eqn.invars)])
    if name in _CUBIC:
        return touched * max([1, *(n for atom in eqn.invars for n in atom.aval.shape[-2:])])
    return touched * _HEAVY.get(name, 1)


def elements(atoms: Iterable[Any]) -> int:
    return sum(math.prod(atom.aval.shape) for atom in atoms)


def bytes_of(atoms: Iterable[Any]) -> int:
    return sum(math.prod(atom.aval.shape) * atom.aval.dtype.itemsize for atom in atoms)


def peak_bytes(jaxpr: Jaxpr) -> int:
    """The most bytes that are needed at once, in the order of the equations."""
    last: dict[Any, int] = {atom: len(jaxpr.eqns) for atom in jaxpr.outvars if isinstance(atom, Var)}
    for index in reversed(range(len(jaxpr.eqns))):
        for atom in jaxpr.eqns[index].invars:
            if isinstance(atom, Var):
                last.setdefault(atom, index)
    alive = bytes_of([*jaxpr.constvars, *jaxpr.invars])
    peak = alive
    for index, eqn in enumerate(jaxpr.eqns):
        alive += bytes_of(eqn.outvars)
        peak = max([peak, *(alive + peak_bytes(body) for body in bodies(eqn))], default=peak)
        peak = max(peak, alive)
        dying = {atom for atom in eqn.invars if isinstance(atom, Var) and last.get(atom) == index}
        alive -= bytes_of([*dying, *(var for var in eqn.outvars if var not in last)])
    return peak
