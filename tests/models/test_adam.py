"""Networks trained with optax's Adam, unchanged but for a scale of the gradients, which Adam does not notice.

Adam squares gradients: at 18 fraction bits what is below 2^-9 has no square, and a thousandth of a square, which
is what one step adds to the average, none below 0.06. A scale of 2^10 makes numbers of usual size of all of them.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from lowering.helpers import secure

import jmpc
from jmpc.api.run import _simulation as simulation
from jmpc.lowering import PrecisionWarning
from models.training import cross_entropy, digits, losses, worst_deviation

nn, nnx, optax = (pytest.importorskip(name) for name in ("flax.linen", "flax.nnx", "optax"))

SCALE = 1024.0


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(10)(nn.relu(nn.Dense(32)(x.reshape(x.shape[0], -1))))


class CNN(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 8, (3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(8, 8, (3, 3), rngs=rngs)
        self.out = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.second(nnx.relu(self.first(x))))
        return self.out(nnx.avg_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1))


def mlp(seed: int) -> tuple[Any, Any]:
    """A loss and its parameters."""
    model = MLP()
    parameters = model.init(jax.random.key(seed), np.zeros((1, 8, 8, 1), np.float32))
    return lambda p, x, y: cross_entropy(model.apply(p, x), y), parameters


def cnn(seed: int) -> tuple[Any, Any]:
    graph, parameters = nnx.split(CNN(nnx.Rngs(seed)))
    return lambda p, x, y: cross_entropy(nnx.merge(graph, p)(x), y), parameters


def among_servers(train: Any, *args: Any) -> np.ndarray:
    """In a new simulation: what there is to say of a computation is said when it is prepared, once."""
    simulation.cache_clear()
    return np.asarray(jmpc.simulate(train)(*args))


def deviation(run: Any, model: Any, seed: int, steps: int) -> float:
    """Of the losses at every tenth step. What is said of eps = 1e-8 is a warning; 0 / 0 is 0."""
    loss, parameters = model(seed)
    train = losses(loss, optax.chain(optax.scale(SCALE), optax.adam(1e-3)))
    with pytest.warns(PrecisionWarning, match="1e-08 that is added to a secret counts as 0"):
        return worst_deviation(run, train, parameters, *digits(seed, steps, 16))


def test_some_steps() -> None:
    assert deviation(lambda *args: secure(*args)[0], mlp, 0, 11) < 0.002


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", [mlp, cnn])
def test_two_hundred_steps(model: Any, seed: int) -> None:
    """By the three servers; two minutes, on two cores."""
    assert deviation(among_servers, model, seed, 200) < 0.02
