"""A small convolutional network for 8x8 digits, in plain JAX, and its training in plaintext."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

Weights = dict[str, jax.Array]
SHAPES = {"first": (3, 3, 1, 8), "second": (3, 3, 8, 16), "dense": (64, 10), "bias": (10,)}
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def logits(weights: Weights, images: jax.Array) -> jax.Array:
    """Class scores of images (number, 8, 8, 1)."""
    x = images
    for name in ("first", "second"):
        x = jax.lax.conv_general_dilated(x, weights[name], (1, 1), "SAME", dimension_numbers=_DIMENSIONS)
        x = jax.nn.relu(x)
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    return x.reshape(len(x), -1) @ weights["dense"] + weights["bias"]


def predict(weights: Weights, images: jax.Array) -> jax.Array:
    """The likeliest digit of each image."""
    return jnp.argmax(logits(weights, images), axis=1).astype(jnp.int32)


def _initial(seed: int) -> Weights:
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    scale = {name: np.sqrt(2 / max(1, np.prod(shape[:-1]))) for name, shape in SHAPES.items()}
    made = {name: jax.random.normal(k, SHAPES[name]) * scale[name] for name, k in zip(SHAPES, keys, strict=True)}
    return made | {"bias": jnp.zeros(SHAPES["bias"])}


def _loss(weights: Weights, images: jax.Array, labels: jax.Array) -> jax.Array:
    scores = jax.nn.log_softmax(logits(weights, images))
    return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], axis=1))


@functools.cache
def trained(split: int = 0, steps: int = 400, seed: int = 0) -> tuple[Weights, np.ndarray, np.ndarray]:
    """Weights trained on four fifths of the digits; images and labels of the rest."""
    images, labels, cut = _digits(split)
    random = np.random.default_rng(seed)
    weights = _initial(seed)
    velocity = jax.tree.map(jnp.zeros_like, weights)

    @jax.jit
    def step(weights, velocity, images, labels):
        gradient = jax.grad(_loss)(weights, images, labels)
        velocity = jax.tree.map(lambda v, g: 0.9 * v - 0.05 * g, velocity, gradient)
        return jax.tree.map(jnp.add, weights, velocity), velocity

    for _ in range(steps):
        rows = random.integers(0, cut, 64)
        weights, velocity = step(weights, velocity, images[rows], labels[rows])
    return weights, images[cut:], labels[cut:]


def _digits(split: int) -> tuple[np.ndarray, np.ndarray, int]:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    rows = np.random.default_rng(split).permutation(len(bundle.target))
    images = (bundle.images[rows] / 16).astype(np.float32)[..., None]
    return images, bundle.target[rows].astype(np.int32), len(rows) * 4 // 5
