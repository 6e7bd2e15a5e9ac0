"""A small decoder in the manner of GPT, which generates greedily with a cache of keys and values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

VOCABULARY, WIDTH, HEADS, LAYERS, LENGTH = 24, 16, 2, 2, 36


def parameters(key: jax.Array) -> Any:
    """Random weights, sharp enough that one token is clearly the likeliest."""
    keys = iter(jax.random.split(key, 4 * LAYERS + 3))

    def matrix(rows: int, columns: int, scale: float = 1.0) -> jax.Array:
        return jax.random.normal(next(keys), (rows, columns)) * scale / rows**0.5

    layers = [
        {
            "attention": matrix(WIDTH, 3 * WIDTH),
            "out": matrix(WIDTH, WIDTH),
            "up": matrix(WIDTH, 4 * WIDTH),
            "down": matrix(4 * WIDTH, WIDTH),
        }
        for _ in range(LAYERS)
    ]
    return {
        "tokens": matrix(VOCABULARY, WIDTH, WIDTH**0.5),
        "places": matrix(LENGTH, WIDTH, WIDTH**0.5),
        "layers": jax.tree.map(lambda *x: jnp.stack(x), *layers),
        "head": matrix(WIDTH, VOCABULARY, 4.0),
    }


def generate(weights: Any, prompt: jax.Array, steps: int) -> jax.Array:
    """The tokens that follow the prompt: each the likeliest, read back through the embedding."""

    def turn(state: Any, place: jax.Array) -> Any:
        token, cache = state
        given = jnp.where(place < prompt.size, prompt[jnp.minimum(place, prompt.size - 1)], token)
        logits, cache = _forward(weights, given, place, cache)
        token = jnp.argmax(logits)
        return (token, cache), token

    cache = jnp.zeros((LAYERS, 2, LENGTH, WIDTH))
    start = (jnp.int32(0), cache)
    _, tokens = lax.scan(turn, start, jnp.arange(prompt.size - 1 + steps))
    return tokens[prompt.size - 1 :]


def _forward(weights: Any, token: jax.Array, place: jax.Array, cache: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = weights["tokens"][token] + weights["places"][place]

    def layer(x: jax.Array, layer: Any) -> Any:
        w, cache = layer
        y, cache = _attend(w, _normal(x), place, cache)
        x = x + y
        return x + jax.nn.gelu(_normal(x) @ w["up"]) @ w["down"], cache

    x, cache = lax.scan(layer, x, (weights["layers"], cache))
    return _normal(x) @ weights["head"], cache


def _attend(w: Any, x: jax.Array, place: jax.Array, cache: jax.Array) -> tuple[jax.Array, jax.Array]:
    q, k, v = jnp.split(x @ w["attention"], 3)
    cache = lax.dynamic_update_slice(cache, jnp.stack([k, v])[:, None], (0, place, 0))
    q, (k, v) = q.reshape(HEADS, -1), cache.reshape(2, LENGTH, HEADS, -1)
    scores = jnp.einsum("hd,thd->ht", q, k) * (WIDTH // HEADS) ** -0.5
    scores = jnp.where(jnp.arange(LENGTH) <= place, scores, -jnp.inf)
    return jnp.einsum("ht,thd->hd", jax.nn.softmax(scores), v).reshape(-1) @ w["out"], cache


def _normal(x: jax.Array) -> jax.Array:
    return (x - x.mean()) * lax.rsqrt(x.var() + 1e-5)
