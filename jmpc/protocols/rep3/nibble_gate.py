"""The nibble gate: any functions of the nibbles of c and v, in one round.

In the two-operand view x = c + v, for 4-bit digits c_i known to A and B and v_i known to C,

    f(a, v) = f(a, 0) ^ xor_j (f(a, j) ^ f(a, j - 1)) V_j        V_j = [v_i >= j], j = 1 .. 15

is linear in the V_j, and A and B know the coefficients: a boolean cross gate with 15 lanes and one
output for each f. Words pack n nibbles, so one xor does all of them: the bits are the business of
`jmpc.kernels.nibbles`. Rounds: 1, n (30 + 2 functions) bits. C receives nothing, A and B see lanes
and outputs masked under keys that they lack.
"""

from __future__ import annotations

import jax

from jmpc.choreography.primitives import Group
from jmpc.kernels.bits import xor_all
from jmpc.kernels.nibbles import Stepwise, advance, at_least, equality, planes, sums
from jmpc.protocols.base import Array, Bits
from jmpc.protocols.rep3.cross_gate import Lanes, cross
from jmpc.protocols.rep3.roles import Roles, Slots
from jmpc.protocols.rep3.stacks import unstack


@jax.jit(static_argnames=("roles", "n", "levels"))
def add_nibbles(roles: Roles, c: Array, v: Array, n: int, levels: tuple[int, ...]) -> tuple[list[Bits], Bits]:
    """For the nibbles of words c and v: S_l for all levels l, then D_l for all; and S_0 for free.

    S_l is bit l of c_i + v_i (S_4: the carry out), D_l says whether a carry in changes it. c may
    have an axis more than v, in front.
    """
    own = planes(c, n)
    outputs, lanes = nibble_gate(roles, n, sums(own, levels, n), at_least(planes(v, n), n))
    # Bit 0 of v_i is the parity of its V_j, of which the gate makes a sharing in passing.
    _, bc, ca = roles.named(lanes)
    lowest = roles.slots(ab=own[0], bc=xor_all(bc, 0), ca=xor_all(ca, 0))
    return outputs, Bits(lowest, n)


@jax.jit(static_argnames=("roles", "n"))
def equal_nibbles(roles: Roles, c: Array, v: Array, n: int) -> Bits:
    """Which nibbles of the words c and v are equal."""
    (equal,), _ = nibble_gate(roles, n, equality(planes(c, n), n), at_least(planes(v, n), n))
    return equal


def nibble_gate(roles: Roles, n: int, functions: Stepwise, lanes: Array) -> tuple[list[Bits], Slots]:
    """The functions, known to A and B, at the nibbles of v whose lanes C knows; and the lanes."""
    outputs, (shared,) = cross(
        roles,
        Group.XOR,
        [Lanes(lanes, n)],
        lambda lanes: advance(functions.steps, lanes),
        bits=n,
        constant=functions.start,
    )
    return [Bits(slots, n) for slots in unstack(outputs, len(functions.start))], shared
