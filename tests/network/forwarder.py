"""`python -m network.forwarder NAMESPACE...`: the middle of a star of hosts, where the kernel has no netem.

Each host is a network namespace with a TUN device; host k has the address 10.77.0.k. This one process moves IP packets
between them. On its way a packet waits until the sender's line has carried what is before it, at `rate` bytes a
second, then travels for `latency` seconds, then waits for the receiver's line in the same way. `loss` is the chance
that it gets lost on the sender's line; a host among `cut` sends and receives nothing, and nobody is told.

A line of JSON with these fields on the standard input changes them, and is answered with a line of what has been
carried. Nothing here is exact below some 20 microseconds: measure the link that comes out.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field

NETWORK = "10.77.0"
MTU = 1500
_QUEUE_SECONDS = 1.0  # that a line is ahead of what it has carried; more is dropped
_BATCH = 32  # packets of one host before the others are looked at
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


@dataclass
class Line:
    """From a host to the middle, or back: when it will have carried all that was put on it."""

    free: float = 0.0

    def carry(self, now: float, seconds: float) -> float | None:
        """When something that takes it so long is through; None if too much waits."""
        start = max(now, self.free)
        if start - now > _QUEUE_SECONDS:
            return None
        self.free = start + seconds
        return self.free


@dataclass
class Middle:
    """Carries packets between hosts, by their numbers."""

    devices: dict[int, int]  # file descriptors
    latency: float = 0.0
    rate: float = float("inf")
    loss: float = 0.0
    cut: frozenset[int] = frozenset()
    carried: int = 0
    dropped: int = 0
    lost: int = 0
    _due: list[tuple[float, int, int, bytes, bool]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self._up = {host: Line() for host in self.devices}
        self._down = {host: Line() for host in self.devices}
        self._random = random.Random(1)

    def change(self, latency: float, rate: float, loss: float, cut: list[int]) -> str:
        """Other properties from now on; what was carried until now, as JSON."""
        self.latency, self.rate, self.loss, self.cut = latency, rate, loss, frozenset(cut)
        return json.dumps({"carried": self.carried, "dropped": self.dropped, "lost": self.lost})

    def serve(self) -> None:
        """Until the standard input ends."""
        hosts = {device: host for host, device in self.devices.items()}
        commands = sys.stdin.fileno()
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select([*hosts, commands], [], [], wait)
            for found in ready:
                if found != commands:
                    self._take(hosts[found], found)
                elif line := sys.stdin.readline():
                    print(self.change(**json.loads(line)), flush=True)
                else:
                    return
            self._move()

    def _take(self, host: int, device: int) -> None:
        for _ in range(_BATCH):
            try:
                packet = os.read(device, 1 << 16)
            except BlockingIOError:
                return
            if packet[0] >> 4 != 4 or packet[19] not in self.devices:
                continue
            if host in self.cut or packet[19] in self.cut or (self.loss and self._random.random() < self.loss):
                self.lost += 1
                continue
            now = time.monotonic()
            through = self._up[host].carry(now, len(packet) / self.rate)
            if through is None:
                self.dropped += 1
            else:
                self._later(through + self.latency, packet, arrived=False)

    def _later(self, when: float, packet: bytes, arrived: bool) -> None:
        self._count += 1  # packets of one instant keep their order
        heapq.heappush(self._due, (when, self._count, packet[19], packet, arrived))

    def _move(self) -> None:
        """Everything whose time has come, from one line to the next or to its host."""
        while self._due and self._due[0][0] <= time.monotonic():
            when, _, host, packet, arrived = heapq.heappop(self._due)
            if not arrived:
                through = self._down[host].carry(when, len(packet) / self.rate)
                if through is None:
                    self.dropped += 1
                else:
                    self._later(through, packet, arrived=True)
            elif host not in self.cut:
                os.write(self.devices[host], packet)
                self.carried += 1


def _device(namespace: str, host: int) -> int:
    """A TUN device with the host's address in a namespace; its file descriptor. Leaves this thread there."""
    with open(f"/run/netns/{namespace}") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"eth0", _IFF_TUN | _IFF_NO_PI))
    for command in (f"addr add {NETWORK}.{host}/24 dev eth0", f"link set eth0 mtu {MTU} txqueuelen 2000 up"):
        subprocess.run(["ip", *command.split()], check=True)
    return device


def main() -> None:
    middle = Middle({host: _device(namespace, host) for host, namespace in enumerate(sys.argv[1:], start=1)})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # packets do not wait for a free core
    except PermissionError:
        pass
    print("ready", flush=True)
    middle.serve()


if __name__ == "__main__":
    main()
