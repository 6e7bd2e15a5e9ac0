"""Runs that go on without owners that are down, die, are late, or say different things; and when they do not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from network import inprocess
from network.inprocess import SERVERS, Nodes, in_background, run

import jmpc
import jmpc.net.handshake
from jmpc.api.account import account
from jmpc.api.graph import build
from jmpc.choreography.programs import Frame
from jmpc.errors import OwnersMissing, PeerError, PolicyError, RunAborted
from jmpc.net.framing import Header, Kind
from jmpc.net.handshake import Hello, decode_hello, encode_hello
from jmpc.policy import Policy
from jmpc.providers import Provider, Registry
from jmpc.runtime import audit
from jmpc.runtime.host import audit_path
from jmpc.runtime.links import TransportLink
from jmpc.runtime.orders import Ready
from jmpc.runtime.remote import RemoteSession
from jmpc.storage.key import storage_key

OWNERS = tuple(f"owner-{i}" for i in range(4))
EVERYBODY = (*SERVERS, *OWNERS)
FOUR = jax.ShapeDtypeStruct((4,), "float32")
TIMEOUT, DEADLINE = 4, 2.0


class Data:
    """What owners bring: their numbers, after what they do first."""

    def __init__(self) -> None:
        self.first: dict[str, Callable[[], None]] = {}

    def __call__(self, player: str) -> np.ndarray:
        self.first.pop(player, lambda: None)()
        return np.arange(4, dtype=np.float32) + int(player.rpartition("-")[2])


DATA = Data()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    registry = Registry({"number": Provider("number", FOUR, DATA)}, {})
    made = inprocess.make(tmp_path_factory.mktemp("dropouts"), OWNERS, registry, timeout=TIMEOUT)
    made.start(*EVERYBODY)
    yield made
    made.stop()


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    """All of them, as they are without special rules."""
    DATA.first.clear()
    for player in EVERYBODY:
        node = cluster.nodes.get(player)
        if node is None or node._stopped.is_set() or node._policy != Policy.default(cluster.config(), player):
            restart(cluster, player)
    return cluster


@pytest.fixture
def session(nodes: Nodes) -> Iterator[RemoteSession]:
    with nodes.session() as made:
        yield made


def contributions(*owners: str) -> dict[str, jmpc.Value]:
    return {o: jmpc.define_private_input(o, "number", types=FOUR, range=(-16, 16)) for o in owners or OWNERS}


def mean_and_present(min_owners: int = 2, deadline: float | None = DEADLINE) -> list[jmpc.Value]:
    values, present = jmpc.gather(contributions(), min_owners=min_owners, deadline=deadline)
    return [jmpc.average(values, present).reveal(), present]


def expect(result: Sequence[Any], *there: int) -> None:
    """The mean over these owners, exact to one ulp, and that they were there."""
    mean, present = result
    assert [i for i, is_there in enumerate(present) if is_there] == list(there)
    np.testing.assert_allclose(mean, np.arange(4) + np.mean(there), atol=2**-18)


def kill(nodes: Nodes, player: str) -> None:
    """From one instant to the next nothing more is heard of a node: as kill -9, in this process."""
    nodes.nodes[player].transport.close()
    nodes.nodes[player].stop()


def restart(nodes: Nodes, player: str, **rules: Any) -> None:
    if player in nodes.nodes:
        nodes.stop(player)
    nodes.start(player, **rules)


def back(session: RemoteSession, wanted: Sequence[jmpc.Value], *there: int) -> None:
    """Soon these owners are there."""
    inprocess.eventually(lambda: all(run(session, *wanted)[1][list(there)]), 20)
    expect(run(session, *wanted), *there)


def seconds(fn: Callable[[], Any]) -> float:
    start = time.monotonic()
    fn()
    return time.monotonic() - start


def test_with_all_there_bytes_and_rounds_are_those_of_the_account(nodes: Nodes, session: RemoteSession) -> None:
    wanted = mean_and_present()
    prepared = session.prepare(build(wanted, session.servers, session.driver, session.fraction).computation)
    said = account(prepared, session.driver)
    expect(run(session, *wanted), 0, 1, 2, 3)
    before = nodes.shared_bytes()
    expect(run(session, *wanted), 0, 1, 2, 3)
    assert nodes.shared_bytes() - before == said.bytes_sent()
    assert said.rounds == 5  # contributions, who took part, that all go on with these, truncation, opening
    flags = [(f.src, f.dst) for f in said.cost.frames if f.size == 1 and f.bits == len(OWNERS) and f.dst != "driver"]
    assert sorted(flags) == sorted([(a, b) for a in SERVERS for b in SERVERS if a != b] * 2)
    opened = {(r.why, r.dst): r.inputs for r in said.releases}
    assert all(not opened["who took part", server] for server in SERVERS)
    assert opened["reveal to driver", "driver"] == set(OWNERS)


def test_owners_that_were_never_there_cost_nothing_after_the_first_time(
    nodes: Nodes, session: RemoteSession, caplog: pytest.LogCaptureFixture
) -> None:
    nodes.stop("owner-1", "owner-3")
    wanted = mean_and_present()
    with caplog.at_level(logging.WARNING, logger="jmpc"):
        expect(run(session, *wanted), 0, 2)
        assert seconds(lambda: [expect(run(session, *wanted), 0, 2) for _ in range(3)]) < DEADLINE
    told = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert len(told) == 1 and "owner-1" in told[0] and "owner-3" in told[0] and "owner-0" not in told[0]
    nodes.start("owner-3")
    back(session, wanted, 0, 2, 3)


def test_an_owner_dies_in_a_run_and_comes_back(nodes: Nodes, session: RemoteSession) -> None:
    wanted = mean_and_present()
    expect(run(session, *wanted), 0, 1, 2, 3)
    DATA.first["owner-1"] = lambda: kill(nodes, "owner-1")
    expect(run(session, *wanted), 0, 2, 3)
    assert seconds(lambda: [expect(run(session, *wanted), 0, 2, 3) for _ in range(3)]) < DEADLINE
    restart(nodes, "owner-1")
    back(session, wanted, 0, 1, 2, 3)
    log, key = audit_path(nodes.config(), "server1"), storage_key(nodes.config().keys, "server1")
    missing = [entry.get("missing") for entry in audit.read(log, key)[0] if "ended" in entry]
    assert ["owner-1"] in missing and missing[-1] is None


def test_a_late_owner_changes_nothing(nodes: Nodes, session: RemoteSession) -> None:
    wanted, come = mean_and_present(deadline=0.5), threading.Event()
    expect(run(session, *wanted), 0, 1, 2, 3)
    DATA.first["owner-2"] = lambda: come.wait(30) and None
    expect(run(session, *wanted), 0, 1, 3)
    come.set()  # now it shares its numbers, with a run that is over
    back(session, wanted, 0, 1, 2, 3)


def test_what_an_owner_sends_twice_counts_once(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = nodes.nodes["owner-1"].transport
    send = sender.send

    def thrice(peer: str, header: Header, buffers: Sequence[Any] = (), timeout: float | None = None) -> None:
        send(peer, header, buffers, timeout)
        if header.kind is Kind.DATA:
            for fill in (0, 255):
                send(peer, header, [bytes([fill]) * np.asarray(b).nbytes for b in buffers], timeout)

    monkeypatch.setattr(sender, "send", thrice)
    wanted = mean_and_present()
    for _ in range(2):
        expect(run(session, *wanted), 0, 1, 2, 3)
    again = {"of a slot that came before", "of a run that is over"}
    inprocess.eventually(lambda: bool(again & nodes.nodes["server1"].transport.dropped.keys()))


def _other_keys(monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> None:
    """The owner tells one server another contribution to their common keys than the others."""
    sender = nodes.nodes["owner-1"].transport
    send = sender.send

    def lie(peer: str, header: Header, *args: Any, **kwargs: Any) -> None:
        if header.kind is Kind.HELLO and header.slot == (0,) and peer == "server0":
            hello = decode_hello(header.body)
            body = encode_hello(hello, [bytes(32) for _ in hello.contributions])
            header = Header(Kind.HELLO, header.run, (0,), body=body)
        send(peer, header, *args, **kwargs)

    monkeypatch.setattr(sender, "send", lie)


def _other_program(monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> None:
    """The owner would run something else."""
    encode = jmpc.net.handshake.encode_hello

    def other(hello: Hello, contributions: Sequence[bytes]) -> bytes:
        if threading.current_thread() is nodes.nodes["owner-1"]._clients["driver"]._running._thread:
            hello = Hello(hello.runtime, bytes(32), hello.nonce, hello.players, hello.key_sets, ())
        return encode(hello, contributions)

    monkeypatch.setattr(jmpc.net.handshake, "encode_hello", other)


def _other_sizes(monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> None:
    """The owner sends one server too little."""
    send = TransportLink.send

    def short(link: TransportLink, frame: Frame, slot: Any, buffers: Sequence[np.ndarray]) -> None:
        if (frame.src, frame.dst) == ("owner-1", "server2"):
            buffers = [buffer[..., :1] for buffer in buffers]
        send(link, frame, slot, buffers)

    monkeypatch.setattr(TransportLink, "send", short)


def _to_one_server(monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> None:
    """The owner sends its contribution to one of two."""
    send = TransportLink.send

    def only(link: TransportLink, frame: Frame, slot: Any, buffers: Sequence[np.ndarray]) -> None:
        if (frame.src, frame.dst) != ("owner-1", "server1"):
            send(link, frame, slot, buffers)

    monkeypatch.setattr(TransportLink, "send", only)


def _abort(monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> None:
    """The owner ends every run that it hears of, at everybody."""
    sender = nodes.nodes["owner-1"].transport
    send = sender.send

    def end(peer: str, header: Header, *args: Any, **kwargs: Any) -> None:
        if header.kind is Kind.HELLO:
            for other in (*SERVERS, "owner-0", "driver"):
                send(other, Header(Kind.ABORT, header.run, body=b"enough of this"))
        send(peer, header, *args, **kwargs)

    monkeypatch.setattr(sender, "send", end)


def _nonsense(monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> None:
    """The owner says HELLO in no known way."""
    sender = nodes.nodes["owner-1"].transport
    send = sender.send

    def garble(peer: str, header: Header, *args: Any, **kwargs: Any) -> None:
        if header.kind is Kind.HELLO:
            header = Header(Kind.HELLO, header.run, header.slot, body=b"nonsense")
        send(peer, header, *args, **kwargs)

    monkeypatch.setattr(sender, "send", garble)


def _foreign_words(monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> None:
    """The owner gives a reason of more bytes than characters, and of what no terminal should show."""
    sender = nodes.nodes["owner-1"].transport
    send = sender.send

    def end(peer: str, header: Header, *args: Any, **kwargs: Any) -> None:
        if header.kind is Kind.HELLO:
            for other in SERVERS:
                send(other, Header(Kind.ABORT, header.run, body=("\x1b[2J" + "漢" * 150).encode()))
        send(peer, header, *args, **kwargs)

    monkeypatch.setattr(sender, "send", end)


HOSTILE = [_other_keys, _other_program, _other_sizes, _to_one_server, _abort, _nonsense, _foreign_words]


@pytest.mark.parametrize("misbehave", HOSTILE, ids=lambda fn: fn.__name__.removeprefix("_"))
def test_an_owner_that_misbehaves_leaves_out_itself(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch, misbehave: Callable[..., None]
) -> None:
    wanted = mean_and_present(deadline=1.0)
    expect(run(session, *wanted), 0, 1, 2, 3)
    with monkeypatch.context() as patch:
        misbehave(patch, nodes)
        expect(run(session, *wanted), 0, 2, 3)
    back(session, wanted, 0, 1, 2, 3)


def test_too_few_owners_end_the_run_before_anything_is_opened(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = mean_and_present(min_owners=3)
    expect(run(session, *wanted), 0, 1, 2, 3)
    sent: list[str] = []
    send = TransportLink.send

    def noted(link: TransportLink, frame: Frame, *args: Any) -> None:
        sent.extend(frame.src for message in frame.messages if message.why == "reveal to driver")
        send(link, frame, *args)

    monkeypatch.setattr(TransportLink, "send", noted)
    DATA.first |= {owner: lambda owner=owner: kill(nodes, owner) for owner in ("owner-1", "owner-2")}
    with pytest.raises((PeerError, RunAborted), match=r"2 of 4 owners delivered, at least 3 must") as caught:
        run(session, *wanted)
    assert "owner-1" in str(caught.value) and "owner-2" in str(caught.value) and "owner-0" not in str(caught.value)
    assert len(set(sent)) <= 1, "nothing was opened: one of its three parts may be keystream alone"
    with pytest.raises(OwnersMissing, match=r"2 of 4 owners are ready, at least 3 must be; owner-1: .*; owner-2: "):
        run(session, *wanted)
    restart(nodes, "owner-1")
    back(session, wanted, 0, 1, 3)


def test_an_owner_that_dies_between_rounds_of_one_run(nodes: Nodes, session: RemoteSession) -> None:
    """Two gathers in one computation: the second one needs what the first has opened."""
    first = jmpc.aggregate(contributions(), min_owners=2, deadline=DEADLINE)
    again = {
        owner: jmpc.define_local_computation(owner, lambda m: m * 2, first.reveal(owner), range=(-32, 32))
        for owner in OWNERS
    }
    values, present = jmpc.gather(again, min_owners=2, deadline=DEADLINE)
    wanted = [first.reveal(), jmpc.average(values, present).reveal(), present]
    opened, doubled, there = run(session, *wanted)
    np.testing.assert_allclose(opened, np.arange(4) + 1.5, atol=2**-18)
    np.testing.assert_allclose(doubled, 2 * np.arange(4) + 3, atol=2**-17)
    assert there.all()
    send = TransportLink.send
    sent = []

    def dies(link: TransportLink, frame: Frame, *args: Any) -> None:
        if frame.src == "owner-3":
            sent.append(frame)
            if len(sent) == 3:  # of the second gather
                kill(nodes, "owner-3")
        send(link, frame, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransportLink, "send", dies)
        with pytest.raises((PeerError, RunAborted), match=r"would differ in owner-3 \(.* fewer than 2 owners"):
            run(session, *wanted)  # two means over sets that differ in owner-3 alone would show what it brought
    opened, doubled, there = run(session, *wanted)
    assert there.tolist() == [True, True, True, False]
    np.testing.assert_allclose(opened, np.arange(4) + 1, atol=2**-18)
    np.testing.assert_allclose(doubled, 2 * np.arange(4) + 2, atol=2**-17)


def test_a_required_player_is_still_required(nodes: Nodes, session: RemoteSession) -> None:
    wanted = mean_and_present()
    expect(run(session, *wanted), 0, 1, 2, 3)
    DATA.first["owner-0"] = lambda: kill(nodes, "server1")
    with pytest.raises((PeerError, RunAborted), match="server1"):
        run(session, *wanted)
    restart(nodes, "server1")
    inprocess.eventually(lambda: in_background(lambda: run(session, *wanted))() is None, 30)
    expect(run(session, *wanted), 0, 1, 2, 3)


# -- sets of owners that differ by few -------------------------------------------------------------------------------


@pytest.mark.slow
def test_sets_that_differ_by_few_are_refused_also_after_a_restart(nodes: Nodes, session: RemoteSession) -> None:
    restart(nodes, "server1", min_set_difference=2)
    wanted = mean_and_present(min_owners=1, deadline=1.0)
    expect(run(session, *wanted), 0, 1, 2, 3)
    expect(run(session, *wanted), 0, 1, 2, 3)  # the same set, as often as wanted
    nodes.stop("owner-3")
    before = nodes.shared_bytes()
    rule = r"server1 refuses a sum over owners .* owner-3 alone \(rule min_set_difference\)"
    with pytest.raises((PeerError, RunAborted), match=rule):
        run(session, *wanted)
    assert nodes.shared_bytes() - before < 500, "contributions and who took part, but no opening"
    restart(nodes, "server1", min_set_difference=2)
    with pytest.raises((PeerError, RunAborted), match=rule):
        run(session, *wanted)
    nodes.stop("owner-2")
    expect(run(session, *wanted), 0, 1)


def test_policies_count_the_owners_that_must_deliver(nodes: Nodes, session: RemoteSession) -> None:
    restart(nodes, "server1", min_owners=3)
    with pytest.raises(RunAborted, match=r"server1.*rule min_owners.*at least 3 others"):
        run(session, *mean_and_present(min_owners=2))
    expect(run(session, *mean_and_present(min_owners=3)), 0, 1, 2, 3)


def test_what_is_kept_of_a_gather_is_counted_when_it_is_written(nodes: Nodes, session: RemoteSession) -> None:
    """A variable does not tell who was missing: nothing of one owner gets into one, to be opened as that of four."""
    restart(nodes, "server1", min_owners=2)
    model, old = (jmpc.define_private_variable(np.zeros(4, np.float32)) for _ in range(2))
    run(session, model.assign(model.initial), old.assign(old.initial))
    with pytest.raises(
        RunAborted, match=r"server1.*rule min_owners\).*at least 3 players.*test_dropouts\.py:\d+.* of 1"
    ):
        run(session, model.assign(jmpc.aggregate(contributions(), min_owners=1)))
    with pytest.raises(RunAborted, match=r"server1.*rule min_owners\).* of 2"):  # also where variables are read
        run(session, model.assign(old + jmpc.aggregate(contributions(), min_owners=1)))  # and the driver's zeros
    run(session, model.assign(jmpc.aggregate(contributions(), min_owners=3)))
    np.testing.assert_allclose(run(session, model.reveal())[0], np.arange(4) + 1.5, atol=2**-18)


def test_a_mean_may_go_to_an_owner_that_contributes(nodes: Nodes, session: RemoteSession) -> None:
    mean = jmpc.aggregate(contributions(), min_owners=1, deadline=DEADLINE)
    assert run(session, mean.reveal("owner-0"), mean.reveal())[1].tolist() == [1.5, 2.5, 3.5, 4.5]


def test_what_an_owner_does_not_let_others_see_is_not_contributed(nodes: Nodes, session: RemoteSession) -> None:
    """It refuses the computation: then it is missing; and all others judge by the word of those that are there."""
    restart(nodes, "owner-3", reveal_to={})
    wanted = mean_and_present()
    expect(run(session, *wanted), 0, 1, 2)


def test_an_owner_whose_word_hides_what_is_opened_leaves_out_itself(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sender = nodes.nodes["owner-3"].transport
    send = sender.send

    def hide(peer: str, header: Header, *args: Any, **kwargs: Any) -> None:
        if header.kind is Kind.STATUS and header.body.startswith(b"ready"):
            header = Header(Kind.STATUS, header.run, body=Ready(frozenset()).encode())
        send(peer, header, *args, **kwargs)

    monkeypatch.setattr(sender, "send", hide)
    with caplog.at_level(logging.WARNING, logger="jmpc"):
        for _ in range(2):
            expect(run(session, *mean_and_present()), 0, 1, 2)
    assert "owner-3 takes no part: it does not let driver see what it brings" in caplog.text


@pytest.mark.slow
def test_a_driver_that_is_a_server_judges_sets_as_well(tmp_path: Path) -> None:
    registry = Registry({"number": Provider("number", FOUR, DATA)}, {})
    nodes = inprocess.make(
        tmp_path, OWNERS, registry, timeout=TIMEOUT, policy={"drivers": ["server0"], "min_set_difference": 2}
    )
    nodes.start("server1", "server2", *OWNERS, min_set_difference=0)
    try:
        with nodes.session("server0") as session:
            wanted = jmpc.gather(contributions(), min_owners=1, deadline=1.0)
            mean = [jmpc.average(*wanted).reveal("owner-0"), wanted[1]]
            run(session, *mean)
            nodes.stop("owner-3")
            with pytest.raises(PolicyError, match=r"server0 refuses .* owner-3 alone \(rule min_set_difference\)"):
                run(session, *mean)
    finally:
        nodes.stop()
