"""Players that are processes with addresses."""

import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..net.framing import Limits
from ..net.keys import KeyRing
from ..net.transport import Transport, is_loopback
from ..precision import USUAL, Precision
from ._file import DEFAULT_TIMEOUT, PROTOCOLS, read
from ._players import PLAYER_VARIABLE, Player, checked_precision, player_of, split_address


@dataclass(frozen=True)
class RemoteConfig:
    """Players that are processes with addresses.

    `driver` is the player that submits computations: the configured one or, in a configuration
    without one, the player that this script acts as. `me` is the player that this script acts as.
    `keys` and `state`, of what players save, are directories. `limits` are of what a player accepts
    of another, `protocol` is what the servers speak. `author` signs the computations of this script,
    if named. `everywhere` says that every player runs this script, as itself, and no node: `driver` is then the
    player that leads the others.
    """

    players: Mapping[str, Player]
    driver: str | None = None
    me: str | None = None
    keys: Path = Path("keys")
    state: Path = Path("state")
    timeout: float = DEFAULT_TIMEOUT
    limits: Limits = Limits()
    insecure: bool = False
    precision: int | Precision = USUAL  # a number of fractional bits, once it is made
    policy: Mapping[str, Any] = field(default_factory=dict)
    author: str | None = None
    protocol: str = PROTOCOLS[0]
    everywhere: bool = False  # of this process, not of the file

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", checked_precision(self.precision, "RemoteConfig"))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        player: str | None = None,
        insecure: bool | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
    ) -> "RemoteConfig":
        """Read and check a configuration file, flat or full.

        Arguments:
            player: the player that this script acts as, of others that are nodes; the configured driver unless said.
            insecure: plain text on loopback, or not; what the file says unless said.
            environment: where JMPC_PLAYER, if `player` is not said, is the player that this script is, and says that
                all others run it, too. The configured driver leads them; without one the first player of the file
                that is no server, or the first server.

        Raises:
            ConfigError: with the file, the field, what was expected and what is there.
        """
        config = cls(**read(path))
        scripted = player_of(environment) if player is None else None
        if scripted is not None and scripted not in config.players:
            raise ConfigError(f"{PLAYER_VARIABLE} is {scripted!r}: {path} has the players {list(config.players)}")
        driver = config.driver or (player if scripted is None else config._first)
        config = replace(
            config,
            driver=driver,
            me=player or scripted or driver,
            insecure=config.insecure if insecure is None else insecure,
            everywhere=scripted is not None,
        )
        if player is not None:
            config.get_player(player)
        if config.insecure and not config.loopback:
            remote = [p.name for p in config.players.values() if not is_loopback(split_address(p.address)[0])]
            raise ConfigError(f"{path}: insecure is for loopback only, and {remote} are elsewhere: use keys")
        return config

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the full form, which `load` reads back as an equal configuration.

        Raises:
            ConfigError: the file cannot be written.
        """
        players = {player.name: _player_fields(player) for player in self.players.values()}
        folders = {
            name: folder if folder.is_absolute() else Path(os.path.relpath(folder, Path(path).absolute().parent))
            for name, folder in (("keys", self.keys), ("state", self.state))
        }
        data = {"players": players, "driver": self.driver, "protocol": self.protocol, "timeout": self.timeout}
        data |= {name: folder.as_posix() for name, folder in folders.items()}
        data |= {
            "limits": asdict(self.limits),
            "insecure": self.insecure,
            "precision": self.precision,
            "author": self.author,
            "policy": dict(self.policy),
        }
        data = {name: value for name, value in data.items() if value is not None}
        try:
            Path(path).write_text(json.dumps(data, indent=4) + "\n")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error

    def get_player(self, name: str) -> Player:
        """The player of this name.

        Raises:
            ConfigError: there is none; names those there are.
        """
        if name not in self.players:
            raise ConfigError(f"no player {name!r} in the configuration; known are {list(self.players)}")
        return self.players[name]

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers in the order of their parts in a protocol: by name, numbers as numbers."""
        names = [player.name for player in self.players.values() if player.role == "server"]
        return tuple(sorted(names, key=_natural))

    @property
    def _first(self) -> str:
        """Who leads the others where no driver is configured."""
        names = [player.name for player in self.players.values()]
        return next((name for name in names if name not in self.servers), self.servers[0])

    @functools.cached_property
    def digest(self) -> bytes:
        """What all players' configurations should agree on: names, roles, protocol and precision."""
        rows = sorted((player.name, player.role) for player in self.players.values())
        return hashlib.sha256(json.dumps([rows, self.protocol, self.precision]).encode()).digest()

    @property
    def loopback(self) -> bool:
        """Whether all players are on this machine."""
        return all(is_loopback(split_address(player.address)[0]) for player in self.players.values())

    @property
    def endpoints(self) -> dict[str, str]:
        """Where each player listens, as `Transport` wants it."""
        return {player.name: f"tcp://{player.address}" for player in self.players.values()}

    def listen(self, name: str) -> str | None:
        """Where `name` binds, if not at its address."""
        listen = self.get_player(name).listen
        return None if listen is None else f"tcp://{listen}"

    @property
    def bulk_endpoints(self) -> dict[str, str]:
        """Where players listen for large arrays, those that do."""
        return {
            player.name: f"tcp://{player.address.rpartition(':')[0]}:{player.bulk_port}"
            for player in self.players.values()
            if player.bulk_port is not None
        }

    def bulk_listen(self, name: str) -> str | None:
        """Where `name` binds for large arrays, if not at the host of its address."""
        listen, port = self.get_player(name).listen, self.get_player(name).bulk_port
        return None if listen is None or port is None else f"tcp://{listen.rpartition(':')[0]}:{port}"

    def transport(self, name: str, *, linger: float = 2.0) -> Transport:
        """The links of `name`, its ports bound; `linger` as there.

        Raises:
            ConfigError: an address is unusable or taken.
            AuthenticationError: as `key_ring`.
        """
        return Transport(
            name,
            self.endpoints,
            keys=self.key_ring(name),
            insecure=self.insecure,
            listen=self.listen(name),
            bulk=self.bulk_endpoints,
            bulk_listen=self.bulk_listen(name),
            limits=self.limits,
            timeout=self.timeout,
            linger=linger,
        )

    def key_ring(self, name: str) -> KeyRing | None:
        """The keys of `name`; None if this configuration is plain text on purpose.

        Raises:
            AuthenticationError: a key is missing or unusable.
            ConfigError: others can read the secret, or own or change a key file or its directory.
        """
        if self.insecure:
            return None
        public = {player.name: player.public_key for player in self.players.values() if player.public_key}
        return KeyRing.load(self.keys, self.get_player(name).name, self.players, public)


def _player_fields(player: Player) -> dict[str, Any]:
    fields: dict[str, Any] = {"address": player.address, "role": player.role}
    if player.public_key is not None:
        fields["public_key"] = player.public_key.decode()
    if player.listen is not None:
        fields["listen"] = player.listen
    if player.bulk_port is not None:
        fields["bulk_port"] = player.bulk_port
    return fields


def _natural(name: str) -> list[tuple[int, int | str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(1, part) if index % 2 == 0 else (0, int(part)) for index, part in enumerate(parts)]
