"""What the nodes of the federated example bring: each owner its batches, the model owner its validation set.

    jmpc-node data-owner-0 --config config.json --providers examples/federated_learning/providers.py

The folder of MNIST files may be given as JMPC_MNIST; without it the bundled digits are used. If there are not three
owners, JMPC_OWNERS says how many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import data
import jax
import numpy as np
from model import BATCH

import jmpc
from jmpc.providers import Provider


def make(digits: data.Digits, seed: int = 0) -> tuple[Provider, Provider]:
    """The providers of batches and of the validation set."""
    pixels = digits.validation.pixels.shape[1]
    streams = {f"data-owner-{i}": _batches(shard, seed + i) for i, shard in enumerate(digits.shards)}

    @jmpc.provider(types=(jax.ShapeDtypeStruct((BATCH, pixels), "float32"), jax.ShapeDtypeStruct((BATCH,), "int32")))
    def next_batch(player: str):
        batch = next(streams[player])
        return batch.pixels, batch.labels

    held_out = digits.validation

    @jmpc.provider(
        types=jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (held_out.pixels, held_out.labels))
    )
    def validation_set(player: str):
        return held_out.pixels, held_out.labels

    return next_batch, validation_set


def _batches(shard: data.Images, seed: int) -> Iterator[data.Images]:
    """Random batches of one owner's images, for ever."""
    random = np.random.default_rng(seed)
    while True:
        yield shard.take(random.integers(0, len(shard), BATCH))


next_batch, validation_set = make(
    data.load(os.environ.get("JMPC_MNIST"), owners=int(os.environ.get("JMPC_OWNERS", data.OWNERS)))
)
