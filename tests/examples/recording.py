"""Runs an example's script with fixed keys and keeps everything that its players said, stored and computed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from jax.extend.core import Var
from network import inprocess

import jmpc
from jmpc.api.graph import Built
from jmpc.api.run import current_session
from jmpc.api.session import LocalSession
from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.programs import Frame, Program
from jmpc.computation import Assign
from jmpc.config import Mode
from jmpc.protocols.rep3 import Rep3
from jmpc.providers import Registry
from jmpc.runtime.inputs import deliver
from jmpc.runtime.links import Slot
from jmpc.runtime.machine import Machine
from jmpc.runtime.party import Party
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.remote import RemoteSession
from jmpc.runtime.simulate import FusedSimulation, ThreadedSimulation, source_feed
from jmpc.runtime.store import Named, Store

EXAMPLES = Path(__file__).parents[2] / "examples"
OWNERS = ("model-owner", "data-owner-0", "data-owner-1", "data-owner-2", "input-provider")
_NEIGHBOURS = ("data", "model", "providers", "common")  # modules that several examples have

KeySet = tuple[str, ...]
Copies = dict[Any, dict[str, Any]]  # by place, then by player


@contextlib.contextmanager
def script(name: str) -> Iterator[ModuleType]:
    """The `run` module of an example, imported as Python would run it."""
    folder = EXAMPLES / name
    saved, path = {n: sys.modules.pop(n, None) for n in _NEIGHBOURS}, list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location(f"example_{name}", folder / "run.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path[:] = path
        for n in _NEIGHBOURS:
            sys.modules.pop(n, None)
        sys.modules.update({n: m for n, m in saved.items() if m is not None})


@dataclass
class Recorded:
    """One run: all messages, digests of all arrays that players had between segments, and what opened where."""

    messages: dict[tuple[Slot, str, str], list[np.ndarray]] = field(default_factory=dict)  # by slot, sender, receiver
    values: Copies = field(default_factory=lambda: defaultdict(dict))  # by loops and iterations, number of variable
    prepared: Prepared | None = None
    names: Mapping[str, str] = field(default_factory=dict)  # of variables
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Tape:
    """All runs of a session, under keys that are a function of the run's number, so that modes can be compared."""

    def __init__(self) -> None:
        self.runs: list[Recorded] = []
        self._run = Recorded()
        self._numbers: dict[Var, int] = {}

    def keys(self, sets: Iterable[KeySet]) -> dict[KeySet, bytes]:
        return {key: hashlib.sha256(repr((len(self.runs), key)).encode()).digest() for key in sets}

    def send(self, frame: Frame, slot: Slot, buffers: Sequence[Any]) -> None:
        place = slot, frame.src, frame.dst
        assert place not in self._run.messages, f"two frames at {place}"
        self._run.messages[place] = [np.array(buffer) for buffer in buffers]

    def number(self, prepared: Prepared) -> None:
        """Names the variables of a computation as every player names them that has lowered it for itself."""
        produced = (var for eqn in prepared.lowered.choreography.equations() for var in eqn.outvars)
        self._numbers.update((var, number) for number, var in enumerate(produced))

    def know(self, player: str, path: Slot, var: Var, array: Any) -> None:
        """Notes what a player has of a variable; what only exists on its way (packed messages) has no number."""
        if var in self._numbers and isinstance(array.dtype, np.dtype):  # no typed random keys
            digest = hashlib.blake2b(np.ascontiguousarray(array), digest_size=8).digest()
            assert self._run.values[path, self._numbers[var]].setdefault(player, digest) == digest

    def end(self, prepared: Prepared, names: Mapping[str, str], outputs: Mapping[str, Mapping[str, Any]]) -> None:
        self._run.prepared, self._run.names, self._run.outputs = prepared, names, outputs
        self.runs.append(self._run)
        self._run = Recorded()

    # -- where it is put in ------------------------------------------------------------------------------------

    def watch_machines(self, patch: pytest.MonkeyPatch) -> None:
        """Whatever a machine of this process computes or receives is noted."""
        run, tape = Machine._run, self

        class Noted(dict):
            def __init__(self, env, player, path):
                super().__init__(env)
                self.where = player, path

            def __setitem__(self, var, array):
                tape.know(*self.where, var, array)
                super().__setitem__(var, array)

            def update(self, arrays):
                for var, array in arrays:
                    self[var] = array

        def ran(machine: Machine, program: Program, env: Mapping[Var, Any], path: Slot, iteration: int) -> list[Any]:
            return run(machine, program, Noted(env, program.player, path), path, iteration)

        patch.setattr(Machine, "_run", ran)

    def watch_nodes(self, patch: pytest.MonkeyPatch) -> None:
        """Nodes and drivers of this process agree on keys as ever, then use this tape's; all they say is kept."""
        agree, play, run = Party._agree, Party.play, RemoteSession.run
        outputs: dict[str, Mapping[str, Any]] = {}

        def played(party: Party, feed: Any, store: Named) -> Any:
            self.number(party.prepared)
            results = play(dataclasses.replace(party, recorder=lambda _, *said: self.send(*said)), feed, store)
            outputs[party.me] = results.outputs
            return results

        def ran(session: RemoteSession, built: Built) -> Mapping[str, Any]:
            outputs.clear()
            opened = run(session, built)
            self.end(session.prepare(built.computation), built.names, dict(outputs))
            return opened

        def agreed(party: Party) -> tuple[dict[KeySet, bytes], bytes]:
            keys, identity = agree(party)
            return self.keys(keys), identity

        patch.setattr(Party, "_agree", agreed)
        patch.setattr(Party, "play", played)
        patch.setattr(RemoteSession, "run", ran)


