"""Hosts that are network namespaces of this machine, in a star whose links have latency, a rate, loss and partitions.

Where the kernel has netem, hosts are joined by a bridge and `tc` shapes both ends of each link; elsewhere
`network.forwarder` is the middle. `probe` measures what link came out of it, with plain sockets and nothing of jmpc.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from network.forwarder import MTU, NETWORK

ROOT = Path(__file__).parents[2]
CONGESTION = "reno"  # how TCP decides how much to send at once
_QUEUE_PACKETS = 10_000  # of netem, those under way among them


@dataclass(frozen=True)
class Conditions:
    """Of every host's link: one-way latency in seconds, bytes a second each way, the chance that a packet is lost."""

    latency: float = 0.0
    rate: float = 1e9
    loss: float = 0.0

    def __str__(self) -> str:
        lost = f", {self.loss:.0%} loss" if self.loss else ""
        return f"{1e3 * self.latency:g} ms one way, {8e-6 * self.rate:g} Mbit/s{lost}"


@dataclass(frozen=True)
class Measured:
    """What plain TCP sockets got from a link: seconds of a round trip of a byte, bytes a second of a long transfer."""

    round_trip: float
    rate: float


class Middle(Protocol):
    """What joins the hosts, which have numbers from 1; `kind` says it in words."""

    kind: str

    def change(self, conditions: Conditions, cut: frozenset[int]) -> None: ...

    def close(self) -> None: ...


@dataclass
class Hosts:
    """Namespaces by the names of their hosts. `middle` joins them."""

    namespaces: dict[str, str]
    middle: Middle
    conditions: Conditions = field(default_factory=Conditions)
    cut: frozenset[str] = frozenset()

    @property
    def numbers(self) -> dict[str, int]:
        return {host: number for number, host in enumerate(self.namespaces, start=1)}

    def address(self, host: str) -> str:
        return f"{NETWORK}.{self.numbers[host]}"

    def change(self, conditions: Conditions) -> None:
        """Other links for all hosts."""
        self.conditions = conditions
        self._apply()

    def part(self, *hosts: str) -> None:
        """Cuts these hosts off from all others, and heals what was cut before."""
        self.cut = frozenset(hosts)
        self._apply()

    def _apply(self) -> None:
        self.middle.change(self.conditions, frozenset(self.numbers[host] for host in self.cut))

    def command(self, host: str, *command: str | Path) -> list[str]:
        """The command line that runs a command on a host."""
        return ["ip", "netns", "exec", self.namespaces[host], *map(str, command)]

    def probe(self, one: str, other: str, size: int) -> Measured:
        """The link between two hosts, as measured just now: medians of 21 round trips and of 5 transfers of `size`."""
        listening = self.command(one, sys.executable, "-c", _PROBED, self.address(one))
        with subprocess.Popen(listening, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None and server.stdout.readline() == "ready\n"
                command = self.command(other, sys.executable, "-c", _PROBE, self.address(one), str(size))
                done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            finally:
                server.kill()
        said = json.loads(done.stdout)
        return Measured(statistics.median(said["round trips"]), size / statistics.median(said["transfers"]))


# A byte is echoed; a size in 8 bytes is followed by as many bytes, which are answered by one when all are there.
_PROBED = """
import socket, sys
with socket.create_server((sys.argv[1], 4000)) as listening:
    print("ready", flush=True)
    link, _ = listening.accept()
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while header := link.recv(8, socket.MSG_WAITALL):
        left = int.from_bytes(header, "big")
        while left:
            left -= len(link.recv(min(left, 1 << 20)))
        link.sendall(b"!")
"""
_PROBE = """
import json, socket, sys, time
link, size = socket.create_connection((sys.argv[1], 4000)), int(sys.argv[2])
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def took(size):
    start = time.perf_counter()
    link.sendall(size.to_bytes(8, "big") + bytes(size))
    link.recv(1)
    return time.perf_counter() - start
trips = [took(0) for _ in range(21)]
least = sorted(trips)[10]
print(json.dumps({"round trips": trips, "transfers": [max(1e-9, took(size) - least) for _ in range(5)]}))
"""


class Forwarded:
    """A middle that is `network.forwarder`."""

    kind = "This kernel has no netem: a process in the middle, `tests/network/forwarder.py`, moves packets"

    def __init__(self, namespaces: list[str]) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "network.forwarder", *namespaces],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._output.readline() == "ready\n", "network.forwarder did not start"

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def change(self, conditions: Conditions, cut: frozenset[int]) -> None:
        assert self._process.stdin is not None
        fields = {"latency": conditions.latency, "rate": conditions.rate, "loss": conditions.loss, "cut": sorted(cut)}
        self._process.stdin.write(json.dumps(fields) + "\n")
        self._process.stdin.flush()
        assert self._output.readline(), "network.forwarder has ended"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Bridged:
    """A middle that is a bridge in a namespace of its own, with netem at both ends of each link.

    The host's end delays, limits and loses what the host sends; the bridge's end limits what it receives.
    """

    kind = "A bridge joins them, and the kernel's netem shapes both ends of every link"

    def __init__(self, namespaces: list[str]) -> None:
        self._hosts, self._bridge = namespaces, f"{namespaces[0]}-bridge"
        _run(f"ip netns add {self._bridge}")
        self._in_bridge("ip link add bridge type bridge", "ip link set bridge up")
        for number, host in enumerate(namespaces, start=1):
            _run(f"ip link add eth0 netns {host} type veth peer name host{number} netns {self._bridge}")
            self._in_bridge(f"ip link set host{number} master bridge", f"ip link set host{number} up")
            _in(host, f"ip addr add {NETWORK}.{number}/24 dev eth0", f"ip link set eth0 mtu {MTU} up")

    def _in_bridge(self, *commands: str) -> None:
        _in(self._bridge, *commands)

    def change(self, conditions: Conditions, cut: frozenset[int]) -> None:
        rate = f"limit {_QUEUE_PACKETS} rate {8 * conditions.rate:.0f}bit"
        for number, host in enumerate(self._hosts, start=1):
            lost = 1.0 if number in cut else conditions.loss
            delay = f"delay {1e6 * conditions.latency:.0f}us loss {lost:%}"
            _in(host, f"tc qdisc replace dev eth0 root netem {rate} {delay}")
            self._in_bridge(f"tc qdisc replace dev host{number} root netem {rate} loss {float(number in cut):%}")

    def close(self) -> None:
        _run(f"ip netns del {self._bridge}")


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)


