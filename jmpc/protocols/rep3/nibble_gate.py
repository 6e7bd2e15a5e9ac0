"""The nibble gate: any functions of the nibbles of c and v, in one round.

In the two-operand view x = c + v, for 4-bit digits c_i known to A and B and v_i known to C,

    f(a, v) = f(a, 0) ^ xor_j (f(a, j) ^ f(a, j - 1)) V_j        V_j = [v_i >= j], j = 1 .. 15

is linear in the V_j, and A and B know the coefficients: a boolean cross gate with 15 lanes and one
output for each f. Words pack n nibbles, so one xor does all of them. Rounds: 1, n (30 + 2
functions) bits. C receives nothing, A and B see lanes and outputs masked under keys that they lack.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jmpc.choreography.primitives import Group
from jmpc.protocols.base import Array, Bits
from jmpc.protocols.rep3.cross_gate import Lanes, cross
from jmpc.protocols.rep3.nibbles import NIBBLE, at_least, carries, equals, planes
from jmpc.protocols.rep3.roles import Roles, Slots
from jmpc.protocols.rep3.stacks import unstack


def add_nibbles(roles: Roles, c: Array, v: Array, n: int, levels: Sequence[int]) -> tuple[Bits, Bits]:
    """For the nibbles of words c and v: S_l for all levels l, then D_l for all; and S_0 for free.

    S_l is bit l of c_i + v_i (S_4: the carry out), D_l says whether a carry in changes it. They are
    stacked on a leading axis. c may have an axis more than v, in front.
    """
    own = planes(c, n)
    steps = carries(equals(own, n), levels)
    sums = [jnp.zeros_like(own[0]) if level == NIBBLE else own[level] for level in levels]
    constant = jnp.concatenate([jnp.stack(sums), steps[: len(levels), 0]])
    outputs, lanes = nibble_gate(roles, n, steps, constant, at_least(planes(v, n), n))
    # Bit 0 of v_i is the parity of its V_j, of which the gate makes a sharing in passing.
    _, bc, ca = roles.named(lanes)
    lowest = roles.slots(ab=own[0], bc=xor_all(bc, 0), ca=xor_all(ca, 0))
    return Bits(outputs, n), Bits(lowest, n)


def equal_nibbles(roles: Roles, c: Array, v: Array, n: int) -> Bits:
    """Which nibbles of the words c and v are equal."""
    equal = equals(planes(c, n), n)
    steps = equal[1:] ^ equal[:-1]
    outputs, _ = nibble_gate(roles, n, steps[None], equal[:1], at_least(planes(v, n), n))
    return Bits(unstack(outputs, 1)[0], n)


def nibble_gate(roles: Roles, n: int, steps: Array, constant: Array, at_least: Array) -> tuple[Slots, Slots]:
    """Stacked outputs and the lanes, from steps (outputs, 15, ...) and constant (outputs, ...)."""

    def linear(lanes: Array) -> Array:
        ones = (1,) * (steps.ndim - 1 - lanes.ndim)
        return xor_all(steps & lanes.reshape(1, lanes.shape[0], *ones, *lanes.shape[1:]), 1)

    lanes = [Lanes(at_least, n)]
    outputs, (shared,) = cross(roles, Group.XOR, lanes, linear, bits=n, constant=constant)
    return outputs, shared


def xor_all(x: Array, axis: int) -> Array:
    """The xor of `x` along an axis."""
    return jax.lax.reduce(x, x.dtype.type(0), jax.lax.bitwise_xor, (axis,))
