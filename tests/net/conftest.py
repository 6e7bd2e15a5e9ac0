"""Players of one process, over inproc or loopback TCP, with and without keys."""

import socket
from collections.abc import Callable, Iterator

import pytest
import zmq

from jmpc.net import KeyRing, Transport


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    with zmq.Context() as made:
        yield made


@pytest.fixture
def start() -> Iterator[Callable[..., Transport]]:
    """Makes transports that are closed after the test."""
    made: list[Transport] = []

    def make(*args, **kwargs) -> Transport:
        made.append(Transport(*args, **{"linger": 0.2, "timeout": 5.0, **kwargs}))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def inproc(context, start) -> Callable[..., list[Transport]]:
    """Makes one transport per name, all in this process."""

    def make(*names: str, **kwargs) -> list[Transport]:
        endpoints = {name: f"inproc://{name}" for name in names}
        return [start(name, endpoints, context=context, **kwargs) for name in names]

    return make


@pytest.fixture
def curve(start) -> Callable[..., list[Transport]]:
    """Makes one transport per name, over TCP with keys of its own."""

    def make(*names: str, **kwargs) -> list[Transport]:
        endpoints, rings = _tcp_endpoints(*names), _key_rings(*names)
        return [start(name, endpoints, keys=rings[name], **kwargs) for name in names]

    return make


@pytest.fixture
def tcp_endpoints() -> Callable[..., dict[str, str]]:
    return _tcp_endpoints


@pytest.fixture
def key_rings() -> Callable[..., dict[str, KeyRing]]:
    return _key_rings


def _tcp_endpoints(*names: str) -> dict[str, str]:
    """A free loopback port for each player."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return {name: f"tcp://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}


def _key_rings(*names: str) -> dict[str, KeyRing]:
    """Fresh keys; every player knows every other one's."""
    pairs = {name: zmq.curve_keypair() for name in names}
    return {name: KeyRing(*pairs[name], {peer: pairs[peer][0] for peer in names if peer != name}) for name in names}
