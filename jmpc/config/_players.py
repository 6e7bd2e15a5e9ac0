"""A player, its name and its address; and what every configuration says of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Literal

from ..errors import ConfigError
from ..precision import HIGHEST, LOWEST, Precision

Role = Literal["server", "owner", "driver"]
PLAYER_VARIABLE: Final = "JMPC_PLAYER"

_SERVERS: Final = 3
# A name is also the name of a key file and a routing id.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


@dataclass(frozen=True)
class Player:
    """A named process. `address` is "host:port", empty on one machine; `listen` is where it binds
    if not there; at `bulk_port` of the same hosts it takes large arrays, if it has one."""

    name: str
    address: str
    role: Role
    public_key: bytes | None = None
    listen: str | None = None
    bulk_port: int | None = None


def player_of(environment: Mapping[str, str]) -> str | None:
    """The player that a script is, of those that all run it; None if the environment does not say that they do."""
    return environment.get(PLAYER_VARIABLE) or None


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


def check_servers(servers: Sequence[str], where: str) -> None:
    if len(servers) < _SERVERS:
        raise ConfigError(
            f"{where}: {_SERVERS} servers are needed to share a secret among, "
            f"there are {len(servers)} {list(servers)}: name players server0, server1, server2"
        )


def check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {name!r} is no name for a player: letters, digits, '-', '_' and '.' are, "
            "at most 64, a letter or digit first"
        )


def checked_precision(value: Any, where: str) -> int:
    try:
        return Precision.of(value).fraction
    except ValueError:
        raise ConfigError(
            f"{where}: precision is a number of fractional bits from {LOWEST} to {HIGHEST}, not {value!r}"
        ) from None
