"""Who takes part and where: `LocalConfig` for one machine, `RemoteConfig` for a configuration file.

A file is either flat, a name and an address per player,

    {"server0": "10.0.0.10:4440", "server1": "10.0.0.11:4440", "server2": "10.0.0.12:4440",
     "data-owner": "10.0.0.20:4440"}

where names give roles ("server..." are servers, "driver" is the driver, all others are owners), or
full, with as many of these fields as it needs:

    {"players": {"server0": {"address": "10.0.0.10:4440", "listen": "0.0.0.0:4440",
                             "role": "server", "public_key": "..."}, ...},
     "driver": "driver", "keys": "keys", "state": "state", "timeout": 30, "insecure": false,
     "precision": 18, "author": "alice", "policy": {...}}

Anything that is not exactly one of these is refused, with the file and the field.
"""

import functools
import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from .errors import AuthenticationError, ConfigError
from .field_lines import with_line
from .net.keys import KeyRing, check_key
from .net.transport import is_loopback
from .policy import check_rules
from .precision import HIGHEST, LOWEST, USUAL, Precision

Role = Literal["server", "owner", "driver"]

DEFAULT_TIMEOUT: Final = 30.0
_ROLES: Final = ("server", "owner", "driver")
_SERVERS: Final = 3
# A name is also the name of a key file and a routing id.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_FIELDS: Final = ("players", "driver", "keys", "state", "timeout", "insecure", "precision", "author", "policy")
_PLAYER_FIELDS: Final = ("address", "role", "public_key", "listen")


class Mode(Enum):
    """How a computation is simulated on one machine."""

    FUSED = "fused"  # all players in one XLA program
    THREADS = "threads"  # every player a thread that runs its own program


@dataclass(frozen=True)
class Player:
    """A named process. `address` is "host:port", empty on one machine; `listen` is where it binds
    if not there."""

    name: str
    address: str
    role: Role
    public_key: bytes | None = None
    listen: str | None = None


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
        self.precision = _checked_precision(precision, "LocalConfig")
        try:
            self.mode = Mode(mode)
        except ValueError:
            raise ConfigError(f"LocalConfig: mode is one of {[item.value for item in Mode]}, not {mode!r}") from None
        _check_servers(self.servers, "LocalConfig")
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
        _check_name(name, "LocalConfig")
        role: Role = "server" if name in self.servers else "driver" if name == self.driver else "owner"
        with self._lock:
            return self._players.setdefault(name, Player(name, "", role))

    def __repr__(self) -> str:
        return f"LocalConfig(players={list(self.players)}, mode={self.mode.value!r})"