class RecordingSession(LocalSession):
    """A simulation on a tape."""

    def __init__(self, mode: Mode) -> None:
        super().__init__(jmpc.LocalConfig(mode=mode))
        self.tape = Tape()
        if mode is Mode.FUSED:
            self.simulation = FusedSimulation(Rep3, self._keys)
            self._simulate = functools.partial(self.simulation.run, link=self.tape)
        else:
            self.simulation = ThreadedSimulation(Rep3, self._keys, recorder=lambda _, *said: self.tape.send(*said))
            self._simulate = self.simulation.run
        self.simulation.compiler = inprocess.COMPILER

    def _keys(self, prepared: Prepared) -> dict[KeySet, bytes]:
        return self.tape.keys(prepared.keys)

    def run(self, built: Built) -> Mapping[str, Any]:
        prepared = self.prepare(built.computation)
        self.tape.number(prepared)
        outputs = self._simulate(prepared, source_feed(built.feeds, built.iteration), built.names)
        self.tape.end(prepared, built.names, outputs)
        for player, results in outputs.items():
            deliver(results, {g: sink for g, (owner, sink) in built.sinks.items() if owner == player})
        return outputs.get(self.driver, {})

    def stores(self) -> dict[str, Store]:
        if isinstance(self.simulation, FusedSimulation):
            return {TOGETHER: self.simulation.store}
        return self.simulation.stores


@dataclass(frozen=True)
class Recording:
    """What an example's `main` returned, its runs, and the slots of its variables in the end.

    Places of slots are (variable, in the order in which they were first written; slot).
    """

    result: Any
    runs: Sequence[Recorded]
    slots: Copies
    holders: Mapping[Any, frozenset[str]]  # who should have them

    @classmethod
    def of(cls, result: Any, runs: Sequence[Recorded], stores: Mapping[str, Store]) -> Recording:
        """Names of variables are random, the order in which they are written is not."""
        ports = [
            (run.names[port.name], port) for run in runs for port in run.prepared.lowered.outputs if port.kind is Assign
        ]
        order = {name: rank for rank, name in enumerate(dict.fromkeys(name for name, _ in ports))}
        slots: Copies = defaultdict(dict)
        for player, store in stores.items():
            for (name, index), array in store._arrays.items():
                slots[order[name], index][player] = np.asarray(array)
        return cls(result, runs, slots, {(order[name], port.index): port.players for name, port in ports})


def record(name: str, mode: Mode, *arguments: str) -> Recording:
    """An example in simulation."""
    with script(name) as module:
        return simulated(lambda: module.main(list(arguments)), mode)


def simulated(main: Callable[[], Any], mode: Mode) -> Recording:
    """Any code in simulation."""
    session = RecordingSession(mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jmpc.api.run.open_session", lambda config: session)
        session.tape.watch_machines(patch)
        result = main()
    return Recording.of(result, session.tape.runs, session.stores())


def record_nodes(name: str, folder: Path, *arguments: str) -> Recording:
    """An example on nodes, over sockets with CURVE; `folder` takes their configuration."""
    with script(name) as module:
        registry = Registry.load(EXAMPLES.glob(f"{name}/providers.py"))
        return on_nodes(lambda path: module.main([*arguments, "--config", str(path)]), folder, registry)


def on_nodes(main: Callable[[Path], Any], folder: Path, registry: Registry | None = None) -> Recording:
    """Any code that takes the path of a configuration, on nodes."""
    tape = Tape()
    with pytest.MonkeyPatch.context() as patch:
        nodes = inprocess.make(folder, OWNERS, registry, insecure=False, timeout=60)
        try:
            nodes.start(*inprocess.SERVERS, *OWNERS)
            tape.watch_machines(patch)
            tape.watch_nodes(patch)
            result = main(nodes.path)
            stores = {player: nodes.store(player) for player in nodes.nodes}
            stores["driver"] = current_session()._store
        finally:
            jmpc.set_config(jmpc.LocalConfig())
            nodes.stop()
    return Recording.of(result, tape.runs, stores)
