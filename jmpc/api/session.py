"""A session: one configuration, its players, the variables that live in it, and what is compiled already."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from jmpc.api.graph import Built
from jmpc.computation import Computation
from jmpc.config import LocalConfig, Mode, RemoteConfig
from jmpc.protocols.rep3 import Rep3
from jmpc.remember import Remembered
from jmpc.runtime.inputs import deliver
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.simulate import FusedSimulation, ThreadedSimulation, source_feed

_log = logging.getLogger("jmpc")

KEPT_GRAPHS = 256  # of a session: a script that makes a new one in every iteration must not grow


class Session(Protocol):
    """What `run` needs of a configuration."""

    servers: tuple[str, ...]
    driver: str
    fraction: int
    built: Remembered[tuple[Any, ...], Built]

    def knows(self, variable: str) -> bool: ...

    def announce(self, built: Built) -> None: ...

    def prepare(self, computation: Computation) -> Prepared: ...

    def run(self, built: Built) -> Mapping[str, Any]:
        """Runs a computation; the outputs that opened to the driver."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_session(config: LocalConfig | RemoteConfig) -> Session:
    """The session of a configuration."""
    if isinstance(config, RemoteConfig):
        from jmpc.runtime.remote import RemoteSession

        return RemoteSession(config)
    return LocalSession(config)


def announce(players: Sequence[str], known: frozenset[str], driver: str) -> frozenset[str]:
    """Logs who takes part, whenever someone new does; the driver goes without saying."""
    others = [player for player in players if player != driver]
    if not known.issuperset(others):
        _log.info("Players: %s", others)
    return known.union(others)


class LocalSession:
    """All players on this machine."""

    def __init__(self, config: LocalConfig) -> None:
        self._config = config
        self.servers = tuple(config.servers[:3])
        self.driver = config.driver
        self.fraction = config.precision
        self.built: Remembered[tuple[Any, ...], Built] = Remembered(KEPT_GRAPHS)
        simulation = {Mode.FUSED: FusedSimulation, Mode.THREADS: ThreadedSimulation}[config.mode]
        self.simulation = simulation(Rep3)
        self._players: frozenset[str] = frozenset()

    def knows(self, variable: str) -> bool:
        return self.simulation.knows(variable)

    def announce(self, built: Built) -> None:
        """Logs who takes part, whenever someone new does."""
        self._players = announce(built.computation.players, self._players, self.driver)

    def prepare(self, computation: Computation) -> Prepared:
        """The computation ready to run, or to be looked at; its players come into being.

        Raises:
          ConfigError: for what is no name for a player.
        """
        for player in computation.players:
            self._config.get_player(player)
        return self.simulation.prepare(computation)

    def run(self, built: Built) -> Mapping[str, Any]:
        prepared = self.prepare(built.computation)
        outputs = self.simulation.run(prepared, source_feed(built.feeds))
        for player, results in outputs.items():
            mine = {group: sink for group, (owner, sink) in built.sinks.items() if owner == player}
            deliver(results, mine)
        return outputs.get(self.driver, {})

    def close(self) -> None:
        """Nothing outlives a simulation."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
