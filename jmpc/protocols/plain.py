"""One player, no secrecy: the fixed-point arithmetic of the other families on a single slot.

The reference that tests compare with, and a fast way to try a program's precision. All values are exact
uint64 arrays at one player; there are no draws, no messages and no rounds, so everything here also runs
on concrete arrays, under `jax.enable_x64(True)`, with or without `jax.jit`.

What the secure families do at random is a parameter here. They truncate to floor((x + rho) / 2^s) with a
public uniform rho (`rounding`), and they evaluate gates on two operands c + v = x of which one is uniform
(`splitting`). The defaults are the nearest integer and v = 0; tests inject extreme and random choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.choreography.primitives import low_bits
from jmpc.kernels.bits import bit_at, word_dtype
from jmpc.protocols.base import (
    RING_BITS,
    Array,
    Bits,
    Product,
    Protocol,
    Ring,
    S,
    Series,
    Sharing,
    as_word,
    check_thresholds,
)
from jmpc.protocols.turns import cos_turn, exp2_q30, sin_turn

Rounding = Callable[[tuple[int, ...], int], Array]
"""(shape, shift) to the rho of a truncation by `shift`: uint64 words in [0, 2^shift)."""

Splitting = Callable[[tuple[int, ...]], Array]
"""Shape to the operand v of a gate: uint64 words."""


def round_nearest(shape: tuple[int, ...], shift: int) -> Array:
    """Halves go up; deterministic."""
    del shape
    return np.uint64(1 << (shift - 1))


def round_down(shape: tuple[int, ...], shift: int) -> Array:
    """The floor: the lowest coin of a stochastic rounding."""
    del shape, shift
    return np.uint64(0)


def round_up(shape: tuple[int, ...], shift: int) -> Array:
    """The ceiling: the highest coin of a stochastic rounding."""
    del shape
    return np.uint64((1 << shift) - 1)


def no_split(shape: tuple[int, ...]) -> Array:
    """The whole operand on one side: a gate shows the error of its formula alone."""
    del shape
    return jnp.zeros((), np.uint64)


@dataclass(frozen=True)
class Plain(Protocol):
    """Fixed point at a single player, for simulation only."""

    party: str = "simulator"
    rounding: Rounding = round_nearest
    splitting: Splitting = no_split

    @property
    def parties(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.party,)

    @property
    def slot_holders(self) -> tuple[frozenset[str], ...]:
        return (frozenset({self.party}),)

    # -- into and out of shares --------------------------------------------------------------------

    def share(self, x: Array, owner: str) -> Ring:
        del owner
        return Ring((x,))

    def share_bits(self, x: Array, owner: str, width: int) -> Bits:
        del owner
        return Bits((low_bits(x.astype(word_dtype(width)), width),), width)

    def arrivals(self, x: Sharing) -> dict[str, list[Array]]:
        del x
        return {}

    def constant(self, x: Array) -> Ring:
        return Ring((jnp.asarray(x, np.uint64),))

    def constant_bits(self, x: Array, width: int) -> Bits:
        return Bits((jnp.asarray(x, word_dtype(width)),), width)

    def reveal(self, x: Ring, to: str, why: str) -> Array:
        del to, why
        return x.slots[0]

    def reveal_bits(self, x: Bits, to: str, why: str) -> Array:
        del to, why
        return x.slots[0]

    # -- linear ------------------------------------------------------------------------------------

    def add_public(self, x: S, k: Array | int) -> S:
        return self.map(lambda slot: slot + as_word(k), x)

    def as_product(self, x: Ring) -> Product:
        return Product(x.slots)

    # -- products and truncation ---------------------------------------------------------------------

    def multiply(self, x: Ring, y: Ring, bilinear: Callable[[Array, Array], Array] = jnp.multiply) -> Product:
        return Product((bilinear(x.slots[0], y.slots[0]),))

    def square(self, x: Ring) -> Product:
        return Product((x.slots[0] * x.slots[0],))

    def settle(self, x: Product) -> Ring:
        return Ring(x.slots)

    def truncate(self, x: Ring | Product, shift: int, *, signed: bool = True) -> Ring:
        (z,) = x.slots
        if shift == 0:
            return Ring((z,))
        rho = self.rounding(z.shape, shift)
        return Ring((_shift_right(z + rho, shift, signed),))

    def truncate_exact(self, x: Ring, shift: int) -> Ring:
        (z,) = x.slots
        return Ring((_shift_right(z, shift, signed=True) if shift else z,))

    # -- bits --------------------------------------------------------------------------------------

    def sign(self, x: Ring, range_bits: int = RING_BITS) -> Bits:
        return Bits((bit_at(x.slots[0], range_bits - 1),), 1)

    def less_than_each(self, x: Ring, thresholds: Sequence[int], range_bits: int = RING_BITS) -> list[Bits]:
        return [self.sign(self.add_public(x, -t), range_bits) for t in thresholds]

    def words_less_than_each(self, x: Ring | Bits, thresholds: Sequence[int], width: int) -> list[Bits]:
        check_thresholds(thresholds, width)
        words = low_bits(x.slots[0].astype(np.uint64), width)
        return [Bits(((words < np.uint64(t)).astype(np.uint8),), 1) for t in thresholds]

    def is_zero(self, x: Ring) -> Bits:
        return Bits(((x.slots[0] == np.uint64(0)).astype(np.uint8),), 1)

    def to_bits(self, x: Ring) -> Bits:
        return Bits(x.slots, RING_BITS)

    def xor_public(self, x: Bits, k: Array | int) -> Bits:
        word = x.dtype.type(k) if isinstance(k, int) else k
        return self.map(lambda slot: slot ^ word, x)

    def and_(self, x: Bits, y: Bits) -> Bits:
        return Bits((x.slots[0] & y.slots[0],), x.width)

    def to_ring(self, bits: Sequence[Bits], weights: Sequence[Sequence[int]]) -> list[Ring]:
        words = [bit.slots[0].astype(np.uint64) for bit in bits]
        zero = jnp.zeros((), np.uint64)
        return [Ring((sum((as_word(w) * b for w, b in zip(row, words, strict=True)), zero),)) for row in weights]

    def words_to_ring(self, x: Bits) -> Ring:
        return Ring((x.slots[0].astype(np.uint64),))

    def inject(self, bit: Bits, x: Ring) -> Ring:
        return Ring((bit.slots[0].astype(np.uint64) * x.slots[0],))

    # -- smooth functions and look-ups ---------------------------------------------------------------

    def fourier(self, turn: Ring, series: Sequence[Series], scales: tuple[int, int] = (30, 30)) -> list[Ring]:
        """U rounded once at the first scale times V rounded at the second, as in the secure gates."""
        v = self.splitting(turn.shape)
        c = turn.slots[0] - v
        return [Ring((_fourier(c, v, s, *scales) + _constant(s, sum(scales)),)) for s in series]

    def exp2_blocks(self, y: Ring, fraction: int) -> tuple[Ring, Ring]:
        v = self.splitting(y.shape)
        c = y.slots[0] - v
        mantissa = _exp2_mantissa(c, fraction) * _exp2_mantissa(v, fraction)
        block = np.uint64(fraction + 3)
        return Ring((mantissa,)), Ring((_one_hot((c >> block) + (v >> block), 8),))

    def one_hot(self, index: Ring | Bits, n: int) -> Ring:
        return Ring((_one_hot(index.slots[0].astype(np.uint64), n),))

    # -- secret order --------------------------------------------------------------------------------

    def permute(self, places: Bits, columns: Sequence[Sharing]) -> list[Any]:
        return self.sort_by_digit(places, columns)  # what goes to place i is then number i

    def sort_by_digit(self, digits: Bits, columns: Sequence[Sharing]) -> list[Any]:
        order = jnp.argsort(digits.slots[0], axis=-1, stable=True)

        def ordered(slot: Array) -> Array:
            return jnp.take_along_axis(slot, jnp.broadcast_to(order, slot.shape), axis=-1)

        return [self.map(ordered, x) for x in columns]


def _shift_right(z: Array, shift: int, signed: bool) -> Array:
    # The offset makes a signed value non-negative for the logical shift and is taken out again after it.
    offset = 1 << 62 if signed else 0
    return ((z + np.uint64(offset)) >> np.uint64(shift)) - np.uint64(offset >> shift)


def _one_hot(index: Array, n: int) -> Array:
    positions = jnp.arange(n, dtype=np.uint64)
    return ((index & np.uint64(n - 1))[..., None] == positions).astype(np.uint64)


def _round_shift(x: Array, shift: int) -> Array:
    """int64 x / 2^shift to the nearest."""
    return (x + np.int64(1 << (shift - 1))) >> np.int64(shift) if shift else x


def _fourier(c: Array, v: Array, series: Series, scale_u: int, scale_v: int) -> Array:
    """sum_k [a cos kc + b sin kc] cos kv + [b cos kc - a sin kc] sin kv, without the constant."""
    harmonics = _stack(series.harmonics, np.uint64)

    def waves(theta: Array) -> tuple[Array, Array]:
        angles = theta[..., None] * harmonics
        return cos_turn(angles), sin_turn(angles)

    (cos_c, sin_c), (cos_v, sin_v) = waves(c), waves(v)
    a, b = (_stack(half, np.int64) for half in (series.cosines, series.sines))
    along, across = (_round_shift(u, 60 - scale_u) for u in (a * cos_c + b * sin_c, b * cos_c - a * sin_c))
    cos_v, sin_v = (_round_shift(w, 30 - scale_v) for w in (cos_v, sin_v))
    return jnp.sum(along * cos_v + across * sin_v, axis=-1).astype(np.uint64)


def _stack(numbers: Sequence[int], dtype: type) -> Array:
    """A vector of constants made of scalars: an array would need an owner in a choreography."""
    return jnp.stack([lax.full((), number, dtype) for number in numbers])


def _constant(series: Series, scale: int) -> np.uint64:
    return as_word(round(series.constant * 2**scale))


def _exp2_mantissa(y: Array, fraction: int) -> Array:
    """2^((y mod 8 octaves) / 2^fraction) in Q23, in [1, 2^8)."""
    octave = ((y >> np.uint64(fraction)) & np.uint64(7)).astype(np.int64)
    inside = y & np.uint64((1 << fraction) - 1)
    shift = fraction - 31
    part = inside >> np.uint64(shift) if shift >= 0 else inside << np.uint64(-shift)
    return _round_shift(exp2_q30(part.astype(np.int64)) << octave, 7).astype(np.uint64)
