"""What an owner says of its data binds every node, in this run and in later ones; nothing else tells of the data."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pytest
from network import inprocess, my_data
from network.inprocess import OWNERS, SERVERS, Nodes, local, private, run

import jmpc
from jmpc.api.graph import Built
from jmpc.computation import ArrayType, Assign, Computation, Output, Publish, Read, Reveal, Share, Source
from jmpc.errors import RunAborted
from jmpc.net.computations import encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.transport import Transport
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime import orders
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.orders import Order, Submission
from jmpc.runtime.prepare import prepare
from jmpc.runtime.remote import RemoteSession

VECTOR = ArrayType((4,), "float32")
V = {"v": "v"}
SOURCE = Source("data-owner", "vector", (VECTOR,), "input/0")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The data owner alone restricts who may see its data; nobody else's configuration says so."""
    made = inprocess.make(tmp_path_factory.mktemp("grants"))
    made.start(*SERVERS, "model-owner")
    made.start("data-owner", reveal_to={"data-owner": frozenset({"data-owner"}), "model-owner": frozenset(OWNERS)})
    yield made
    made.stop()


@pytest.fixture
def session(nodes: Nodes) -> Iterator[RemoteSession]:
    with nodes.session() as made:
        yield made


def test_a_variable_is_opened_as_its_owner_said_where_it_takes_no_part(nodes: Nodes, session: RemoteSession) -> None:
    kept = jmpc.define_private_variable(private("data-owner") * 2.0)
    run(session, kept.assign(kept.initial))
    before = nodes.shared_bytes()
    for target in (None, "model-owner"):
        with pytest.raises(RunAborted, match="rule reveal_to.*rules of data-owner"):
            run(session, kept.reveal(*filter(None, [target])))
    mixed = jmpc.define_private_variable(kept + private("model-owner"))
    run(session, mixed.assign(mixed.initial))
    with pytest.raises(RunAborted, match="rules of data-owner"):
        run(session, mixed.reveal())
    run(session, mixed.reveal("data-owner"))
    assert nodes.shared_bytes() > before


