"""From secret bits to the ring.

A bit is b = u ^ w with u known to A and B and w known to C, and then b = u + (1 - 2u) w in the
ring: a cross gate. C receives nothing in these gates; A and B see lanes masked under keys that they
lack.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.choreography.primitives import Group
from jmpc.kernels.bits import spread_bits, word_dtype
from jmpc.protocols.base import RING_BITS, Array, Bits, Ring, as_word
from jmpc.protocols.rep3.cross_gate import Lanes, cross, solo
from jmpc.protocols.rep3.roles import Parties, Roles, Slots
from jmpc.protocols.rep3.stacks import column, unstack

GROUP_BITS = 8  # bits of a word that share one lane width in `words_to_ring`


class ConversionsMixin(Parties):
    """Bits to ring elements, and products of bits with ring elements."""

    def to_ring(self, bits: Sequence[Bits], weights: Sequence[Sequence[int]]) -> list[Ring]:
        """sum_i w_i b_i for each row w of `weights`. Rounds: 1, 64 (2 bits + 2 rows) bits.

        With n bits and one row: lanes w_i, and sum_i g_i u_i + sum_i g_i (1 - 2 u_i) w_i out of one
        gate.
        """
        return _to_ring(self._roles(), tuple(bits), tuple(map(tuple, weights)))

    def words_to_ring(self, x: Bits) -> Ring:
        """The unsigned integer that each word spells. Rounds: 1; 1152 bits at width 8, 4736 at 64.

        Bit i counts 2^i, so its lane is needed mod 2^(64-i) only; eight bits share a lane width.
        """
        return Ring(_words_to_ring(self._roles(), x))

    def inject(self, bit: Bits, x: Ring) -> Ring:
        """bit * x. Rounds: 1, 448 bits, of which 128 have the shape of `bit` if it is broadcast.

        b x = u c + u (1 - 2w) v + (1 - 2u) c w + w v: the first is A's and B's, the last C's, and
        the lanes of the gate are (1 - 2w) v and w.
        """
        return _inject(self._roles(), bit, x)


@jax.jit(static_argnames=("roles", "weights"))
def _to_ring(roles: Roles, bits: tuple[Bits, ...], weights: tuple[tuple[int, ...], ...]) -> list[Ring]:
    u, w = (jnp.stack(half) for half in zip(*(_halves(roles, b) for b in bits), strict=True))
    rows = np.array([[as_word(g) for g in row] for row in weights], np.uint64)
    g = column(rows, u.ndim - 1)
    factor = g * _plus_minus(u)[None]
    slots, _ = cross(
        roles,
        Group.RING,
        [Lanes(w, RING_BITS)],
        lambda m: jnp.sum(factor * m[None], axis=1),
        bits=RING_BITS,
        constant=jnp.sum(g * u[None], axis=1),
    )
    return [Ring(row) for row in unstack(slots, len(rows))]


@jax.jit(static_argnames=("roles",))
def _words_to_ring(roles: Roles, x: Bits) -> Slots:
    u, w = roles.split(x, Group.XOR)
    groups = [range(at, min(at + GROUP_BITS, x.width)) for at in range(0, x.width, GROUP_BITS)]
    factors = [_plus_minus(spread_bits(u, group).astype(np.uint64)) * _powers(group, u.ndim) for group in groups]
    widths = [RING_BITS - group.start for group in groups]
    lanes = [
        Lanes(spread_bits(w, group).astype(word_dtype(width)), width)
        for group, width in zip(groups, widths, strict=True)
    ]

    def linear(*parts: Array) -> Array:
        terms = zip(factors, parts, strict=True)
        return sum(jnp.sum(factor * m.astype(np.uint64), axis=0) for factor, m in terms)

    return cross(roles, Group.RING, lanes, linear, bits=RING_BITS, constant=u.astype(np.uint64))[0]


@jax.jit(static_argnames=("roles",))
def _inject(roles: Roles, bit: Bits, x: Ring) -> Ring:
    u, w = _halves(roles, bit)
    c, v = roles.split(x)
    signed_c = _plus_minus(u) * c
    slots, _ = cross(
        roles,
        Group.RING,
        [Lanes(_plus_minus(w) * v, RING_BITS), Lanes(w, RING_BITS)],
        lambda p, q: u * p + signed_c * q,
        bits=RING_BITS,
    )
    own = solo(roles, Group.RING, Lanes(w * v, RING_BITS), ab=u * c)
    return Ring(tuple(y + z for y, z in zip(slots, own, strict=True)))


def _halves(roles: Roles, bit: Bits) -> tuple[Array, Array]:
    """A bit's u and w, in the ring."""
    u, w = roles.split(bit, Group.XOR)
    return u.astype(np.uint64), w.astype(np.uint64)


def _plus_minus(bit: Array) -> Array:
    """1 - 2 bit."""
    return np.uint64(1) - (bit + bit)


def _powers(places: range, ndim: int) -> Array:
    return column(np.uint64(1) << np.array(places, np.uint64), ndim)
