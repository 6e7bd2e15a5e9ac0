"""What each equation of a segment means on arrays: the choreography's primitives, and JAX's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var, jaxpr_as_fun
from jax.interpreters import mlir

from jmpc.choreography import primitives as prim
from jmpc.choreography.programs import Draw, Segment
from jmpc.choreography.schedule import pack_p, unpack_p
from jmpc.kernels import packing

Array = Any

# A `public` constant may stand in a loop that is compiled whole inside a segment.
mlir.register_lowering(prim.public_p, lambda context, x: [x])


def _send_masked(eqn: JaxprEqn, x: Array, *masks: Array) -> Array:
    return prim.masked(x, masks, eqn.params["group"], eqn.params["bits"])


def _release(eqn: JaxprEqn, x: Array) -> Array:
    return prim.low_bits(x, eqn.params["bits"])


def _first(eqn: JaxprEqn, x: Array, *_: Array) -> Array:
    del eqn
    return x


def _contribution(eqn: JaxprEqn, x: Array, present: Array) -> Array:
    del eqn
    return x * present.astype(x.dtype)


# What the choreography's primitives do, on arrays of numpy or JAX.
CHOREOGRAPHY: dict[Any, Callable[..., Array]] = {
    prim.send_masked_p: _send_masked,
    prim.release_p: _release,
    prim.agree_p: _first,
    prim.public_p: _first,
    prim.guard_p: _first,
    prim.quorum_p: _first,
    prim.contribution_p: _contribution,
}


def _pack(eqn: JaxprEqn, x: Array) -> Array:
    words = x.astype(np.uint8) if x.dtype == np.bool_ else x
    return packing.pack(words, eqn.params["bits"])


def _unpack(eqn: JaxprEqn, buffer: Array) -> Array:
    aval = eqn.outvars[0].aval
    dtype = np.uint8 if aval.dtype == np.bool_ else aval.dtype
    return packing.unpack(buffer, eqn.params["bits"], aval.shape, dtype).astype(aval.dtype)


_RULES: dict[Any, Callable[..., Array]] = {**CHOREOGRAPHY, pack_p: _pack, unpack_p: _unpack}


def evaluate(eqns: Sequence[JaxprEqn], env: dict[Var, Array]) -> None:
    """Evaluates equations in order, reading and extending `env`."""
    for eqn in eqns:
        operands = [literal(atom) if isinstance(atom, Literal) else env[atom] for atom in eqn.invars]
        if rule := _RULES.get(eqn.primitive):
            results = [rule(eqn, *operands)]
        else:
            results = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
            results = results if eqn.primitive.multiple_results else [results]
        env.update(zip(eqn.outvars, results, strict=True))


def literal(atom: Literal) -> np.ndarray:
    """A literal as the array it stands for."""
    return np.asarray(atom.val, atom.aval.dtype)


def keystream_layout(draws: Sequence[Draw]) -> dict[np.dtype, list[tuple[Draw, int]]]:
    """How the draws of a segment lie in one flat buffer for each dtype: (draw, first element)."""
    layout: dict[np.dtype, list[tuple[Draw, int]]] = {}
    for draw in draws:
        rows = layout.setdefault(np.dtype(draw.var.aval.dtype), [])
        start = rows[-1][1] + rows[-1][0].padded if rows else 0
        rows.append((draw, start))
    return layout


def buffer_size(rows: Sequence[tuple[Draw, int]]) -> int:
    """Elements of the buffer of one dtype."""
    last, start = rows[-1]
    return start + last.padded


def segment_function(segment: Segment) -> Callable[..., list[Array]]:
    """The segment as a function of (flat keystream buffers, inputs) to its outputs; to be jitted."""
    layout = keystream_layout(segment.draws)

    def run(buffers: Sequence[Array], inputs: Sequence[Array]) -> list[Array]:
        env: dict[Var, Array] = dict(zip(segment.inputs, inputs, strict=True))
        for buffer, rows in zip(buffers, layout.values(), strict=True):
            for draw, start in rows:
                aval = draw.var.aval
                words = jax.lax.slice(buffer, (start,), (start + aval.size,)).reshape(aval.shape)
                env[draw.var] = prim.low_bits(words, draw.bits)
        evaluate(segment.equations, env)
        return [env[var] for var in segment.outputs]

    return run


def local_function(eqn: JaxprEqn) -> Callable[..., list[Array]]:
    """A player's own code as a function; to be jitted by itself."""
    return jaxpr_as_fun(eqn.params["jaxpr"])
