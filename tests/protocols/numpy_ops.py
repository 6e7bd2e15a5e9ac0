"""The lax primitives that protocols are made of, in numpy: no compilation, and a second opinion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def _broadcast(x: Any, *, shape: Any, broadcast_dimensions: Any, **_: Any) -> np.ndarray:
    axes = [1] * len(shape)
    for size, axis in zip(np.shape(x), broadcast_dimensions, strict=True):
        axes[axis] = size
    return np.broadcast_to(np.reshape(x, axes), shape)


def _slice(x: Any, *, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> np.ndarray:
    steps = strides or [None] * x.ndim
    ranges = zip(start_indices, limit_indices, steps, strict=True)
    return x[tuple(slice(*along) for along in ranges)]


def _sum(x: Any, *, axes: Any, **_: Any) -> np.ndarray:
    return x.sum(axis=tuple(axes), dtype=x.dtype)


def _xor(x: Any, *, axes: Any, **_: Any) -> np.ndarray:
    return np.bitwise_xor.reduce(x, axis=tuple(axes))


def _elementwise(f: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda *xs, **_: f(*xs)


OPS: dict[str, Callable[..., np.ndarray]] = {
    "add": _elementwise(np.add),
    "sub": _elementwise(np.subtract),
    "mul": _elementwise(np.multiply),
    "neg": _elementwise(np.negative),
    "and": _elementwise(np.bitwise_and),
    "or": _elementwise(np.bitwise_or),
    "xor": _elementwise(np.bitwise_xor),
    "eq": _elementwise(np.equal),
    "ne": _elementwise(np.not_equal),
    "shift_left": _elementwise(np.left_shift),
    "shift_right_logical": _elementwise(np.right_shift),
    "shift_right_arithmetic": _elementwise(np.right_shift),
    "select_n": _elementwise(lambda which, no, yes: np.where(which, yes, no)),
    "convert_element_type": lambda x, *, new_dtype, **_: np.asarray(x).astype(new_dtype),
    "bitcast_convert_type": lambda x, *, new_dtype: x.view(new_dtype),
    "broadcast_in_dim": _broadcast,
    "reshape": lambda x, *, new_sizes, **_: np.reshape(x, new_sizes),
    "squeeze": lambda x, *, dimensions: np.squeeze(x, tuple(dimensions)),
    "transpose": lambda x, *, permutation: np.transpose(x, permutation),
    "slice": _slice,
    "rev": lambda x, *, dimensions: np.flip(x, tuple(dimensions)),
    "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
    "stack": lambda *xs, axis: np.stack(xs, axis),
    "reduce_sum": _sum,
    "reduce_xor": _xor,
}
