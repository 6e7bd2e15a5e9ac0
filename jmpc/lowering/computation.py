"""A whole computation as one choreography: inputs, local code, secure code, reveals, variables.

The result knows its *ports*: which located array each argument of the choreography is, and what each of
its results is for. Nothing here decides who may see what: a value in the clear leaves its player only
through a `Reveal` or `Publish` of the computation, and everything else is shared first.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jmpc._compat import UNKNOWN_LINE, remote_source, user_context
from jmpc.choreography.primitives import local, release
from jmpc.choreography.trace import Choreography, trace
from jmpc.computation import (
    ArrayType,
    Assign,
    Average,
    Call,
    Computation,
    Compute,
    Constant,
    Gather,
    Noise,
    Output,
    Publish,
    Read,
    Reveal,
    Secure,
    Share,
    Source,
)
from jmpc.errors import ChoreographyError
from jmpc.lowering import interval
from jmpc.lowering.context import Context, Watch
from jmpc.lowering.gathering import average, gather
from jmpc.lowering.inputs import reveal, share
from jmpc.lowering.interpreter import lower
from jmpc.lowering.noise import add_noise
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Precision, Public, Secret, Value
from jmpc.protocols.base import Bits, Protocol, Ring

ProtocolFactory = Callable[[tuple[str, ...]], Protocol]
CLEAR = -1  # the index of a variable in the clear, which a slot of a secret one never has


@dataclass(frozen=True)
class Port:
    """One located array that enters or leaves a choreography.

    `input` and `output` name a source or output of the computation, `variable` a stored variable; `index`
    counts the arrays of a source, the servers that draw noise, or the slots of a secret variable (`CLEAR`: one in the
    clear).
    """

    kind: type  # Source, Noise, Read, Output or Assign
    name: str
    index: int
    players: frozenset[str]
    aval: jax.ShapeDtypeStruct
    call: Call


@dataclass(frozen=True)
class Lowered:
    """A computation's choreography, and what its arguments and results are."""

    computation: Computation
    choreography: Choreography
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def outputs_of(self, player: str) -> tuple[int, ...]:
        """Positions of the results that `player` keeps."""
        return tuple(i for i, port in enumerate(self.outputs) if player in port.players)


def lower_computation(computation: Computation, make_protocol: ProtocolFactory, watch: Watch | None = None) -> Lowered:
    """Traces and checks the choreography of a computation. What `watch` raises ends it, see `Context`.

    Raises:
      TraceError: for JAX code that cannot be run on secrets, with the user's line.
      ChoreographyError: for a computation whose calls do not fit together.
    """
    inputs = tuple(_input_ports(computation, make_protocol(computation.servers)))
    outputs: list[Port] = []

    def choreography(*arrays: jax.Array) -> list[jax.Array]:
        protocol = make_protocol(computation.servers)  # role rotation starts anew in every trace
        context = Context(protocol, Precision(computation.fraction), watch=watch)
        builder = _Builder(context, _by_call(inputs, arrays))
        for numbers, call in computation.numbered():
            builder.call(numbers, call)
        outputs[:] = [port for port, _ in builder.results]
        return [array for _, array in builder.results]

    traced = trace(
        choreography,
        [port.aval for port in inputs],
        [port.players for port in inputs],
        computation.players,
        computation.optional,
    )
    _check_gathers(computation, outputs)
    return Lowered(computation, traced, inputs, tuple(outputs))


def _check_gathers(computation: Computation, outputs: Sequence[Port]) -> None:
    """What owners that may be missing must not be asked for, and which sums must not stand side by side.

    Two sums over different owners show, by their difference, a sum over those that are only in one of them: it must
    be of as many as each gather demands.
    """
    for port in outputs:
        if port.kind is Assign and (those := port.players & computation.optional):
            raise ChoreographyError(
                f"{port.call.line}: {', '.join(sorted(those))} would keep a variable, but contributes to a gather, so "
                "that a run can do without it: assign it in a computation of its own"
            )
    for call, other in itertools.combinations(computation.gathers, 2):
        apart, least = set(call.owners) ^ set(other.owners), max(call.min_owners, other.min_owners)
        if 0 < len(apart) < least:
            raise ChoreographyError(
                f"{other.line}: this gather and that at {call.line} differ in {', '.join(sorted(apart))} alone: the "
                f"difference of two sums would be about fewer than {least} owners. Gather from the same owners"
            )


