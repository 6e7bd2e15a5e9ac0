"""What nodes refuse, whoever asks: nothing is opened, no share moves, and the next run works."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
import zmq
from network import inprocess, my_data
from network.inprocess import SERVERS, Nodes, local, private, run, works

import jmpc
from jmpc.api.graph import build
from jmpc.computation import ArrayType, Assign, Computation, Output, Publish, Read, Reveal, Source
from jmpc.errors import ConfigError, InputError, JmpcError, PeerError, PolicyError, RunAborted
from jmpc.net.codec import CodecError
from jmpc.net.computations import encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.transport import Transport
from jmpc.runtime import orders
from jmpc.runtime.orders import Order, Submission
from jmpc.runtime.remote import RemoteSession
from jmpc.runtime.store import Generation

POLICY = {
    "reveal_to": {"data-owner": ["driver", "data-owner"], "model-owner": ["driver", "model-owner"]},
    "max_equations": 500,
    "max_loop_iterations": 2000,
    "max_operations": 1 << 32,
    "max_memory_bytes": 1 << 28,
    "max_stored_bytes": 10_000,
    "max_computation_bytes": 1 << 20,
}
EVERYBODY = (*SERVERS, *inprocess.OWNERS)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path_factory.mktemp("refusals"), policy=POLICY)
    made.start(*EVERYBODY)
    yield made
    made.stop()


@pytest.fixture
def session(nodes: Nodes) -> Iterator[RemoteSession]:
    with nodes.session() as made:
        yield made
        works(made)  # whatever was refused, the next run works


@pytest.fixture
def nothing_sent(nodes: Nodes) -> Iterator[None]:
    before = nodes.shared_bytes()
    yield
    assert nodes.shared_bytes() == before, "shares have moved"


def ask(nodes: Nodes, transport: Transport, computation: bytes | Computation, *peers: str) -> dict[str, bytes]:
    """Submits a computation as it is; what each node answers in the end."""
    data = computation if isinstance(computation, bytes) else encode_computation(computation)
    body = Submission(secrets.token_bytes(RUN_BYTES), data).encode()
    return nodes.ask(transport, Kind.SUBMIT, secrets.token_bytes(RUN_BYTES), body, *peers)


# -- who may submit ------------------------------------------------------------------------------------------------


def test_an_unlisted_driver(nodes: Nodes, nothing_sent: None, caplog: pytest.LogCaptureFixture) -> None:
    nodes.stop("model-owner")
    try:
        with nodes.stranger("model-owner") as transport, caplog.at_level(logging.WARNING, "jmpc.node"):
            computation = built(private("data-owner").reveal("data-owner"))
            for answer in ask(nodes, transport, computation, *SERVERS).values():
                assert "rule drivers" in str(orders.refusal(answer))
            started = secrets.token_bytes(RUN_BYTES)
            transport.open_run(started)
            transport.send("server0", Header(Kind.RUN, started, body=Order(bytes(16), bytes(16), {}).encode()))
            with pytest.raises(RunAborted, match="server0 refuses a computation of model-owner"):
                transport.wait_control(Kind.DONE, started, "server0")
            transport.send("server0", Header(Kind.STATUS, bytes(16), body=orders.CLOSED))
            inprocess.eventually(lambda: nodes.nodes["server0"]._refused["model-owner"] == 3)
            assert caplog.text.count("server0 refuses") == 2  # the 1st, 2nd, 4th...: a flood does not fill the log
        assert "model-owner" not in nodes.nodes["server0"]._clients
    finally:
        nodes.start("model-owner")


def test_without_a_configured_driver_the_refusal_says_what_to_write(tmp_path) -> None:
    made = inprocess.make(tmp_path, driver=None, policy={"drivers": []})
    made.start("server0")
    try:
        with made.stranger("model-owner") as transport:
            (answer,) = ask(made, transport, b"anything", "server0").values()
            assert "--driver model-owner" in str(orders.refusal(answer))
        made.stop("server0")
        made.start("server0", drivers=("model-owner",))
        with made.stranger("model-owner") as transport:
            (answer,) = ask(made, transport, b"anything", "server0").values()
            assert "not msgpack" in str(orders.refusal(answer))  # it is read now
    finally:
        made.stop()


# -- what may be opened --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["server0", "model-owner"])
def test_a_reveal_outside_the_policy(session: RemoteSession, nothing_sent: None, target: str) -> None:
    value = private("data-owner") + private("model-owner")
    with pytest.raises(RunAborted, match=f"rule reveal_to.*to {target}.*rules of .*data-owner"):
        run(session, value.reveal(target))


def test_a_value_in_the_clear_is_guarded_as_well(session: RemoteSession, nothing_sent: None) -> None:
    with pytest.raises(RunAborted, match="rule reveal_to.*data-owner to model-owner"):
        run(session, private("data-owner").reveal("model-owner"))


def test_what_was_computed_at_an_owner_is_its_data(session: RemoteSession, nothing_sent: None) -> None:
    hidden = local("data-owner", lambda v: jnp.sum(v), private("data-owner"))
    with pytest.raises(RunAborted, match="rule reveal_to"):
        run(session, hidden.reveal("server2"))


def test_a_variable_remembers_whose_data_it_holds(nodes: Nodes, session: RemoteSession) -> None:
    kept = jmpc.define_private_variable(private("data-owner") * 2.0)
    run(session, kept.assign(kept.initial))
    before = nodes.shared_bytes()
    for target in ("model-owner", "server1"):
        with pytest.raises(RunAborted, match="rule reveal_to.*rules of data-owner"):
            run(session, (kept * 2.0).reveal(target))  # the data owner takes no part in this run
    assert nodes.shared_bytes() == before
    (value,) = run(session, kept.reveal())
    np.testing.assert_allclose(value, 2 * np.arange(4), atol=1e-4)


def test_data_that_went_through_another_player_stays_its_owners(nodes: Nodes, session: RemoteSession) -> None:
    """To the driver, which may see it, from there into a variable, and from there to somebody who may not."""
    seen = jmpc.define_local_variable("driver", private("data-owner").reveal())
    run(session, seen.assign(seen.initial))
    assert session._variables[seen.name].origins == {"data-owner"}
    mixed = jmpc.define_private_variable(jmpc.multiply(seen, 1.0))
    run(session, mixed.assign(mixed.initial))
    assert {nodes.stored(name)[mixed.name].origins for name in SERVERS} == {frozenset({"data-owner"})}
    with pytest.raises(RunAborted, match="rules of data-owner"):
        run(session, mixed.reveal("model-owner"))


def test_a_driver_that_lies_about_a_variable(nodes: Nodes, session: RemoteSession) -> None:
    kept = jmpc.define_private_variable(private("data-owner") * 2.0)
    run(session, kept.assign(kept.initial))
    honest = session._variables[kept.name]
    before = nodes.shared_bytes()
    session._variables[kept.name] = dataclasses.replace(honest, origins=frozenset())
    with pytest.raises(RunAborted, match="other players' inputs than the driver says"):
        run(session, kept.reveal("model-owner"))
    session._variables[kept.name] = dataclasses.replace(honest, run=bytes(16))
    with pytest.raises(RunAborted, match="another generation of 'variable/"):
        run(session, kept.reveal())
    session._variables.clear()
    with pytest.raises(InputError, match="no run of this session has assigned"):
        run(session, kept.reveal())
    assert nodes.shared_bytes() == before


def test_a_driver_that_tells_players_different_things(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = jmpc.define_private_variable(private("data-owner") * 2.0)
    other = jmpc.define_private_variable(private("data-owner") * 3.0)
    run(session, kept.assign(kept.initial), other.assign(other.initial))
    run(session, kept.reveal())
    send = session.transport.send

    def lie(peer: str, header: Header, *args, **kwargs) -> None:
        if header.kind is Kind.RUN and peer == "server1":
            order = Order.decode(header.body)
            more = order.variables | {other.name: session._variables[other.name]}
            header = dataclasses.replace(header, body=dataclasses.replace(order, variables=more).encode())
        send(peer, header, *args, **kwargs)

    monkeypatch.setattr(session.transport, "send", lie)
    before = nodes.shared_bytes()
    with pytest.raises(JmpcError, match="differ in program"):
        run(session, kept.reveal())
    monkeypatch.undo()
    assert nodes.shared_bytes() == before


def test_a_public_input_is_public_only_if_its_player_says_so(session: RemoteSession, nodes: Nodes) -> None:
    before = nodes.shared_bytes()
    x = jmpc.define_public_input("data-owner", "vector", types=my_data.VECTOR)
    with pytest.raises(RunAborted, match=r"rule public.*public=True"):
        run(session, (private("model-owner") + x).reveal())
    assert nodes.shared_bytes() == before
    y = jmpc.define_public_input("data-owner", "calendar", types=my_data.VECTOR)
    (total,) = run(session, (private("model-owner") + y).reveal())
    np.testing.assert_allclose(total, 10 + 2 * np.arange(4), atol=1e-4)
    made = jmpc.define_public_input("data-owner", lambda: jnp.full((4,), 2.0))
    np.testing.assert_allclose(run(session, (private("model-owner") + made).reveal())[0], 12 + np.arange(4), atol=1e-4)


def test_publishing_what_was_computed_from_private_data(nodes: Nodes, nothing_sent: None) -> None:
    x = Source("data-owner", "vector", (ArrayType((4,), "float32"),), "input/0")
    y = Source("model-owner", "vector", (ArrayType((4,), "float32"),), "input/1")
    double = local("data-owner", lambda v: v + v, private("data-owner")).node.make((0,), "driver")
    product = jmpc.multiply(private("data-owner"), private("model-owner")).node.make((3, 1), "driver")
    calls = (x, y, double, Publish(2), product, Reveal(4, "driver"), Output(5, "driver", "", "fetch/0"))
    with nodes.stranger() as transport:
        for answer in ask(nodes, transport, Computation(SERVERS, calls), *EVERYBODY).values():
            assert "rule reveal_to): public value (data-owner to server" in str(orders.refusal(answer))


# -- what is no computation ----------------------------------------------------------------------------------------


def built(*fetches) -> Computation:
    return build(fetches, SERVERS, "driver", 18).computation


def test_code_does_not_travel(session: RemoteSession, nothing_sent: None) -> None:
    def chatty(v):
        jax.debug.callback(print, v)
        return v

    for fn in (chatty, lambda v: jax.pure_callback(lambda a: a, my_data.VECTOR, v)):
        with pytest.raises(CodecError, match="callback"):
            run(session, local("data-owner", fn, private("data-owner")).reveal())


@pytest.mark.parametrize("name", ["pure_callback", "io_callback", "ffi_call", "custom_call", "print", "exec"])
def test_a_forged_computation_with_code_in_it(nodes: Nodes, nothing_sent: None, name: str) -> None:
    honest = encode_computation(built(local("data-owner", lambda v: jnp.sin(v), private("data-owner")).reveal()))
    forged = honest.replace(b"\xa3sin", bytes([0xA0 + len(name)]) + name.encode())
    assert forged != honest
    with nodes.stranger() as transport:
        for answer in ask(nodes, transport, forged, *EVERYBODY).values():
            assert "not among those that may travel" in str(orders.refusal(answer))


def test_garbage_instead_of_a_computation(nodes: Nodes, nothing_sent: None) -> None:
    honest = encode_computation(built(private("data-owner").reveal()))
    rng = np.random.default_rng(0)
    with nodes.stranger() as transport:
        for length in (1, len(honest) // 2, len(honest) - 1):
            (answer,) = ask(nodes, transport, honest[:length], "server0").values()
            assert orders.refusal(answer)
        for _ in range(30):
            broken = bytearray(honest)
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
            (answer,) = ask(nodes, transport, bytes(broken), "server1").values()
            assert answer == orders.READY or orders.refusal(answer)
        (answer,) = ask(nodes, transport, bytes(POLICY["max_computation_bytes"] + 1), "server0").values()
        assert "max_computation_bytes" in str(orders.refusal(answer))


def test_calls_that_do_not_fit_together(nodes: Nodes) -> None:
    x = Source("data-owner", "vector", (ArrayType((4,), "float32"),), "input/0")
    cases = {
        "uses value 3": (x, Reveal(3, "driver")),
        "two Source calls": (x, x),
        "two Output calls": (x, *[Output(0, "data-owner", "", "fetch/0")] * 2),
        "two Assign calls": (x, *[Assign("v", 0)] * 2),
        "no group and number": (x, Output(0, "data-owner", "", "fetch")),
        "was not revealed": (x, Output(0, "driver", "", "fetch/0")),
        "knows no players": (x, Reveal(0, "mallory")),
        "no sink 'save'": (x, Output(0, "data-owner", "save", "fetch/0")),
        "characters that names do not have": (dataclasses.replace(x, provider="../x;rm"),),
        "the size of a value": (dataclasses.replace(x, types=(ArrayType((1 << 30, 8), "float32"),)),),
        "max_memory_bytes": (x, *[Read(f"v{i}", ArrayType((1 << 22,), "float32")) for i in range(16)]),
    }
    with nodes.stranger() as transport:
        for message, calls in cases.items():
            (answer,) = ask(nodes, transport, Computation(SERVERS, calls), "data-owner").values()
            assert message in str(orders.refusal(answer)), (message, answer)
        servers = Computation(("server1", "server0", "server2"), (x,))
        (answer,) = ask(nodes, transport, servers, "data-owner").values()
        assert "rule servers" in str(orders.refusal(answer))
        (answer,) = ask(nodes, transport, Computation(SERVERS, (x,)), "model-owner").values()
        assert "takes no part" in str(orders.refusal(answer))


# -- what takes too much -------------------------------------------------------------------------------------------


def test_a_scan_that_is_too_long(session: RemoteSession, nothing_sent: None) -> None:
    def fn(v):
        return jax.lax.scan(
            lambda c, _: (jax.lax.scan(lambda d, _: (d + 1, None), c, length=200)[0], None), v, length=200
        )[0]

    with pytest.raises(RunAborted, match="iterations is 40,000, the limit is 2,000 .rule max_loop_iterations"):
        run(session, local("data-owner", fn, private("data-owner")).reveal())


def endless(v):
    return jax.lax.while_loop(lambda c: c[0] > -1.0, lambda c: jnp.abs(c) * 0.5, v)


def test_a_loop_at_a_player_that_does_not_end(session: RemoteSession) -> None:
    for fn in (
        endless,
        lambda v: jax.lax.cond(v[1] > 0, endless, lambda u: u, v),
        lambda v: jax.lax.scan(lambda c, _: (endless(c), None), v, length=3)[0],
    ):
        with pytest.raises(RunAborted, match="takes more than 2,000 iterations .rule max_loop_iterations"):
            run(session, local("data-owner", fn, private("data-owner")).reveal())


def test_a_loop_at_a_player_that_ends_is_not_changed(session: RemoteSession) -> None:
    def fn(v):
        return jax.lax.while_loop(lambda c: c[0] < 100, lambda c: (c[0] + 1, jnp.cos(c[1])), (0, v))[1]

    (result,) = run(session, local("data-owner", fn, private("data-owner")).reveal())
    np.testing.assert_allclose(result, fn(np.arange(4, dtype=np.float32)), rtol=1e-6)


def test_a_loop_over_known_values_that_does_not_end(session: RemoteSession, monkeypatch: pytest.MonkeyPatch) -> None:
    @jmpc.function
    def fn(x):
        return x + jax.lax.while_loop(lambda c: c > -1, lambda c: c ^ 1, jnp.int32(0)).astype(x.dtype)

    monkeypatch.setattr("jmpc.lowering.public._MOST_TURNS", 1000)
    with pytest.raises(jmpc.JmpcError, match="loop over known values takes more than 1,000 iterations"):
        run(session, fn(private("data-owner")).reveal())


def test_a_loop_of_the_servers_that_does_not_end(session: RemoteSession) -> None:
    """On a public predicate, with nothing to say in it: nobody notices from messages."""
    x = jmpc.define_public_input("data-owner", "calendar", types=my_data.VECTOR)

    @jmpc.function
    def fn(public, secret):
        start = public[1].astype(jnp.int32)
        turns = jax.lax.while_loop(lambda c: c > -1, lambda c: c ^ 1, start)
        return secret * turns.astype(secret.dtype)

    with pytest.raises(RunAborted, match="iterations .rule max_loop_iterations"):
        run(session, fn(x, private("model-owner")).reveal())


def test_a_loop_with_secrets_in_it_that_does_not_end(session: RemoteSession) -> None:
    x = jmpc.define_public_input("data-owner", "calendar", types=my_data.VECTOR)

    @jmpc.function
    def fn(public, secret):
        start = (public[1].astype(jnp.int32), secret)
        return jax.lax.while_loop(lambda c: c[0] > -1, lambda c: (c[0] ^ 1, c[1] + 1.0), start)[1]

    with pytest.raises(RunAborted, match="rule max_loop_iterations"):
        run(session, fn(x, private("model-owner")).reveal())


def test_a_loop_inside_a_reduction_is_refused(nodes: Nodes) -> None:
    def fn(v):
        def add(a, b):
            return jax.lax.while_loop(lambda c: c < 0, lambda c: c + 1, a + b)

        return jax.lax.reduce(v, np.float32(0), add, (0,))

    computation = built(local("data-owner", fn, private("data-owner")).reveal())
    with nodes.stranger() as transport:
        (answer,) = ask(nodes, transport, computation, "data-owner").values()
    assert "a loop inside the function of `reduce`" in str(orders.refusal(answer))


def test_too_many_equations(session: RemoteSession, nothing_sent: None) -> None:
    def fn(v):
        for _ in range(600):
            v = v + 1
        return v

    with pytest.raises(RunAborted, match="equations"):
        run(session, local("data-owner", fn, private("data-owner")).reveal())


def test_too_much_memory_and_work(nodes: Nodes, session: RemoteSession, nothing_sent: None) -> None:
    def large(v):
        return jnp.sum(jax.lax.iota(np.int32, 1 << 27).astype(np.float32)) + v

    def slow(v):
        a = jnp.broadcast_to(v[0], (2000, 2000))
        return (a @ a)[0, :4]

    @jmpc.function
    def known(v):
        return v + jnp.sum(jnp.arange(1 << 26) % 7).astype(v.dtype)

    with pytest.raises(RunAborted, match="max_memory_bytes|the size of a value"):
        run(session, local("data-owner", large, private("data-owner")).reveal())
    with pytest.raises(RunAborted, match="max_operations"):
        run(session, local("data-owner", slow, private("data-owner")).reveal())
    with nodes.stranger("second-driver") as transport:
        (answer,) = ask(nodes, transport, built(known(private("data-owner")).reveal()), "server0").values()
    assert "max_memory_bytes" in str(orders.refusal(answer)) or "the size of a value" in str(orders.refusal(answer))


def test_variables_of_a_driver_are_bounded(nodes: Nodes, session: RemoteSession) -> None:
    small = jmpc.define_private_variable(jnp.zeros(100))
    large = jmpc.define_private_variable(jnp.zeros(1000))
    run(session, small.assign(small.initial))
    with pytest.raises(RunAborted, match=r"would keep 21,696 bytes.*rule max_stored_bytes.*new session"):
        run(session, large.assign(large.initial))
    run(session, small.assign(small + 1.0))  # replaces, and does not add
    assert set(nodes.stored("server0")) == {small.name}


def test_what_a_driver_submits_is_bounded_in_number_and_bytes(nodes: Nodes, session: RemoteSession) -> None:
    works(session)
    client = nodes.nodes["server0"]._clients["driver"]
    assert client._submissions.heaviest == POLICY["max_memory_bytes"] // 4
    client._submissions.heaviest = 4_000_000
    for k in range(6):
        x = private("data-owner") + np.full((60_000, 4), k, np.float32)
        run(session, local("driver", lambda v: v[0], x.reveal()).reveal())
        assert client._submissions.weight <= 4_000_000
    assert 0 < len(client._submissions) < 6
    works(session)  # which has been forgotten, and is submitted again


def test_a_closed_session_leaves_nothing_behind(nodes: Nodes, session: RemoteSession) -> None:
    kept = jmpc.define_private_variable(jnp.zeros(10))
    with nodes.session("second-driver") as other:
        run(other, kept.assign(kept.initial))
        assert set(nodes.stored("server0", "second-driver")) == {kept.name}
    inprocess.eventually(lambda: not any("second-driver" in node._clients for node in nodes.nodes.values()))


def test_a_new_session_ends_the_one_before(nodes: Nodes) -> None:
    kept = jmpc.define_private_variable(jnp.zeros(10))
    lost = nodes.session()
    run(lost, kept.assign(kept.initial))
    lost._told.clear()  # it dies without a word
    lost.close()
    assert set(nodes.stored("server0")) == {kept.name}
    with nodes.session() as again:
        works(again)
        assert not nodes.stored("server0")


# -- frames --------------------------------------------------------------------------------------------------------


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
    honest = Order(bytes(16), bytes(16), {"v": Generation(bytes(16), frozenset({"alice"}))}).encode()
    bodies = [b"", honest[:-1], honest + b"x", msgpack.packb([1, 2, 3]), msgpack.packb([bytes(16), bytes(16), {}])]
    bodies += [msgpack.packb([bytes(16), bytes(16), [["v", bytes(16), [1]]]]), b"\x91" * 10_000]
    bodies += [msgpack.packb([bytes(16), bytes(16), [["v", bytes(16), []]] * 2])]
    with nodes.stranger() as transport:
        for body in bodies:
            started = secrets.token_bytes(RUN_BYTES)
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
        inprocess.eventually(lambda: all(n._clients["driver"]._active is None for n in nodes.nodes.values()))
        before = nodes.shared_bytes()
        for peer, header in said:
            if header.kind in (Kind.RUN, Kind.COMMIT):
                send(peer, header)
        inprocess.eventually(lambda: caplog.text.count("opened before: every run needs a fresh id") == len(EVERYBODY))
        assert nodes.shared_bytes() == before
        assert nodes.nodes["server1"].transport.dropped["of a run that is over"] > 0
        works(session)


def test_computations_of_another_driver_cannot_be_run(nodes: Nodes) -> None:
    with nodes.session() as session:
        works(session)
        ((known, _),) = session._known._entries.values()
        order = Order(session._id, known.submission, {}).encode()
        with nodes.stranger("second-driver") as transport:
            started = secrets.token_bytes(RUN_BYTES)
            transport.open_run(started)
            transport.send("server0", Header(Kind.RUN, started, body=order))
            with pytest.raises(RunAborted, match="submit it again"):
                transport.wait_control(Kind.DONE, started, "server0")


# -- what the driver notices itself ---------------------------------------------------------------------------------


def test_errors_before_anything_is_sent(nodes: Nodes, session: RemoteSession, nothing_sent: None) -> None:
    frames = {peer: count.frames for peer, count in session.transport.sent.peers().items()}
    with pytest.raises(ConfigError, match="'nobody'.*known are"):
        run(session, private("nobody").reveal())
    data = [np.ones(4, np.float32)]
    mine = jmpc.define_private_input("data-owner", lambda: data.pop())
    with pytest.raises(InputError, match=r"input of 'data-owner'.*does not travel.*--providers"):
        run(session, mine.reveal())
    with pytest.raises(InputError, match=r"sink of 'data-owner'.*does not travel.*--providers"):
        run(session, *jmpc.define_output("data-owner", private("data-owner"), data.append))
    huge = jmpc.add(private("data-owner"), np.zeros((5_000_000, 4), np.float32))
    with pytest.raises(PolicyError, match="bytes.* travel: give large arrays as inputs"):
        run(session, huge.reveal())
    assert {peer: count.frames for peer, count in session.transport.sent.peers().items()} == frames


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("wrong_shape", r"data-owner: provider 'wrong_shape' gave float32\[5\] as array 0, declared is float32\[4\]"),
        ("wrong_dtype", r"data-owner: provider 'wrong_dtype' gave float64\[4\] as array 0, declared is float32\[4\]"),
        ("two_arrays", r"data-owner: provider 'two_arrays' gave 2 arrays, declared are \['float32\[4\]'\]"),
        ("not_finite", "data-owner.* not a number in"),
        ("too_large", "data-owner.* not a number in"),
        ("broken", "data-owner: provider 'broken' raised ValueError; see its node's log"),
        ("missing", r"data-owner has no provider 'missing'; registered are \['broken', .*--providers FILE.py"),
    ],
)
def test_bad_input_is_an_error_at_its_owner(nodes: Nodes, session: RemoteSession, provider: str, message: str) -> None:
    before = {n: c.payload for n, c in nodes.nodes["data-owner"].transport.sent.peers().items()}
    with pytest.raises(RunAborted, match=message) as caught:
        run(session, jmpc.multiply(private("data-owner", provider, range=(-8, 8)), 2.0).reveal())
    assert caught.value.player == "data-owner" and "424242" not in str(caught.value)
    after = {n: c.payload for n, c in nodes.nodes["data-owner"].transport.sent.peers().items()}
    assert all(before.get(name, 0) == after[name] for name in after), "nothing of it was shared"


def test_types_that_differ_from_the_declared_ones(session: RemoteSession, nothing_sent: None) -> None:
    wide = jmpc.define_private_input("data-owner", "vector", types=jax.ShapeDtypeStruct((5,), "float32"))
    with pytest.raises(
        RunAborted, match=r"gives \(float32\[4\]\) by its declaration, the computation wants \(float32\[5\]\)"
    ):
        run(session, wide.reveal())


def test_a_sink_that_fails_is_its_operators_business(session: RemoteSession, caplog: pytest.LogCaptureFixture) -> None:
    assert run(session, *jmpc.define_output("data-owner", private("data-owner"), "fail")) == [None]
    inprocess.eventually(lambda: "a sink failed" in caplog.text)
    with pytest.raises(RunAborted, match=r"data-owner has no sink 'save'; registered are \['fail', 'show'\]"):
        run(session, *jmpc.define_output("data-owner", private("data-owner"), "save"))


def test_a_player_that_does_not_answer(nodes: Nodes) -> None:
    nodes.stop("model-owner")
    try:
        config = dataclasses.replace(nodes.config(), timeout=1.0)
        with (
            RemoteSession(config) as session,
            pytest.raises(PeerError, match="jmpc-node model-owner running") as caught,
        ):
            works(session)
        assert caught.value.player == "model-owner"
    finally:
        nodes.start("model-owner")
