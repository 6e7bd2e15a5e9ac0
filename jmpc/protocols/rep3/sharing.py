"""Into and out of replicated shares."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jmpc.choreography.primitives import Group, draw, release, send_masked
from jmpc.kernels.bits import low_mask
from jmpc.protocols.base import RING_BITS, Array, Bits, Product, Ring, S, Sharing, as_word, word_dtype
from jmpc.protocols.rep3.roles import Parties, Slots, combine, key


class SharingMixin(Parties):
    """Inputs, constants, reveals."""

    def share(self, x: Array, owner: str) -> Ring:
        """Shares the uint64 array `x` of `owner`.

        A party P_i: x_i = F(K_i), x_{i+2} = F(K_012), and the rest, x_{i+1}, goes to P_{i+1}.
        Rounds: 1, 64 bits. P_{i+1} sees it masked under K_i, which it lacks; P_{i+2} sees nothing.
        The word of K_012, a key of all three, hides nothing. It makes every slot uniform given x,
        so that truncating a raw input is unbiased whoever is C; with zero for it, the coin of a
        truncation with C = P_i would be constant.

        Any other player: x_0 = F(owner, P_2, P_0), x_1 = F(owner, P_0, P_1), and the rest, x_2,
        goes to P_1 and P_2. Rounds: 1, 128 bits. Each of them lacks the key of one of the masks.
        """
        return Ring(self._shared(x, owner, Group.RING, RING_BITS))

    def share_bits(self, x: Array, owner: str, width: int) -> Bits:
        """Shares the low `width` bits of the words `x` of `owner`.

        As `share`, with xor for sums: rounds: 1; `width` bits from a party, 2 `width` from any other player. Each
        receiver sees words of `width` bits masked by a draw of `width` bits under a key that it lacks. Bits above do
        not travel and no slot has any, so what an owner sends, honest or not, shares words of that width.
        """
        word = word_dtype(width)
        return Bits(self._shared(x.astype(word), owner, Group.XOR, width), width)

    def _shared(self, x: Array, owner: str, group: Group, bits: int) -> Slots:
        p = self.parties
        if owner not in p:
            masks = [draw({owner, *key(p, i)}, x.shape, x.dtype, bits=bits) for i in (0, 1)]
            rest = send_masked(x, {p[1]: masks[0], p[2]: masks[1]}, owner, group=group, bits=bits)
            return masks[0], masks[1], rest
        i = p.index(owner)
        coin, mask = (draw(who, x.shape, x.dtype, bits=bits) for who in (p, key(p, i)))
        left = x - coin if group is Group.RING else x ^ coin
        slots = {
            i: mask,
            (i + 1) % 3: send_masked(left, {p[(i + 1) % 3]: mask}, owner, group=group, bits=bits),
            (i + 2) % 3: coin,
        }
        return slots[0], slots[1], slots[2]

    def arrivals(self, x: Sharing) -> dict[str, list[Array]]:
        """The rest, x_2, at P_1 and P_2; P_0 has its slots by keys alone."""
        return {party: [x.slots[2]] for party in self.parties[1:]}

    def constant(self, x: Array) -> Ring:
        """The public array `x` in slot 0; no message. Truncating it rounds deterministically."""
        zero = jnp.zeros_like(x)
        return Ring((x, zero, zero))

    def constant_bits(self, x: Array, width: int) -> Bits:
        """The public words `x` in slot 0; no message."""
        word = Bits((x,), width).dtype
        x = x.astype(word) & low_mask(width, word)
        zero = jnp.zeros_like(x)
        return Bits((x, zero, zero), width)

    def reveal(self, x: Ring, to: str, why: str) -> Array:
        """Opens `x` to `to`. Rounds: 1; 64 bits to a party, 192 to any other player.

        P_j gets the one slot that it lacks, which is the value minus the slots that it has: no more
        than the value says. Another player gets three pieces x_i + F(K_i) - F(K_{i+1}) and keeps
        their sum; given the sum the pieces are uniform. Bare slots would show it how intermediate
        values were made.
        """
        return self._open(x, Group.RING, 64, to, why)

    def reveal_bits(self, x: Bits, to: str, why: str) -> Array:
        """As `reveal`, with `x.width` bits for 64 and xor for sums."""
        return self._open(x, Group.XOR, x.width, to, why)

    def _open(self, x: Sharing, group: Group, bits: int, to: str, why: str) -> Array:
        p = self.parties
        if to in p:
            j = p.index(to)
            missing = release(x.slots[j - 1], p[j - 1], to, why, bits=bits)
            return combine(group, x.slots[j], x.slots[(j + 1) % 3], missing)
        keys = [draw(key(p, i), x.shape, x.slots[i].dtype, bits=bits) for i in range(3)]
        pieces = []
        for i in range(3):
            own, other = combine(group, x.slots[i], keys[i]), keys[(i + 1) % 3]
            piece = own - other if group is Group.RING else own ^ other
            pieces.append(release(piece, p[i], to, why, bits=bits))
        return combine(group, *pieces)

    def add_public(self, x: S, k: Array | int) -> S:
        """x + k, in slot 0 alone; no message."""
        return _in_slot_0(x, x.slots[0] + as_word(k))

    def xor_public(self, x: Bits, k: Array | int) -> Bits:
        """x ^ k, in slot 0 alone; no message."""
        low = low_mask(x.width, x.dtype)
        k = x.dtype.type(k & int(low)) if isinstance(k, int) else k.astype(x.dtype) & low
        return _in_slot_0(x, x.slots[0] ^ k)

    def as_product(self, x: Ring) -> Product:
        """Slot x_i as the summand of P_i; no message."""
        return Product(x.slots)


def _in_slot_0(x: S, slot: Array) -> S:
    """`x` with a new slot 0. If that is broadcast larger, so are the others."""
    rest = (jnp.broadcast_to(other, slot.shape) for other in x.slots[1:])
    return dataclasses.replace(x, slots=(slot, *rest))
