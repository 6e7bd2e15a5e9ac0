"""Evaluates choreographies as one program, with numpy, where messages are identities; compiles nothing by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, jaxpr_as_fun

from jmpc._compat import scan_counts
from jmpc.choreography import primitives as prim
from jmpc.errors import InputError


def evaluate(closed: ClosedJaxpr, args: Sequence[Any], *, compiled: bool = False) -> list[Any]:
    """The results of a choreography whose players are all here; `compiled`: the bodies of outer scans are."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        return _evaluate(closed, args, {"scan": _compiled_scan} if compiled else {})


def _evaluate(closed: ClosedJaxpr, args: Sequence[Any], steps: Mapping[str, Step] | None = None) -> list[Any]:
    jaxpr, steps = closed.jaxpr, {**_STEPS, **(steps or {})}
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        results = _equation(eqn, [read(atom) for atom in eqn.invars], steps)
        for var, result in zip(eqn.outvars, results, strict=True):
            assert result.shape == var.aval.shape and result.dtype == var.aval.dtype, (eqn, result.dtype)
            env[var] = result
    return [read(atom) for atom in jaxpr.outvars]


def _equation(eqn: JaxprEqn, operands: list[Any], steps: Mapping[str, Step]) -> list[Any]:
    name, params = eqn.primitive.name, eqn.params
    if name in steps:
        return steps[name](operands, params)
    if name in _NUMPY and all(isinstance(x, (np.ndarray, np.generic)) for x in operands):
        return [np.asarray(_NUMPY[name](*operands, **params))]
    results = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(params))
    return [_concrete(x) for x in (results if eqn.primitive.multiple_results else [results])]


def _concrete(x: Any) -> Any:
    keep = isinstance(x, jax.core.Tracer) or jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return x if keep else np.asarray(x)


def _guard(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    x, ok = operands
    if not isinstance(ok, jax.core.Tracer) and not ok:  # what is compiled is not checked
        raise InputError(params["player"], params["message"])
    return [x]


def _local(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    return [_concrete(x) for x in jaxpr_as_fun(params["jaxpr"])(*operands)]


def _compiled_scan(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    return _scan(operands, params, jax.jit(lambda *xs: _evaluate(params["jaxpr"], xs)))


def _scan(operands: list[Any], params: dict[str, Any], body: Callable[..., list[Any]] | None = None) -> list[Any]:
    turn = body or (lambda *xs: _evaluate(params["jaxpr"], xs))
    num_consts, num_carry = scan_counts(params)
    consts, carry, xs = operands[:num_consts], operands[num_consts:][:num_carry], operands[num_consts + num_carry :]
    steps = range(params["length"])
    ys = []
    for i in reversed(steps) if params["reverse"] else steps:
        outs = turn(*consts, *carry, *(np.asarray(x[i]) for x in xs))
        carry = outs[:num_carry]
        ys.append(outs[num_carry:])
    if params["reverse"]:
        ys.reverse()
    return [*carry, *(np.stack(column) for column in zip(*ys, strict=True))]


def _while(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    a, b = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    carry = operands[b:]
    while _evaluate(params["cond_jaxpr"], [*operands[:a], *carry])[0]:
        carry = _evaluate(params["body_jaxpr"], [*operands[a:b], *carry])
    return carry


def _cond(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    index, *rest = operands
    return _evaluate(params["branches"][min(max(int(index), 0), len(params["branches"]) - 1)], rest)


def _draw(_: list[Any], params: dict[str, Any]) -> list[Any]:
    words = np.random.default_rng().bytes(int(np.prod(params["shape"])) * params["dtype"].itemsize)
    mask = params["dtype"].type((1 << params["bits"]) - 1)
    return [np.frombuffer(words, params["dtype"]).reshape(params["shape"]) & mask]


def _send_masked(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    return [prim.masked(operands[0], operands[1:], params["group"], params["bits"])]


Step = Callable[[list[Any], dict[str, Any]], list[Any]]

_STEPS: dict[str, Step] = {
    prim.release_p.name: lambda operands, params: operands,
    prim.public_p.name: lambda operands, params: operands,
    prim.guard_p.name: _guard,
    prim.draw_p.name: _draw,
    prim.send_masked_p.name: _send_masked,
    prim.agree_p.name: lambda operands, params: operands[:1],
    prim.local_p.name: _local,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}


def _broadcast(x: Any, *, shape: Any, broadcast_dimensions: Any, **_: Any) -> Any:
    sizes = [1] * len(shape)
    for d, n in zip(broadcast_dimensions, x.shape, strict=True):
        sizes[d] = n
    return np.broadcast_to(x.reshape(sizes), shape)


def _slice(x: Any, *, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
    steps = strides or [1] * x.ndim
    return x[tuple(slice(a, b, s) for a, b, s in zip(start_indices, limit_indices, steps, strict=True))]


def _shift_right_logical(x: Any, k: Any, **_: Any) -> Any:
    unsigned = f"u{x.dtype.itemsize}"
    return (x.astype(unsigned) >> k.astype(unsigned)).astype(x.dtype)


def _ufunc(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *xs, **_: f(*xs)


_NUMPY: dict[str, Callable[..., Any]] = {
    "add": _ufunc(np.add),
    "sub": _ufunc(np.subtract),
    "mul": _ufunc(np.multiply),
    "neg": _ufunc(np.negative),
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
    "shift_right_arithmetic": lambda x, k, **_: x >> k if x.dtype.kind == "i" else _shift_right_logical(x, k),
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
    "population_count": lambda x: np.bitwise_count(x).astype(x.dtype),
    "round": lambda x, *, rounding_method: np.round(x),
    "iota": lambda *, dtype, shape, dimension, **_: np.broadcast_to(
        np.arange(shape[dimension], dtype=dtype).reshape([-1 if d == dimension else 1 for d in range(len(shape))]),
        shape,
    ),
}
