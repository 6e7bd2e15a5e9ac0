"""Runs lowered functions on one player, and compares them with JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from jmpc._compat import scan_counts
from jmpc.choreography import primitives as prim
from jmpc.choreography.inline import inline_calls
from jmpc.errors import InputError
from jmpc.lowering import Context, Precision, Public, lower
from jmpc.lowering.inputs import reveal, share
from jmpc.protocols.base import Protocol
from jmpc.protocols.plain import Plain

ULP = 2.0**-18
OWNER = "owner"


class Clear:
    """An argument that its owner makes public."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)


def lowered(
    f: Callable[..., Any],
    *args: Any,
    range: tuple[float, float] | None = None,
    protocol: Protocol | None = None,
    precision: Precision | None = None,
) -> tuple[ClosedJaxpr, list[Any]]:
    """The choreography of `f` on secret arguments (`Clear` ones public), and its inputs."""
    plain = [a.array if isinstance(a, Clear) else jax.tree.map(np.asarray, a) for a in args]
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(*plain)
    del shapes
    flat = [leaf for leaf, _ in flattened(args)]
    clear = [is_clear for _, is_clear in flattened(args)]
    context = Context(protocol or Plain(), precision)

    def run(*arrays: Any) -> list[Any]:
        pairs = zip(arrays, clear, strict=True)
        values = [Public(x, OWNER) if c else share(context, x, OWNER, range) for x, c in pairs]
        return [reveal(context, out, OWNER, "result") for out in lower(closed, values, context)]

    flat = [x.astype(v.aval.dtype) for x, v in zip(flat, closed.jaxpr.invars, strict=True)]
    with jax.enable_x64(True):
        return inline_calls(jax.make_jaxpr(run)(*flat)), flat


def flattened(args: Sequence[Any]) -> list[tuple[np.ndarray, bool]]:
    found = []
    for a in args:
        clear = isinstance(a, Clear)
        found += [(np.asarray(leaf), clear) for leaf in jax.tree.leaves(a.array if clear else a)]
    return found


def secure(f: Callable[..., Any], *args: Any, **options: Any) -> list[np.ndarray]:
    """The flat results of `f`, lowered and evaluated."""
    closed, flat = lowered(f, *args, **options)
    with jax.enable_x64(True):
        return [np.asarray(out) for out in evaluate(closed, flat)]


def plain(f: Callable[..., Any], *args: Any) -> list[np.ndarray]:
    """The flat results of `f` by JAX."""
    return [np.asarray(x) for x in jax.tree.leaves(f(*(a.array if isinstance(a, Clear) else a for a in args)))]


def evaluate(closed: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
    """A choreography as one program: messages are identities."""
    jaxpr = closed.jaxpr
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        rule = _RULES.get(eqn.primitive.name)
        if rule:
            results = rule(operands, eqn.params)
        else:
            results = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
            results = results if eqn.primitive.multiple_results else [results]
        env.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _guard(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    x, ok = operands
    if not isinstance(ok, jax.core.Tracer) and not ok:
        raise InputError(params["player"], params["message"])
    return [x]


def _scan(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    num_consts, num_carry = scan_counts(params)
    consts, init, xs = operands[:num_consts], operands[num_consts:][:num_carry], operands[num_consts + num_carry :]

    def body(carry: Any, rows: Any) -> Any:
        outs = evaluate(params["jaxpr"], [*consts, *carry, *rows])
        return outs[:num_carry], outs[num_carry:]

    carry, ys = lax.scan(body, init, xs, length=params["length"], reverse=params["reverse"])
    return [*carry, *ys]


def _while(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    a, b = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    return lax.while_loop(
        lambda carry: evaluate(params["cond_jaxpr"], [*operands[:a], *carry])[0],
        lambda carry: evaluate(params["body_jaxpr"], [*operands[a:b], *carry]),
        operands[b:],
    )


def _cond(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    index, *rest = operands
    branches = [lambda *args, b=branch: evaluate(b, args) for branch in params["branches"]]
    return lax.switch(index.astype(np.int32), branches, *rest)


_RULES: dict[str, Callable[[list[Any], dict[str, Any]], list[Any]]] = {
    prim.release_p.name: lambda operands, params: operands,
    prim.public_p.name: lambda operands, params: operands,
    prim.guard_p.name: _guard,
    prim.local_p.name: lambda operands, params: jaxpr_as_fun(params["jaxpr"])(*operands),
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
