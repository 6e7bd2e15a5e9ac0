"""Evaluates choreographies as one program, with numpy: nothing is compiled as a whole, nothing travels.

Messages and draws are not evaluated here: `Plain` has none, and whoever wants to evaluate those of a secure family, a
test, brings a step for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, jaxpr_as_fun

from jmpc._compat import scan_counts
from jmpc.choreography import primitives as prim
from jmpc.errors import InputError

Step: TypeAlias = Callable[[list[Any], dict[str, Any]], list[Any]]  # operands and parameters to results


class Evaluator:
    """Evaluates jaxprs without calls, equation by equation, on numpy arrays.

    Args:
      steps: how to evaluate further primitives, or some otherwise, by name.
    """

    def __init__(self, steps: Mapping[str, Step] | None = None) -> None:
        loops = {"scan": self._scan, "while": self._while, "cond": self._cond}
        self._steps: dict[str, Step] = {**_STEPS, **loops, **(steps or {})}

    def __call__(self, closed: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
        """The results of a choreography whose players are all here."""
        with jax.enable_x64(True), np.errstate(all="ignore"):
            return self._run(closed, args)

    def _run(self, closed: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
        jaxpr = closed.jaxpr
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))

        def read(atom: Any) -> Any:
            return literal(atom) if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.eqns:
            results = self.equation(eqn, [read(atom) for atom in eqn.invars])
            for var, result in zip(eqn.outvars, results, strict=True):
                assert result.shape == var.aval.shape and result.dtype == var.aval.dtype, (eqn, result.dtype)
                env[var] = result
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, eqn: JaxprEqn, operands: list[Any]) -> list[Any]:
        """One equation's results."""
        name, params = eqn.primitive.name, eqn.params
        if name in self._steps:
            return self._steps[name](operands, params)
        if name in _NUMPY and all(isinstance(x, (np.ndarray, np.generic)) for x in operands):
            result = _NUMPY[name](*operands, **params)
            if result is not NotImplemented:
                return [np.asarray(result)]
        results = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(params))
        return [_concrete(x) for x in (results if eqn.primitive.multiple_results else [results])]

    def _scan(self, operands: list[Any], params: dict[str, Any]) -> list[Any]:
        num_consts, num_carry = scan_counts(params)
        consts, carry, xs = operands[:num_consts], operands[num_consts:][:num_carry], operands[num_consts + num_carry :]
        ys: list[list[Any]] = []
        for i in turns(params):
            outs = self._run(params["jaxpr"], [*consts, *carry, *(np.asarray(x[i]) for x in xs)])
            carry = outs[:num_carry]
            ys.append(outs[num_carry:])
        if params["reverse"]:
            ys.reverse()
        stacked = params["jaxpr"].out_avals[num_carry:]
        return [*carry, *(_stacked([row[i] for row in ys], aval) for i, aval in enumerate(stacked))]

    def _while(self, operands: list[Any], params: dict[str, Any]) -> list[Any]:
        a, b = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        carry = operands[b:]
        while self._run(params["cond_jaxpr"], [*operands[:a], *carry])[0]:
            carry = self._run(params["body_jaxpr"], [*operands[a:b], *carry])
        return carry

    def _cond(self, operands: list[Any], params: dict[str, Any]) -> list[Any]:
        index, *rest = operands
        return self._run(params["branches"][taken(index, params)], rest)


def _stacked(rows: list[Any], aval: Any) -> np.ndarray:
    return np.stack(rows) if rows else np.zeros((0, *aval.shape), aval.dtype)


def literal(atom: Literal) -> np.ndarray:
    """The array that a literal stands for."""
    return np.asarray(atom.val, atom.aval.dtype)


def turns(params: Mapping[str, Any]) -> Sequence[int]:
    """The rows that a scan reads, in its order."""
    every = range(params["length"])
    return every[::-1] if params["reverse"] else every


def taken(index: Any, params: Mapping[str, Any]) -> int:
    """Which branch an index chooses."""
    return min(max(int(index), 0), len(params["branches"]) - 1)


def _concrete(x: Any) -> Any:
    traced = isinstance(x, jax.core.Tracer)  # by whoever compiles a body
    return x if traced or jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)


