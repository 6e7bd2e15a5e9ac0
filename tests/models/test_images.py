"""Convolutional networks of flax and keras, with what they have learnt of their batches, on secret images."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np
import pytest
from lowering.helpers import plain, secure

nn = pytest.importorskip("flax.linen")

X = np.random.default_rng(0).uniform(size=(2, 16, 16, 3)).astype(np.float32)


def check(f: Any, *args: Any) -> None:
    (got,), (want,) = secure(f, *args), plain(f, *args)
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(got, want, atol=5e-4)


class Residual(nn.Module):
    """Two convolutions and a way around them."""

    features: int
    strides: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def norm() -> Any:
            return nn.BatchNorm(use_running_average=True)

        around = x
        y = nn.relu(norm()(nn.Conv(self.features, (3, 3), self.strides, use_bias=False)(x)))
        y = norm()(nn.Conv(self.features, (3, 3), use_bias=False)(y))
        if around.shape != y.shape:
            around = norm()(nn.Conv(self.features, (1, 1), self.strides, use_bias=False)(x))
        return nn.relu(y + around)


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(8, (3, 3), use_bias=False)(x)))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = Residual(16, 2)(Residual(8)(x))
        return nn.Dense(10)(x.mean((1, 2)))


def learnt(statistics: Any, seed: int = 0) -> Any:
    """Means and variances that are not those of the start."""
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(
        lambda path, x: (
            rng.uniform(0.5, 2.0, x.shape).astype(np.float32)
            if path[-1].key == "var"
            else rng.normal(0, 0.3, x.shape).astype(np.float32)
        ),
        statistics,
    )


def test_residual_network_of_linen() -> None:
    model = ResNet()
    variables = model.init(jax.random.key(0), X)
    check(model.apply, {**variables, "batch_stats": learnt(variables["batch_stats"])}, X)


def test_network_of_keras() -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "jax":
        pytest.skip("keras has another backend")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.Activation("gelu"),
            layers.SeparableConv2D(12, 3, strides=2, activation="silu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    weights = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
    check(lambda weights, x: model.stateless_call(*weights, x, training=False)[0], weights, X)
