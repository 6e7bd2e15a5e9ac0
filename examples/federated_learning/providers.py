"""What the nodes of the federated example bring: each owner its batches, the model owner its validation set.

    jmpc-node data-owner-0 --config config.json --providers examples/federated_learning/providers.py

The folder of MNIST files may be given as JMPC_MNIST; without it the bundled digits are used. If there are not three
owners, JMPC_OWNERS says how many.
"""

from __future__ import annotations

import os

import data
import jax
import numpy as np
from model import BATCH

import jmpc
from jmpc.providers import Provider


def make(digits: data.Digits, seed: int = 0) -> tuple[Provider, Provider, Provider]:
    """The providers of batches in two forms, and of the validation set.

    The seeds are known here, so that the same training can be done in the clear; an owner that means it keeps its own.
    """
    pixels = digits.validation.pixels.shape[1]
    shards = {f"data-owner-{i}": (shard, seed + i) for i, shard in enumerate(digits.shards)}
    streams = {player: np.random.default_rng(number) for player, (_, number) in shards.items()}
    types = jax.ShapeDtypeStruct((BATCH, pixels), "float32"), jax.ShapeDtypeStruct((BATCH,), "int32")

    @jmpc.provider(types=types)
    def batch(player: str, iteration: int):
        """Random images of one owner: the same ones whenever an iteration is done again."""
        return _some(shards[player][0], np.random.default_rng((shards[player][1], iteration)))

    @jmpc.provider(types=types)
    def next_batch(player: str):
        """Others each time, for means over those owners that are there.

        The mean of the same images over fewer owners would tell, with the first one, what those that are missing gave.
        """
        return _some(shards[player][0], streams[player])

    held_out = digits.validation

    @jmpc.provider(
        types=jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (held_out.pixels, held_out.labels))
    )
    def validation_set(player: str):
        return held_out.pixels, held_out.labels

    return batch, next_batch, validation_set


def _some(shard: data.Images, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    chosen = shard.take(random.integers(0, len(shard), BATCH))
    return chosen.pixels, chosen.labels


batch, next_batch, validation_set = make(
    data.load(os.environ.get("JMPC_MNIST"), owners=int(os.environ.get("JMPC_OWNERS", data.OWNERS)))
)
