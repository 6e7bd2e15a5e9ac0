"""Simulation on one machine: all players fused into one program, or each in a thread of its own."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import zmq

from jmpc.choreography.needs import TOGETHER
from jmpc.computation import Computation, Source
from jmpc.errors import InputError, RunAborted
from jmpc.lowering.computation import ProtocolFactory
from jmpc.net.framing import RUN_BYTES
from jmpc.net.handshake import KEY_BYTES
from jmpc.net.transport import Transport
from jmpc.remember import Remembered
from jmpc.runtime.attendance import Absences, Attendance
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.device_keystream import keystream_for
from jmpc.runtime.inputs import Feed, Results, gather, scatter
from jmpc.runtime.links import Recorder
from jmpc.runtime.machine import Link, Machine
from jmpc.runtime.party import Party, fellows
from jmpc.runtime.prepare import Prepared, prepare
from jmpc.runtime.pulse import Pulse
from jmpc.runtime.store import Generation, Named, Store

Keys = Mapping[tuple[str, ...], bytes]
KEPT_COMPUTATIONS = 256  # a script that makes new ones for ever must not grow


def fresh_keys(prepared: Prepared) -> Keys:
    """A key for every set of players that draws, for one run."""
    return {key: secrets.token_bytes(KEY_BYTES) for key in prepared.keys}


class _Simulation:
    """Computations prepared once, by their structure."""

    def __init__(self, make_protocol: ProtocolFactory) -> None:
        self._make_protocol = make_protocol
        self._prepared: Remembered[bytes, Prepared] = Remembered(KEPT_COMPUTATIONS)  # by structure
        self.compiler = Compiler()
        self.stores: dict[str, Store] = {}  # by player
        self.absences = Absences()

    def store_of(self, player: str) -> Store:
        return self.stores.setdefault(player, Store())

    def generation(self, variable: str) -> Generation | None:
        """The current generation of a variable, at whoever holds it; None if it has none."""
        known = (store.generation(variable) for store in self.stores.values())
        return next((generation for generation in known if generation is not None), None)

    def knows(self, variable: str) -> bool:
        return self.generation(variable) is not None

    def prepare(self, computation: Computation) -> Prepared:
        """The computation ready to run; the same object for the same computation."""
        mark = computation.structure
        prepared = self._prepared.get(mark)
        if prepared is None:
            prepared = prepare(computation, self._make_protocol, self.compiler)
            self._prepared.put(mark, prepared)
        return prepared


class FusedSimulation(_Simulation):
    """All players as one program on one device.

    Args:
      make_protocol: the protocol among the servers.
      keys: makes the keys of a run; only tests give it (a key must never serve two runs).
    """

    def __init__(self, make_protocol: ProtocolFactory, keys: Callable[[Prepared], Keys] = fresh_keys) -> None:
        super().__init__(make_protocol)
        self._keys = keys
        self.stores = {"all-players": Store()}  # what they hold, as one

    @property
    def store(self) -> Store:
        return self.stores["all-players"]

    def run(
        self, prepared: Prepared, feed: Feed, names: Mapping[str, str] | None = None, link: Link | None = None
    ) -> dict[str, dict[str, Any]]:
        """Runs a computation on the variables of these `names` (`Built.names`); the outputs of each player.

        `link` records messages (tests).
        """
        store = self.store.named(names or {})
        program = prepared.program(TOGETHER) if link is None else prepared.recorded
        lowered = prepared.lowered
        attendance = Attendance(prepared.optional)
        env = gather(lowered, prepared.players, feed, store, attendance)
        machine = Machine(self.compiler, keystream_for(self._keys(prepared)), link, attendance=attendance)
        positions = sorted({i for player in prepared.players for i in lowered.outputs_of(player)})
        results = scatter(lowered, positions, machine.run(program, env))
        store.commit(results.generation)
        self.absences.tell(prepared.optional, attendance.missing)
        return _by_player(prepared, results)


def _by_player(prepared: Prepared, results: Results) -> dict[str, dict[str, Any]]:
    outputs: dict[str, dict[str, Any]] = {player: {} for player in prepared.players}
    for port in prepared.lowered.outputs:
        if port.name in results.outputs:
            for player in port.players:
                outputs[player][port.name] = results.outputs[port.name]
    return outputs


class ThreadedSimulation(_Simulation):
    """Every player a thread that runs its real program over in-process sockets.

    Args:
      make_protocol: the protocol among the servers.
      keys: fixes the keys of a run (tests); otherwise the players agree on fresh ones, as nodes do.
      timeout: seconds that a player waits for another that does not get on. Players of one process do not die.
      recorder: sees every frame that is sent (tests).
    """

    def __init__(
        self,
        make_protocol: ProtocolFactory,
        keys: Callable[[Prepared], Keys] | None = None,
        timeout: float = 3600.0,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__(make_protocol)
        self._keys = keys
        self._timeout = timeout
        self._recorder = recorder

    def run(self, prepared: Prepared, feed: Feed, names: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """Runs a computation on the variables of these `names` (`Built.names`); the outputs of each player.

        Raises what the first player to fail raised; the others end with it, and nothing is committed.
        """
        players, run = prepared.players, secrets.token_bytes(RUN_BYTES)
        stores = {player: self.store_of(player).named(names or {}) for player in players}
        fixed = dict(self._keys(prepared)) if self._keys else None
        endpoints = {player: f"inproc://{run.hex()}/{player}" for player in players}
        with contextlib.ExitStack() as stack:
            context = stack.enter_context(zmq.Context())
            parties = {}
            for player in players:
                transport = stack.enter_context(Transport(player, endpoints, context=context))
                peers, guests = fellows(prepared, player, prepared.optional)
                transport.open_run(run, peers | {player}, guests)
                leave = lambda other, why, transport=transport: transport.dismiss(run, other, why)
                pulse = Pulse(transport, run, peers, self._timeout, attendance=Attendance(guests, left_out=leave))
                parties[player] = Party(player, prepared, transport, run, pulse, fixed, self._recorder)
            with ThreadPoolExecutor(len(players), thread_name_prefix="jmpc-player") as pool:
                futures = {player: pool.submit(_play, party, feed, stores[player]) for player, party in parties.items()}
        results = _first_error_or_results(futures, prepared.optional)
        for player in players:
            stores[player].commit(results[player].generation)
        missing = parties[players[1]].pulse.attendance.missing  # by a server that gets contributions
        self.absences.tell(prepared.optional, missing)
        return {player: results[player].outputs for player in players}


def _play(party: Party, feed: Feed, store: Named) -> Results:
    try:
        return party.play(feed, store)
    except Exception as error:
        party.abort(error)
        raise


def _first_error_or_results(futures: Mapping[str, Future[Results]], optional: frozenset[str]) -> dict[str, Results]:
    """What each player has at the end; of one that the others can do without, nothing if it failed."""
    failed = {player: error for player, future in futures.items() if (error := future.exception()) is not None}
    errors = [error for player, error in failed.items() if player not in optional]
    for error in sorted(errors, key=lambda e: isinstance(e, RunAborted)):  # the cause, not its echo at the others
        raise error
    return {player: Results() if player in failed else future.result() for player, future in futures.items()}


def source_feed(feeds: Mapping[str, tuple[str, Callable[[int | None], Any]]], iteration: int | None = None) -> Feed:
    """Brings a source's data by the function that the script gave for it, for an iteration."""

    def feed(source: Source) -> Any:
        if source.key not in feeds:
            raise InputError(
                source.player,
                f"{source.player}: provider {source.provider!r} is only known by name here; in simulation pass the "
                "function that `jmpc.provider` registered",
            )
        return feeds[source.key][1](iteration)

    return feed