@dataclass(frozen=True)
class RemoteConfig:
    """Players that are processes with addresses.

    `driver` is the player that submits computations: the configured one or, in a configuration
    without one, the player that this script acts as. `me` is the player that this script acts as.
    `keys` and `state`, of what players save, are directories. `author` signs the computations of
    this script, if named.
    """

    players: Mapping[str, Player]
    driver: str | None = None
    me: str | None = None
    keys: Path = Path("keys")
    state: Path = Path("state")
    timeout: float = DEFAULT_TIMEOUT
    insecure: bool = False
    precision: int | Precision = USUAL  # a number of fractional bits, once it is made
    policy: Mapping[str, Any] = field(default_factory=dict)
    author: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", _checked_precision(self.precision, "RemoteConfig"))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], player: str | None = None, insecure: bool | None = None
    ) -> "RemoteConfig":
        """Read and check a configuration file, flat or full.

        Arguments:
            player: the player that this script acts as; the configured driver unless said.
            insecure: plain text on loopback, or not; what the file says unless said.

        Raises:
            ConfigError: with the file, the field, what was expected and what is there.
        """
        file = Path(path)
        text, data = _read_json(file)
        try:
            config = _parse(data, file)
        except ConfigError as error:
            raise ConfigError(with_line(str(error), str(file), text)) from None
        driver = config.driver or player
        config = replace(
            config,
            driver=driver,
            me=player or driver,
            insecure=config.insecure if insecure is None else insecure,
        )
        if player is not None:
            config.get_player(player)
        if config.insecure and not config.loopback:
            remote = [p.name for p in config.players.values() if not is_loopback(split_address(p.address)[0])]
            raise ConfigError(f"{file}: insecure is for loopback only, and {remote} are elsewhere: use keys")
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
        data = {"players": players, "driver": self.driver, "timeout": self.timeout}
        data |= {name: folder.as_posix() for name, folder in folders.items()}
        data |= {
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

    @functools.cached_property
    def digest(self) -> bytes:
        """What all players' configurations should agree on: names, roles and precision."""
        rows = sorted((player.name, player.role) for player in self.players.values())
        return hashlib.sha256(json.dumps([rows, self.precision]).encode()).digest()

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


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port", the host of an IPv6 address in brackets.

    Raises:
        ConfigError: it is no such address.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ConfigError(f"{address!r} is no address: host:port with a port from 1 to 65535 is expected")
    try:
        bracketed = host.startswith("[") and host.endswith("]")
        if (ip_address(host.strip("[]")).version == 6) != bracketed:
            raise ConfigError(f"{address!r} is no address: IPv6 goes in brackets, [::1]:4440")
    except ValueError:
        # Digits and dots that are no IPv4 address are a slip, not a host name.
        named = all(map(_HOST_LABEL.fullmatch, host.split("."))) and not re.fullmatch(r"[0-9.]+", host)
        if not named or len(host) > 253:
            raise ConfigError(f"{address!r} is no address: {host!r} is neither a host name nor an IP address") from None
    return host, int(port)


def _read_json(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = file.read_text("utf-8")
        data = json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique(pairs, file),
            parse_constant=lambda name: _refuse(f"{file}: {name} is no JSON number"),
        )
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist; a configuration names the players and their addresses") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}, line {error.lineno}, column {error.colno}: not JSON ({error.msg})") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not JSON ({type(error).__name__})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: a JSON object is expected, not {_type(data)}")
    return text, data


def _parse(data: dict[str, Any], file: Path) -> RemoteConfig:
    return _parse_full(data, file) if isinstance(data.get("players"), dict) else _parse_flat(data, file)


def _parse_flat(data: dict[str, Any], file: Path) -> RemoteConfig:
    if "players" in data:
        raise ConfigError(f"{file}: players is an object with a player per name, not {_type(data['players'])}")
    players = {}
    for name, address in data.items():
        if not isinstance(address, str):
            hint = f'; {name} belongs to the full form, beside "players"' if name in _FIELDS else ""
            raise ConfigError(f'{file}: {name} is an address "host:port", not {_type(address)}{hint}')
        players[name] = _player(name, {"address": address}, None, file)
    return _checked(players, None, file)


def _parse_full(data: dict[str, Any], file: Path) -> RemoteConfig:
    _only(data, _FIELDS, f"{file}")
    driver = data.get("driver")
    if driver is not None and not (isinstance(driver, str) and driver in data["players"]):
        raise ConfigError(f"{file}: driver is {driver!r}, which is no player; known are {list(data['players'])}")
    players = {}
    for name, fields in data["players"].items():
        if not isinstance(fields, dict):
            raise ConfigError(f'{file}: players.{name} is an object with an "address", not {_type(fields)}')
        players[name] = _player(name, fields, driver, file)
    config = _checked(players, driver, file)
    timeout = data.get("timeout", DEFAULT_TIMEOUT)
    insecure, precision = data.get("insecure", False), data.get("precision", USUAL)
    if type(timeout) not in (int, float) or not 0 < timeout < math.inf:
        raise ConfigError(f"{file}: timeout is a positive number of seconds, not {timeout!r}")
    author = data.get("author")
    if author is not None:
        _check_name(author, f"{file}: author")
    if type(insecure) is not bool:
        raise ConfigError(f"{file}: insecure is true or false, not {insecure!r}")
    return replace(
        config,
        keys=_folder(data, "keys", file),
        state=_folder(data, "state", file),
        timeout=float(timeout),
        insecure=insecure,
        precision=_checked_precision(precision, str(file)),
        policy=check_rules(data.get("policy", {}), players, str(file)),
        author=author,
    )


