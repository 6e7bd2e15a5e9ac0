"""Smooth functions and look-ups: cross gates on functions of the two halves of a secret."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jmpc.choreography.primitives import Group
from jmpc.protocols.base import RING_BITS, Array, Bits, Ring, Series
from jmpc.protocols.rep3.cross_gate import Lanes, cross
from jmpc.protocols.rep3.roles import Parties
from jmpc.protocols.rep3.stacks import column, unstack
from jmpc.protocols.rep3.units import rotated_units, unit_vectors
from jmpc.protocols.turns import QUARTER_TURN, exp2_q30, sin_turn

Q = 30  # what the integer evaluators of `turns` give
BLOCK = 8  # octaves in a block of `exp2_blocks`, and blocks that it tells apart
MANTISSA_Q = 23  # each half of a mantissa has this scale; the mantissa has both


class SmoothMixin(Parties):
    """Fourier series, powers of two, unit vectors. C receives nothing in these gates."""

    def fourier(self, turn: Ring, series: Sequence[Series], scales: tuple[int, int] = (30, 30)) -> list[Ring]:
        """Each series at the angle `turn`. Rounds: 1, 64 (4 harmonics + 2 series) bits.

        With turn = c + v, where wrapping around is the period,
          sum a_k cos k(c+v) + b_k sin k(c+v)
            = sum (a_k cos kc + b_k sin kc) cos kv + (b_k cos kc - a_k sin kc) sin kv:
        a cross gate with the lanes cos kv and sin kv (scales[1]) and the brackets (rounded once, to
        scales[0]) as coefficients. A and B see lanes masked by whole ring elements.
        """
        roles = self._roles()
        c, v = roles.split(turn)
        harmonics = sorted({k for s in series for k in s.harmonics})
        brackets = _brackets(c, harmonics, series, Q + Q - scales[0])
        slots, _ = cross(
            roles,
            Group.RING,
            [Lanes(_rounded(_waves(v, harmonics), Q - scales[1]).astype(np.uint64), RING_BITS)],
            lambda m: jnp.sum(brackets * m[None], axis=1),
            bits=RING_BITS,
        )
        one = 2.0 ** sum(scales)
        values = zip(unstack(slots, len(series)), series, strict=True)
        return [self.add_public(Ring(y), round(s.constant * one)) for y, s in values]

    def exp2_blocks(self, y: Ring, fraction: int) -> tuple[Ring, Ring]:
        """2^(y / 2^fraction) as a mantissa in [1, 2^16] and a block number. Rounds: 1, 2304 bits.

        y = c + v is cut at 2^sh = 8 octaves: the low parts give the mantissa as a product of two
        powers in [1, 2^8], one of A and B and one of C (256 bits); (c >> sh) + (v >> sh) mod 8 is
        the block (2048). Two cross gates on fresh masks.
        """
        roles = self._roles()
        c, v = roles.split(y)
        cut = fraction + BLOCK.bit_length() - 1
        left, right = (_power(half, fraction) for half in (c, v))
        mantissa, _ = cross(roles, Group.RING, [Lanes(right, RING_BITS)], lambda m: left * m, bits=RING_BITS)
        return Ring(mantissa), Ring(rotated_units(roles, c >> np.uint64(cut), v >> np.uint64(cut), BLOCK))

    def one_hot(self, index: Ring | Bits, n: int) -> Ring:
        """Unit vectors of `index` mod n = 2^k, on a new last axis. Rounds: 1, 256 n bits.

        See `units`.
        """
        if n & (n - 1):
            raise ValueError(f"A one-hot vector needs a power of two as its length, not {n}")
        return Ring(unit_vectors(self._roles(), index, n, RING_BITS))


def _waves(angle: Array, harmonics: Sequence[int]) -> Array:
    """cos(k angle) for all k, then sin(k angle) for all k, on a leading axis; int64 in Q30."""
    multiples = angle[None] * column(np.array(harmonics, np.uint64), angle.ndim)
    return sin_turn(jnp.concatenate([multiples + QUARTER_TURN, multiples]))


def _brackets(c: Array, harmonics: list[int], series: Sequence[Series], shift: int) -> Array:
    """What the lanes are multiplied by, (series, 2 harmonics, ...), rounded by `shift` bits."""
    a = np.zeros((len(series), len(harmonics)), np.int64)
    b = np.zeros_like(a)
    for o, s in enumerate(series):
        at = [harmonics.index(k) for k in s.harmonics]
        a[o, at], b[o, at] = s.cosines, s.sines
    waves = _waves(c, harmonics)
    swapped = jnp.roll(waves, len(harmonics), axis=0)
    # a cos + b sin for the cosines' lanes, -a sin + b cos for the sines'. |a|, |b| < 2 and Q30
    # twice: the sum is below 2^62.
    own, other = (column(np.concatenate(half, axis=1), c.ndim) for half in ((a, -a), (b, b)))
    return _rounded(own * waves[None] + other * swapped[None], shift).astype(np.uint64)


def _power(part: Array, fraction: int) -> Array:
    """2^(part mod 2^cut / 2^fraction) in [1, 2^BLOCK], at scale MANTISSA_Q."""
    octave = (part >> np.uint64(fraction)) & np.uint64(BLOCK - 1)
    up, down = max(31 - fraction, 0), max(fraction - 31, 0)
    digits = ((part << np.uint64(up)) >> np.uint64(down)) & np.uint64((1 << 31) - 1)
    mantissa = exp2_q30(digits.astype(np.int64)) << octave.astype(np.int64)
    return _rounded(mantissa, Q - MANTISSA_Q).astype(np.uint64)


def _rounded(x: Array, shift: int) -> Array:
    """x / 2^shift, rounded to nearest."""
    return (x + np.int64(1 << shift >> 1)) >> np.int64(shift) if shift else x
