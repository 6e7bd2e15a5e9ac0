"""Elements put at secret places: a secret shuffle, after which the places may be opened.

Each pair of parties has a uniformly random permutation of every row, the stable order of 64-bit words under their
key: but for a probability below n^2 / 2^65 that two of the n words are equal (2^-39 for 10 000 elements, 2^-25 for a
million), which bounds by how much it differs from a uniform one. What is shuffled goes through all three, of which
each party knows two, and so each lacks one (Laur, Willemson, Zhang, "Round-efficient oblivious database
manipulation", ISC 2011). With a = x_AB + x_CA, which A knows, and b = x_BC, which B knows:

    B -> C: m1 = pi_AB(b) - R,            R = F(K_AB)
    A -> B: m2 = pi_CA(pi_AB(a) + R) - S, S = F(K_CA)
    B: x_B = pi_BC(m2)                    C: x_C = pi_BC(pi_CA(m1) + S)        x_B + x_C is x shuffled
    B -> C: x_B - y_AB, C -> B: x_C - y_CA; y_AB = F(K_AB), y_CA = F(K_CA), y_BC = both messages together

Rounds: 2, four words for each element. Simulation: m1 is masked by R, which C lacks, and m2 by S, which B
lacks; in the second round y_AB hides x_B from C, and y_CA hides x_C from B. A receives nothing.

The places are shuffled alike and opened, instead of shared again, in the second round:

    B -> A, C: p_B = x_B - zeta           C -> A, B: p_C = x_C + zeta          zeta = F(K_BC)

Simulation: their sum, the shuffled places, is a permutation of the places by one of which each party lacks a
factor. The factor is uniform and nothing else depends on it but what is masked, so the sum is a uniformly
random permutation whatever the places are; each party's permutations are drawn for one shuffle alone. B and C
know zeta and can make what they receive of that sum and of what they have. A lacks it, so that p_B is uniform
for A and p_C the rest of the sum. Without zeta A, who made m2, would read pi_BC off p_B. Then everyone puts
the shuffled columns in their places, by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.choreography.primitives import Group, draw, low_bits, masked, release, send_masked
from jmpc.protocols.base import RING_BITS, Array, Bits, Sharing
from jmpc.protocols.rep3.roles import Parties, Roles, Slots, combine

SHUFFLED = "uniformly random permutation"  # the account's word for places that were shuffled


class ShufflingMixin(Parties):
    """Secret permutations; the module says what the parties see."""

    def permute(self, places: Bits, columns: Sequence[Sharing]) -> list[Any]:
        """Element i of each column at `places[..., i]`. Rounds: 2; 6 words of `places`, 4 of each column."""
        return put(self._roles(), Group.XOR, places.slots, places.width, columns)


def put(roles: Roles, group: Group, places: Slots, bits: int, columns: Sequence[Sharing]) -> list[Any]:
    """Each column with its elements at these places, words of `bits` bits shared in `group`."""
    orders = permutations(roles, places[0].shape)
    at_b, at_c = _passed_on(roles, group, places, bits, orders)
    back = _order(opened(roles, group, at_b, at_c, bits))
    return [_with(x, [_taken(slot, back) for slot in _shuffled(roles, x, orders)]) for x in columns]


def permutations(roles: Roles, shape: tuple[int, ...]) -> list[Array]:
    """A uniform one for each row, of each pair AB, BC, CA."""
    return [_order(draw(pair, shape)) for pair in roles.keys]


def opened(roles: Roles, group: Group, at_b: Array, at_c: Array, bits: int) -> Array:
    """Both parts together, for everyone. Rounds: 1."""
    a, b, c = roles.names
    _, bc, _ = roles.keys
    zeta = draw(bc, at_b.shape, at_b.dtype, bits=bits)
    p_b, p_c = masked(at_b, [zeta], group, bits), low_bits(combine(group, at_c, zeta), bits)
    p_b = release(p_b, b, (a, c), SHUFFLED, bits=bits, independent=True)
    p_c = release(p_c, c, (a, b), SHUFFLED, bits=bits, independent=True)
    return low_bits(combine(group, p_b, p_c), bits)


def _shuffled(roles: Roles, x: Sharing, orders: Sequence[Array]) -> Slots:
    _, b, c = roles.names
    ab, _, ca = roles.keys
    group, bits = (Group.XOR, x.width) if isinstance(x, Bits) else (Group.RING, RING_BITS)
    at_b, at_c = _passed_on(roles, group, x.slots, bits, orders)
    y_ab, y_ca = (draw(pair, at_b.shape, at_b.dtype, bits=bits) for pair in (ab, ca))
    halves = [
        send_masked(at_b, {c: y_ab}, b, group=group, bits=bits),
        send_masked(at_c, {b: y_ca}, c, group=group, bits=bits),
    ]
    return roles.slots(ab=y_ab, bc=combine(group, *halves), ca=y_ca)


def _passed_on(
    roles: Roles, group: Group, slots: tuple[Array, ...], bits: int, orders: Sequence[Array]
) -> tuple[Array, Array]:
    """The two parts, at B and at C, of the shuffled words. Rounds: 1."""
    a, b, c = roles.names
    ab, _, ca = roles.keys
    pi_ab, pi_bc, pi_ca = orders
    x_ab, x_bc, x_ca = roles.named(slots)
    r, s = (draw(pair, x_bc.shape, x_bc.dtype, bits=bits) for pair in (ab, ca))
    m1 = send_masked(_taken(x_bc, pi_ab), {c: r}, b, group=group, bits=bits)
    own = combine(group, _taken(combine(group, x_ab, x_ca), pi_ab), r)
    m2 = send_masked(_taken(own, pi_ca), {b: s}, a, group=group, bits=bits)
    return _taken(m2, pi_bc), _taken(combine(group, _taken(m1, pi_ca), s), pi_bc)


def _order(words: Array) -> Array:
    """The stable ascending order of each row: of random words a random permutation, of a permutation its inverse."""
    places = lax.broadcasted_iota(np.int32, words.shape, words.ndim - 1)
    _, order = lax.sort((words, places), dimension=-1, is_stable=True, num_keys=1)
    return order


def _taken(x: Array, order: Array) -> Array:
    """The elements in this order, which is that of all further axes in front as well."""
    order = order.reshape((1,) * (x.ndim - order.ndim) + order.shape)
    return jnp.take_along_axis(x, order, axis=-1, mode="promise_in_bounds")


def _with(x: Sharing, slots: Sequence[Array]) -> Any:
    return Bits(tuple(slots), x.width) if isinstance(x, Bits) else type(x)(tuple(slots))