def test_an_owner_takes_no_part_where_the_driver_says_more_than_it_does(
    session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = (private("data-owner") + private("model-owner")).reveal("data-owner")
    run(session, opened)
    encode = Order.encode
    for said, answer in (
        (lambda known: known | {"data-owner": frozenset({"driver", "data-owner"})}, r"does not let \['driver'\] see"),
        (lambda known: {"data-owner": known["data-owner"]}, r"not told who may see the inputs of \['model-owner'\]"),
    ):
        monkeypatch.setattr(
            Order, "encode", lambda o, said=said: encode(dataclasses.replace(o, receivers=said(dict(o.receivers))))
        )
        with pytest.raises(RunAborted, match=answer):
            run(session, opened)
        monkeypatch.undo()
    run(session, opened)


def test_what_a_driver_may_not_see_it_does_not_learn_by_checks_of_its_own(
    nodes: Nodes, session: RemoteSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Zeros go into the run, and the data owner's log says so."""
    for asked in (
        private("data-owner", range=(0, 2)),
        local("data-owner", lambda v: jnp.where(v[2] > 1.5, v / 0, v), private("data-owner")),
    ):
        caplog.clear()
        kept = jmpc.define_private_variable(asked)
        with caplog.at_level(logging.WARNING, "jmpc.node"):
            run(session, kept.assign(kept.initial))
        assert "data-owner: zeros take the place of an input" in caplog.text and "failed" not in caplog.text
        slots = [nodes.store(holder)._arrays[kept.name, slot] for holder, slot in zip(SERVERS, (0, 1, 2), strict=True)]
        assert not np.any(sum(map(np.asarray, slots)))


def test_nor_by_checks_of_what_it_has_put_elsewhere(
    nodes: Nodes, session: RemoteSession, caplog: pytest.LogCaptureFixture
) -> None:
    """In a variable in the clear, shared by code of the driver's or without any; or revealed to another owner."""
    kept = jmpc.define_local_variable("data-owner", local("data-owner", lambda v: v * 1.0, private("data-owner")))
    run(session, kept.assign(kept.initial))
    narrow = jmpc.define_local_computation("data-owner", lambda v: v, kept, range=(0, 2))
    for value in (narrow, jmpc.multiply(narrow, 1.0)):
        caplog.clear()
        variable = jmpc.define_private_variable(value)
        with caplog.at_level(logging.WARNING, "jmpc.node"):
            run(session, variable.assign(variable.initial))
        assert "data-owner: zeros take the place of an input" in caplog.text and "failed" not in caplog.text
    kept_there = Read(kept.name, VECTOR, player="data-owner")
    others = Source("model-owner", "vector", (VECTOR,), "input/0")
    for moved in (
        calls(kept_there, Share(0, range=(0, 2)), Assign("w", 1)),
        calls(others, Reveal(0, "data-owner"), Share(1, range=(0, 2)), Assign("w", 2)),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "jmpc.node"):
            session.run(Built(moved, {}, {}, (), {name: name for name in moved.variables}, ()))
        assert "data-owner: zeros take the place of an input" in caplog.text and "failed" not in caplog.text


def test_a_range_that_the_provider_declares_is_an_error(session: RemoteSession) -> None:
    with pytest.raises(RunAborted, match="data-owner: .*not finite, or not in"):
        run(session, (private("data-owner", "declared", range=(0, 2)) * 1.0).reveal("data-owner"))
    with pytest.raises(RunAborted, match="data-owner: .*not finite, or not in"):
        run(session, (private("data-owner", "not_finite") * 1.0).reveal("data-owner"))


def test_a_declared_range_is_the_inputs_range() -> None:
    value = jmpc.define_private_input("data-owner", my_data.declared)
    assert value.range == (0, 2)


def calls(*made: object) -> Computation:
    return Computation(SERVERS, made)


def test_a_declaration_that_nobody_uses_is_agreed_on_too() -> None:
    """It leaves no trace in the program, but tells those who keep a variable that it is nobody's."""
    plain = calls(SOURCE, Share(0), Assign("v", 1))
    dead = calls(SOURCE, Publish(0), Share(0), Assign("v", 2))
    one, two = (prepare(computation, Rep3, Compiler()) for computation in (plain, dead))
    assert one.provenance({}) != two.provenance({})
    assert one.digest != two.digest


def submitted(nodes: Nodes, transport: Transport, session: bytes, computation: Computation, *peers: str) -> bytes:
    submission = secrets.token_bytes(RUN_BYTES)
    body = Submission(session, encode_computation(computation)).encode()
    answers = nodes.ask(transport, Kind.SUBMIT, submission, body, *peers)
    assert all(orders.Ready.decode(answer) is not None for answer in answers.values()), answers
    return submission


def ordered(transport: Transport, order: Order, started: bytes, *peers: str) -> list[bytes]:
    """Has a run done and committed; the run that each node means."""
    transport.open_run(started, {*peers, "driver"})
    for peer in peers:
        transport.send(peer, Header(Kind.RUN, started, body=order.encode()))
    identities = []
    for peer in peers:
        while orders.Working.decode(body := transport.wait_control(Kind.DONE, started, peer, 20.0).body) is not None:
            pass
        identities.append(body)
    for peer in peers:
        transport.send(peer, Header(Kind.COMMIT, started))
    transport.close_run(started)
    return identities


def test_slots_of_two_runs_never_meet(nodes: Nodes) -> None:
    """Servers told apart to write a variable in the clear, under one id, do not hold a generation of it together."""
    session, started = secrets.token_bytes(RUN_BYTES), orders.new_run("driver")
    everybody = (*SERVERS, "data-owner")
    with nodes.stranger() as transport:
        made = submitted(nodes, transport, session, calls(SOURCE, Share(0), Assign("v", 1)), *everybody)
        grants = {"data-owner": frozenset({"data-owner"})}
        order = Order(session, made, grants, {}, names=V)
        written = ordered(transport, order, orders.new_run("driver"), *everybody)
        assert len(set(written)) == 1
        identities = []
        for server in SERVERS:
            zeros = calls(Source(server, "vector", (VECTOR,), "input/0"), Assign("v", 0, player=server))
            made = submitted(nodes, transport, session, zeros, *SERVERS)
            order = Order(session, made, {server: nodes.nodes[server]._policy.receivers}, {}, names=V)
            identities += ordered(transport, order, orders.new_run("driver"), *SERVERS)[:1]
        assert len({*identities, *written}) == 4 and started not in identities
        for server in SERVERS:
            assert {index for name, index in nodes.store(server)._arrays if name == "v"} == {-1}


def test_shares_are_not_read_as_a_servers_own_data(nodes: Nodes, session: RemoteSession) -> None:
    kept = jmpc.define_private_variable(private("data-owner") * 2.0)
    run(session, kept.assign(kept.initial))
    for word in (ArrayType((4,), "uint64"), ArrayType((4,), "float32")):
        stolen = calls(Read(kept.name, word, player="server0"), Reveal(0, "driver"), Output(1, "driver", "", "fetch/0"))
        with pytest.raises(RunAborted, match="rule reveal_to|in the clear at server0 .rule type"):
            session.run(Built(stolen, {}, {}, (), {kept.name: kept.name}, ("fetch/0",)))
