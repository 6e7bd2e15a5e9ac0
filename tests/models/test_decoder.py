"""Generation with a secret model and a secret prompt: every token is a secret argmax, and a secret index."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from lowering.evaluation import evaluate
from lowering.helpers import lowered, plain

import jmpc
from models.decoder import VOCABULARY, generate, parameters

SEEDS = 20


def model(seed: int) -> tuple[Any, np.ndarray]:
    """Weights, and a prompt of four tokens."""
    prompt = np.random.default_rng(seed).integers(0, VOCABULARY, 4)
    return jax.tree.map(np.asarray, parameters(jax.random.key(seed))), prompt.astype(np.int32)


def test_thirty_two_tokens() -> None:
    """The seeds 0 to 19 at once."""
    weights, prompts = jax.tree.map(lambda *x: np.stack(x), *map(model, range(SEEDS)))
    every = jax.vmap(lambda w, p: generate(w, p, 32))
    (got,), (want,) = evaluate(*lowered(every, weights, prompts)), plain(every, weights, prompts)
    assert np.unique(want).size > VOCABULARY // 2, "the model only repeats itself"
    assert (got == want).all(axis=1).sum() >= SEEDS - 1


@pytest.mark.slow
def test_among_servers() -> None:
    weights, prompt = model(0)
    tokens = jmpc.simulate(lambda w, p: generate(w, p, 6))(weights, prompt)
    np.testing.assert_array_equal(tokens, plain(lambda w, p: generate(w, p, 6), weights, prompt)[0])