def _input_ports(computation: Computation, protocol: Protocol) -> list[Port]:
    ports: list[Port] = []
    for number, call in enumerate(computation.calls):
        match call:
            case Noise(arg=arg):
                words = jax.ShapeDtypeStruct(computation.types[arg].shape, np.uint64)
                whose = enumerate(computation.servers)
                ports += [Port(Noise, f"noise/{number}", i, frozenset({server}), words, call) for i, server in whose]
            case Source(player=player, types=types, key=key):
                who = frozenset({player})
                ports += [Port(Source, key, i, who, _aval(t), call) for i, t in enumerate(types)]
            case Read(variable=name, type=type_, player=None):
                aval = jax.ShapeDtypeStruct(type_.shape, np.uint8 if type_.dtype == "bool" else np.uint64)
                ports += [Port(Read, name, i, who, aval, call) for i, who in enumerate(protocol.slot_holders)]
            case Read(variable=name, type=type_, player=str() as player):
                ports.append(Port(Read, name, CLEAR, frozenset({player}), _aval(type_), call))
    return ports


def _aval(type_: ArrayType) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(type_.shape, jax.numpy.dtype(type_.dtype))


def _at(line: str) -> AbstractContextManager[None]:
    """What is traced inside is reported at the user's line."""
    return user_context(remote_source(line))


