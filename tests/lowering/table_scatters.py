"""More of the table: scatters that combine, at public and at secret places, and reductions by any function."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from .helpers import Clear
from .table import B, Case, I, V, X

PLACES = np.array([1, 2, 1, 0, 1, 9, -1], np.int32)
ROWS = np.round(np.sin(np.arange(28, dtype=np.float32)).reshape(7, 4) * 192) / 64
WHOLE = np.arange(28, dtype=np.int32).reshape(7, 4) - 9
BATCHED = lax.ScatterDimensionNumbers((), (1,), (1,), (0,), (0,))


def _cases(name: str, method: str, ulps: float) -> list[Case]:
    """Duplicates, a row that is dropped and one counted from the end; places known, public and secret."""

    def at(x, i, v):
        return getattr(x.at[i], method)(v)

    cases = []
    for kind, x, v in (("reals", X, ROWS), ("integers", I, WHOLE), ("booleans", B, ROWS > 0)):
        if method == "multiply" and kind == "booleans":
            continue  # not in JAX either
        few = 0 if kind != "reals" else ulps
        cases += [
            Case(f"{name} {kind} at constants", lambda x, v: at(x, PLACES, v), (x, v), few),
            Case(f"{name} {kind} at public places", at, (x, Clear(PLACES), v), few),
            Case(f"{name} {kind} at secret places", at, (x, PLACES, v), few),
        ]
    return cases


def _argmin(a, b):
    (x, i), (y, j) = a, b
    first = x <= y
    return jnp.where(first, x, y), jnp.where(first, i, j)


def _windows(x, initial, f, **options):
    return lax.reduce_window(x, jnp.asarray(initial, x.dtype), f, (2, 3), (1, 2), "SAME", **options)


SCATTERS = [
    *_cases("scatter max", "max", 0),
    *_cases("scatter min", "min", 0),
    *_cases("scatter multiply", "multiply", 4),
    *_cases("scatter set", "set", 0),
    Case("scatter max of products", lambda x, v: (x * x).at[PLACES].max(v * v), (X, ROWS)),
    Case("scatter multiply by one update", lambda x, i: x.at[i].multiply(x[0]), (X, np.int32(2))),
    Case("scatter min of constants", lambda v: jnp.zeros(3).at[PLACES[:5]].min(v), (V,), 0),
    Case("scatter max of nothing", lambda x: x.at[np.zeros(0, np.int32)].max(jnp.zeros((0, 4))), (X,), 0),
    Case(
        "scatter max in a batch",
        lambda x, i, v: lax.scatter_max(x, i[:3, None] % 4, v[:3, 0], BATCHED),
        (X, PLACES, ROWS),
        0,
    ),
    Case(
        "scatter set clipped",
        lambda x, i, v: lax.scatter(
            x, i[:, None], v[:, :2], lax.ScatterDimensionNumbers((1,), (0,), (0,)), mode="clip", unique_indices=False
        ),
        (X, np.array([0, 1, 5, 0, 1, 2, -3], np.int32), ROWS),
        0,
    ),
]

GENERIC = [
    Case("reduce by a function", lambda x: lax.reduce(x, np.float32(0.5), lambda a, b: a + b, (1,)), (X,), 0),
    Case(
        "reduce pairs",
        lambda x: lax.reduce((x, jnp.arange(12).reshape(3, 4)), (np.float32(9), np.int32(-1)), _argmin, (0, 1)),
        (X,),
        0,
    ),
    Case("reduce an odd length", lambda v: lax.reduce(v, np.float32(2), lambda a, b: a * b, (0,)), (V,)),
    Case("reduce nothing", lambda v: lax.reduce(v[:0], np.float32(2), lambda a, b: a * b, (0,)), (V,)),
    Case("window products", lambda x: _windows(x, 1, lax.mul), (X,), 16),
    Case("window sums from 1", lambda i: _windows(i, 1, lax.add), (I,)),
    Case("window maxima from 1", lambda x: _windows(x, 1, lax.max, window_dilation=(1, 2)), (X,), 0),
    Case("window minima, dilated", lambda x: _windows(x, 1, lax.min, base_dilation=(2, 1)), (X,), 0),
    Case("cumlogsumexp", lambda x: lax.cumlogsumexp(x, 1, reverse=True), (X,), 8),
]
