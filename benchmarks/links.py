"""`python -m benchmarks.links`: what jmpc's links carry, with and without a second port for large arrays, beside bare
ZeroMQ sockets with and without CURVE.

Two processes on loopback, in turns within one run: gigabytes a second of large arrays one way, and the time that a
small message takes there and back.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq

from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.keys import KeyRing
from jmpc.net.transport import Transport

SMALL = 1024
WARM_UP = 4  # large arrays before it counts: the second port is tried out with them
PORT = "jmpc with a second port"


@dataclass(frozen=True)
class Plan:
    """What is sent, and how: `how` is "jmpc", "jmpc with a second port", "CURVE" or "plain"."""

    how: str
    endpoints: dict[str, str]
    bulk: dict[str, str]
    rings: dict[str, KeyRing]
    arrays: int
    size: int  # of an array, in bytes
    rounds: int  # of a small message there and back


def rings() -> dict[str, KeyRing]:
    pairs = {name: zmq.curve_keypair() for name in ("a", "b")}
    return {name: KeyRing(*pairs[name], {peer: pairs[peer][0] for peer in pairs if peer != name}) for name in pairs}


# -- jmpc ------------------------------------------------------------------------------------------------------


def _jmpc(plan: Plan, me: str, peer: str, body: Callable[[Any, Any], Any]) -> Any:
    run = bytes(RUN_BYTES)
    with Transport(me, plan.endpoints, keys=plan.rings[me], bulk=plan.bulk, timeout=60.0) as transport:
        transport.open_run(run)
        counts = [0, 0]

        def send(data: Any) -> None:
            counts[0] += 1
            transport.send(peer, Header(Kind.DATA, run, (counts[0],)), [data])

        def receive() -> Any:
            counts[1] += 1
            return transport.receive(peer, run, (counts[1],))[0]

        return body(send, receive)


# -- bare sockets ----------------------------------------------------------------------------------------------


def _bare(plan: Plan, me: str, peer: str, body: Callable[[Any, Any], Any]) -> Any:
    context = zmq.Context(io_threads=2)
    made = context.socket(zmq.PAIR)
    if plan.how == "CURVE":
        ring = plan.rings[me]
        made.curve_publickey, made.curve_secretkey = ring.own_public, ring.own_secret
        if me == "a":
            made.curve_serverkey = ring.peers[peer]
        else:
            made.curve_server = True
    made.set_hwm(1000)
    if me == "a":
        made.connect(plan.endpoints[peer])
    else:
        made.bind(plan.endpoints[me])

    def send(data: Any) -> None:
        made.send(data, copy=len(data) < 1 << 16)

    def receive() -> Any:
        return made.recv(copy=False).buffer

    try:
        return body(send, receive)
    finally:
        made.close(1000)
        context.term()


def _run(plan: Plan, me: str, peer: str, body: Callable[[Any, Any], Any]) -> Any:
    """In a thread that is not the main one, as a node's runs are."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_jmpc if plan.how.startswith("jmpc") else _bare, plan, me, peer, body).result()


def _answer(plan: Plan) -> None:
    """What b does: says when all arrays are there, and sends every small message back."""

    def body(send: Any, receive: Any) -> None:
        receive()
        send(b"ready")
        for _ in range(WARM_UP):
            receive()
            send(b"more")
        for _ in range(plan.arrays):
            receive()
        send(b"all")
        for _ in range(plan.rounds):
            send(bytes(receive()))
        receive()

    _run(plan, "b", "a", body)


def measure(plan: Plan) -> tuple[float, float]:
    """Gigabytes a second, and the median microseconds there and back."""
    other = multiprocessing.get_context("spawn").Process(target=_answer, args=(plan,))
    other.start()
    array = np.frombuffer(secrets.token_bytes(plan.size), np.uint8)

    def body(send: Any, receive: Any) -> tuple[float, float]:
        send(b"hello")
        receive()
        for _ in range(WARM_UP):
            send(array)
            receive()
        start = time.perf_counter()
        for _ in range(plan.arrays):
            send(array)
        receive()
        speed = plan.arrays * plan.size / (time.perf_counter() - start) / 1e9
        times, message = [], bytes(SMALL)
        for _ in range(plan.rounds):
            start = time.perf_counter()
            send(message)
            receive()
            times.append(time.perf_counter() - start)
        send(b"end")
        return speed, statistics.median(times) * 1e6

    try:
        return _run(plan, "a", "b", body)
    finally:
        other.join(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--arrays", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=32, help="of an array")
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"plain": [], "CURVE": [], "jmpc": [], PORT: []}
    for _ in range(options.repeats):
        for how, rows in found.items():
            bulk = _endpoints() if how == PORT else {}
            plan = Plan(how, _endpoints(), bulk, rings(), options.arrays, options.megabytes << 20, options.rounds)
            rows.append(measure(plan))
    speeds, trips = ({how: statistics.median(row[i] for row in rows) for how, rows in found.items()} for i in (0, 1))
    for how in found:
        print(f"{how:23s} {speeds[how]:6.2f} GB/s, {trips[how]:7.0f} microseconds there and back")
    print(f"jmpc carries {speeds['jmpc'] / speeds['CURVE']:.2f} of bare CURVE;")
    print(f"with a second port {speeds[PORT] / speeds['plain']:.2f} of plain text;")
    print(f"it adds {(trips['jmpc'] - trips['CURVE']) / 2:.0f} microseconds to a round")


def _endpoints() -> dict[str, str]:
    probes = [socket.socket() for _ in range(2)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    made = {name: f"tcp://127.0.0.1:{it.getsockname()[1]}" for name, it in zip("ab", probes, strict=True)}
    for probe in probes:
        probe.close()
    return made


if __name__ == "__main__":
    main()
