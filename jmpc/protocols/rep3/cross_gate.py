"""The cross gate: a product of what A and B know with what C knows, in one round.

A and B know u (a function of c in the two-operand view), C knows values V; y = constant + f(V),
where the map f is linear in V and computed from u. Masks k, k' hide V, masks s, s' hide what A and
B tell each other:

    C -> B: h  = V - k,        k  = F(K_CA)          C -> A: h' = V - k',       k' = F(K_BC)
    A -> B: e  = f(k) - s,     s  = F(K_CA)          B -> A: e' = f(k') - s',   s' = F(K_BC)
    A: y_AB = constant + e' + f(h') - s              B: y_AB = constant + e + f(h) - s'
    y_CA = s,   y_BC = s'

and for free the sharing (AB: 0, BC: h, CA: k) of V itself. Rounds: 1; the bits of V and of y, each
twice.

Simulation, perfect given the keystream, whatever u and V are. C receives nothing. B receives h and
e, masked by k and s, two draws under K_CA, which B lacks; e depends on k, h on no mask. A receives
h' and e', masked under K_BC, which A lacks. The masks are never the same towards A and B: if they
were, A, who holds K_CA, would learn V. Each party's slots of y contain a fresh s or s', so they are
independent of y. (This is the three-party oblivious transfer of ABY3, CCS 2018, 5.4, for linear
maps and two receivers.)

Both A and B compute f from u, so f is integer code: one wrong bit would make their copies of y_AB
differ by a random ring element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp

from jmpc.choreography.primitives import Group, agree, draw, masked, send_masked
from jmpc.protocols.base import Array
from jmpc.protocols.rep3.roles import Key, Roles, Slots, combine


@dataclass(frozen=True)
class Lanes:
    """An array known to C, of which `bits` bits an element enter the gate."""

    values: Array
    bits: int


def cross(
    roles: Roles,
    group: Group,
    lanes: Sequence[Lanes],
    linear: Callable[..., Array],
    *,
    bits: int,
    constant: Array | None = None,
) -> tuple[Slots, list[Slots]]:
    """Sharings of y = constant + linear(*lanes), and of the lanes themselves.

    Args:
      lanes: what C knows.
      linear: additive map of the lanes, computed from what A and B know; called four times. It may
        take lanes that are narrower than the result if it multiplies them up.
      bits: width of the result.
      constant: a summand known to A and B.
    """
    a, b, c = roles.names
    _, bc, ca = roles.keys
    k, h = _hide(roles, group, lanes, ca, b)
    k_, h_ = _hide(roles, group, lanes, bc, a)
    left, right = linear(*k), linear(*k_)
    s = draw(ca, left.shape, left.dtype, bits=bits)
    s_ = draw(bc, left.shape, left.dtype, bits=bits)
    e = send_masked(left, {b: s}, a, group=group, bits=bits)
    e_ = send_masked(right, {a: s_}, b, group=group, bits=bits)

    def y_ab(told: Array, hidden: Sequence[Array], mask: Array) -> Array:
        terms = [told, linear(*hidden), *([] if constant is None else [constant])]
        return masked(combine(group, *terms), [mask], group, bits)

    y = roles.slots(ab=agree(y_ab(e_, h_, s), y_ab(e, h, s_)), bc=s_, ca=s)
    return y, [roles.slots(ab=jnp.zeros_like(k_j), bc=h_j, ca=k_j) for k_j, h_j in zip(k, h, strict=True)]


def solo(roles: Roles, group: Group, lane: Lanes, ab: Array | None = None) -> Slots:
    """A sharing of what only C knows, and of `ab`, known to A and B, added to it. Rounds: 1.

    B sees C's value masked under K_CA, which B lacks.
    """
    (k,), (h,) = _hide(roles, group, [lane], roles.keys[2], roles.names[1])
    return roles.slots(ab=jnp.zeros_like(k) if ab is None else ab, bc=h, ca=k)


def _hide(roles: Roles, group: Group, lanes: Sequence[Lanes], key: Key, dst: str) -> tuple[list[Array], list[Array]]:
    """C's lanes, sent to `dst` under `key`: the masks and what travels."""
    masks = [draw(key, lane.values.shape, lane.values.dtype, bits=lane.bits) for lane in lanes]
    hidden = [
        send_masked(lane.values, {dst: mask}, roles.names[2], group=group, bits=lane.bits)
        for lane, mask in zip(lanes, masks, strict=True)
    ]
    return masks, hidden
