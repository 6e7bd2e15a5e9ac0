"""A session: one configuration, its players, the variables that live in it, and what is compiled already."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from jmpc.api.graph import Built
from jmpc.computation import Computation
from jmpc.config import LocalConfig, Mode, RemoteConfig
from jmpc.protocols.rep3 import Rep3
from jmpc.remember import Remembered
from jmpc.runtime.closing import Closing
from jmpc.runtime.inputs import deliver
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.saving import Answer, Request, perform
from jmpc.runtime.simulate import FusedSimulation, ThreadedSimulation, source_feed
from jmpc.runtime.storages import Loaded, Places, Storages
from jmpc.storage.archive import Archive
from jmpc.storage.key import storage_key

_log = logging.getLogger("jmpc")

_MOST_BYTES = 1 << 48  # saved: as much as the disk has
KEPT_GRAPHS = 256  # of a session: a script that makes a new one in every iteration must not grow


class Session(Protocol):
    """What `run` needs of a configuration."""

    servers: tuple[str, ...]
    driver: str
    me: str  # the player that this script acts as
    fraction: int
    built: Remembered[tuple[Any, ...], Built]

    def knows(self, variable: str) -> bool: ...

    def called(self, variable: str) -> str:
        """What all players call a variable that is known."""
        ...

    def announce(self, built: Built) -> None: ...

    def prepare(self, computation: Computation) -> Prepared: ...

    def run(self, built: Built) -> Mapping[str, Any]:
        """Runs a computation; the outputs that opened to this script's player."""
        ...

    def save(self, name: str, descriptor: bytes, places: Places) -> None:
        """Saves the present generations of variables: all players their parts, or none."""
        ...

    def load(self, name: str, places_of: Callable[[bytes], Places], fresh: Callable[[], str]) -> Loaded:
        """Loads what was saved under a name; see `Storages.load`."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_session(config: LocalConfig | RemoteConfig) -> Session:
    """The session of a configuration."""
    if isinstance(config, RemoteConfig):
        from jmpc.runtime.follower import FollowerSession
        from jmpc.runtime.lead import LeadSession
        from jmpc.runtime.remote import RemoteSession

        if not config.everywhere:
            return RemoteSession(config)
        return LeadSession(config) if config.me == config.driver else FollowerSession(config)
    return LocalSession(config)


def announce(players: Sequence[str], known: frozenset[str], driver: str) -> frozenset[str]:
    """Logs who takes part, whenever someone new does; the driver goes without saying."""
    others = [player for player in players if player != driver]
    if not known.issuperset(others):
        _log.info("Players: %s", others)
    return known.union(others)


class LocalSession(Closing):
    """All players on this machine."""

    def __init__(self, config: LocalConfig) -> None:
        self._config = config
        self.servers = tuple(config.servers[:3])
        self.driver = self.me = config.driver
        self.fraction = config.precision
        self.built: Remembered[tuple[Any, ...], Built] = Remembered(KEPT_GRAPHS)
        simulation = {Mode.FUSED: FusedSimulation, Mode.THREADS: ThreadedSimulation}[config.mode]
        self.simulation = simulation(Rep3)
        self._players: frozenset[str] = frozenset()
        self._together = tuple(self.simulation.stores)  # where all players are one, that one
        self._storages = Storages(self._together or self.servers, self._ask)
        self._archives: dict[str, Archive] = {}

    def knows(self, variable: str) -> bool:
        return self.simulation.knows(variable)

    def called(self, variable: str) -> str:
        """What all players call a variable: what this script does."""
        return variable

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
        outputs = self.simulation.run(prepared, source_feed(built.feeds, built.iteration), built.names)
        for player, results in outputs.items():
            mine = {group: sink for group, (owner, sink) in built.sinks.items() if owner == player}
            deliver(results, mine)
        return outputs.get(self.driver, {})

    def save(self, name: str, descriptor: bytes, places: Places) -> None:
        known = {variable: self.simulation.generation(variable) for variable in places}
        runs = {variable: generation.run for variable, generation in known.items() if generation is not None}
        self._storages.save(name, descriptor, self._held(places), runs)

    def load(self, name: str, places_of: Callable[[bytes], Places], fresh: Callable[[], str]) -> Loaded:
        return self._storages.load(name, lambda descriptor: self._held(places_of(descriptor)), fresh)

    def _held(self, places: Places) -> Places:
        return dict.fromkeys(places) if self._together else places

    def _ask(self, requests: Mapping[str, Request]) -> Mapping[str, Answer]:
        return {
            player: perform(request, self.driver, self.simulation.store_of(player), self._archive(player))
            for player, request in requests.items()
        }

    def _archive(self, player: str) -> Archive:
        if player not in self._archives:
            folder = self._config.state / "simulated"
            key = functools.partial(storage_key, folder / "keys", player)
            self._archives[player] = Archive(player, folder / player, key, _MOST_BYTES)
        return self._archives[player]

    def close(self) -> None:
        """Nothing in memory outlives a simulation."""
