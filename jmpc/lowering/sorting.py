"""Sorting few elements by counting: all are compared with all.

An element's rank is the number of those before it, the unit vectors of all ranks are a permutation matrix, and one
product puts everything in its place: 8 rounds, about 450 n bits for each of n elements with the comparisons of 33
bits, and 770 n with those of 64. Nothing is opened. (As in Hamada, Kikuchi, Ikarashi, Chida, Takahashi, "Practically
efficient multi-party sorting protocols", ICISC 2012, who open the ranks of shuffled elements instead.)

More elements are sorted by digits (`radix`). All rows that are sorted together move alike, in one message.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc import kernels
from jmpc.lowering.context import Context
from jmpc.protocols.base import Bits, Ring

_MOST_PAIRS = 1 << 21  # compared at once: all those of 2048 elements
_FEW = 16  # of so few elements all pairs cost no more bytes than sorting by digits


def are_few(shape: tuple[int, ...]) -> bool:
    """Whether all elements of the last axis should be compared with each other."""
    n, batch = shape[-1], math.prod(shape[:-1])
    return n <= _FEW or batch * n * (n - 1) // 2 <= _MOST_PAIRS


def sort_rows(context: Context, key: Ring, rows: Sequence[Ring], range_bits: int, first: int) -> list[Ring]:
    """The `first` elements of each row in the stable order of `key` along the last axis.

    Differences of elements of the key must be below 2^(range_bits - 1).
    """
    protocol = context.protocol
    stacked = protocol.map(lambda *slots: jnp.stack(slots), *rows)
    ordered = _by_counting(context, key, stacked, range_bits, first)
    return [protocol.map(lambda slot, i=i: slot[i], ordered) for i in range(len(rows))]


def _by_counting(context: Context, key: Ring, rows: Ring, range_bits: int, first: int) -> Ring:
    protocol, n = context.protocol, rows.shape[-1]
    if n <= 1:
        return protocol.map(lambda slot: slot[..., :first], rows)
    ranks = _ranks(context, key, range_bits)
    places = protocol.one_hot(ranks, 1 << (n - 1).bit_length())
    places = protocol.map(lambda slot: slot[..., :first], places)  # [..., element, place]

    def move(x: Any, unit: Any) -> Any:
        x = jnp.moveaxis(x, 0, -2)
        batch = tuple(range(unit.ndim - 2))
        moved = kernels.dot_general(x, unit, (((x.ndim - 1,), (unit.ndim - 2,)), (batch, batch)))
        return jnp.moveaxis(moved, -2, 0)

    return protocol.settle(protocol.multiply(rows, places, move))


def _ranks(context: Context, x: Ring, range_bits: int) -> Ring:
    """How many elements come before each on the last axis: those that are smaller, and equal ones further left.

    Element i meets element i + d, modulo n, for all d up to n / 2: every pair once.
    """
    protocol, n = context.protocol, x.shape[-1]
    distances = np.arange(1, n // 2 + 1)[:, None]
    places = np.arange(n)
    around = places + distances >= n  # then the other one of the pair stands further left
    after, before = (context.declared(((places + d) % n).astype(np.int32)) for d in (distances, -distances))
    signs = context.declared(np.where(around, -1, 1).astype(np.int64).astype(np.uint64))

    def difference(slot: Any) -> Any:
        """The right one of each pair less the left one."""
        return (slot[..., after] - slot[..., None, :]) * signs

    def at_partner(slot: Any) -> Any:
        """What a row says of i, at i + d."""
        return jnp.take_along_axis(slot, jnp.broadcast_to(before, slot.shape), axis=-1)

    # The left one comes second where the right one is smaller. So element i comes second where `second` says so:
    second = protocol.xor_public(
        protocol.sign(protocol.map(difference, x), range_bits), context.declared(around.astype(np.uint8))
    )
    once = np.ones((n // 2, n), np.uint64)
    if n % 2 == 0:
        once[-1, n // 2 :] = 0  # half of the last row would meet again
    counted = protocol.scale(_as_ring(context, second), context.declared(once))
    beaten = protocol.map(lambda slot: jnp.sum(slot - at_partner(slot), axis=-2, dtype=slot.dtype), counted)
    met = np.take_along_axis(once, (places - distances) % n, axis=1).sum(axis=0)
    return protocol.add_public(beaten, context.declared(met))


def _as_ring(context: Context, bits: Bits) -> Ring:
    return context.protocol.to_ring([bits], [[1]])[0]