def _guard(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    x, ok = operands
    if not isinstance(ok, jax.core.Tracer) and not ok:
        raise InputError(params["player"], params["message"])
    return [x]


def _local(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    return [_concrete(x) for x in jaxpr_as_fun(params["jaxpr"])(*operands)]


_STEPS: dict[str, Step] = {
    prim.release_p.name: lambda operands, params: operands,
    prim.public_p.name: lambda operands, params: operands,
    prim.guard_p.name: _guard,
    prim.local_p.name: _local,
}


def _broadcast(x: Any, *, shape: Any, broadcast_dimensions: Any, **_: Any) -> Any:
    sizes = [1] * len(shape)
    for d, n in zip(broadcast_dimensions, x.shape, strict=True):
        sizes[d] = n
    return np.broadcast_to(x.reshape(sizes), shape)


def _slice(x: Any, *, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
    steps = strides or [1] * x.ndim
    return x[tuple(slice(a, b, s) for a, b, s in zip(start_indices, limit_indices, steps, strict=True))]


def _shift_right_arithmetic(x: Any, k: Any, **_: Any) -> Any:
    signed = f"i{x.dtype.itemsize}"
    return (x.astype(signed) >> k.astype(signed)).astype(x.dtype)


def _shift_right_logical(x: Any, k: Any, **_: Any) -> Any:
    unsigned = f"u{x.dtype.itemsize}"
    return (x.astype(unsigned) >> k.astype(unsigned)).astype(x.dtype)


def _divide(x: Any, y: Any, **_: Any) -> Any:
    return x / y if x.dtype.kind == "f" else NotImplemented


def _pad(x: Any, value: Any, *, padding_config: Any) -> Any:
    if any(low < 0 or high < 0 or inside for low, high, inside in padding_config):
        return NotImplemented
    return np.pad(x, [(low, high) for low, high, _ in padding_config], constant_values=value)


def _dot_general(x: Any, y: Any, *, dimension_numbers: Any, **_: Any) -> Any:
    (x_summed, y_summed), (x_batch, y_batch) = dimension_numbers
    if x.dtype != y.dtype or x.dtype.kind not in "fu":
        return NotImplemented
    x_axes, y_axes = list(range(x.ndim)), list(range(x.ndim, x.ndim + y.ndim))
    for i, j in (*zip(x_batch, y_batch, strict=True), *zip(x_summed, y_summed, strict=True)):
        y_axes[j] = i
    joined = {*x_batch, *x_summed}
    free_y = [axis for axis in y_axes if axis >= x.ndim]
    return np.einsum(x, x_axes, y, y_axes, [*x_batch, *(a for a in x_axes if a not in joined), *free_y])


def _reduce(f: np.ufunc) -> Callable[..., Any]:
    def reduce(x: Any, *, axes: Any, **_: Any) -> Any:
        known = x.dtype.kind in "fiu" and x.size  # no identity of its own in numpy
        return f.reduce(x, axis=tuple(axes)) if known else NotImplemented

    return reduce


def _round(x: Any, *, rounding_method: lax.RoundingMethod) -> Any:
    even = rounding_method is lax.RoundingMethod.TO_NEAREST_EVEN
    return np.round(x) if even else np.trunc(x) + np.trunc(2 * (x - np.trunc(x)))


def _ufunc(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *xs, **_: f(*xs)


_NUMPY: dict[str, Callable[..., Any]] = {
    "add": _ufunc(np.add),
    "add_any": _ufunc(np.add),
    "sub": _ufunc(np.subtract),
    "mul": _ufunc(np.multiply),
    "neg": _ufunc(np.negative),
    "square": _ufunc(np.square),
    "exp": _ufunc(np.exp),
    "log": _ufunc(np.log),
    "tanh": _ufunc(np.tanh),
    "sqrt": _ufunc(np.sqrt),
    "rsqrt": lambda x, **_: 1 / np.sqrt(x),
    "logistic": lambda x, **_: 1 / (1 + np.exp(-x)),
    "div": _divide,
    "dot_general": _dot_general,
    "ring_dot_general": _dot_general,
    "pad": _pad,
    "reduce_max": _reduce(np.maximum),
    "reduce_min": _reduce(np.minimum),
    "abs": _ufunc(np.abs),
    "max": _ufunc(np.maximum),
    "min": _ufunc(np.minimum),
    "and": _ufunc(np.bitwise_and),
    "or": _ufunc(np.bitwise_or),
    "xor": _ufunc(np.bitwise_xor),
    "not": _ufunc(np.invert),
    "eq": _ufunc(np.equal),
    "ne": _ufunc(np.not_equal),
    "lt": _ufunc(np.less),
    "le": _ufunc(np.less_equal),
    "gt": _ufunc(np.greater),
    "ge": _ufunc(np.greater_equal),
    "shift_left": _ufunc(np.left_shift),
    "shift_right_logical": _shift_right_logical,
    "shift_right_arithmetic": _shift_right_arithmetic,
    "select_n": lambda which, *cases: np.select([which == i for i in range(len(cases))], cases),
    "convert_element_type": lambda x, *, new_dtype, **_: x.astype(new_dtype),
    "broadcast_in_dim": _broadcast,
    "reshape": lambda x, *, new_sizes, dimensions, **_: (
        np.transpose(x, dimensions).reshape(new_sizes) if dimensions else x.reshape(new_sizes)
    ),
    "squeeze": lambda x, *, dimensions: np.squeeze(x, tuple(dimensions)),
    "transpose": lambda x, *, permutation: np.transpose(x, permutation),
    "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
    "stack": lambda *xs, axis: np.stack(xs, axis),
    "slice": _slice,
    "reduce_sum": lambda x, *, axes, **_: x.sum(tuple(axes), dtype=x.dtype),
    "reduce_and": lambda x, *, axes, **_: np.bitwise_and.reduce(x, axis=tuple(axes)),
    "population_count": lambda x: np.bitwise_count(x.view(f"u{x.dtype.itemsize}")).astype(x.dtype),
    "round": _round,
    "iota": lambda *, dtype, shape, dimension, **_: np.broadcast_to(
        np.arange(shape[dimension], dtype=dtype).reshape([-1 if d == dimension else 1 for d in range(len(shape))]),
        shape,
    ),
}
