"""Public sub-expressions stay ordinary JAX: evaluated here, by everyone, or as one unit at one player."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var, jaxpr_as_fun

from jmpc._compat import make_closed, source_line, user_context
from jmpc.choreography.fingerprint import Fingerprint
from jmpc.choreography.holders import all_equations, inner_jaxprs
from jmpc.choreography.iterations import bounded, has_while
from jmpc.choreography.primitives import local
from jmpc.choreography.sizes import costliest_turn
from jmpc.errors import TraceError
from jmpc.lowering.context import Context
from jmpc.lowering.placement import Placement, Where
from jmpc.lowering.values import Public, is_key
from jmpc.remember import Remembered

Env = dict[Var, Any]


def read(env: Env, atom: Var | Literal) -> Any:
    """The value of a variable or of a literal."""
    return Public(np.asarray(atom.val, dtype_of(atom))) if isinstance(atom, Literal) else env[atom]


def dtype_of(atom: Var | Literal) -> Any:
    return getattr(atom.aval, "dtype", None)


def constant(array: Any) -> Public:
    """An array known where the function is traced."""
    return Public(array if is_key(array.dtype) else np.asarray(array))


def evaluate(context: Context, eqn: JaxprEqn, place: Placement, operands: Sequence[Public]) -> list[Public]:
    """One public equation, where it belongs."""
    if place.where is Where.KNOWN:
        return evaluate_known(eqn, operands)
    if place.where is Where.EVERYONE:
        arrays = [context.operand(context.everyone(x)) for x in operands]
        with user_context(eqn.source_info):
            return [Public(out) for out in _bind(eqn, arrays)]
    unit = Unit(context, str(place.player))
    unit.eqns.append(eqn)
    env = {v: x for v, x in zip(eqn.invars, operands, strict=True) if isinstance(v, Var)}
    unit.run(env, set(eqn.outvars))
    return [env[var] for var in eqn.outvars]


# Of a `while` over known values, and what they may compute: a node evaluates those of other people's computations.
_MOST_TURNS = 1 << 24
_MOST_OPERATIONS = 1 << 33


def evaluate_known(eqn: JaxprEqn, operands: Sequence[Public]) -> list[Public]:
    """One equation on known values, here and now."""
    if (move := _MOVES.get(eqn.primitive.name)) and not any(is_key(x.dtype) for x in operands):
        return [Public(move(*(x.array for x in operands), **eqn.params))]
    # The user's own x64 flag: 64-bit types only appear in a jaxpr that was traced with it.
    dtypes = [dtype_of(atom) for atom in (*eqn.invars, *eqn.outvars)]
    wide = any(np.dtype(dtype).itemsize == 8 for dtype in dtypes if not is_key(dtype))
    cpu = jax.local_devices(backend="cpu")[0]
    loops = has_while(eqn)
    with jax.enable_x64(wide or loops), jax.default_device(cpu):
        arrays = [x.array for x in operands]
        return [constant(out) for out in (_turned(eqn, arrays) if loops else _executable(eqn)(*arrays))]


# Of equations over known values. JAX would keep thousands of them itself, a megabyte each.
_EXECUTABLES: Remembered[bytes, Callable[..., Sequence[Any]]] = Remembered(256)


def _executable(eqn: JaxprEqn) -> Callable[..., Sequence[Any]]:
    """What evaluates an equation: compiled once for all that differ only in their operands."""
    marks = Fingerprint()
    marks.token([(str(atom.aval.dtype), atom.aval.shape) for atom in eqn.invars])
    marks.equation(eqn.replace(invars=[]), sorted(eqn.params))
    key = marks.digest()
    found = _EXECUTABLES.get(key)
    if found is None:
        found = _compiled(lambda *arrays: _bind(eqn, arrays), eqn.invars)
        _EXECUTABLES.put(key, found)
    return found


def _compiled(fn: Callable[..., Sequence[Any]], atoms: Sequence[Any]) -> Callable[..., Sequence[Any]]:
    return jax.jit(fn).lower(*(jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in atoms)).compile()


def _turned(eqn: JaxprEqn, arrays: Sequence[Any]) -> Sequence[Any]:
    """The results of an equation with a `while` in it, which must come to an end."""
    given = {atom: x for atom, x in zip(eqn.invars, arrays, strict=True) if isinstance(atom, Var)}
    turns = min(_MOST_TURNS, _MOST_OPERATIONS // costliest_turn(eqn))
    closed = bounded(make_closed([], [], list(given), [eqn], eqn.outvars), turns)
    *results, ended = _compiled(jaxpr_as_fun(closed), list(given))(*given.values())
    if not ended:
        raise TraceError(f"{source_line(eqn)}: a loop over known values takes more than {turns:,} iterations")
    return results


def _broadcast(x: np.ndarray, *, shape: Sequence[int], broadcast_dimensions: Sequence[int], **_: Any) -> np.ndarray:
    sizes = [1] * len(shape)
    for dim, size in zip(broadcast_dimensions, x.shape, strict=True):
        sizes[dim] = size
    return np.broadcast_to(x.reshape(sizes), shape)  # a view: a large constant array of equal elements stays one


def _squeeze(x: np.ndarray, *, dimensions: Sequence[int], **_: Any) -> np.ndarray:
    return np.squeeze(x, tuple(dimensions))


# What needs no compiler to be evaluated.
_MOVES: dict[str, Callable[..., np.ndarray]] = {"broadcast_in_dim": _broadcast, "squeeze": _squeeze}


def _bind(eqn: JaxprEqn, arrays: Sequence[Any]) -> list[Any]:
    if eqn.effects:
        culprit, effects = _effectful(eqn), ", ".join(map(str, eqn.effects))
        raise TraceError(
            f"{source_line(culprit)}: `{culprit.primitive.name}` has side effects ({effects}). A computation "
            "is data that every player checks before it runs: remove the callback, print or reference"
        )
    out = eqn.primitive.bind(*arrays, **eqn.primitive.get_bind_params(eqn.params))
    return list(out) if eqn.primitive.multiple_results else [out]


def _effectful(eqn: JaxprEqn) -> JaxprEqn:
    """The equation in it that has side effects; of a loop or branch it is one of the body's."""
    parts = [part for body in inner_jaxprs(eqn) for part in all_equations(body)]
    return next((part for part in parts if part.effects and not inner_jaxprs(part)), eqn)


class Unit:
    """A stretch of one player's own floating-point code: compiled as one, run as the same executable in every mode."""

    def __init__(self, context: Context, player: str) -> None:
        self.context = context
        self.player = player
        self.eqns: list[JaxprEqn] = []

    @property
    def defined(self) -> set[Var]:
        return {var for eqn in self.eqns for var in eqn.outvars}

    def run(self, env: Env, used: set[Var]) -> None:
        """Emits the unit and binds those of its results that are `used` outside of it."""
        if not self.eqns:
            return
        defined = self.defined
        read_vars = dict.fromkeys(v for eqn in self.eqns for v in eqn.invars if isinstance(v, Var))
        ins = [var for var in read_vars if var not in defined]
        outs = [var for eqn in self.eqns for var in eqn.outvars if var in used]
        for eqn in self.eqns:
            if eqn.effects:
                _bind(eqn, [])
        with user_context(self.eqns[0].source_info):
            arrays = [self.context.at_player(env[var], self.player) for var in ins]
            closed = make_closed([], [], ins, self.eqns, outs)
            results = local(closed, arrays, self.player, "public floats")
        env.update((var, Public(out, self.player)) for var, out in zip(outs, results, strict=True))
        self.eqns = []
