"""Frames of peers and strangers that are not what they should be: runs go on, nodes stay up."""

from __future__ import annotations

import dataclasses
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from network import inprocess, my_data
from network.inprocess import EVERYBODY, Nodes, in_background, private, run, works

from jmpc.errors import AgreementError, FrameError, PeerError, RunAborted
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.runtime import orders
from jmpc.runtime.orders import Order, Submission
from jmpc.runtime.remote import RemoteSession
from jmpc.runtime.store import Generation


def test_frames_that_are_none(nodes: Nodes) -> None:
    server = nodes.nodes["server0"].transport
    endpoint = nodes.config().endpoints["server0"]
    before = dict(server.dropped)
    frames = [
        [b""],
        [b"\xc1"],
        [b"x" * 1000],
        [msgpack.packb((1, 2, bytes(16), (), (), b"", 9))],
        [msgpack.packb((1, 99, bytes(16), (), (), b""))],
        [msgpack.packb((2, 2, bytes(16), (), (), b""))],
        [msgpack.packb((1, 2, bytes(15), (), (), b""))],
        [msgpack.packb((1, 0, bytes(16), (0,), (1 << 40,), b""))],
        [msgpack.packb((1, 0, bytes(16), (0,), (8, 8), b"")), b"short"],
        [b"", *[b"x"] * 5000],
        [msgpack.packb((1, 2, bytes(16), (), (), bytes((1 << 26) + 1)))],  # a body beyond its limit
        [msgpack.packb((1, 2, bytes(16), [[()] * 1000] * 1000, (), b""))],  # far larger where it is read
    ]
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.routing_id = b"driver"
        socket.connect(endpoint)
        for frame in frames:
            socket.send_multipart(frame)
        inprocess.eventually(lambda: server.dropped.get("malformed", 0) - before.get("malformed", 0) == len(frames))
    with nodes.session() as session:
        works(session)


def test_orders_that_are_none(nodes: Nodes, nothing_sent: None) -> None:
    grants = {"alice": frozenset({"bob"})}
    honest = Order(bytes(16), bytes(16), grants, {"v": Generation(bytes(16), grants)}, names={"v": "w"}).encode()
    bodies = [b"", honest[:-1], honest + b"x", b"\x91" * 10_000, msgpack.packb([1, 2, 3])]
    bodies.append(msgpack.packb([[[]] * 60_000] * 20))
    for receivers, variables, names in [
        ([], {}, []),
        ({}, [], []),
        ([["alice", "bob"]], [], []),
        ([["alice", []]] * 2, [], []),
        ([], [["v", bytes(16), [1]]], []),
        ([], [["v", bytes(16), [["alice", [1]]]]], []),
        ([], [["v", bytes(16), []]] * 2, []),
        ([], [], {"v": "w"}),
        ([], [], ["v", "w"]),
        ([], [], [["v"]]),
        ([], [], [["v", 1]]),
        ([], [], [["v", ""]]),
        ([], [], [["v", "no name"]]),
        ([], [], [["v", "w" * 200]]),
        ([], [], [["v", "w"], ["v", "x"]]),
        ([], [], [["v", "w"], ["u", "w"]]),
    ]:
        body = msgpack.packb([bytes(16), bytes(16), receivers, variables, [], names, None])
        with pytest.raises(FrameError, match="order"):
            Order.decode(body)
        bodies.append(body)
    for iteration in (-1, 1 << 63, 1.0, "1", True, []):
        body = msgpack.packb([bytes(16), bytes(16), [], [], [], [], iteration])
        with pytest.raises(FrameError, match="order"):
            Order.decode(body)
        bodies.append(body)
    with nodes.stranger() as transport:
        for body in bodies:
            started = orders.new_run("driver")
            transport.open_run(started)
            transport.send("server0", Header(Kind.RUN, started, body=body))
            with pytest.raises(RunAborted, match="order|control frame|submit it again"):
                transport.wait_control(Kind.DONE, started, "server0")


