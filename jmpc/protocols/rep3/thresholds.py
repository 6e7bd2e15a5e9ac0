"""Words against public thresholds in two rounds, whatever their width.

A word is c + v mod 2^width, c known to A and B and v to C. It is below t exactly if v lies in the
cyclic interval from -c up to t - c:

    [word < t] = [v < M(t)] ^ [v < M(0)] ^ [M(t) < M(0)],   M(t) = t - c mod 2^width

and of each such comparison A and B know one side, C the other. By digits, from the highest on,

    z_j = [v_j >= M_j] + sum_{d > j} [v_d != M_d]

is zero for one j if v < M, and for none otherwise (Damgard, Geisler, Kroigaard, "Efficient and
secure comparison for on-line auctions", ACISP 2007). Both summands are linear in the unit vectors
of C's digits, so all z_j come out of one cross gate, as small numbers; and of one such number
whether it is zero is linear in the unit vector of C's part of it: a second gate. The xor of these
over j is the comparison.

Of words that are shared by xor, c ^ v, the digits are compared with those of t themselves: C's unit
vectors serve as they are, and A and B know where the digit of the word lies in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.choreography.primitives import Group, low_bits
from jmpc.kernels.bits import low_mask, xor_all
from jmpc.protocols.base import Array, Bits, Ring, check_thresholds
from jmpc.protocols.rep3.cross_gate import Lanes, cross
from jmpc.protocols.rep3.roles import Parties
from jmpc.protocols.rep3.stacks import column, unstack

DIGIT = 4  # bits of a digit


class ThresholdsMixin(Parties):
    """Comparisons with two cross gates on fresh masks: C receives nothing, and A and B see lanes and
    sums masked under keys that they lack.
    """

    def words_less_than_each(self, x: Ring | Bits, thresholds: Sequence[int], width: int) -> list[Bits]:
        """[x mod 2^width < t] for each 0 < t < 2^width. Rounds: 2.

        With n digits, m thresholds, k = m + 1 comparisons (of `Bits` k = m), and numbers of q bits,
        n < 2^q: 2 n (16 q + k q + 2^q k) + 2 m bits. 1666 bits for one threshold at width 32, 4898
        at 64.
        """
        check_thresholds(thresholds, width)
        roles, places = self._roles(), -(-width // DIGIT)
        halves = roles.split(x, Group.XOR if isinstance(x, Bits) else Group.RING)
        c, v = (low_bits(half.astype(np.uint64), width) for half in halves)
        side = _of_xor if isinstance(x, Bits) else _of_sum
        known = side(c, thresholds, width)
        units = (_digits(v[None], places)[None] == _every(DIGIT, v.ndim + 2)).astype(np.uint8)
        bits = places.bit_length()
        z, _ = cross(roles, Group.RING, [Lanes(units, bits)], known.numbers, bits=bits)
        z_c, z_v = (low_bits(half, bits) for half in roles.split(Ring(z)))
        zero = low_bits(np.uint8(0) - z_c, bits)  # C's part of z where z is zero

        def below(units: Array) -> Array:
            hit = jnp.where(zero[None] == _every(bits, zero.ndim), units, np.uint8(0))
            return known.results(xor_all(xor_all(hit, 0), 0))

        lanes = Lanes((z_v[None] == _every(bits, z_v.ndim)).astype(np.uint8), 1)
        slots, _ = cross(roles, Group.XOR, [lanes], below, bits=1, constant=known.wraps)
        return [Bits(each, 1) for each in unstack(slots, len(thresholds))]


@dataclass(frozen=True)
class _Side:
    """What A and B know of comparisons: for each value of a digit of C's, [value, place, comparison, ...].

    With `wraps`, the first comparison is with M(0), and belongs to all the others.
    """

    differs: Array
    reaches: Array
    wraps: Array | None

    def numbers(self, units: Array) -> Array:
        """z, [place, comparison, ...], from the unit vectors of C's digits."""
        differ = jnp.sum(self.differs * units, axis=0, dtype=np.uint8)
        reached = jnp.sum(self.reaches * units, axis=0, dtype=np.uint8)
        return reached + lax.cumsum(differ, axis=0, reverse=True) - differ

    def results(self, comparisons: Array) -> Array:
        return comparisons if self.wraps is None else comparisons[1:] ^ comparisons[:1]


def _of_sum(c: Array, thresholds: Sequence[int], width: int) -> _Side:
    limits = low_bits(column(np.array([0, *thresholds], np.uint64), c.ndim) - c[None], width)
    digits = _digits(limits, -(-width // DIGIT))[None]
    every = _every(DIGIT, digits.ndim - 1)
    wraps = (limits[1:] < limits[:1]).astype(np.uint8)
    return _Side((every != digits).astype(np.uint8), (every >= digits).astype(np.uint8), wraps)


def _of_xor(c: Array, thresholds: Sequence[int], width: int) -> _Side:
    places = -(-width // DIGIT)
    digits = _digits(column(np.array(thresholds, np.uint64), c.ndim), places)[None]
    word = _every(DIGIT, digits.ndim - 1) ^ _digits(c[None], places)[None]
    return _Side((word != digits).astype(np.uint8), (word >= digits).astype(np.uint8), None)


def _digits(words: Array, places: int) -> Array:
    """The digits on a new leading axis, the lowest first."""
    shifts = column(np.arange(0, DIGIT * places, DIGIT, dtype=np.uint64), words.ndim)
    return ((words[None] >> shifts) & np.uint64(low_mask(DIGIT, np.uint64))).astype(np.uint8)


def _every(bits: int, ndim: int) -> Array:
    """All numbers of `bits` bits, for arrays with `ndim` axes behind."""
    return column(np.arange(1 << bits, dtype=np.uint8), ndim)
