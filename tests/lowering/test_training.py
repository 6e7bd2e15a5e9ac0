"""Gradients of networks, as users write them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .helpers import ULP, plain, secure

RNG = np.random.default_rng(0)


def normal(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def close(f, *args, ulps=64.0):
    for got, want in zip(secure(f, *args), plain(f, *args), strict=True):
        np.testing.assert_allclose(got, want, atol=ulps * ULP)


def cross_entropy(logits, labels):
    return -jnp.mean(jnp.sum(jax.nn.one_hot(labels, logits.shape[-1]) * jax.nn.log_softmax(logits), axis=-1))


def test_mlp_under_softmax_cross_entropy():
    params = [(normal(6, 5, scale=0.5), normal(5)), (normal(5, 3, scale=0.5), normal(3))]
    x, labels = normal(8, 6), RNG.integers(0, 3, 8).astype(np.int32)

    def loss(params, x, labels):
        (w, b), (v, c) = params
        return cross_entropy(jax.nn.relu(x @ w + b) @ v + c, labels)

    close(jax.value_and_grad(loss), params, x, labels)


def test_logistic_regression_step():
    w, x, y = normal(5), normal(16, 5), (RNG.random(16) < 0.5).astype(np.float32)

    def step(w, x, y):
        return w - 0.1 * x.T @ (jax.nn.sigmoid(x @ w) - y) / y.size

    close(step, w, x, y, ulps=8)


def test_logistic_loss():
    w, x, y = normal(5), normal(16, 5), (RNG.random(16) < 0.5).astype(np.float32)

    def loss(w, x, y):
        z = x @ w
        return jnp.mean(jax.nn.softplus(z) - y * z)

    close(jax.value_and_grad(loss), w, x, y, ulps=16)


def test_cnn_with_max_and_mean_pooling():
    params = (normal(3, 3, 1, 2, scale=0.5), normal(2), normal(8, 3, scale=0.5))
    x, labels = normal(2, 6, 6, 1), np.array([0, 2], np.int32)
    numbers = ("NHWC", "HWIO", "NHWC")

    def loss(params, x, labels):
        kernel, bias, w = params
        h = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers) + bias
        h = lax.reduce_window(jax.nn.relu(h), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        h = lax.reduce_window(h, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID") / 4
        return cross_entropy(h.reshape(2, -1) @ w, labels)

    close(jax.value_and_grad(loss), params, x, labels)


def test_batch_normalised_attention():
    x, w = normal(4, 6), [normal(6, 6, scale=0.4) for _ in range(3)]

    def attend(w, x):
        x = (x - x.mean(0)) * lax.rsqrt(x.var(0) + 1e-3)
        q, k, v = (x @ m for m in w)
        return jax.nn.softmax(q @ k.T / np.float32(np.sqrt(6))) @ v

    close(attend, w, x, ulps=96)


def test_training_loop():
    w, x = normal(3), normal(12, 3)
    y = x @ np.float32([1.0, -2.0, 0.5])

    def train(w, x, y):
        loss = lambda w: jnp.mean((x @ w - y) ** 2)

        def step(i, state):
            w, m = state
            m = 0.9 * m + jax.grad(loss)(w)
            return w - 0.05 * m, m

        return lax.fori_loop(0, 4, step, (w, jnp.zeros(3)))[0]

    close(train, w, x, y, ulps=32)


def test_adam_step():
    w, g, m, v = normal(4), normal(4), normal(4, scale=0.1), np.abs(normal(4)) + 0.1

    def step(w, g, m, v):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        return w - 0.01 * (m / (1 - 0.9**3)) / (jnp.sqrt(v / (1 - 0.999**3)) + 1e-4)

    close(step, w, g, m, v)