def test_a_run_is_not_played_twice(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even if everything that the driver said is said again."""
    said: list[tuple[str, Header]] = []
    with nodes.session() as session:
        send = session.transport.send

        def noting(peer: str, header: Header, *args, **kwargs) -> None:
            said.append((peer, header))
            send(peer, header, *args, **kwargs)

        monkeypatch.setattr(session.transport, "send", noting)
        works(session)
        monkeypatch.undo()
        inprocess.eventually(lambda: all(n._clients["driver"].active is None for n in nodes.nodes.values()))
        before = nodes.shared_bytes()
        for peer, header in said:
            if header.kind in (Kind.RUN, Kind.COMMIT):
                send(peer, header)
        inprocess.eventually(lambda: caplog.text.count("opened before: every run needs a fresh id") == len(EVERYBODY))
        assert nodes.shared_bytes() == before
        server1 = nodes.nodes["server1"].transport
        inprocess.eventually(lambda: "of a run that is over" in server1.dropped)
        works(session)


def test_computations_of_another_driver_cannot_be_run(nodes: Nodes) -> None:
    with nodes.session() as session:
        works(session)
        ((known, _),) = session._known._entries.values()
        order = Order(session._id, known.invitation.submission, {}, {}).encode()
        with nodes.stranger("second-driver") as transport:
            started = orders.new_run("second-driver")
            transport.open_run(started)
            transport.send("server0", Header(Kind.RUN, started, body=order))
            with pytest.raises(RunAborted, match="submit it again"):
                transport.wait_control(Kind.DONE, started, "server0")


# -- players that do not belong, that say things twice, or that say nothing ------------------------------------------


@pytest.fixture
def going_on(nodes: Nodes, session: RemoteSession) -> Iterator[Callable[[], bytes]]:
    """A run of the driver, the servers and the data owner that waits for its provider; call it to get the run's id."""
    my_data.RELEASED.clear()
    results = []
    fetch = (private("data-owner", "stuck") + 1.0).reveal()
    end = in_background(lambda: results.extend(run(session, fetch)))

    def active() -> bytes:
        client = nodes.nodes["server0"]._clients.get("driver")
        return client.active.run if client is not None and client.active is not None else b""

    inprocess.eventually(lambda: bool(active()))
    try:
        yield active
    finally:
        my_data.RELEASED.set()
        raised = end()
        my_data.RELEASED.clear()
    assert raised is None
    np.testing.assert_allclose(results[0], np.ones(4), atol=1e-4)


def test_a_player_outside_of_a_run_changes_nothing_in_it(nodes: Nodes, going_on: Callable[[], bytes]) -> None:
    server, foreign = nodes.nodes["server0"].transport, going_on()
    before = server.dropped.get("of a player that takes no part in the run", 0)
    order = Order(bytes(16), bytes(16), {}, {}).encode()
    with nodes.stranger("second-driver") as transport:  # listed, but this is not its run
        transport.send("server0", Header(Kind.DATA, foreign, (0,)), [b"a share"])
        for kind in (Kind.HELLO, Kind.DONE, Kind.COMMIT):
            transport.send("server0", Header(kind, foreign))
        transport.send("server0", Header(Kind.ABORT, foreign, body=b"enough of this"))
        transport.send("server0", Header(Kind.RUN, foreign, body=order))
        transport.send("server0", Header(Kind.SUBMIT, foreign, body=Submission(bytes(16), b"x").encode()))
        assert orders.refusal(transport.wait_control(Kind.STATUS, foreign, "server0").body) is None  # taken, for it
        transport.wait_control(Kind.ABORT, foreign, "server0")  # of its order; and the run goes on
    inprocess.eventually(lambda: server.dropped["of a player that takes no part in the run"] == before + 5)
    assert going_on() == foreign


def test_a_driver_orders_no_run_of_an_id_that_another_has_made(nodes: Nodes, session: RemoteSession) -> None:
    """Who takes part in a run knows its id; where it has not been ordered yet, nobody else can be first."""
    works(session)
    started = orders.new_run("driver")
    with nodes.stranger("second-driver") as transport, pytest.MonkeyPatch.context() as patch:
        transport.open_run(started)
        transport.send("server0", Header(Kind.RUN, started, body=Order(bytes(16), bytes(16), {}, {}).encode()))
        with pytest.raises(RunAborted, match="an id that another driver has made"):
            transport.wait_control(Kind.DONE, started, "server0")
        patch.setattr("jmpc.runtime.orders.new_run", lambda driver: started)
        works(session)


def test_frames_of_runs_that_nobody_has_ordered(nodes: Nodes, session: RemoteSession) -> None:
    with nodes.stranger("second-driver") as transport:
        for _ in range(50):
            unknown = secrets.token_bytes(RUN_BYTES)
            transport.send("server0", Header(Kind.DATA, unknown, (0,)), [b"a share"])
            for kind in (Kind.HELLO, Kind.DONE, Kind.COMMIT, Kind.ABORT):
                transport.send("server0", Header(kind, unknown))
        works(session)


def test_a_server_that_sends_everything_twice(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = nodes.nodes["server1"].transport
    send = sender.send

    def twice(peer: str, header: Header, buffers: Sequence[Any] = (), timeout: float | None = None) -> None:
        send(peer, header, buffers, timeout)
        if header.kind is Kind.DATA:
            send(peer, header, [bytes(np.asarray(buffer).nbytes) for buffer in buffers], timeout)

    monkeypatch.setattr(sender, "send", twice)
    x = private("data-owner") * private("model-owner")
    np.testing.assert_allclose(run(session, x.reveal())[0], np.arange(4) * (10 + np.arange(4)), atol=1e-3)
    again = {"of a slot that came before", "of a run that is over"}
    inprocess.eventually(lambda: any(again & node.transport.dropped.keys() for node in nodes.nodes.values()))


def test_a_flood_of_orders_by_a_player_that_is_no_driver(nodes: Nodes, session: RemoteSession) -> None:
    """It does not even read the answers. Others do not wait for it."""
    nodes.stop("model-owner")
    try:
        with nodes.stranger("model-owner") as transport:
            body = Submission(bytes(16), bytes(84)).encode()
            for _ in range(3000):
                transport.send("server0", Header(Kind.SUBMIT, secrets.token_bytes(RUN_BYTES), body=body))
            start = time.monotonic()
            for factor in (2.0, 3.0):
                run(session, (private("data-owner") * factor).reveal())
            assert time.monotonic() - start < 10
    finally:
        nodes.start("model-owner")
        inprocess.eventually(lambda: in_background(lambda: works(session))() is None, 30)


def test_connections_that_say_nothing(nodes: Nodes, session: RemoteSession) -> None:
    host, port = nodes.config().endpoints["server0"].removeprefix("tcp://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(100)]
    half = b"\xff" + bytes(8) + b"\x7f\x03"  # of a greeting
    try:
        for connection in silent[:50]:
            connection.sendall(half)
        works(session)
    finally:
        for connection in silent:
            connection.close()
    works(session)


def test_a_player_that_takes_part_and_then_says_nothing(nodes: Nodes) -> None:
    """It is named, and the nodes are free again."""
    nodes.stop("model-owner")
    config = dataclasses.replace(nodes.config("driver"), timeout=2.0)
    try:
        with nodes.stranger("model-owner") as mute, RemoteSession(config) as session:

            def answer() -> None:
                sender, header = mute.control({Kind.SUBMIT}, timeout=20) or ("", Header(Kind.STATUS))
                for body in (orders.TAKEN, orders.Ready(frozenset()).encode()):
                    mute.send(sender, Header(Kind.STATUS, header.run, body=body))

            end = in_background(answer)
            with pytest.raises((PeerError, RunAborted, AgreementError), match="model-owner"):
                works(session)
            assert end() is None
            run(session, (private("data-owner") * 2.0).reveal())
    finally:
        nodes.start("model-owner")
