"""A cluster of nodes as threads of this process, and drivers of them; plain text on loopback, or CURVE if asked."""

from __future__ import annotations

import dataclasses
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from network import my_data

import jmpc
from jmpc.api.graph import build
from jmpc.api.run import opened
from jmpc.computation import Computation
from jmpc.config import RemoteConfig
from jmpc.net.computations import encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.keys import generate
from jmpc.net.transport import Transport
from jmpc.policy import Policy
from jmpc.protocols.rep3 import Rep3
from jmpc.providers import Provider, Registry, Sink
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.node import Node
from jmpc.runtime.orders import Submission
from jmpc.runtime.remote import RemoteSession
from jmpc.runtime.store import Store

SERVERS = ("server0", "server1", "server2")
OWNERS = ("data-owner", "model-owner")
DRIVERS = ("driver", "second-driver")
EVERYBODY = (*SERVERS, *OWNERS)
POLICY = {
    "reveal_to": {"data-owner": ["driver", "data-owner"], "model-owner": ["driver", "model-owner"]},
    "max_equations": 500,
    "max_lowered_equations": 10_000,
    "max_loop_iterations": 2000,
    "max_operations": 1 << 32,
    "max_known_operations": 1 << 28,
    "max_memory_bytes": 1 << 28,
    "max_stored_bytes": 10_000,
    "max_computation_bytes": 1 << 20,
}
COMPILER = Compiler()  # one for all nodes of this process, so that nothing is compiled five times


@dataclass
class Nodes:
    """Nodes that are started, stopped and looked into."""

    path: Path
    registry: Registry
    nodes: dict[str, Node] = field(default_factory=dict)
    threads: dict[str, threading.Thread] = field(default_factory=dict)
    metrics: str = ""  # where one of them shows its figures

    def config(self, player: str | None = None) -> RemoteConfig:
        return RemoteConfig.load(self.path, player=player)

    def start(self, *names: str, drivers: tuple[str, ...] = (), **rules: Any) -> None:
        """`rules` are what these nodes do otherwise than their configuration says."""
        for name in names:
            policy = dataclasses.replace(Policy.default(self.config(), name, drivers), **rules)
            self.adopt(Node(self.config(), name, self.registry, Rep3, policy))

    def adopt(self, node: Node) -> None:
        """Starts a node that was made elsewhere."""
        node._host.make_compiler = lambda: COMPILER
        self.nodes[node.name] = node
        self.threads[node.name] = threading.Thread(target=node.serve, daemon=True)
        self.threads[node.name].start()

    def stop(self, *names: str) -> None:
        for name in names or tuple(self.nodes):
            self.nodes.pop(name).stop()
            self.threads[name].join(10)
            assert not self.threads.pop(name).is_alive(), f"{name} did not stop"

    def session(self, driver: str = "driver") -> RemoteSession:
        made = RemoteSession(self.config(driver))
        made._compiler = COMPILER
        return made

    def shared_bytes(self) -> int:
        """Bytes of arrays that all nodes have sent: shares, openings, never control."""
        return sum(c.payload for node in self.nodes.values() for c in node.transport.sent.peers().values())

    def store(self, name: str, driver: str = "driver") -> Store:
        """The variables of a driver at a node, when its runs have ended there."""
        client = self.nodes[name]._clients.get(driver)
        if client is None:
            return Store()
        ended = threading.Event()
        assert client._running.offer(ended.set) and ended.wait(20)
        return client.store

    def stored(self, name: str, driver: str = "driver") -> Mapping[str, Any]:
        """The generations of `store`."""
        return self.store(name, driver)._generations

    @contextmanager
    def stranger(self, name: str = "driver") -> Iterator[Transport]:
        """A player's transport without anything of jmpc behind it."""
        config = self.config(name)
        with Transport(name, config.endpoints, insecure=True, timeout=20.0, linger=0.2) as transport:
            yield transport

    def ask(self, transport: Transport, kind: Kind, run: bytes, body: bytes, *peers: str) -> dict[str, bytes]:
        """The last answer of each node to a submission."""
        for peer in peers:
            transport.send(peer, Header(kind, run, body=body))
        answers = {}
        for peer in peers:
            answers[peer] = transport.wait_control(Kind.STATUS, run, peer).body
            if answers[peer] == b"taken":
                answers[peer] = transport.wait_control(Kind.STATUS, run, peer).body
        return answers


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def built(*fetches: Any) -> Computation:
    return build(fetches, SERVERS, "driver", 18).computation


def submit(
    nodes: Nodes, transport: Transport, computation: bytes | Computation, *peers: str, session: bytes | None = None
) -> dict[str, bytes]:
    """Submits a computation as it is; what each node answers in the end."""
    data = computation if isinstance(computation, bytes) else encode_computation(computation)
    body = Submission(session or secrets.token_bytes(RUN_BYTES), data).encode()
    return nodes.ask(transport, Kind.SUBMIT, secrets.token_bytes(RUN_BYTES), body, *peers)


def make(folder: Path, owners: tuple[str, ...] = OWNERS, registry: Registry | None = None, **fields: Any) -> Nodes:
    """A cluster that is not started yet; `fields` go into its configuration, `insecure=False` gives it keys."""
    names = (*SERVERS, *owners, *DRIVERS)
    addresses = {n: {"address": f"127.0.0.1:{port}"} for n, port in zip(names, free_ports(len(names)), strict=True)}
    policy = {"drivers": list(DRIVERS), **fields.pop("policy", {})}
    path = folder / "config.json"
    data = {"players": addresses, "driver": "driver", "insecure": True, "timeout": 6, "policy": policy, **fields}
    path.write_text(json.dumps(data))
    if not data["insecure"]:
        generate(names, folder / "keys")
    return Nodes(path, registry or _registry())


def _registry() -> Registry:
    entries = vars(my_data).values()
    providers = {value.name: value for value in entries if isinstance(value, Provider)}
    sinks = {value.name: value for value in entries if isinstance(value, Sink)}
    return Registry(providers, sinks)


def private(player: str, name: str = "vector", **options: Any) -> jmpc.Value:
    return jmpc.define_private_input(player, name, types=my_data.VECTOR, **options)


def run(session: RemoteSession, *fetches: Any) -> list[Any]:
    """`jmpc.run` in a session of its own, without variables that have not been assigned."""
    built = build(fetches, session.servers, session.driver, session.fraction)
    return opened(built, session.run(built), session.me)


def works(session: RemoteSession) -> None:
    """The cluster answers this driver."""
    total = private("data-owner") + private("model-owner")
    np.testing.assert_allclose(run(session, total.reveal())[0], 10 + 2 * np.arange(4), atol=1e-4)


def local(player: str, fn: Callable[..., Any], *args: Any) -> Any:
    return jmpc.define_local_computation(player, fn, *args)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for what happens soon."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def in_background(fn: Callable[[], Any]) -> Callable[[], BaseException | None]:
    """Starts `fn`; call the result to wait for its end and get what it raised."""
    raised: list[BaseException] = []

    def body() -> None:
        try:
            fn()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def end() -> BaseException | None:
        thread.join(60)
        assert not thread.is_alive(), "it did not end"
        return raised[0] if raised else None

    return end


def long_loop(turns: int = 100_000, x: jmpc.Value | None = None) -> jmpc.Value:
    """Secret multiplications one after the other, with messages in every turn: a run that takes minutes."""

    @jmpc.function
    def chain(x):
        return jax.lax.scan(lambda c, _: (c * x, None), x, length=turns)[0]

    return chain((private("data-owner") if x is None else x) * 0.1)
