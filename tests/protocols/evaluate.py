"""A small, independent reading of a choreography, for the tests of protocols.

Executes the trace for all players at once, every copy of every `agree` included, and writes down
each message with its depth, sender, receiver and width. Holders are inferred on the way; a mask
that is not a whole draw, that its receiver can make, or that hides two messages to one receiver, is
an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from protocols.numpy_ops import OPS

from jmpc.choreography import primitives as prim

P = ("P0", "P1", "P2")
PAIRS = tuple(frozenset((P[i - 1], P[i])) for i in range(3))  # holders of slot i and of key i


@dataclass(frozen=True)
class Value:
    array: Any
    depth: int
    holders: frozenset[str]
    drawn: int | None = None  # the number of the draw that this is, whole and unchanged


@dataclass(frozen=True)
class Message:
    depth: int
    src: str
    dst: str
    bits: int
    released: bool
    array: np.ndarray


@dataclass(frozen=True)
class Draw:
    key: frozenset[str]
    bits: int
    array: np.ndarray


@dataclass
class Result:
    """One evaluation; `out` has the structure of what the function returned."""

    messages: list[Message] = field(default_factory=list)
    draws: list[Draw] = field(default_factory=list)
    out: Any = None

    @property
    def rounds(self) -> int:
        return max((m.depth for m in self.messages), default=0)

    @property
    def bits(self) -> int:
        return sum(m.bits * m.array.size for m in self.messages)


class Choreography:
    """`fn` traced on arguments shaped like `args`, ready to be evaluated again and again.

    Arguments are sharings, whose slots are located where rep3 has them, or arrays, which everyone
    holds unless `holders` names others for that argument. `players` adds those who are no party.
    With `strict=False` masks are not checked, so that a mutant runs.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *args: Any,
        holders: Mapping[int, Sequence[str]] | None = None,
        players: Sequence[str] = (),
        strict: bool = True,
    ) -> None:
        self.everyone, self.strict = frozenset(P) | frozenset(players), strict
        with jax.enable_x64(True):
            self.closed, out = jax.make_jaxpr(fn, return_shape=True)(*args)
        self.structure = jax.tree_util.tree_structure(out)
        self.inputs = [who for i, arg in enumerate(args) for who in self._locate(arg, (holders or {}).get(i))]
        self.specs = [eqn.params for eqn in _draws(self.closed.jaxpr)]

    def __call__(self, *args: Any, seed: int = 0, draws: Mapping[int, np.ndarray] | None = None) -> Result:
        """Evaluates with fresh draws, or with the given ones in place of those of these numbers."""
        rng = np.random.default_rng(seed)
        self._result, self._masked = Result(), set()
        for number, params in enumerate(self.specs):
            words = _words(rng, params) if number not in (draws or {}) else draws[number]
            self._result.draws.append(Draw(frozenset(params["key"]), params["bits"], words))
        self._numbers = iter(range(len(self.specs)))
        leaves = jax.tree_util.tree_leaves(args)
        with jax.enable_x64(True):
            located = zip(leaves, self.inputs, strict=True)
            outs = self._walk(self.closed, [Value(leaf, 0, who) for leaf, who in located])
        arrays = [np.asarray(v.array) for v in outs]
        self._result.out = jax.tree_util.tree_unflatten(self.structure, arrays)
        return self._result

    def _locate(self, arg: Any, who: Sequence[str] | None) -> list[frozenset[str]]:
        slots = len(jax.tree_util.tree_leaves(arg))
        if who is not None:
            return [frozenset(who)] * slots
        return [self.everyone] if slots == 1 else list(PAIRS)

    def _walk(self, closed: ClosedJaxpr, args: Sequence[Value]) -> list[Value]:
        env = dict(zip(closed.jaxpr.invars, args, strict=True))
        consts = zip(closed.jaxpr.constvars, closed.consts, strict=True)
        env.update((var, Value(const, 0, frozenset())) for var, const in consts)

        def read(atom: Any) -> Value:
            return Value(atom.val, 0, self.everyone) if isinstance(atom, Literal) else env[atom]

        for eqn in closed.jaxpr.eqns:
            outs = self._equation(eqn, [read(atom) for atom in eqn.invars])
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in closed.jaxpr.outvars]

    def _equation(self, eqn: JaxprEqn, ins: list[Value]) -> list[Value]:
        rule = getattr(self, f"_{eqn.primitive.name}", None)
        if rule is not None:
            return [rule(eqn.params, *ins)]
        inner = _inner(eqn)
        if inner is not None:
            return self._walk(inner, ins)
        who = self._together(eqn.primitive.name, ins)
        depth = max((v.depth for v in ins), default=0)
        do = OPS.get(eqn.primitive.name, eqn.primitive.bind)
        with np.errstate(over="ignore"):
            outs = do(*(v.array for v in ins), **eqn.params)
        many = outs if eqn.primitive.multiple_results else [outs]
        arrays = [np.asarray(array) for array in many]
        for array, var in zip(arrays, eqn.outvars, strict=True):
            assert (array.dtype, array.shape) == (var.aval.dtype, var.aval.shape), eqn
        return [Value(array, depth, who) for array in arrays]

    def _together(self, name: str, ins: Sequence[Value]) -> frozenset[str]:
        who = self.everyone.intersection(*(v.holders for v in ins))
        assert who, f"nobody can do `{name}` on values of {[set(v.holders) for v in ins]}"
        return who

    # -- the primitives ---------------------------------------------------------------------------

    def _draw(self, params: Mapping[str, Any]) -> Value:
        number = next(self._numbers)
        return Value(self._result.draws[number].array, 0, frozenset(params["key"]), number)

    def _public(self, params: Mapping[str, Any], x: Value) -> Value:
        return Value(x.array, 0, self.everyone)

    def _agree(self, params: Mapping[str, Any], *copies: Value) -> Value:
        for other in copies[1:]:
            np.testing.assert_array_equal(copies[0].array, other.array, "copies differ")
        who = frozenset.union(*(v.holders for v in copies))
        return Value(copies[0].array, max(v.depth for v in copies), who)

    def _release(self, params: Mapping[str, Any], x: Value) -> Value:
        return self._send(params, x.array, [x], released=True)

    def _send_masked(self, params: Mapping[str, Any], x: Value, *masks: Value) -> Value:
        for dst, mask in zip(params["dsts"], masks, strict=True):
            if self.strict:
                assert mask.drawn is not None, "a mask must be a whole draw"
                assert dst not in mask.holders, f"{dst} can make the mask of a message to it"
                assert (dst, mask.drawn) not in self._masked, f"one mask, two messages to {dst}"
                assert self.specs[mask.drawn]["bits"] == params["bits"], "a mask too narrow or wide"
            self._masked.add((dst, mask.drawn))
        words = [mask.array for mask in masks]
        array = prim.masked(x.array, words, params["group"], params["bits"])
        return self._send(params, array, [x, *masks], released=False)

    def _send(self, params: Mapping[str, Any], array: Any, ins: list[Value], *, released: bool) -> Value:
        src, dsts, bits = params["src"], params["dsts"], params["bits"]
        who = self._together("send", ins)
        assert src in who, f"{src} sends what it does not hold"
        depth, array = 1 + max(v.depth for v in ins), np.asarray(array)
        assert not (array >> array.dtype.type(bits - 1) > 1).any(), "bits that do not travel"
        self._result.messages += [Message(depth, src, dst, bits, released, array) for dst in dsts]
        return Value(array, depth, who | frozenset(dsts))


def _inner(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """What a call equation calls."""
    for name in ("jaxpr", "call_jaxpr"):
        inner = eqn.params.get(name)
        if inner is not None and eqn.primitive.name not in ("scan", "while", "cond"):
            return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, [])
    return None


def _draws(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """The draws in the order in which they are met."""
    found: list[JaxprEqn] = []
    for eqn in jaxpr.eqns:
        inner = _inner(eqn)
        found += [eqn] if eqn.primitive is prim.draw_p else []
        found += _draws(inner.jaxpr) if inner is not None else []
    return found


def _words(rng: np.random.Generator, params: Mapping[str, Any]) -> np.ndarray:
    top = (1 << params["bits"]) - 1
    return rng.integers(0, top, params["shape"], params["dtype"], endpoint=True)
