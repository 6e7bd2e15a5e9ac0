"""Sorting by a network: which elements are compared is public, whether they are exchanged is secret.

Batcher's odd-even merge sort: about n log2(n)^2 / 4 comparators in log2(n) (log2(n) + 1) / 2 layers of 6 rounds. All
arrays that are sorted together are exchanged by the same bits, in one message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from jmpc.lowering.context import Context
from jmpc.protocols.base import Ring

Layer = tuple[np.ndarray, np.ndarray]


def layers(n: int) -> Iterator[Layer]:
    """The comparators (low, high) of each layer for n elements; after the last, they are in order."""
    p = 1
    while p < n:
        k = p
        while k >= 1:
            starts = np.arange(k % p, n - k, 2 * k)[:, None] + np.arange(k)
            low = starts[starts + k < n]
            low = low[low // (2 * p) == (low + k) // (2 * p)]
            yield low, low + k
            k //= 2
        p *= 2


def sort_rows(context: Context, rows: Ring, range_bits: int) -> Ring:
    """`rows[r, ..., n]` with the last axis permuted alike for all r so that row 0 ascends.

    Differences of elements of row 0 must be below 2^(range_bits - 1).
    """
    protocol = context.protocol
    for comparators in layers(rows.shape[-1]):
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
