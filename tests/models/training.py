"""Training that is one JAX function, and its losses in the clear and on secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from lowering.helpers import plain
from sklearn.datasets import load_digits

optax = pytest.importorskip("optax")

Loss = Callable[[Any, jax.Array, jax.Array], jax.Array]


def digits(seed: int, steps: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Batches [step, size, 8, 8, 1] of scikit-learn's digits in [0, 1], and their labels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).choice(len(images), (steps, size))
    return (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)[order], labels.astype(np.int32)[order]


def losses(loss: Loss, optimizer: Any) -> Callable[..., jax.Array]:
    """(parameters, batches, labels) to the loss of every step."""

    def train(parameters: Any, xs: jax.Array, ys: jax.Array) -> jax.Array:
        def step(state: Any, batch: Any) -> Any:
            parameters, memory = state
            value, gradient = jax.value_and_grad(loss)(parameters, *batch)
            updates, memory = optimizer.update(gradient, memory, parameters)
            return (optax.apply_updates(parameters, updates), memory), value

        return jax.lax.scan(step, (parameters, optimizer.init(parameters)), (xs, ys))[1]

    return train


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def worst_deviation(run: Callable[..., np.ndarray], train: Callable[..., jax.Array], *args: Any) -> float:
    """The largest relative difference of the losses that `run` gives from those in the clear, at every tenth step."""
    got, want = run(train, *args), plain(train, *args)[0]
    return float((np.abs(got - want) / want)[::10].max())
