"""A small, independent reading of a choreography, for the tests of protocols.

Executes the trace for all players at once, every copy of every `agree` included, and writes down each
message with its depth, sender, receiver and width. Holders are inferred on the way; a mask that is not
a whole draw, that its receiver can make, or that hides two messages to one receiver, is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

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
    array: Any


@dataclass(frozen=True)
class Draw:
    key: frozenset[str]
    bits: int
    array: Any


@dataclass
class Log:
    """What happened: filled while tracing, with tracers for arrays."""

    draws: list[Draw] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    copies: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """One evaluation: `out` in the structure that the function returned, everything else as it came."""

    out: Any
    messages: list[Message]
    draws: list[Draw]

    @property
    def rounds(self) -> int:
        return max((m.depth for m in self.messages), default=0)

    @property
    def bits(self) -> int:
        return sum(m.bits * m.array.size for m in self.messages)

    def received(self, player: str) -> list[Message]:
        return [m for m in self.messages if m.dst == player]


class Choreography:
    """`fn` traced on arguments shaped like `args`, ready to be evaluated again and again.

    `holders` gives the holders of each argument's leaves; a sharing's three slots are located by
    themselves. `players` adds those who are no party.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *args: Any,
        holders: Sequence[Sequence[str] | None] | None = None,
        players: Sequence[str] = (),
    ) -> None:
        self.everyone = frozenset(P) | frozenset(players)
        with jax.enable_x64(True):
            shapes = jax.eval_shape(lambda: args)
            self.closed, out = jax.make_jaxpr(fn, return_shape=True)(*shapes)
        self.structure = jax.tree_util.tree_structure(out)
        self.located = _locate(args, holders or [None] * len(args), self.everyone)
        self.specs = list(_draws(self.closed.jaxpr))
        self._run = jax.jit(self._evaluate)
        self._log = Log()

    def __call__(
        self, *args: Any, seed: int = 0, draws: Mapping[int, np.ndarray] | None = None
    ) -> Result:
        """Evaluates with fresh draws, or with the given ones in place of those of these numbers."""
        rng = np.random.default_rng(seed)
        words = [_words(rng, eqn.params) for eqn in self.specs]
        for number, array in (draws or {}).items():
            words[number] = np.asarray(array, words[number].dtype).reshape(words[number].shape)
        with jax.enable_x64(True):
            out, messages, copies = jax.tree.map(
                np.asarray, self._run(jax.tree_util.tree_leaves(args), words)
            )
        for first, other in copies:
            np.testing.assert_array_equal(first, other, err_msg="copies of an `agree` differ")
        return Result(
            jax.tree_util.tree_unflatten(self.structure, out),
            [
                Message(m.depth, m.src, m.dst, m.bits, m.released, array)
                for m, array in zip(self._log.messages, messages, strict=True)
            ],
            [
                Draw(frozenset(eqn.params["key"]), eqn.params["bits"], array)
                for eqn, array in zip(self.specs, words, strict=True)
            ],
        )

    def _evaluate(self, leaves: list[Any], words: list[Any]) -> tuple[Any, Any, Any]:
        self._log, self._masked = Log(), set()
        self._words = iter(enumerate(words))
        args = [Value(a, 0, who) for a, who in zip(leaves, self.located, strict=True)]
        outs = self._walk(self.closed, args)
        log = self._log
        return [v.array for v in outs], [m.array for m in log.messages], log.copies

    def _walk(self, closed: ClosedJaxpr, args: Sequence[Value]) -> list[Value]:
        env = dict(zip(closed.jaxpr.invars, args, strict=True))
        nobody = frozenset()
        consts = zip(closed.jaxpr.constvars, closed.consts, strict=True)
        env.update((var, Value(const, 0, nobody)) for var, const in consts)

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
        outs = eqn.primitive.bind(*(v.array for v in ins), **eqn.params)
        many = outs if eqn.primitive.multiple_results else [outs]
        return [Value(array, depth, who) for array in many]

    def _together(self, name: str, ins: Sequence[Value]) -> frozenset[str]:
        who = self.everyone.intersection(*(v.holders for v in ins))
        assert who, f"nobody can do `{name}` on values of {[set(v.holders) for v in ins]}"
        return who

    # -- the primitives ---------------------------------------------------------------------------

    def _draw(self, params: Mapping[str, Any]) -> Value:
        number, words = next(self._words)
        return Value(words, 0, frozenset(params["key"]), number)

    def _public(self, params: Mapping[str, Any], x: Value) -> Value:
        return Value(x.array, 0, self.everyone)

    def _agree(self, params: Mapping[str, Any], *copies: Value) -> Value:
        self._log.copies += [(copies[0].array, other.array) for other in copies[1:]]
        who = frozenset.union(*(v.holders for v in copies))
        return Value(copies[0].array, max(v.depth for v in copies), who)

    def _release(self, params: Mapping[str, Any], x: Value) -> Value:
        return self._send(params, x.array, [x], released=True)

    def _send_masked(self, params: Mapping[str, Any], x: Value, *masks: Value) -> Value:
        for dst, mask in zip(params["dsts"], masks, strict=True):
            assert mask.drawn is not None, "a mask must be a whole draw"
            assert dst not in mask.holders, f"{dst} can make the mask of a message to it"
            assert (dst, mask.drawn) not in self._masked, f"one mask hides two messages to {dst}"
            self._masked.add((dst, mask.drawn))
        words = [mask.array for mask in masks]
        array = prim.masked(x.array, words, params["group"], params["bits"])
        return self._send(params, array, [x, *masks], released=False)

    def _send(
        self, params: Mapping[str, Any], array: Any, ins: list[Value], *, released: bool
    ) -> Value:
        who = self._together("send", ins)
        assert params["src"] in who, f"{params['src']} sends what it does not hold"
        depth = 1 + max(v.depth for v in ins)
        for dst in params["dsts"]:
            message = Message(depth, params["src"], dst, params["bits"], released, array)
            self._log.messages.append(message)
        return Value(array, depth, who | frozenset(params["dsts"]))


def cost(fn: Callable[..., Any], *args: Any, **where: Any) -> tuple[int, float]:
    """Rounds, and total bits for each element of the first argument."""
    result = Choreography(fn, *args, **where)(*args)
    return result.rounds, result.bits / jax.tree_util.tree_leaves(args)[0].size


def _locate(
    args: Sequence[Any], holders: Sequence[Sequence[str] | None], everyone: frozenset[str]
) -> list[frozenset[str]]:
    located: list[frozenset[str]] = []
    for arg, who in zip(args, holders, strict=True):
        slots = len(jax.tree_util.tree_leaves(arg))
        if who is None:
            located += [everyone] if slots == 1 else list(PAIRS) * (slots // 3)
        else:
            located += [frozenset(who)] * slots
    return located


def _inner(eqn: JaxprEqn) -> ClosedJaxpr | None:
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
