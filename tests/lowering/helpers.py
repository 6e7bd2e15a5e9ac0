"""Runs lowered functions on one player, and compares them with JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jmpc.choreography import primitives as prim
from jmpc.choreography.holders import infer_holders
from jmpc.choreography.inline import inline_calls
from jmpc.choreography.trace import Choreography, trace
from jmpc.complexes import parts
from jmpc.errors import ChoreographyError
from jmpc.lowering import Context, Precision, Public, lower
from jmpc.lowering.inputs import reveal, share
from jmpc.lowering.pairs import without_complex
from jmpc.protocols.base import Protocol
from jmpc.protocols.plain import Plain

from .evaluation import evaluate

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
    """The choreography of `f` on secret arguments (`Clear` ones public), and its inputs.

    Complex arguments and results are pairs of real ones.
    """
    plain = [a.array if isinstance(a, Clear) else jax.tree.map(np.asarray, a) for a in args]
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(*plain)
    del shapes
    pairs = [(part, is_clear) for leaf, is_clear in flattened(args) for part in parts(leaf)]
    flat, clear = ([pair[i] for pair in pairs] for i in (0, 1))
    context = Context(protocol or Plain(), precision)
    secret = [not c for _, c in flattened(args)]
    closed = without_complex(inline_calls(closed), secret, context.fraction)

    def run(*arrays: Any) -> list[Any]:
        pairs = zip(arrays, clear, strict=True)
        values = [Public(x, OWNER) if c else share(context, x, OWNER, range) for x, c in pairs]
        return [reveal(context, out, OWNER, "result") for out in lower(closed, values, context)]

    flat = [x.astype(v.aval.dtype) for x, v in zip(flat, closed.jaxpr.invars, strict=True)]
    with jax.enable_x64(True):
        made = inline_calls(jax.make_jaxpr(run)(*flat))
    _check_captured(made, len(flat), (*context.parties, OWNER))
    return made, flat


def _check_captured(closed: ClosedJaxpr, arguments: int, players: Sequence[str]) -> None:
    """Nobody holds an array that a rule captures without declaring it; who holds the rest matters to nobody here."""
    try:
        infer_holders(closed, [frozenset(players)] * arguments, players)
    except ChoreographyError as error:
        assert "captured" not in str(error), error


def flattened(args: Sequence[Any]) -> list[tuple[np.ndarray, bool]]:
    found = []
    for a in args:
        clear = isinstance(a, Clear)
        found += [(np.asarray(leaf), clear) for leaf in jax.tree.leaves(a.array if clear else a)]
    return found


def secure(f: Callable[..., Any], *args: Any, **options: Any) -> list[np.ndarray]:
    """The flat results of `f`, lowered and evaluated."""
    closed, flat = lowered(f, *args, **options)
    return evaluate(closed, flat)


def plain(f: Callable[..., Any], *args: Any) -> list[np.ndarray]:
    """The flat results of `f` by JAX."""
    inputs = [jax.tree.map(jnp.asarray, a.array if isinstance(a, Clear) else a) for a in args]
    with jax.default_matmul_precision("highest"):  # an accelerator's default is less exact than the shares
        return [np.asarray(x) for x in jax.tree.leaves(jax.jit(f)(*inputs))]


def choreography(f: Callable[..., Any], *args: Any, players: Sequence[str], **options: Any) -> tuple[Choreography, Any]:
    """The checked choreography of `f` among players, and its inputs."""
    closed, flat = lowered(f, *args, **options)
    with jax.enable_x64(True):
        return trace(jaxpr_as_fun(closed), flat, [[OWNER]] * len(flat), (*players, OWNER)), flat


def checked(f: Callable[..., Any], *args: Any, **options: Any) -> list[np.ndarray]:
    """The flat results of `f` among players, whose messages were all checked."""
    traced, flat = choreography(f, *args, **options)
    return evaluate(traced.closed, flat)


def released(f: Callable[..., Any], *args: Any, **options: Any) -> set[str]:
    """Why anything is released."""
    traced, _ = choreography(f, *args, **options)
    return {eqn.params["why"] for eqn in traced.equations() if eqn.primitive is prim.release_p}
