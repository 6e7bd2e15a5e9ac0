"""Runs an example's script with fixed keys and keeps everything that its players said to each other."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jmpc
from jmpc.api.graph import Built
from jmpc.api.session import LocalSession
from jmpc.config import Mode
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.inputs import deliver
from jmpc.runtime.links import RecordingLink
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.simulate import FusedSimulation, ThreadedSimulation, source_feed

EXAMPLES = Path(__file__).parents[2] / "examples"
_NEIGHBOURS = ("data", "model", "providers", "common")  # modules that several examples have


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


@dataclass(frozen=True)
class Recorded:
    """One run: its computation, all messages by (slot, sender, receiver), and what opened where."""

    prepared: Prepared
    messages: Mapping[Any, list[np.ndarray]]
    outputs: Mapping[str, Mapping[str, Any]]


@dataclass
class RecordingSession(LocalSession):
    """A simulation whose keys are a function of the run's number, so that two modes can be compared."""

    mode: Mode
    runs: list[Recorded] = field(default_factory=list)

    def __init__(self, mode: Mode) -> None:
        super().__init__(jmpc.LocalConfig(mode=mode))
        self.mode, self.runs = mode, []
        self._link = RecordingLink()
        if mode is Mode.FUSED:
            self.simulation = FusedSimulation(Rep3, self._keys)
        else:
            self.simulation = ThreadedSimulation(Rep3, self._keys, recorder=self._record)

    def _keys(self, prepared: Prepared) -> dict[tuple[str, ...], bytes]:
        return {key: hashlib.sha256(repr((len(self.runs), key)).encode()).digest() for key in prepared.keys}

    def _record(self, *said: Any) -> None:
        self._link.record(*said)

    def run(self, built: Built) -> Mapping[str, Any]:
        prepared, self._link = self.prepare(built.computation), RecordingLink()
        extra = (self._link,) if self.mode is Mode.FUSED else ()
        outputs = self.simulation.run(prepared, source_feed(built.feeds), *extra)
        self.runs.append(Recorded(prepared, self._link.messages, outputs))
        for player, results in outputs.items():
            deliver(results, {g: sink for g, (owner, sink) in built.sinks.items() if owner == player})
        return outputs.get(self.driver, {})

    def shares(self) -> dict[Any, np.ndarray]:
        """Every stored slot; in threads, after checking that both holders have the same."""
        if self.mode is Mode.FUSED:
            return {key: np.asarray(x) for key, x in _ordered(self.simulation.store)}
        found: dict[Any, np.ndarray] = {}
        for store in self.simulation._stores.values():
            for key, x in _ordered(store):
                np.testing.assert_array_equal(found.setdefault(key, np.asarray(x)), np.asarray(x))
        return found


def _ordered(store: Any) -> list[tuple[Any, Any]]:
    """Slots by the order in which variables were written: names are random."""
    order = {name: rank for rank, name in enumerate(dict.fromkeys(name for name, _ in store._arrays))}
    return [((order[name], index), x) for (name, index), x in store._arrays.items()]


def record(monkeypatch: pytest.MonkeyPatch, name: str, mode: Mode, *arguments: str) -> tuple[Any, RecordingSession]:
    """What an example's `main` returns, and the session it ran in."""
    session = RecordingSession(mode)
    monkeypatch.setattr("jmpc.api.run.open_session", lambda config: session)
    with script(name) as module:
        result = module.main(list(arguments))
    return result, session