def _folder(data: dict[str, Any], name: str, file: Path) -> Path:
    folder = data.get(name, name)
    if not isinstance(folder, str) or not folder:
        raise ConfigError(f"{file}: {name} is the path of a directory, not {_type(folder)}")
    return file.parent / folder


def _player(name: str, fields: dict[str, Any], driver: str | None, file: Path) -> Player:
    _check_name(name, str(file))
    where = f"{file}: players.{name}"
    _only(fields, _PLAYER_FIELDS, where)
    for key, value in fields.items():
        if not isinstance(value, str):
            raise ConfigError(f"{where}.{key} is a string, not {_type(value)}")
    if "address" not in fields:
        raise ConfigError(f"{where} has no address")
    role = fields.get("role", _role(name, driver))
    if role not in _ROLES:
        raise ConfigError(f"{where}.role is one of {list(_ROLES)}, not {role!r}")
    host = _address(fields["address"], f"{where}.address")
    if host in ("0.0.0.0", "[::]"):
        raise ConfigError(f"{where}.address is where others find {name}, which {host} is not: that goes in listen")
    if "listen" in fields:
        _address(fields["listen"], f"{where}.listen")
    key = fields.get("public_key")
    if key is not None:
        try:
            check_key(key.encode(), f"{where}.public_key")
        except AuthenticationError as error:
            raise ConfigError(str(error)) from None
    return Player(name, fields["address"], cast(Role, role), key and key.encode(), fields.get("listen"))


def _checked(players: dict[str, Player], driver: str | None, file: Path) -> RemoteConfig:
    taken: dict[tuple[str, int], str] = {}
    for player in players.values():
        host, port = split_address(player.address)
        place = ("127.0.0.1" if host == "localhost" else host.lower(), port)
        if (other := taken.setdefault(place, player.name)) != player.name:
            raise ConfigError(f"{file}: {other} and {player.name} have the same address {player.address}")
    drivers = {player.name for player in players.values() if player.role == "driver"} | ({driver} if driver else set())
    if len(drivers) > 1:
        raise ConfigError(f"{file}: {sorted(drivers)} cannot all be the driver; more may submit by policy.drivers")
    config = RemoteConfig(
        MappingProxyType(players), next(iter(drivers), None), keys=file.parent / "keys", state=file.parent / "state"
    )
    _check_servers(config.servers, str(file))
    return config


def _check_servers(servers: tuple[str, ...], where: str) -> None:
    if len(servers) < _SERVERS:
        raise ConfigError(
            f"{where}: {_SERVERS} servers are needed to share a secret among, "
            f"there are {len(servers)} {list(servers)}: name players server0, server1, server2"
        )


def _role(name: str, driver: str | None) -> Role:
    if name == (driver or "driver"):
        return "driver"
    return "server" if name.startswith("server") else "owner"


def _address(address: str, where: str) -> str:
    try:
        return split_address(address)[0]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _player_fields(player: Player) -> dict[str, str]:
    fields = {"address": player.address, "role": player.role}
    if player.public_key is not None:
        fields["public_key"] = player.public_key.decode()
    if player.listen is not None:
        fields["listen"] = player.listen
    return fields


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {name!r} is no name for a player: letters, digits, '-', '_' and '.' are, "
            "at most 64, a letter or digit first"
        )


def _checked_precision(value: Any, where: str) -> int:
    try:
        return Precision.of(value).fraction
    except ValueError:
        raise ConfigError(
            f"{where}: precision is a number of fractional bits from {LOWEST} to {HIGHEST}, not {value!r}"
        ) from None


def _only(data: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := sorted(data.keys() - set(known)):
        raise ConfigError(f"{where}: unknown fields {unknown}; known are {list(known)}")


def _unique(pairs: list[tuple[str, Any]], file: Path) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ConfigError(f"{file}: {twice} are named twice in one object")
    return data


def _refuse(message: str) -> None:
    raise ConfigError(message)


def _natural(name: str) -> list[tuple[int, int | str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(1, part) if index % 2 == 0 else (0, int(part)) for index, part in enumerate(parts)]


def _type(value: Any) -> str:
    names = {
        type(None): "null",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
    }
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
