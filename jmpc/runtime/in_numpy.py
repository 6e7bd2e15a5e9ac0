"""Primitives in numpy: what most segments consist of, with exactly the results of compiled code.

An operation takes the operands and the equation's parameters. It is there for booleans, integers and floats of numpy
alone, and only where numpy and XLA agree in every bit: division, say, is not, and neither are sums of floats, which a
compiler may join with products, and round once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn

Operation = Callable[..., Any]
_KINDS = "biuf"


def operation(eqn: JaxprEqn) -> Operation | None:
    """The equation as a function of its operands to its one result; None if there is none."""
    avals = [atom.aval for atom in (*eqn.invars, *eqn.outvars)]
    if not all(isinstance(aval.dtype, np.dtype) and aval.dtype.kind in _KINDS for aval in avals):
        return None
    make = _OPERATIONS.get(eqn.primitive.name)
    return None if make is None else make([atom.aval for atom in eqn.invars], **eqn.params)


def _plain(f: Callable[..., Any]) -> Callable[..., Operation]:
    return lambda avals, **_: f


def _integers(f: Callable[..., Any]) -> Callable[..., Operation | None]:
    return lambda avals, **_: None if any(aval.dtype.kind == "f" for aval in avals) else f


def _shift_right(kind: str) -> Callable[..., Operation]:
    """As numbers of this kind, whatever the type."""

    def make(avals: Sequence[Any], **_: Any) -> Operation:
        dtype = np.dtype(f"{kind}{avals[0].dtype.itemsize}")
        return lambda x, k: (x.view(dtype) >> k.view(dtype)).view(x.dtype)

    return make


def _convert(avals: Sequence[Any], *, new_dtype: Any, **_: Any) -> Operation:
    if avals[0].dtype.kind == "f" and np.dtype(new_dtype).kind in "iu":
        return lambda x: _saturated(x, np.dtype(new_dtype))
    return lambda x: x.astype(new_dtype)


def _saturated(x: Any, dtype: np.dtype) -> Any:
    """As XLA does it: what is out of range becomes the nearest integer, and what is not a number 0."""
    info = np.iinfo(dtype)
    low, high = (x.dtype.type(end) for end in (info.min, info.max))  # the high end may be rounded up, out of range
    result = np.where((x > low) & (x < high), x, 0).astype(dtype)
    return np.where(x >= high, dtype.type(info.max), np.where(x <= low, dtype.type(info.min), result))


def _bitcast(avals: Sequence[Any], *, new_dtype: Any) -> Operation | None:
    same = avals[0].dtype.itemsize == np.dtype(new_dtype).itemsize and avals[0].dtype.kind != "b"
    return (lambda x: x.view(new_dtype)) if same else None


def _select(avals: Sequence[Any], **_: Any) -> Operation | None:
    simple = len(avals) == 3 and avals[0].dtype == np.bool_
    return (lambda which, no, yes: np.where(which, yes, no)) if simple else None


def _round(avals: Sequence[Any], *, rounding_method: lax.RoundingMethod) -> Operation | None:
    return np.rint if rounding_method is lax.RoundingMethod.TO_NEAREST_EVEN else None


def _broadcast(avals: Sequence[Any], *, shape: Any, broadcast_dimensions: Any, **_: Any) -> Operation | None:
    if len(avals) != 1:
        return None
    sizes = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, avals[0].shape, strict=True):
        sizes[axis] = size
    return lambda x: np.broadcast_to(x.reshape(sizes), shape)


def _reshape(avals: Sequence[Any], *, new_sizes: Any, dimensions: Any, **_: Any) -> Operation | None:
    return None if dimensions else lambda x: x.reshape(new_sizes)


def _slice(avals: Sequence[Any], *, start_indices: Any, limit_indices: Any, strides: Any) -> Operation:
    steps = strides or [1] * len(start_indices)
    at = tuple(slice(*along) for along in zip(start_indices, limit_indices, steps, strict=True))
    return lambda x: x[at]


def _pad(avals: Sequence[Any], *, padding_config: Any) -> Operation | None:
    if any(low < 0 or high < 0 or inside for low, high, inside in padding_config):
        return None
    shape = tuple(low + n + high for n, (low, high, _) in zip(avals[0].shape, padding_config, strict=True))
    at = tuple(slice(low, low + n) for n, (low, _, _) in zip(avals[0].shape, padding_config, strict=True))

    def pad(x: Any, value: Any) -> Any:
        padded = np.full(shape, value, x.dtype)
        padded[at] = x
        return padded

    return pad


def _iota(avals: Sequence[Any], *, dtype: Any, shape: Any, dimension: int, **_: Any) -> Operation | None:
    if avals:
        return None
    row = np.arange(shape[dimension]).astype(dtype)
    row = row.reshape([-1 if axis == dimension else 1 for axis in range(len(shape))])
    return lambda: np.broadcast_to(row, shape)


def _reduce(f: np.ufunc, *, of_empty: bool) -> Callable[..., Operation | None]:
    def make(avals: Sequence[Any], *, axes: Any, **_: Any) -> Operation | None:
        if avals[0].dtype.kind == "f" or not (of_empty or avals[0].size):
            return None  # sums of floats depend on their order
        return lambda x: f.reduce(x, axis=tuple(axes), dtype=x.dtype)

    return make


def _dot_general(avals: Sequence[Any], *, dimension_numbers: Any, **_: Any) -> Operation | None:
    (x_summed, y_summed), (x_batch, y_batch) = dimension_numbers
    x, y = avals
    if x.dtype != y.dtype or x.dtype.kind != "u":
        return None
    x_axes, y_axes = list(range(x.ndim)), list(range(x.ndim, x.ndim + y.ndim))
    for i, j in (*zip(x_batch, y_batch, strict=True), *zip(x_summed, y_summed, strict=True)):
        y_axes[j] = i
    joined = {*x_batch, *x_summed}
    axes = [*x_batch, *(a for a in x_axes if a not in joined), *(a for a in y_axes if a >= x.ndim)]
    return lambda x, y: np.einsum(x, x_axes, y, y_axes, axes)


_OPERATIONS: dict[str, Callable[..., Operation | None]] = {
    "add": _integers(np.add),
    "sub": _integers(np.subtract),
    "mul": _plain(np.multiply),
    "neg": _plain(np.negative),
    "max": _integers(np.maximum),
    "min": _integers(np.minimum),
    "abs": _plain(np.abs),
    "and": _plain(np.bitwise_and),
    "or": _plain(np.bitwise_or),
    "xor": _plain(np.bitwise_xor),
    "not": _plain(np.invert),
    "eq": _plain(np.equal),
    "ne": _plain(np.not_equal),
    "lt": _plain(np.less),
    "le": _plain(np.less_equal),
    "gt": _plain(np.greater),
    "ge": _plain(np.greater_equal),
    "is_finite": _plain(np.isfinite),
    "round": _round,
    "shift_left": _plain(np.left_shift),
    "shift_right_logical": _shift_right("u"),
    "shift_right_arithmetic": _shift_right("i"),
    "population_count": lambda avals: lambda x: np.bitwise_count(x.view(f"u{x.dtype.itemsize}")).astype(x.dtype),
    "convert_element_type": _convert,
    "bitcast_convert_type": _bitcast,
    "select_n": _select,
    "clamp": _integers(lambda low, x, high: np.minimum(np.maximum(x, low), high)),
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": lambda avals, *, dimensions: lambda x: np.squeeze(x, tuple(dimensions)),
    "transpose": lambda avals, *, permutation: lambda x: np.transpose(x, permutation),
    "rev": lambda avals, *, dimensions: lambda x: np.flip(x, tuple(dimensions)),
    "slice": _slice,
    "concatenate": lambda avals, *, dimension: lambda *xs: np.concatenate(xs, dimension),
    "stack": lambda avals, *, axis: lambda *xs: np.stack(xs, axis),
    "pad": _pad,
    "iota": _iota,
    "reduce_sum": _reduce(np.add, of_empty=True),
    "reduce_xor": _reduce(np.bitwise_xor, of_empty=True),
    "reduce_or": _reduce(np.bitwise_or, of_empty=True),
    "reduce_max": _reduce(np.maximum, of_empty=False),
    "reduce_min": _reduce(np.minimum, of_empty=False),
    "reduce_and": _reduce(np.bitwise_and, of_empty=False),
    "ring_dot_general": _dot_general,
}
