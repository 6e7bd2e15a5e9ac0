"""A configuration file, flat or full, read and checked."""

import difflib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from ..errors import AuthenticationError, ConfigError
from ..field_lines import with_line
from ..net.framing import Limits
from ..net.keys import check_key
from ..policy import check_rules
from ..precision import USUAL
from ._players import Player, Role, check_name, check_servers, checked_precision, split_address

DEFAULT_TIMEOUT: Final = 30.0
PROTOCOLS: Final = ("rep3",)
_LEAST_BYTES: Final = 1 << 16
_ROLES: Final = ("server", "owner", "driver")
_FIELDS: Final = (
    "players",
    "driver",
    "protocol",
    "keys",
    "state",
    "timeout",
    "limits",
    "insecure",
    "precision",
    "author",
    "policy",
)
_PLAYER_FIELDS: Final = ("address", "role", "public_key", "listen", "bulk_port")


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a configuration file says, as arguments of `RemoteConfig`.

    Raises:
        ConfigError: with the file, the line, the field, what was expected and what is there.
    """
    file = Path(path)
    text, data = _read_json(file)
    try:
        return _parse(data, file)
    except ConfigError as error:
        raise ConfigError(with_line(str(error), str(file), text)) from None


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


def _parse(data: dict[str, Any], file: Path) -> dict[str, Any]:
    return _parse_full(data, file) if isinstance(data.get("players"), dict) else _parse_flat(data, file)


def _parse_flat(data: dict[str, Any], file: Path) -> dict[str, Any]:
    if "players" in data:
        raise ConfigError(f"{file}: players is an object with a player per name, not {_type(data['players'])}")
    players = {}
    for name, address in data.items():
        if not isinstance(address, str):
            hint = f'; {name} belongs to the full form, beside "players"' if name in _FIELDS else _meant(name, _FIELDS)
            raise ConfigError(f'{file}: {name} is an address "host:port", not {_type(address)}{hint}')
        players[name] = _player(name, {"address": address}, None, file)
    return _checked(players, None, file)


def _parse_full(data: dict[str, Any], file: Path) -> dict[str, Any]:
    _only(data, _FIELDS, f"{file}")
    driver = data.get("driver")
    if driver is not None and not (isinstance(driver, str) and driver in data["players"]):
        raise ConfigError(f"{file}: driver is {driver!r}, which is no player; known are {list(data['players'])}")
    players = {}
    for name, given in data["players"].items():
        if not isinstance(given, dict):
            raise ConfigError(f'{file}: players.{name} is an object with an "address", not {_type(given)}')
        players[name] = _player(name, given, driver, file)
    found = _checked(players, driver, file)
    timeout = data.get("timeout", DEFAULT_TIMEOUT)
    insecure, precision = data.get("insecure", False), data.get("precision", USUAL)
    if type(timeout) not in (int, float) or not 0 < timeout < math.inf:
        raise ConfigError(f"{file}: timeout is a positive number of seconds, not {timeout!r}")
    author = data.get("author")
    if author is not None:
        check_name(author, f"{file}: author")
    if type(insecure) is not bool:
        raise ConfigError(f"{file}: insecure is true or false, not {insecure!r}")
    protocol = data.get("protocol", PROTOCOLS[0])
    if protocol not in PROTOCOLS:
        raise ConfigError(f"{file}: protocol is one of {list(PROTOCOLS)}, not {protocol!r}")
    return found | {
        "protocol": protocol,
        "keys": _folder(data, "keys", file),
        "state": _folder(data, "state", file),
        "timeout": float(timeout),
        "limits": _limits(data.get("limits", {}), file),
        "insecure": insecure,
        "precision": checked_precision(precision, str(file)),
        "policy": check_rules(data.get("policy", {}), players, str(file)),
        "author": author,
    }


def _limits(given: Any, file: Path) -> Limits:
    if not isinstance(given, dict):
        raise ConfigError(f"{file}: limits is an object with a number per limit, not {_type(given)}")
    _only(given, tuple(item.name for item in fields(Limits)), f"{file}: limits")
    for name, value in given.items():
        kinds, what = ((int, float), "seconds") if name == "early_seconds" else ((int,), "a whole number")
        if type(value) not in kinds or not 0 < value < 1 << 62:
            raise ConfigError(f"{file}: limits.{name} is {what}, more than 0, not {value!r}")
    limits = Limits(**given)
    if short := [name for name in ("max_frame_bytes", "max_body_bytes") if getattr(limits, name) < _LEAST_BYTES]:
        raise ConfigError(f"{file}: limits.{short[0]} is less than {_LEAST_BYTES}, which agreeing on a run takes")
    return limits


def _folder(data: dict[str, Any], name: str, file: Path) -> Path:
    folder = data.get(name, name)
    if not isinstance(folder, str) or not folder:
        raise ConfigError(f"{file}: {name} is the path of a directory, not {_type(folder)}")
    return file.parent / folder


def _player(name: str, given: dict[str, Any], driver: str | None, file: Path) -> Player:
    check_name(name, str(file))
    where = f"{file}: players.{name}"
    _only(given, _PLAYER_FIELDS, where)
    for key, value in given.items():
        if not isinstance(value, str) and key != "bulk_port":
            raise ConfigError(f"{where}.{key} is a string, not {_type(value)}")
    if "address" not in given:
        raise ConfigError(f"{where} has no address")
    role = given.get("role", _role(name, driver))
    if role not in _ROLES:
        raise ConfigError(f"{where}.role is one of {list(_ROLES)}, not {role!r}")
    host = _address(given["address"], f"{where}.address")
    if host in ("0.0.0.0", "[::]"):
        raise ConfigError(f"{where}.address is where others find {name}, which {host} is not: that goes in listen")
    if "listen" in given:
        _address(given["listen"], f"{where}.listen")
    key = given.get("public_key")
    if key is not None:
        try:
            check_key(key.encode(), f"{where}.public_key")
        except AuthenticationError as error:
            raise ConfigError(str(error)) from None
    bulk_port = given.get("bulk_port")
    if bulk_port is not None and not (type(bulk_port) is int and 1 <= bulk_port <= 65535):
        raise ConfigError(f"{where}.bulk_port is a port from 1 to 65535, not {bulk_port!r}")
    return Player(name, given["address"], cast(Role, role), key and key.encode(), given.get("listen"), bulk_port)


def _checked(players: dict[str, Player], driver: str | None, file: Path) -> dict[str, Any]:
    taken: dict[tuple[str, int], str] = {}
    for player in players.values():
        host, port = split_address(player.address)
        for number in {port, player.bulk_port or port}:
            place = ("127.0.0.1" if host == "localhost" else host.lower(), number)
            if (other := taken.setdefault(place, player.name)) != player.name:
                raise ConfigError(f"{file}: {other} and {player.name} have the same address {host}:{number}")
        if port == player.bulk_port:
            raise ConfigError(f"{file}: players.{player.name}.bulk_port is another one than that of its address")
    drivers = {player.name for player in players.values() if player.role == "driver"} | ({driver} if driver else set())
    if len(drivers) > 1:
        raise ConfigError(f"{file}: {sorted(drivers)} cannot all be the driver; more may submit by policy.drivers")
    check_servers([player.name for player in players.values() if player.role == "server"], str(file))
    return {
        "players": MappingProxyType(players),
        "driver": next(iter(drivers), None),
        "keys": file.parent / "keys",
        "state": file.parent / "state",
    }


def _role(name: str, driver: str | None) -> Role:
    if name == (driver or "driver"):
        return "driver"
    return "server" if name.startswith("server") else "owner"


def _address(address: str, where: str) -> str:
    try:
        return split_address(address)[0]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _only(data: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    """`where` is the file and, after a colon, the path of the object in it."""
    if unknown := [name for name in data if name not in known]:
        path = f"{where}: {unknown[0]}" if ": " not in where else f"{where}.{unknown[0]}"
        raise ConfigError(f"{path} is no field{_meant(unknown[0], known)}; known are {list(known)}")


def _meant(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" (is {close[0]} meant?)" if close else ""


def _unique(pairs: list[tuple[str, Any]], file: Path) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ConfigError(f"{file}: {twice} are named twice in one object")
    return data


def _refuse(message: str) -> None:
    raise ConfigError(message)


def _type(value: Any) -> str:
    names = {
        type(None): "null",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
    }
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
