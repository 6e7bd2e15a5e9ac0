"""All players on this machine."""

import os
import threading
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from ..errors import ConfigError
from ..precision import USUAL, Precision
from ._players import Player, Role, check_name, check_servers, checked_precision


class Mode(Enum):
    """How a computation is simulated on one machine."""

    FUSED = "fused"  # all players in one XLA program
    THREADS = "threads"  # every player a thread that runs its own program


class LocalConfig:
    """All players on this machine; a player comes into being when it is first named.

    Arguments:
        servers: the names of the servers, in the order of their parts in a protocol.
        driver: the player that this script acts as.
        precision: fractional bits of a fixed-point value, as a number from 8 to 30 or a `jmpc.Precision`.
        mode: "fused" or "threads".
        state: a directory for what `jmpc.save` saves.

    Raises:
        ConfigError: fewer than three servers, a bad name, an impossible precision, or an unknown mode.
    """

    def __init__(
        self,
        servers: tuple[str, ...] = ("server0", "server1", "server2"),
        driver: str = "driver",
        precision: int | Precision = USUAL,
        mode: Mode | str = Mode.FUSED,
        state: str | os.PathLike[str] = "state",
    ) -> None:
        self.state = Path(state)
        self.servers, self.driver, self.me = tuple(servers), driver, driver
        self.precision = checked_precision(precision, "LocalConfig")
        try:
            self.mode = Mode(mode)
        except ValueError:
            raise ConfigError(f"LocalConfig: mode is one of {[item.value for item in Mode]}, not {mode!r}") from None
        check_servers(self.servers, "LocalConfig")
        if driver in self.servers or len(set(self.servers)) != len(self.servers):
            raise ConfigError("LocalConfig: a player is named twice among servers and driver")
        self._lock = threading.Lock()
        self._players: dict[str, Player] = {}
        for name in (*self.servers, driver):
            self.get_player(name)

    @property
    def players(self) -> Mapping[str, Player]:
        """All players named so far."""
        with self._lock:
            return MappingProxyType(dict(self._players))

    def get_player(self, name: str) -> Player:
        """The player of this name, made if need be.

        Raises:
            ConfigError: it is no name for a player.
        """
        check_name(name, "LocalConfig")
        role: Role = "server" if name in self.servers else "driver" if name == self.driver else "owner"
        with self._lock:
            return self._players.setdefault(name, Player(name, "", role))

    def __repr__(self) -> str:
        return f"LocalConfig(players={list(self.players)}, mode={self.mode.value!r})"
