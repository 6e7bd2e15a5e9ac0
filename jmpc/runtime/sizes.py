"""How large a computation is, read off its jaxprs before anything is done with it.

Rough, and rather too much than too little: what a node judges before it spends time and memory on
what somebody else has written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Var

from jmpc.choreography.iterations import bodies, has_while
from jmpc.computation import Call, Computation, Compute, Constant, Secure, result_count
from jmpc.errors import PolicyError
from jmpc.policy import Policy

# Scalars computed for one scalar of the result, or of the operands.
_HEAVY = dict.fromkeys("igamma igammac igamma_grad_a random_gamma regularized_incomplete_beta".split(), 2000)
_HEAVY |= dict.fromkeys("lgamma digamma polygamma zeta bessel_i0e bessel_i1e integer_pow fft sort top_k".split(), 64)
_CUBIC = frozenset(
    "cholesky cholesky_update eig eigh hessenberg householder_product lu ormqr qr schur svd symmetric_product"
    " triangular_solve tridiagonal tridiagonal_solve".split()
)
_VIEWS = frozenset({"broadcast_in_dim", "squeeze"})
_PER_ELEMENT = ("reduce", "scatter", "select_and")  # whose functions are called for single scalars
_LOOPS = frozenset({"scan", "while", "cond"})


@dataclass(frozen=True)
class Size:
    """`iterations` of scans, nested ones multiplied; `memory_bytes` are held at once."""

    equations: int = 0
    iterations: int = 0
    operations: int = 0
    memory_bytes: int = 0

    def check(self, policy: Policy) -> None:
        """Raises PolicyError, naming the rule, if this is more than the policy allows."""
        policy.check_size(
            max_equations=self.equations,
            max_loop_iterations=self.iterations,
            max_operations=self.operations,
            max_memory_bytes=self.memory_bytes,
        )


def size_of_computation(computation: Computation, me: str) -> Size:
    """Of all its functions together.

    Raises:
      PolicyError: for a `while` inside the function of a reduction, which nothing could stop.
    """
    sizes, known, held = [], set(), 0
    for numbers, call in computation.numbered():
        results = _known_results(call, known)
        known.update(number for number, is_known in zip(numbers, results, strict=True) if is_known)
        match call:
            case Constant(value=value):
                held += value.nbytes
            case Compute(jaxpr=closed) | Secure(jaxpr=closed):
                _check_loops(closed.jaxpr, me)
                sizes.append(size_of(closed.jaxpr))
                if isinstance(call, Secure):
                    held += _known_bytes(closed.jaxpr, [number in known for number in call.args])[1]
    return Size(
        sum(size.equations for size in sizes),
        max((size.iterations for size in sizes), default=0),
        sum(size.operations for size in sizes),
        held + max((size.memory_bytes for size in sizes), default=0),
    )


def size_of(jaxpr: Jaxpr) -> Size:
    """Of one jaxpr, everything inside it included; a `while` counts as one turn."""
    equations, operations, iterations = 0, 0, 0
    for eqn in jaxpr.eqns:
        inner = [size_of(body) for body in bodies(eqn)]
        trips = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        repeated = _elements(eqn.invars) if eqn.primitive.name.startswith(_PER_ELEMENT) else trips
        equations += 1 + sum(size.equations for size in inner)
        operations += _operations(eqn) + repeated * sum(size.operations for size in inner)
        if eqn.primitive.name in ("scan", "while"):
            iterations = max([iterations, trips, *(trips * size.iterations for size in inner)])
        else:
            iterations = max([iterations, *(size.iterations for size in inner)])
    return Size(equations, iterations, operations, _peak(jaxpr))


def _operations(eqn: JaxprEqn) -> int:
    name, size = eqn.primitive.name, _elements(eqn.outvars)
    if name in _LOOPS:
        return size
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return size * math.prod(eqn.invars[0].aval.shape[dim] for dim in contracted)
    if name == "conv_general_dilated":
        return size * eqn.invars[1].aval.size
    if "window_dimensions" in eqn.params:
        return size * math.prod(eqn.params["window_dimensions"])
    touched = max([size, *(_elements([atom]) for atom in eqn.invars)])
    if name in _CUBIC:
        return touched * max([1, *(n for atom in eqn.invars for n in atom.aval.shape[-2:])])
    return touched * _HEAVY.get(name, 1)


def _elements(atoms: Iterable[Any]) -> int:
    return sum(math.prod(atom.aval.shape) for atom in atoms)


def _bytes(atoms: Iterable[Any]) -> int:
    return sum(math.prod(atom.aval.shape) * atom.aval.dtype.itemsize for atom in atoms)


def _peak(jaxpr: Jaxpr) -> int:
    """The most bytes that are needed at once, in the order of the equations."""
    last: dict[Any, int] = {atom: len(jaxpr.eqns) for atom in jaxpr.outvars if isinstance(atom, Var)}
    for index in reversed(range(len(jaxpr.eqns))):
        for atom in jaxpr.eqns[index].invars:
            if isinstance(atom, Var):
                last.setdefault(atom, index)
    alive = _bytes([*jaxpr.constvars, *jaxpr.invars])
    peak = alive
    for index, eqn in enumerate(jaxpr.eqns):
        alive += _bytes(eqn.outvars)
        peak = max([peak, *(alive + _peak(body) for body in bodies(eqn))], default=peak)
        peak = max(peak, alive)
        dying = {atom for atom in eqn.invars if isinstance(atom, Var) and last.get(atom) == index}
        alive -= _bytes([*dying, *(var for var in eqn.outvars if var not in last)])
    return peak


# -- what is evaluated where a computation is lowered, because it is known there ------------------------------------


def _known_results(call: Call, known: set[int]) -> list[bool]:
    match call:
        case Constant():
            return [True]
        case Secure(jaxpr=closed, args=args):
            return _known_bytes(closed.jaxpr, [number in known for number in args])[0]
    return [False] * result_count(call)


def _known_bytes(jaxpr: Jaxpr, args: list[bool]) -> tuple[list[bool], int]:
    """Which results are known where the function is lowered, and the bytes of everything evaluated there."""
    known: set[Var] = {*jaxpr.constvars, *(var for var, is_known in zip(jaxpr.invars, args, strict=True) if is_known)}
    total = 0
    for eqn in jaxpr.eqns:
        if all(atom in known for atom in eqn.invars if isinstance(atom, Var)):
            known.update(eqn.outvars)
            inner = max((_peak(body) for body in bodies(eqn)), default=0)
            total += inner + (0 if eqn.primitive.name in _VIEWS else _bytes(eqn.outvars))
        else:
            for body in bodies(eqn):
                total += _known_bytes(body, [False] * len(body.invars))[1]
    return [not isinstance(atom, Var) or atom in known for atom in jaxpr.outvars], total


def _check_loops(jaxpr: Jaxpr, me: str) -> None:
    for eqn in jaxpr.eqns:
        if eqn.primitive.name not in _LOOPS and has_while(eqn):
            raise PolicyError(
                f"{me} refuses a loop inside the function of `{eqn.primitive.name}` (rule max_loop_iterations)"
            )
        for body in bodies(eqn):
            _check_loops(body, me)
