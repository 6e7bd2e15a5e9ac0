"""How large a computation is that somebody else has written, and whether a policy allows that."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jax.extend.core import Jaxpr, JaxprEqn, Var

from jmpc.choreography.iterations import bodies, has_while
from jmpc.choreography.sizes import Size, bytes_of, elements, operations_of, peak_bytes, size_of
from jmpc.computation import Call, Computation, Compute, Constant, Noise, Secure, result_count
from jmpc.errors import PolicyError
from jmpc.policy import Policy

_VIEWS = frozenset({"broadcast_in_dim", "squeeze"})
_LOOPS = frozenset({"scan", "while", "cond"})
_ENCODED_BYTES = 8  # of an element of a known operand of something secret
_ENCODING_BYTES = 48  # while it is being encoded
_NOISE = 30  # random words that a server takes for one element of its noise


def check_size(size: Size, policy: Policy) -> None:
    """Raises PolicyError, naming the rule, if a computation is larger than a policy allows."""
    policy.check_size(
        max_equations=size.equations,
        max_loop_iterations=size.iterations,
        max_operations=size.operations,
        max_memory_bytes=size.memory_bytes,
        max_known_operations=size.known_operations,
    )


def size_of_computation(computation: Computation, me: str) -> Size:
    """Of all its functions and the servers' noise together, each call counted as one more equation.

    Raises:
      PolicyError: for a `while` inside the function of a reduction, which nothing could stop.
    """
    sizes, drawn, known, held = [], 0, set(), _Known()
    for numbers, call in computation.numbered():
        results = _known_results(call, known, held)
        known.update(number for number, is_known in zip(numbers, results, strict=True) if is_known)
        match call:
            case Constant(value=value):
                held.bytes += value.nbytes
            case Noise(arg=arg):
                drawn += len(computation.servers) * math.prod(computation.types[arg].shape)
            case Compute(jaxpr=closed) | Secure(jaxpr=closed):
                _check_loops(closed.jaxpr, me)
                sizes.append(size_of(closed.jaxpr))
    return Size(
        len(computation.calls) + sum(size.equations for size in sizes),
        max((size.iterations for size in sizes), default=0),
        sum(size.operations for size in sizes) + _NOISE * drawn,
        held.bytes + max([held.encoding_bytes, *(size.memory_bytes for size in sizes)]),
        held.operations,
    )


# -- what is evaluated where a computation is lowered, because it is known there ------------------------------------


@dataclass
class _Known:
    """What lowering evaluates and keeps: `bytes` to the end, `encoding_bytes` for a moment."""

    bytes: int = 0
    encoding_bytes: int = 0
    operations: int = 0

    def evaluate(self, eqn: JaxprEqn) -> None:
        inner = max((peak_bytes(body) for body in bodies(eqn)), default=0)
        self.bytes += inner + (0 if eqn.primitive.name in _VIEWS else bytes_of(eqn.outvars))
        self.operations += operations_of(eqn)

    def encode(self, atoms: list[Var]) -> None:
        """What meets a secret is encoded: all its elements, even those of a view."""
        self.bytes += _ENCODED_BYTES * elements(atoms)
        self.encoding_bytes = max([self.encoding_bytes, *(_ENCODING_BYTES * elements([atom]) for atom in atoms)])


def _known_results(call: Call, known: set[int], held: _Known) -> list[bool]:
    match call:
        case Constant():
            return [True]
        case Secure(jaxpr=closed, args=args):
            return _look_at(closed.jaxpr, [number in known for number in args], held)
    return [False] * result_count(call)


def _look_at(jaxpr: Jaxpr, args: list[bool], held: _Known) -> list[bool]:
    """Which results of a function are known where it is lowered; adds what that takes to `held`."""
    known: set[Var] = {*jaxpr.constvars, *(var for var, is_known in zip(jaxpr.invars, args, strict=True) if is_known)}
    for eqn in jaxpr.eqns:
        operands = [atom for atom in eqn.invars if isinstance(atom, Var)]
        if known.issuperset(operands):
            known.update(eqn.outvars)
            held.evaluate(eqn)
        else:
            held.encode([atom for atom in operands if atom in known])
            for body in bodies(eqn):
                _look_at(body, [False] * len(body.invars), held)
    return [not isinstance(atom, Var) or atom in known for atom in jaxpr.outvars]


def _check_loops(jaxpr: Jaxpr, me: str) -> None:
    for eqn in jaxpr.eqns:
        if eqn.primitive.name not in _LOOPS and has_while(eqn):
            raise PolicyError(
                f"{me} refuses a loop inside the function of `{eqn.primitive.name}` (rule max_loop_iterations)"
            )
        for body in bodies(eqn):
            _check_loops(body, me)
