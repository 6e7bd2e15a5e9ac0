"""A computation, ready to run: lowered, scheduled, its segments being compiled. Made once, run often."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.extend.core import Var

from jmpc.choreography.canonical import canonical
from jmpc.choreography.cost import Cost, cost
from jmpc.choreography.fingerprint import Fingerprint
from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.programs import Program
from jmpc.choreography.releases import ReleaseAccount, releases_and_origins
from jmpc.choreography.schedule import Schedule, schedule
from jmpc.computation import Assign, Computation, Noise, Publish, Read, Source
from jmpc.lowering.computation import Lowered, Port, ProtocolFactory, lower_computation
from jmpc.lowering.context import Watch
from jmpc.remember import Remembered
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.store import Key, Origins

VERSION = "jmpc/0.1"
# Compiling takes more than linear time: a larger fused program is compiled in pieces, cut where messages would be.
_FUSED_EQUATIONS = 400
_REMEMBERED = 16  # sets of origins
_EQUATION_BYTES = 8192  # lowered, scheduled and compiled, as measured
_MEANING = ("provider", "sink")  # of a port, beside its name and type


@dataclass(frozen=True)
class Prepared:
    """One computation under one protocol; programs are projected when they are first asked for.

    `change` is what is made of a player's program before it is compiled.
    """

    lowered: Lowered
    compiler: Compiler
    change: Callable[[Program], Program] = lambda program: program  # noqa: E731
    _programs: dict[str, Program] = field(default_factory=dict)
    _known_origins: Remembered[Any, Any] = field(default_factory=lambda: Remembered(_REMEMBERED))
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def players(self) -> tuple[str, ...]:
        return self.lowered.choreography.players

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """The sets of players that need a common key."""
        return self.lowered.choreography.keys

    @property
    def optional(self) -> frozenset[str]:
        """The players that a run can do without."""
        return self.lowered.choreography.optional

    def patience(self, timeout: float) -> float:
        """Seconds for which a run may wait for such players before it begins; no longer than for others."""
        deadlines = [call.deadline for call in self.lowered.computation.gathers]
        return min([timeout, *([] if None in deadlines or not deadlines else [max(d for d in deadlines if d)])])

    def may_miss(self, owners: frozenset[str]) -> int:
        """How many of these owners may at most be missing in a value that derives from their inputs.

        Of each gather in which one of them is counted, as many as it can do without.
        """
        spare: dict[frozenset[str], int] = {}
        for call in self.lowered.computation.gathers:
            if not owners.isdisjoint(call.owners):
                those = frozenset(call.owners)
                spare[those] = max(spare.get(those, 0), len(those) - call.min_owners)
        return sum(spare.values())

    @functools.cached_property
    def located(self) -> Schedule:
        """The reading with real players."""
        traced = self.lowered.choreography
        wanted = {player: self.lowered.outputs_of(player) for player in traced.players}
        return schedule(traced.closed, traced.holders, traced.players, wanted)

    @functools.cached_property
    def digest(self) -> bytes:
        """What players compare before the first share moves: everything that decides what is sent, or judged.

        The computation as it was written is part of it, because policies read it: a declaration that leaves no trace
        in the program (that an input is public) must be the same for all.
        """
        marks = Fingerprint()
        traced = self.lowered.choreography
        marks.token(VERSION, jax.__version__, traced.players, self.lowered.computation.structure)
        for port in (*self.lowered.inputs, *self.lowered.outputs):
            marks.token(port.kind.__name__, port.name, port.index, sorted(port.players), port.aval.shape)
            marks.token(str(port.aval.dtype), *(getattr(port.call, field, "") for field in _MEANING))
        marks.jaxpr(traced.closed)
        return marks.digest()

    def program(self, player: str) -> Program:
        """The program of one player, or of `TOGETHER` in a fused simulation."""
        with self._lock:
            if player not in self._programs:
                made = self._fused(None) if player == TOGETHER else self.change(self.located.program(player))
                made = canonical(made)
                self.compiler.prepare(made)
                self._programs[player] = made
            return self._programs[player]

    @functools.cached_property
    def recorded(self) -> Program:
        """The fused program that also sends every message, to a link that records them."""
        return self._fused(self.located.needs.receivers)

    def _fused(self, record: Mapping[Var, tuple[str, ...]] | None) -> Program:
        traced = self.lowered.choreography
        wanted = {player: self.lowered.outputs_of(player) for player in traced.players}
        large = sum(1 for _ in traced.equations()) > _FUSED_EQUATIONS
        plan = schedule(traced.closed, None, (), wanted, cut_messages=large, record=record)
        return plan.program(TOGETHER)

    def releases(self, variables: Mapping[str, Origins] | None = None) -> tuple[ReleaseAccount, ...]:
        """Everything that is opened, and whose inputs it derives from.

        `variables` says what each variable that is read derives from; without it, maybe from everyone's inputs.
        """
        return self._derived(variables)[0]

    def provenance(self, variables: Mapping[str, Origins]) -> dict[str, Origins]:
        """For each variable that is written: the players whose inputs it derives from."""
        return self._derived(variables)[1]

    def _derived(
        self, variables: Mapping[str, Origins] | None
    ) -> tuple[tuple[ReleaseAccount, ...], dict[str, Origins]]:
        """Releases and provenance; remembered, because a loop asks for the same in every run."""
        traced, lowered = self.lowered.choreography, self.lowered
        everyone = frozenset(self.players) - set(lowered.computation.servers)
        origins = tuple(self._origins_of(port, variables or {}, everyone) for port in lowered.inputs)
        found = self._known_origins.get(origins)
        if found is None:
            written: dict[str, Origins] = {}
            releases, results = releases_and_origins(traced, origins)
            for port, whose in zip(lowered.outputs, results, strict=True):
                if port.kind is Assign:
                    written[port.name] = written.get(port.name, frozenset()) | whose
            found = releases, written
            self._known_origins.put(origins, found)
        return found

    def _origins_of(self, port: Port, variables: Mapping[str, Origins], everyone: Origins) -> Origins:
        """Nobody's, of noise, and of what its own player lets everybody know: that player's node judges that."""
        if port.kind is Read:
            return variables.get(port.name, everyone)
        return frozenset() if port.kind is Noise or (port.name, port.index) in self.published else port.players

    @functools.cached_property
    def published(self) -> frozenset[tuple[str, int]]:
        """The inputs, by key and position, that the computation declares public."""
        numbers = {call.arg for call in self.lowered.computation.calls if isinstance(call, Publish)}
        return frozenset(
            (call.key, number - made.start)
            for made, call in self.lowered.computation.numbered()
            if isinstance(call, Source)
            for number in made
            if number in numbers
        )

    @functools.cached_property
    def owners(self) -> frozenset[str]:
        """The players that bring inputs."""
        return frozenset(call.player for call in self.lowered.computation.calls if isinstance(call, Source))

    def providers_of(self, player: str) -> tuple[str, ...]:
        """The registered inputs of `player` that are used, by name."""
        calls = self.lowered.computation.calls
        return tuple(sorted({call.provider for call in calls if isinstance(call, Source) and call.player == player}))

    @functools.cached_property
    def reads(self) -> frozenset[str]:
        """The variables that are read."""
        return frozenset(port.name for port in self.lowered.inputs if port.kind is Read)

    def reads_of(self, player: str) -> tuple[str, ...]:
        """The variables that `player` holds of those that are read."""
        ports = (port for port in self.lowered.inputs if port.kind is Read and player in port.players)
        return tuple(dict.fromkeys(port.name for port in ports))

    def writes_of(self, player: str) -> dict[Key, int]:
        """The bytes of what `player` will store."""
        ports = (port for port in self.lowered.outputs if port.kind is Assign and player in port.players)
        return {(port.name, port.index): port.aval.size * port.aval.dtype.itemsize for port in ports}

    @functools.cached_property
    def weight(self) -> int:
        """About how many bytes it takes here, all in all."""
        traced = self.lowered.choreography
        constants = sum(getattr(const, "nbytes", 0) for const in traced.closed.consts)
        return constants + _EQUATION_BYTES * sum(1 for _ in traced.equations())

    @functools.cached_property
    def cost(self) -> Cost:
        return cost([self.program_unprepared(player) for player in self.players])

    def program_unprepared(self, player: str) -> Program:
        """A program without compiling it: for cost and tests."""
        with self._lock:
            return self._programs.get(player) or self.located.program(player)


def prepare(
    computation: Computation,
    make_protocol: ProtocolFactory,
    compiler: Compiler,
    change: Callable[[Program], Program] = lambda program: program,
    watch: Watch | None = None,
) -> Prepared:
    """Lowers a computation. Raises what `lower_computation` raises."""
    return Prepared(lower_computation(computation, make_protocol, watch), compiler, change)
