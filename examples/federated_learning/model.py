"""The model that is trained: one hidden layer with sigmoid, in plain JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

HIDDEN = 64
CLASSES = 10
LEARNING_RATE = 0.1
BATCH = 30


def initial(pixels: int, seed: int = 0) -> dict[str, jax.Array]:
    """Small random weights."""
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "hidden": jax.random.normal(first, (pixels, HIDDEN)) / jnp.sqrt(pixels),
        "hidden_bias": jnp.zeros(HIDDEN),
        "output": jax.random.normal(second, (HIDDEN, CLASSES)) / jnp.sqrt(HIDDEN),
        "output_bias": jnp.zeros(CLASSES),
    }


def initial_vector(pixels: int) -> jax.Array:
    """The parameters as one vector: what travels between the players."""
    return ravel_pytree(initial(pixels))[0]


def logits(parameters: jax.Array, pixels: jax.Array) -> jax.Array:
    """Class scores of images, given the vector of parameters."""
    shapes = jax.eval_shape(lambda: initial(pixels.shape[1]))
    p = _unravel(parameters, shapes)
    hidden = jax.nn.sigmoid(pixels @ p["hidden"] + p["hidden_bias"])
    return hidden @ p["output"] + p["output_bias"]


def _unravel(vector: jax.Array, shapes: dict[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    found, start = {}, 0
    for name in sorted(shapes):
        size = shapes[name].size
        found[name] = vector[start : start + size].reshape(shapes[name].shape)
        start += size
    return found


def loss(parameters: jax.Array, pixels: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross entropy."""
    scores = jax.nn.log_softmax(logits(parameters, pixels))
    return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], axis=1))


gradient = jax.grad(loss)


def update(parameters: jax.Array, mean_gradient: jax.Array) -> jax.Array:
    """One step of gradient descent."""
    return parameters - LEARNING_RATE * mean_gradient


def validate(parameters: jax.Array, pixels: jax.Array, labels: jax.Array):
    """Loss, accuracy, and the first 50 labels and predictions."""
    predictions = jnp.argmax(logits(parameters, pixels), axis=1).astype(jnp.int32)
    accuracy = jnp.mean((predictions == labels).astype(jnp.float32))
    return loss(parameters, pixels, labels), accuracy, labels[:50], predictions[:50]
