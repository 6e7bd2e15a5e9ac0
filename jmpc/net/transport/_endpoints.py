"""Endpoints: which are acceptable together, which are this machine, and where to bind."""

import ipaddress
import socket
from collections.abc import Mapping

import zmq

from ...errors import ConfigError
from ..keys import KeyRing


def is_loopback(host: str) -> bool:
    """Whether a host, as written in an address, is this machine and no other."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check_endpoints(name: str, endpoints: Mapping[str, str], keys: KeyRing | None, context: zmq.Context | None) -> None:
    """Check that a player can use these endpoints with these keys.

    Raises:
        ConfigError: the player is missing, schemes are mixed, or keys do not go with them.
    """
    if name not in endpoints:
        raise ConfigError(f"no player {name!r} in the configuration; known are {sorted(endpoints)}")
    schemes = {endpoint.partition("://")[0] for endpoint in endpoints.values()}
    if schemes not in ({"tcp"}, {"inproc"}):
        raise ConfigError(f"endpoints are all tcp://host:port or all inproc://name, not {sorted(schemes)}")
    if keys is None:
        return
    if schemes == {"inproc"}:
        raise ConfigError("players in one process need no keys: ZeroMQ would silently ignore them")
    if context is not None:
        # ZAP has one endpoint per context, and every player knows other keys.
        raise ConfigError("a player with keys makes its own context; a shared one is for players in one process")


def check_plain_text(name: str, endpoints: Mapping[str, str], insecure: bool) -> None:
    """Check that plain text was asked for and stays on this machine.

    Raises:
        ConfigError: it was not, or does not.
    """
    over_tcp = {player: endpoint for player, endpoint in endpoints.items() if endpoint.startswith("tcp:")}
    remote = [player for player, endpoint in over_tcp.items() if not is_loopback(_host(endpoint))]
    if over_tcp and (remote or not insecure):
        raise ConfigError(
            f"{name} has no keys, and plain text is for loopback with insecure=True only "
            f"(not loopback: {remote or 'none'}): make keys with `jmpc-admin keygen`"
        )


def _host(endpoint: str) -> str:
    return endpoint.partition("://")[2].rpartition(":")[0]


def resolve(endpoint: str) -> str:
    """The endpoint to bind: libzmq resolves host names only where it connects."""
    if endpoint.startswith("inproc:"):
        return endpoint
    host, port = _host(endpoint).strip("[]"), endpoint.rpartition(":")[2]
    address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4][0]
    return f"tcp://[{address}]:{port}" if ":" in str(address) else f"tcp://{address}:{port}"
