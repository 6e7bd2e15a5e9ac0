"""What the nodes of the inference example bring: the model owner its weights, the data owner its images.

jmpc-node model-owner --config config.json --providers examples/private_inference/providers.py
"""

from __future__ import annotations

import jax
import model

import jmpc

HELD_OUT = 360


@jmpc.provider(types={name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in model.SHAPES.items()})
def weights(player: str):
    return model.trained()[0]


@jmpc.provider(types=(jax.ShapeDtypeStruct((HELD_OUT, 8, 8, 1), "float32"), jax.ShapeDtypeStruct((HELD_OUT,), "int32")))
def labelled_images(player: str):
    return model.trained()[1:]


@jmpc.sink
def show(predictions):
    print("the data owner sees predictions", predictions[:20], "...")
