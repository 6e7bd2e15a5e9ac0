"""Sorting: which elements are compared is public, where they go is secret, and nothing is opened.

Few elements are compared all with all. An element's rank is the number of those before it, the unit vectors of all
ranks are a permutation matrix, and one product puts everything in its place: 8 rounds, about 450 n bits for each of n
elements with the comparisons of 33 bits, and 770 n with those of 64. (Sorting by counting as in Hamada, Kikuchi,
Ikarashi, Chida, Takahashi, "Practically efficient multi-party sorting protocols", ICISC 2012, who open the ranks of
shuffled elements instead; that is cheaper, and shows the parties something.)

Of more elements, blocks are sorted so, and merged by Batcher's odd-even merge sort: log2(n) - log2(block) steps of
log2(n) layers at most, each of 6 rounds. All rows that are sorted together move alike, in one message.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc import kernels
from jmpc.lowering.context import Context
from jmpc.protocols.base import Bits, Ring

Layer = tuple[np.ndarray, np.ndarray]

_MOST_PAIRS = 1 << 21  # compared at once: all those of 2048 elements


def block_size(shape: tuple[int, ...]) -> int:
    """How many elements of the last axis are compared all with all: every one, or else a power of two."""
    n, batch = shape[-1], math.prod(shape[:-1])
    if batch * n * (n - 1) // 2 <= _MOST_PAIRS:
        return n
    return 1 << max(1, (2 * _MOST_PAIRS // (batch * n)).bit_length() - 1)


def sort_rows(context: Context, key: Ring, others: Ring | None, range_bits: int, first: int) -> Ring:
    """The `first` elements of `others[r, ..., n]` in which `key[..., n]` ascends; without others, of the key itself.

    Differences of elements of the key must be below 2^(range_bits - 1). Stable where `block_size` says n.
    """
    protocol, n = context.protocol, key.shape[-1]
    rows, block = protocol.map(lambda slot: slot[None], key), block_size(key.shape)
    if block == n:
        return _by_counting(context, key, rows if others is None else others, range_bits, first)
    if others is not None:
        rows = protocol.map(lambda slot, other: jnp.concatenate([slot, other]), rows, others)
    rows = _merged(context, _sorted_blocks(context, rows, block, range_bits), block, range_bits)
    return protocol.map(lambda slot: slot[min(1, slot.shape[0] - 1) :, ..., :first], rows)


# -- all with all ----------------------------------------------------------------------------------------------


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


def _sorted_blocks(context: Context, rows: Ring, block: int, range_bits: int) -> Ring:
    """Each block of neighbours in the order of row 0; the last one may be shorter."""
    protocol, n = context.protocol, rows.shape[-1]
    whole = n // block * block

    def ordered(rows: Ring) -> Ring:
        key = protocol.map(lambda slot: slot[0], rows)
        return _by_counting(context, key, rows, range_bits, rows.shape[-1])

    def split(slot: Any) -> Any:
        return slot[..., :whole].reshape(*slot.shape[:-1], whole // block, block)

    blocks = protocol.map(lambda slot: slot.reshape(*slot.shape[:-2], whole), ordered(protocol.map(split, rows)))
    rest = ordered(protocol.map(lambda slot: slot[..., whole:], rows))
    return protocol.map(lambda a, b: jnp.concatenate([a, b], axis=-1), blocks, rest)


# -- merging ---------------------------------------------------------------------------------------------------


def layers(n: int, block: int = 1) -> Iterator[Layer]:
    """The comparators (low, high) of each layer for n elements in ascending blocks; after the last, all ascend."""
    p = block
    while p < n:
        k = p
        while k >= 1:
            starts = np.arange(k % p, n - k, 2 * k)[:, None] + np.arange(k)
            low = starts[starts + k < n]
            low = low[low // (2 * p) == (low + k) // (2 * p)]
            yield low, low + k
            k //= 2
        p *= 2


def _merged(context: Context, rows: Ring, block: int, range_bits: int) -> Ring:
    protocol = context.protocol
    for comparators in layers(rows.shape[-1], block):
        low, high = (context.declared(places.astype(np.int32)) for places in comparators)
        left = protocol.map(lambda slot, i=low: slot[..., i], rows)
        right = protocol.map(lambda slot, i=high: slot[..., i], rows)
        difference = protocol.subtract(right, left)
        out_of_order = protocol.sign(protocol.map(lambda slot: slot[0], difference), range_bits)
        bits = protocol.map(lambda slot, r=rows.shape[0]: jnp.broadcast_to(slot[None], (r, *slot.shape)), out_of_order)
        moved = protocol.inject(bits, difference)

        def exchange(slot: Any, change: Any, i: Any = low, j: Any = high) -> Any:
            return slot.at[..., i].add(change).at[..., j].add(-change)

        rows = protocol.map(exchange, rows, moved)
    return rows