def _by_call(inputs: Sequence[Port], arrays: Sequence[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for port, array in zip(inputs, arrays, strict=True):
        found.setdefault(id(port.call), []).append(array)
    return found


@dataclass(frozen=True)
class _Clear:
    """A private array at one player: it may be computed with there, shared, or revealed, never released."""

    array: Any
    player: str
    line: str  # where sharing it is reported
    memo: dict = field(default_factory=dict, compare=False)


@dataclass
class _Builder:
    context: Context
    arrays: dict[int, list[Any]]  # those that a call brings, by its id
    values: dict[int, Value | _Clear] = field(default_factory=dict)
    results: list[tuple[Port, Any]] = field(default_factory=list)
    reveals: Counter[str] = field(default_factory=Counter)  # so far, by player

    def call(self, numbers: range, call: Call) -> None:
        self.context.watch(0)
        self.context.call_line = call.line or UNKNOWN_LINE
        with _at(call.line):
            made = self._make(call)
        self.values.update(zip(numbers, made, strict=True))

    def _make(self, call: Call) -> Sequence[Value | _Clear]:
        match call:
            case Source(player=player):
                return [_Clear(array, player, call.line) for array in self._ports(call)]
            case Constant(value=value):
                return [Public(value)]
            case Read(player=None):
                return [self._stored(call.type, tuple(self._ports(call)))]
            case Read(player=str() as player):
                return [_Clear(array, player, call.line) for array in self._ports(call)]
            case Compute(player=player, jaxpr=jaxpr, args=args, name=name):
                operands = [self._at(number, player, name) for number in args]
                return [_Clear(array, player, call.line) for array in local(jaxpr, operands, player, name)]
            case Share(arg=arg, range=range_):
                return [self._secret(arg, range_)]
            case Secure(jaxpr=jaxpr, args=args):
                return lower(jaxpr, [self._operand(number) for number in args], self.context)
            case Gather():
                return gather(self.context, call, self._contributions(call))
            case Average(args=args, arg=arg):
                return [average(self.context, [self.values[number] for number in args], self._public(arg))]
            case Noise(arg=arg, deviation=deviation):
                drawn = dict(zip(self.context.parties, self._ports(call), strict=True))
                return [add_noise(self.context, self._operand(arg), deviation, drawn)]
            case Reveal(arg=arg, player=player):
                return [_Clear(self._revealed(arg, player), player, call.line)]
            case Publish(arg=arg):
                value = self.values[arg]
                return [Public(value.array, value.player) if isinstance(value, _Clear) else value]
            case Assign(variable=name, arg=arg, player=None):
                self._store(call, name, arg)
            case Assign(variable=name, arg=arg, player=str() as player):
                self._result(Assign, name, CLEAR, {player}, self._at(arg, player, name), call)
            case Output(arg=arg, player=player, key=key):
                self._result(Output, key, 0, {player}, self._at(arg, player, key), call)
        return []

    def _ports(self, call: Call) -> list[Any]:
        return self.arrays.get(id(call), [])

    def _result(self, kind: type, name: str, index: int, players: Any, array: Any, call: Call) -> None:
        aval = jax.ShapeDtypeStruct(array.shape, array.dtype)
        self.results.append((Port(kind, name, index, frozenset(players), aval, call), array))

    # -- values where they are wanted -----------------------------------------------------------------------------

    def _at(self, number: int, player: str, what: str) -> Any:
        """A value in the clear at `player`, who must have it already unless it is public."""
        match self.values[number]:
            case _Clear(array=array, player=owner) if owner == player:
                return array
            case Public() as value:
                return self.context.at_player(value, player)
            case _Clear(player=owner):
                raise ChoreographyError(f"{what!r} at {player!r} uses a value of {owner!r} that was not revealed to it")
        raise ChoreographyError(f"{what!r} at {player!r} uses a secret value that was not revealed to it")

    def _operand(self, number: int) -> Value:
        value = self.values[number]
        return self._secret(number, None) if isinstance(value, _Clear) else value

    def _contributions(self, call: Gather) -> list[Any]:
        per = len(call.args) // len(call.owners)
        return [self._at(arg, call.owners[i // per], "a contribution") for i, arg in enumerate(call.args)]

    def _public(self, number: int) -> Public:
        value = self.values[number]
        if not isinstance(value, Public):
            raise ChoreographyError(f"{self.context.line}: who is there must be public")
        return value

    def _secret(self, number: int, range_: tuple[float, float] | None) -> Secret:
        value = self.values[number]
        if isinstance(value, Public):
            return self.context.secret(value)
        if not isinstance(value, _Clear):
            return value
        if range_ not in value.memo:
            with _at(value.line):
                value.memo[range_] = share(self.context, value.array, value.player, range_)
        return value.memo[range_]

    def _revealed(self, number: int, player: str) -> Any:
        # Numbered, because one value is opened in several parts, and its author alone says on which line.
        self.reveals[player] += 1
        why = f"reveal to {player}" + (f" ({count})" if (count := self.reveals[player]) > 1 else "")
        match self.values[number]:
            case _Clear(array=array, player=owner):
                return array if owner == player else release(array, owner, player, why)
            case value:
                return reveal(self.context, value, player, why)

    # -- variables ----------------------------------------------------------------------------------------------------

    def _stored(self, type_: ArrayType, slots: tuple[Any, ...]) -> Secret:
        """A variable's value: reals at the computation's fraction, integers as words, booleans as bits."""
        dtype, fraction = jax.numpy.dtype(type_.dtype), self.context.fraction
        if dtype == np.bool_:
            return Boolean(Bits(slots, 1))
        if np.issubdtype(dtype, np.integer):
            return Integer(Ring(slots), dtype)
        return FixedPoint(Ring(slots), fraction, interval.representable(fraction), dtype)

    def _store(self, call: Assign, name: str, number: int) -> None:
        value = self._secret(number, None)
        sharing = self.context.bits(value) if isinstance(value, Boolean) else self.context.ring(value)
        for index, (slot, who) in enumerate(zip(sharing.slots, self.context.protocol.slot_holders, strict=True)):
            self._result(Assign, name, index, who, slot, call)
