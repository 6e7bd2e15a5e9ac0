"""Learning without networks, in plain JAX, on scikit-learn's data."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from lowering.helpers import plain, secure
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

IRIS = load_iris().data.astype(np.float32)


def test_k_means() -> None:
    def fit(x: jax.Array, centres: jax.Array) -> Any:
        def distances(centres: jax.Array) -> jax.Array:
            return jnp.sum((x[:, None] - centres) ** 2, axis=-1)

        def step(centres: jax.Array, _: Any) -> Any:
            mine = jax.nn.one_hot(jnp.argmin(distances(centres), axis=1), len(centres))
            return mine.T @ x / jnp.maximum(mine.sum(0), 1)[:, None], None

        centres = lax.scan(step, centres, length=8)[0]
        return centres, jnp.argmin(distances(centres), axis=1)

    start = IRIS[[0, 60, 120]]
    (centres, labels), (want, expected) = secure(fit, IRIS, start), plain(fit, IRIS, start)
    np.testing.assert_allclose(centres, want, atol=1e-3)
    np.testing.assert_array_equal(labels, expected)


def test_principal_components() -> None:
    """By power iteration, each on what the one before has left."""

    def fit(x: jax.Array, start: jax.Array) -> Any:
        x = x - x.mean(0)
        covariance = x.T @ x / len(x)

        def component(covariance: jax.Array, v: jax.Array) -> Any:
            def turn(v: jax.Array, _: Any) -> Any:
                v = covariance @ v
                return v / jnp.linalg.norm(v), None

            v = lax.scan(turn, v, length=25)[0]
            value = v @ covariance @ v
            return covariance - value * jnp.outer(v, v), (value, v)

        return lax.scan(component, covariance, start)[1]

    start = np.eye(4, dtype=np.float32)[:2] + np.float32(0.25)
    values, vectors = secure(fit, IRIS, start)
    exact, basis = np.linalg.eigh(np.cov(IRIS.T, bias=True))
    np.testing.assert_allclose(values, exact[::-1][:2], rtol=2e-3)
    for v, u in zip(vectors, basis.T[::-1], strict=False):
        np.testing.assert_allclose(np.abs(v @ u), 1, atol=1e-3)


def test_boosted_trees() -> None:
    """Of full depth: which leaf a sample reaches is a product of its comparisons."""
    data = load_iris()
    trees = GradientBoostingRegressor(n_estimators=10, max_depth=3, random_state=0).fit(data.data, data.target)
    paths = [_paths(tree.tree_) for (tree,) in trees.estimators_]
    base, rate = float(trees.init_.constant_.item()), np.float32(trees.learning_rate)

    def predict(x: jax.Array) -> jax.Array:
        total = jnp.full(len(x), base)
        for features, thresholds, signs, leaves in paths:
            right = (x[:, features] > thresholds)[:, None]
            total = total + rate * (jnp.all((right == (signs > 0)) | (signs == 0), axis=-1) @ leaves)
        return total

    x = IRIS[::3]
    np.testing.assert_allclose(secure(predict, x)[0], trees.predict(x), atol=1e-3)


def _paths(tree: Any) -> tuple[np.ndarray, ...]:
    """Of a tree: what is compared, and for each leaf whether each comparison must go right, left, or either way."""
    inner = np.flatnonzero(tree.feature >= 0)
    rows, leaves = [], []

    def walk(node: int, row: np.ndarray) -> None:
        if tree.feature[node] < 0:
            rows.append(row)
            leaves.append(tree.value[node].item())
            return
        place = np.searchsorted(inner, node)
        for child, sign in ((tree.children_left[node], -1), (tree.children_right[node], 1)):
            walk(child, np.where(np.arange(inner.size) == place, sign, row))

    walk(0, np.zeros(inner.size, np.int32))
    thresholds = tree.threshold[inner].astype(np.float32)
    return tree.feature[inner], thresholds, np.stack(rows), np.asarray(leaves, np.float32)


def test_logistic_regression_by_newton_steps() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x = scale(x[:, :6])[:300].astype(np.float32)
    y = y[:300].astype(np.float32)
    x = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)

    def solve(a: jax.Array, b: jax.Array) -> jax.Array:
        """Gauss-Jordan without pivots: the matrix is positive definite."""
        rows = jnp.concatenate([a, b[:, None]], axis=1)
        for i in range(len(b)):
            pivot = rows[i] / rows[i, i]
            rows = (rows - jnp.outer(rows[:, i], pivot)).at[i].set(pivot)
        return rows[:, -1]

    def fit(x: jax.Array, y: jax.Array) -> jax.Array:
        def step(w: jax.Array, _: Any) -> Any:
            p = jax.nn.sigmoid(x @ w)
            gradient = x.T @ (p - y) / len(x) + 0.01 * w
            hessian = (x * (p * (1 - p))[:, None]).T @ x / len(x) + 0.01 * jnp.eye(x.shape[1])
            return w - solve(hessian, gradient), None

        return lax.scan(step, jnp.zeros(x.shape[1]), length=7)[0]

    w = secure(fit, x, y)[0]
    exact = LogisticRegression(C=1 / (0.01 * len(x)), fit_intercept=False, tol=1e-8).fit(x, y).coef_[0]
    np.testing.assert_allclose(w, exact, atol=0.02)


@pytest.mark.parametrize("k", [1, 5])
def test_nearest_neighbours(k: int) -> None:
    """The majority among the nearest, whose labels are secret, too."""
    data = load_iris()
    known, asked = IRIS[::2], IRIS[1::10]
    labels = data.target[::2].astype(np.int32)

    def classify(known: jax.Array, labels: jax.Array, asked: jax.Array) -> jax.Array:
        distances = jnp.sum((asked[:, None] - known) ** 2, axis=-1)
        nearest = lax.top_k(-distances, k)[1]
        return jnp.argmax(jax.nn.one_hot(labels[nearest], 3).sum(1), axis=1)

    np.testing.assert_array_equal(secure(classify, known, labels, asked), plain(classify, known, labels, asked))
