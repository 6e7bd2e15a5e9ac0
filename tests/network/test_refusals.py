"""What nodes refuse, whoever asks: nothing is opened, no share moves, and the next run works."""

from __future__ import annotations

import dataclasses
import logging
import re
import secrets

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network import inprocess, my_data
from network.inprocess import EVERYBODY, POLICY, SERVERS, Nodes, built, local, private, run, submit, works

import jmpc
from jmpc.computation import ArrayType, Assign, Computation, Output, Publish, Read, Reveal, Source
from jmpc.errors import ConfigError, InputError, JmpcError, PeerError, PolicyError, RunAborted
from jmpc.net.codec import CodecError
from jmpc.net.computations import encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.runtime import orders
from jmpc.runtime.orders import Order
from jmpc.runtime.remote import RemoteSession

# -- who may submit ------------------------------------------------------------------------------------------------


def test_an_unlisted_driver(nodes: Nodes, nothing_sent: None, caplog: pytest.LogCaptureFixture) -> None:
    nodes.stop("model-owner")
    try:
        with nodes.stranger("model-owner") as transport, caplog.at_level(logging.WARNING, "jmpc.node"):
            computation = built(private("data-owner").reveal("data-owner"))
            for answer in submit(nodes, transport, computation, *SERVERS).values():
                assert "rule drivers" in str(orders.refusal(answer))
            started = secrets.token_bytes(RUN_BYTES)
            transport.open_run(started)
            transport.send("server0", Header(Kind.RUN, started, body=Order(bytes(16), bytes(16), {}, {}).encode()))
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
            (answer,) = submit(made, transport, b"anything", "server0").values()
            assert "--driver model-owner" in str(orders.refusal(answer))
        made.stop("server0")
        made.start("server0", drivers=("model-owner",))
        with made.stranger("model-owner") as transport:
            (answer,) = submit(made, transport, b"anything", "server0").values()
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
    session._variables[kept.name] = dataclasses.replace(honest, grants={})
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
        answers = submit(nodes, transport, Computation(SERVERS, calls), *EVERYBODY)
    assert "rule public" in str(orders.refusal(answers.pop("data-owner")))
    for answer in answers.values():
        assert "rule reveal_to): public value (data-owner to server" in str(orders.refusal(answer))


def test_what_its_player_does_to_a_private_input_does_not_make_it_public(nodes: Nodes, nothing_sent: None) -> None:
    x = Source("data-owner", "vector", (ArrayType((4,), "float32"),), "input/0")
    same = local("data-owner", lambda v: v * 1.0, private("data-owner")).node.make((0,), "driver")
    with nodes.stranger() as transport:
        for step in (same, Reveal(0, "data-owner")):
            calls = (x, step, Publish(1), Output(2, "driver", "", "fetch/0"))
            (answer,) = submit(nodes, transport, Computation(SERVERS, calls), "data-owner").values()
            assert "what its provider 'vector' gives (rule public)" in str(orders.refusal(answer))


def test_columns_are_taken_by_their_names(session: RemoteSession, nodes: Nodes) -> None:
    """Two columns of one type would be taken for each other if only their order counted."""

    def total(*names: str) -> jmpc.Value:
        table = jmpc.define_private_input("data-owner", "table", types=dict.fromkeys(names, my_data.VECTOR))
        return table[names[0]].sum()

    np.testing.assert_allclose(run(session, total("age", "weight").reveal())[0], 160, atol=1e-3)
    before = nodes.shared_bytes()
    for names in (("years", "weight"), ("weight", "height"), ("age",)):
        wanted = ", ".join(f"[{name!r}] float32[4]" for name in sorted(names))
        text = "gives (['age'] float32[4], ['weight'] float32[4]) by its declaration, the computation wants (" + wanted
        with pytest.raises(RunAborted, match=re.escape(text)):
            run(session, total(*names).reveal())
    assert nodes.shared_bytes() == before


# -- what is no computation ----------------------------------------------------------------------------------------


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
        for answer in submit(nodes, transport, forged, *EVERYBODY).values():
            assert "not among those that may travel" in str(orders.refusal(answer))


def test_garbage_instead_of_a_computation(nodes: Nodes, nothing_sent: None) -> None:
    honest = encode_computation(built(private("data-owner").reveal()))
    rng = np.random.default_rng(0)
    with nodes.stranger() as transport:
        for length in (1, len(honest) // 2, len(honest) - 1):
            (answer,) = submit(nodes, transport, honest[:length], "server0").values()
            assert orders.refusal(answer)
        for _ in range(30):
            broken = bytearray(honest)
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
            (answer,) = submit(nodes, transport, bytes(broken), "server1").values()
            assert orders.Ready.decode(answer) is not None or orders.refusal(answer)
        (answer,) = submit(nodes, transport, bytes(POLICY["max_computation_bytes"] + 1), "server0").values()
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
            (answer,) = submit(nodes, transport, Computation(SERVERS, calls), "data-owner").values()
            assert message in str(orders.refusal(answer)), (message, answer)
        servers = Computation(("server1", "server0", "server2"), (x,))
        (answer,) = submit(nodes, transport, servers, "data-owner").values()
        assert "rule servers" in str(orders.refusal(answer))
        (answer,) = submit(nodes, transport, Computation(SERVERS, (x,)), "model-owner").values()
        assert "takes no part" in str(orders.refusal(answer))


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
        ("wrong_shape", r"data-owner: provider 'wrong_shape' does not give float32\[4\], as declared, .*convert"),
        ("wrong_dtype", r"data-owner: provider 'wrong_dtype' does not give float32\[4\], as declared, .*convert"),
        ("two_arrays", r"data-owner: provider 'two_arrays' does not give the arrays \['float32\[4\]'\]$"),
        ("not_finite", "data-owner.* not finite, or not in"),
        ("too_large", "data-owner.* not finite, or not in"),
        ("broken", "data-owner: provider 'broken' failed; see its node's log$"),
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
