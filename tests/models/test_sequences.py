"""Attention and recurrent layers of flax and equinox, as their users write them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lowering.helpers import plain, secure

nn = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")
eqx = pytest.importorskip("equinox")

X = np.random.default_rng(0).normal(size=(2, 8, 32)).astype(np.float32)


def check(f: Any, *args: Any, atol: float) -> None:
    for got, want in zip(secure(f, *args), plain(f, *args), strict=True):
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(got, want, atol=atol)


class Encoder(nn.Module):
    """A transformer block that normalises first."""

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        x = x + nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x), mask=mask)
        return x + nn.Dense(32)(nn.gelu(nn.Dense(64)(nn.LayerNorm()(x))))


@pytest.mark.filterwarnings("ignore:.*a constant of 1e-06:jmpc.lowering.PrecisionWarning")
@pytest.mark.parametrize("causal", [False, True])
def test_encoder_of_linen(causal: bool) -> None:
    mask = nn.make_causal_mask(X[..., 0]) if causal else None
    model = Encoder()
    check(lambda p, x: model.apply(p, x, mask), model.init(jax.random.key(0), X), X, atol=2e-4)


def test_encoder_of_nnx() -> None:
    class Block(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.norm = nnx.RMSNorm(32, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(4, 32, decode=False, rngs=rngs)
            self.out = nnx.Linear(32, 32, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = x + self.attention(self.norm(x))
            return x + nnx.silu(self.out(x))

    graph, parameters = nnx.split(Block(nnx.Rngs(0)))
    check(lambda p, x: nnx.merge(graph, p)(x), parameters, X, atol=2e-4)


def test_encoder_of_equinox() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    block = (
        eqx.nn.MultiheadAttention(4, 32, key=keys[0]),
        eqx.nn.LayerNorm(32),
        eqx.nn.MLP(32, 32, 64, 1, activation=jax.nn.silu, key=keys[1]),
    )
    arrays, static = eqx.partition(block, eqx.is_array)

    def apply(arrays: Any, x: jax.Array) -> jax.Array:
        attention, norm, mlp = eqx.combine(arrays, static)
        y = jax.vmap(norm)(x)
        x = x + attention(y, y, y)
        return x + jax.vmap(mlp)(jax.vmap(norm)(x))

    check(apply, arrays, X[0], atol=2e-4)


@pytest.mark.parametrize("cell", [nn.OptimizedLSTMCell, nn.LSTMCell, nn.GRUCell], ids=lambda cell: cell.__name__)
def test_recurrent_layers_of_linen(cell: Any) -> None:
    model = nn.RNN(cell(16))
    check(model.apply, model.init(jax.random.key(0), X), X, atol=1e-4)


@pytest.mark.parametrize("cell", [eqx.nn.LSTMCell, eqx.nn.GRUCell], ids=lambda cell: cell.__name__)
def test_recurrent_layers_of_equinox(cell: Any) -> None:
    arrays, static = eqx.partition(cell(32, 16, key=jax.random.key(0)), eqx.is_array)

    def apply(arrays: Any, x: jax.Array) -> Any:
        model = eqx.combine(arrays, static)
        zero = jnp.zeros(16)
        start = (zero, zero) if cell is eqx.nn.LSTMCell else zero
        return jax.lax.scan(lambda state, x: (model(x, state), None), start, x)[0]

    check(apply, arrays, X[0], atol=1e-4)
