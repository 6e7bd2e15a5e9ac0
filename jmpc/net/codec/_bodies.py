"""Checks of nested jaxprs against the operands they will meet.

JAX's type rules of loops and branches take their bodies on trust: `lax.scan` and its like have traced them
themselves. Here the bodies came from outside.
"""

import functools as ft
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr

from jmpc.net.codec._limits import CodecError

Avals = Sequence[Any]

MOST_RESULTS = 4096  # of one equation


def same_type(a: Any, b: Any) -> bool:
    """Equal dtype and shape; whether a type is weak makes no difference once traced."""
    return a.dtype == b.dtype and a.shape == b.shape


def require(expected: Avals, given: Avals, what: str) -> None:
    """Refuses lists of types that differ."""
    if len(expected) != len(given):
        raise CodecError(f"{what}: {len(given)} values where {len(expected)} are expected")
    for i, (a, b) in enumerate(zip(expected, given, strict=True)):
        if not same_type(a, b):
            raise CodecError(f"{what}: value {i} is {b}, expected {a}")


def check_axes(params: dict[str, Any], keys: Sequence[str], avals: Avals) -> None:
    """Whether these parameters name axes of the first operand. Some of JAX's rules take that on trust, too."""
    rank = len(avals[0].shape) if avals else 0
    for key in keys:
        named = params[key] if isinstance(params[key], tuple) else (params[key],)
        if not all(0 <= axis < rank for axis in named):
            raise CodecError(f"`{key}` names an axis that the operand does not have")


def check_stack(axis: int, avals: Avals) -> None:
    """Of the results of `stack`, `axis` is one more than the operands have."""
    if not avals or not 0 <= axis <= len(avals[0].shape):
        raise CodecError("`axis` is none that the result has")


def check_unstack(axis: int, avals: Avals) -> None:
    """The rule of `unstack` makes as many results as the operand is long: more than it should be asked for."""
    if avals[0].shape[axis] > MOST_RESULTS:
        raise CodecError(f"more than {MOST_RESULTS} results")


def _count(value: int, limit: int, what: str) -> int:
    if not 0 <= value <= limit:
        raise CodecError(f"{what} is {value}, out of the {limit} there are")
    return value


def check_scan(params: dict[str, Any], avals: Avals) -> None:
    """body(*consts, *carry, *xs[i]) -> (*carry, *ys[i])"""
    body, length = params["jaxpr"], params["length"]
    _count(length, 1 << 63, "the length of a scan")
    _count(params["unroll"] - 1, 1 << 63, "the unrolling of a scan")
    consts = _count(params["num_consts"], len(avals), "num_consts")
    carry = _count(params["num_carry"], len(avals) - consts, "num_carry")
    xs = avals[consts + carry :]
    if any(x.shape[:1] != (length,) for x in xs):
        raise CodecError("an input of a scan has not the length of the scan")
    items = [ShapedArray(x.shape[1:], x.dtype) for x in xs]
    require(body.in_avals, [*avals[: consts + carry], *items], "the inputs of a scan's body")
    require(avals[consts : consts + carry], body.out_avals[:carry], "the carry of a scan")


def check_while(params: dict[str, Any], avals: Avals) -> None:
    """cond(*cond_consts, *carry) -> bool; body(*body_consts, *carry) -> carry"""
    cond, body = params["cond_jaxpr"], params["body_jaxpr"]
    first = _count(params["cond_nconsts"], len(avals), "cond_nconsts")
    second = _count(params["body_nconsts"], len(avals) - first, "body_nconsts")
    carry = avals[first + second :]
    require(cond.in_avals, [*avals[:first], *carry], "the inputs of a while's predicate")
    require([ShapedArray((), np.bool_)], cond.out_avals, "the result of a while's predicate")
    require(body.in_avals, [*avals[first : first + second], *carry], "the inputs of a while's body")
    require(carry, body.out_avals, "the carry of a while")


def check_cond(params: dict[str, Any], avals: Avals) -> None:
    """branches[index](*operands)"""
    branches = params["branches"]
    if not branches or not avals:
        raise CodecError("a cond without branches or without an index")
    require([ShapedArray((), np.int32)], avals[:1], "the index of a cond")
    for branch in branches:
        require(branch.in_avals, avals[1:], "the inputs of a branch")
        require(branches[0].out_avals, branch.out_avals, "the results of a branch")


def check_reducer(body: ClosedJaxpr, avals: Avals) -> None:
    """body(*a, *b) -> c, all scalars of the types of the operands (whose second half are the initial values)."""
    scalars = [ShapedArray((), a.dtype) for a in avals]
    require(body.in_avals, scalars, "the inputs of a reduction's body")
    require(scalars[: len(scalars) // 2], body.out_avals, "the results of a reduction's body")


def check_monoid(body: ClosedJaxpr, name: str) -> None:
    """Whether the update of e.g. scatter-add is one addition of its two arguments."""
    inner = body.jaxpr
    names = [eqn.primitive.name for eqn in inner.eqns]
    if names != [name.removeprefix("scatter-")] or inner.eqns[0].invars != inner.invars:
        raise CodecError(f"an update other than that of {name}")


def scalar_update(function: Callable[..., Any], avals: Avals) -> ClosedJaxpr:
    """The jaxpr of a function of two scalars of the first operand's type."""
    if not avals:
        raise CodecError("a scatter without operands")
    return _scalar_update(function, avals[0].dtype)


@ft.lru_cache(maxsize=256)
def _scalar_update(function: Callable[..., Any], dtype: Any) -> ClosedJaxpr:
    scalar = jax.ShapeDtypeStruct((), dtype)
    with jax.enable_x64(True):
        return jax.make_jaxpr(function)(scalar, scalar)
