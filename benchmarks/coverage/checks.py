"""Checks of results of which several are right.

Decompositions: what they are products of, and orthogonality, with the errors that docs/linear-algebra.md states.

Eigenvectors and singular vectors have any sign. How far factors are from JAX's depends on the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.coverage.cases import Traced

Check = Callable[[Traced, Sequence[np.ndarray]], tuple[str, float]]

_ULP = 2.0**-18
_BOUND = 6.0  # ulp of the norm


def _svd(traced: Traced, got: Sequence[np.ndarray]) -> tuple[str, float]:
    (x,) = (np.asarray(a, np.float64) for a in traced.args)
    values, *vectors = (np.asarray(a, np.float64) for a in got)
    wanted = np.linalg.svd(x, compute_uv=False)
    differences = [values - wanted]
    if vectors:
        u, v = vectors
        k = values.shape[-1]
        differences += [(u[..., :k] * values[..., None, :]) @ v[..., :k, :] - x]
        differences += [_scaled(u, wanted), _scaled(np.swapaxes(v, -1, -2), wanted)]
    return _judged(differences, wanted)


def _eigh(traced: Traced, got: Sequence[np.ndarray]) -> tuple[str, float]:
    (x,) = (np.asarray(a, np.float64) for a in traced.args)
    (vectors, values) = (np.asarray(a, np.float64) for a in _vectors_first(got))
    lower = traced.jaxpr.jaxpr.eqns[-1].params.get("lower", True)
    half = np.tril(x) if lower else np.swapaxes(np.triu(x), -1, -2)
    symmetric = half + np.swapaxes(np.tril(half, -1), -1, -2)
    wanted = np.linalg.eigvalsh(symmetric)
    rebuilt = (vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return _judged([values - wanted, rebuilt - symmetric, _scaled(vectors, wanted)], wanted)


def _qr(traced: Traced, got: Sequence[np.ndarray]) -> tuple[str, float]:
    (x,) = (np.asarray(a, np.float64) for a in traced.args)
    q, r = (np.asarray(a, np.float64) for a in got)
    norm = np.linalg.norm(x, ord=2, axis=(-2, -1))
    problem, error = _judged([q @ r - x, np.tril(r, -1), _scaled(q, norm)], norm)
    diagonals = [np.diagonal(a, axis1=-2, axis2=-1) for a in (r, traced.want[1])]
    flipped = (np.sign(diagonals[0]) != np.sign(diagonals[1])) & (np.abs(diagonals[1]) > 2 * _BOUND * _ULP * norm.max())
    return problem or ("other signs than JAX" if flipped.any() else ""), error


def _approx_top_k(traced: Traced, got: Sequence[np.ndarray]) -> tuple[str, float]:
    """Any places of equal numbers."""
    (x,), (values, places) = traced.args, got
    axis = next(e.params["reduction_dimension"] for e in traced.jaxpr.jaxpr.eqns if e.primitive.name == "approx_top_k")
    x, values, wanted = (np.asarray(a).astype(np.float64) for a in (x, values, traced.want[0]))
    twice = (np.diff(np.sort(places, axis), axis=axis) == 0).any()
    differences = [values - wanted, values - np.take_along_axis(x, places, axis)]
    error = max(float(np.abs(d).max(initial=0.0)) for d in differences) / _ULP
    return ("a place twice" if twice else "" if error <= 1 else f"{error:.0f} ulp"), error


def _vectors_first(got: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    return got if got[0].ndim > got[1].ndim else (got[1], got[0])


def _scaled(vectors: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How far columns are from orthonormal, in the unit of the values."""
    gram = np.swapaxes(vectors, -1, -2) @ vectors
    return (gram - np.eye(gram.shape[-1])) * np.abs(values).max(initial=1.0)


def _judged(differences: Sequence[np.ndarray], values: np.ndarray) -> tuple[str, float]:
    scale = max(1.0, float(np.abs(values).max(initial=0.0)))
    error = max(float(np.abs(d).max(initial=0.0)) for d in differences) / scale / _ULP
    return ("" if error <= _BOUND else f"{error:.0f} ulp of the norm"), error


CHECKS: dict[str, Check] = {"svd": _svd, "eigh": _eigh, "qr": _qr, "approx_top_k": _approx_top_k}
FREE_SIGNS = frozenset(["svd", "eigh"])
