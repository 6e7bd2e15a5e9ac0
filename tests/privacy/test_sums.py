"""Private sums and means, as a whole."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmpc
from jmpc.errors import TraceError
from jmpc.privacy import Gaussian, clip, private_mean, private_sum

OWNERS = ("alice", "bob", "carol")


@pytest.fixture(autouse=True, scope="module")
def simulation():
    jmpc.set_config(jmpc.LocalConfig())
    yield
    jmpc.set_config(jmpc.LocalConfig())


def updates(seed: int, size: int, norms: list[float]):
    rows = np.random.default_rng(seed).normal(size=(len(norms), size))
    rows *= np.array(norms)[:, None] / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def given(rows):
    return [jmpc.define_private_input(owner, lambda row=row: row) for owner, row in zip(OWNERS, rows, strict=True)]


def clipped(rows, norm):
    return rows * np.minimum(1, norm / np.linalg.norm(rows, axis=-1, keepdims=True))


@pytest.mark.parametrize("mode", ["fused", "threads"])
def test_the_mean_is_that_of_clipped_vectors_but_for_the_noise(mode):
    jmpc.set_config(jmpc.LocalConfig(mode=mode))
    rows = updates(0, 5000, [0.5, 2.0, 30.0])
    mechanism = Gaussian(clip=1.0, noise_multiplier=0.01)
    noise = jmpc.run(private_mean(given(rows), mechanism).reveal()) - clipped(rows, 1.0).mean(axis=0)
    expected = 0.01 * math.sqrt(1.5) / 3
    assert abs(noise.std() / expected - 1) < 6 / math.sqrt(2 * 5000)
    assert abs(noise.mean()) < 6 * expected / math.sqrt(5000)


def test_what_is_gathered_by_name_is_taken_as_it_is():
    rows = updates(5, 20, [0.5, 2.0, 30.0])
    gathered, _ = jmpc.gather(dict(zip(OWNERS, given(rows), strict=True)), min_owners=2)
    mechanism = Gaussian(clip=1.0, noise_multiplier=1e-4)
    total, mean = jmpc.run([make(gathered, mechanism).reveal() for make in (private_sum, private_mean)])
    np.testing.assert_allclose(total, clipped(rows, 1.0).sum(axis=0), atol=2e-3)
    np.testing.assert_allclose(mean, clipped(rows, 1.0).mean(axis=0), atol=1e-3)


def test_pytrees_are_clipped_as_one_vector():
    trees = [{"w": np.full((2, 3), 3.0, np.float32), "b": np.full(2, -3.0, np.float32)} for _ in OWNERS]
    total = private_sum(given(trees), Gaussian(1.0, 1e-4))
    opened = jax.tree.map(lambda value: value.reveal(), total)
    w, b = jmpc.run([opened["w"], opened["b"]])
    np.testing.assert_allclose(w, np.full((2, 3), 3 / math.sqrt(8)), atol=2e-3)
    np.testing.assert_allclose(b, np.full(2, -3 / math.sqrt(8)), atol=2e-3)


def test_clip_on_values_in_functions_and_on_what_was_computed():
    rows = updates(1, 40, [0.3, 4.0, 20.0])
    a, b, c = given(rows)
    outside = clip({"x": a, "y": [b]}, 2.0)
    inside = jmpc.function(lambda x, y: clip((x, y), 2.0))(a, b)
    computed = clip(a * 2.0 - b * c, 2.0)
    x, y, x2, y2, z = jmpc.run([v.reveal() for v in (outside["x"], outside["y"][0], *inside, computed)])
    both = clipped(np.concatenate([rows[0], rows[1]]), 2.0)
    np.testing.assert_allclose(np.concatenate([x, y]), both, atol=2e-5)
    np.testing.assert_allclose(np.concatenate([x2, y2]), both, atol=2e-5)
    np.testing.assert_allclose(z, clipped(rows[0] * 2 - rows[1] * rows[2], 2.0), atol=1e-4)
    plain = jmpc.simulate(jax.vmap(lambda x: clip(x, 2.0)))(rows)
    np.testing.assert_allclose(plain, clipped(rows, 2.0), atol=2e-5)


def test_account_and_costs():
    size = 650
    account = jmpc.explain(private_mean(given(updates(2, size, [1.0] * 3)), Gaussian(1.0, 1.0)).reveal("model-owner"))
    # In: 1, clipped: 20, divided: 1, out: 1. The noise comes in beside all that.
    assert account.rounds == 23
    assert {frozenset(r.inputs) for r in account.releases} <= {frozenset(OWNERS), frozenset()}
    assert account.bytes_sent() == 317_921
    assert account.bytes_sent("alice") == 16 * size
    assert [(str(drawn.type), drawn.deviation) for drawn in account.noise] == [("float32[650]", 1.0)]


def test_what_is_refused():
    a, b, _ = given(updates(3, 4, [1.0] * 3))
    mechanism = Gaussian(1.0, 1.0)
    for nothing in ([], {}):
        with pytest.raises(TypeError, match="one pytree of real values for each owner"):
            private_mean(nothing, mechanism)
    with pytest.raises(TypeError, match="all owners bring the same"):
        private_mean([a, b[:2]], mechanism)
    with pytest.raises(TypeError, match="reals, not int32"):
        private_sum([a.astype("int32"), b.astype("int32")], mechanism)
    with pytest.raises(TypeError, match="clip takes real arrays, not int32"):
        clip((a, b.astype("int32")), 1.0)
    with pytest.raises(TypeError, match="an empty pytree"):
        clip((), 1.0)
    with pytest.raises(TraceError, match="the norm 50000 is too large"):
        jmpc.explain(clip(a, 50_000.0).reveal())
    with pytest.raises(TraceError, match=r"noise of standard deviation 1e\+13 has to lie between"):
        jmpc.explain(private_sum([a, b], Gaussian(100.0, 1e11)).reveal())


def test_gradients_of_a_model():
    """DP-SGD over owners, as one would write it."""

    def loss(w, x, y):
        return jnp.mean((x @ w - y) ** 2)

    rng, w = np.random.default_rng(4), np.zeros(5, np.float32)
    true = np.float32([1, -2, 0.5, 0, 3])
    data = [(x := rng.normal(size=(50, 5)).astype(np.float32), x @ true) for _ in OWNERS]
    parameters = jmpc.define_local_variable("model-owner", w)
    grads = []
    for owner, (x, y) in zip(OWNERS, data, strict=True):
        images, labels = jmpc.define_private_input(owner, lambda x=x, y=y: (x, y))
        grads.append(jmpc.define_local_computation(owner, jax.grad(loss), parameters.reveal(owner), images, labels))
    opened = private_mean(grads, Gaussian(clip=2.0, noise_multiplier=0.02)).reveal("model-owner")
    step = parameters.assign(jmpc.define_local_computation("model-owner", lambda w, g: w - 0.2 * g, parameters, opened))
    for _ in range(20):
        jmpc.run(step)
    assert np.linalg.norm(jmpc.run(parameters.reveal()) - true) < 0.3