def _in(namespace: str, *commands: str) -> None:
    for command in commands:
        _run(f"ip netns exec {namespace} {command}")


def obstacle() -> str | None:
    """Why this machine cannot have hosts; None if it can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if missing := [program for program in ("ip", "tc", "sysctl") if shutil.which(program) is None]:
        return f"{', '.join(missing)} not installed"
    name = f"jmpc{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are forbidden here: {made.stderr.strip()}"
    try:
        if not _has_netem(name) and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            return "the kernel has neither netem nor /dev/net/tun"
    finally:
        _run(f"ip netns del {name}")
    return None


def _has_netem(namespace: str) -> bool:
    command = f"ip netns exec {namespace} tc qdisc add dev lo root netem delay 1ms"
    return subprocess.run(command.split(), capture_output=True).returncode == 0


@contextmanager
def made(*names: str) -> Iterator[Hosts]:
    """Hosts of these names, with links that are as fast as they get."""
    namespaces = {name: f"jmpc{os.getpid()}-{name}" for name in names}
    middle: Middle | None = None
    try:
        for namespace in namespaces.values():
            _run(f"ip netns add {namespace}")
            # All kernels have it; BBR would hold on to the least round trip for ten seconds after links are changed.
            _in(namespace, "ip link set lo up", f"sysctl -q net.ipv4.tcp_congestion_control={CONGESTION}")
        inside = list(namespaces.values())
        middle = Bridged(inside) if _has_netem(inside[0]) else Forwarded(inside)
        yield Hosts(namespaces, middle)
    finally:
        if middle is not None:
            middle.close()
        for namespace in namespaces.values():
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)
