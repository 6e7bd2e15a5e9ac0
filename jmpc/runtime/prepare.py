"""A computation, ready to run: lowered, scheduled, its segments being compiled. Made once, run often."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.extend.core import Var

from jmpc.choreography.cost import Cost, cost
from jmpc.choreography.fingerprint import Fingerprint
from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.programs import Program
from jmpc.choreography.releases import ReleaseAccount, list_releases, result_origins
from jmpc.choreography.schedule import Schedule, schedule
from jmpc.computation import Assign, Computation, Source
from jmpc.lowering.computation import Lowered, ProtocolFactory, lower_computation
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.store import Store

VERSION = "jmpc/0.1"
# Compiling takes more than linear time: a larger fused program is compiled in pieces, cut where messages would be.
_FUSED_EQUATIONS = 400


@dataclass(frozen=True)
class Prepared:
    """One computation under one protocol; programs are projected when they are first asked for."""

    lowered: Lowered
    compiler: Compiler
    _programs: dict[str, Program] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def players(self) -> tuple[str, ...]:
        return self.lowered.choreography.players

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """The sets of players that need a common key."""
        return self.lowered.choreography.keys

    @functools.cached_property
    def located(self) -> Schedule:
        """The reading with real players."""
        traced = self.lowered.choreography
        wanted = {player: self.lowered.outputs_of(player) for player in traced.players}
        return schedule(traced.closed, traced.holders, traced.players, wanted)

    @functools.cached_property
    def digest(self) -> bytes:
        """What players compare before the first share moves: everything that decides what will be sent."""
        marks = Fingerprint()
        traced = self.lowered.choreography
        marks.token(VERSION, jax.__version__, traced.players, self.lowered.computation.fraction)
        for port in (*self.lowered.inputs, *self.lowered.outputs):
            marks.token(port.kind.__name__, port.name, port.index, sorted(port.players), port.aval.shape)
            marks.token(str(port.aval.dtype))
        marks.jaxpr(traced.closed)
        return marks.digest()

    def program(self, player: str) -> Program:
        """The program of one player, or of `TOGETHER` in a fused simulation."""
        with self._lock:
            if player not in self._programs:
                made = self._fused(None) if player == TOGETHER else self.located.program(player)
                self.compiler.prepare(made)
                self._programs[player] = made
            return self._programs[player]

    def recorded(self) -> Program:
        """The fused program that also sends every message, to a link that records them."""
        return self._fused(self.located.needs.receivers)

    def _fused(self, record: Mapping[Var, tuple[str, ...]] | None) -> Program:
        traced = self.lowered.choreography
        wanted = {player: self.lowered.outputs_of(player) for player in traced.players}
        large = sum(1 for _ in traced.equations()) > _FUSED_EQUATIONS
        plan = schedule(traced.closed, None, (), wanted, cut_messages=large, record=record)
        return plan.program(TOGETHER)

    def releases(self, store: Store | None = None) -> tuple[ReleaseAccount, ...]:
        """Everything that is opened, and whose inputs it derives from.

        A variable derives from what `store` has recorded, or, without one, maybe from everyone's inputs.
        """
        return list_releases(self.lowered.choreography, self._origins(store))

    def provenance(self, store: Store) -> dict[str, frozenset[str]]:
        """For each variable that is written: the players whose inputs it derives from."""
        traced = self.lowered.choreography
        outs = result_origins(traced, self._origins(store))
        found: dict[str, frozenset[str]] = {}
        for port, origins in zip(self.lowered.outputs, outs, strict=True):
            if port.kind is Assign:
                found[port.name] = found.get(port.name, frozenset()) | origins
        return found

    def _origins(self, store: Store | None) -> list[frozenset[str]]:
        everyone = frozenset(self.players) - set(self.lowered.computation.servers)
        return [
            port.players if port.kind is Source else everyone if store is None else store.origins(port.name, everyone)
            for port in self.lowered.inputs
        ]

    @functools.cached_property
    def cost(self) -> Cost:
        return cost([self.program_unprepared(player) for player in self.players])

    def program_unprepared(self, player: str) -> Program:
        """A program without compiling it: for cost and tests."""
        with self._lock:
            return self._programs.get(player) or self.located.program(player)


def prepare(computation: Computation, make_protocol: ProtocolFactory, compiler: Compiler) -> Prepared:
    """Lowers a computation. Raises what `lower_computation` raises."""
    return Prepared(lower_computation(computation, make_protocol), compiler)
