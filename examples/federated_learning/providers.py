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


def make(digits: data.Digits, seed: int = 0) -> tuple[Provider, Provider]:
    """The providers of batches and of the validation set."""
    pixels = digits.validation.pixels.shape[1]
    shards = {f"data-owner-{i}": (shard, seed + i) for i, shard in enumerate(digits.shards)}

    @jmpc.provider(types=(jax.ShapeDtypeStruct((BATCH, pixels), "float32"), jax.ShapeDtypeStruct((BATCH,), "int32")))
    def batch(player: str, iteration: int):
        """Random images of one owner: the same ones whenever an iteration is done again."""
        shard, number = shards[player]
        chosen = shard.take(np.random.default_rng((number, iteration)).integers(0, len(shard), BATCH))
        return chosen.pixels, chosen.labels

    held_out = digits.validation

    @jmpc.provider(
        types=jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (held_out.pixels, held_out.labels))
    )
    def validation_set(player: str):
        return held_out.pixels, held_out.labels

    return batch, validation_set


batch, validation_set = make(
    data.load(os.environ.get("JMPC_MNIST"), owners=int(os.environ.get("JMPC_OWNERS", data.OWNERS)))
)
