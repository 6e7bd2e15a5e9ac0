"""What takes too much is refused, or ends, and the next run works."""

from __future__ import annotations

import dataclasses
import functools
import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
from jax import lax
from network import inprocess, my_data
from network.inprocess import POLICY, SERVERS, Nodes, built, local, private, run, submit, works

import jmpc
from jmpc.computation import ArrayType, Computation, Read, Reveal, Share
from jmpc.errors import RunAborted
from jmpc.net.computations import encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.runtime import orders
from jmpc.runtime.orders import Submission
from jmpc.runtime.remote import RemoteSession


def patient(nodes: Nodes, name: str, monkeypatch: pytest.MonkeyPatch, **rules: int) -> None:
    """Lets a node be asked for more than the others."""
    host = nodes.nodes[name]._host
    monkeypatch.setattr(host, "policy", dataclasses.replace(host.policy, max_equations=100_000, **rules))


@pytest.fixture(autouse=True)
def unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    """These drivers leave to the nodes what they could have computed themselves."""
    monkeypatch.setattr("jmpc.api.graph.fold_known_floats", lambda computation: computation)


# -- loops ---------------------------------------------------------------------------------------------------------


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


def test_a_loop_whose_turns_are_heavy(session: RemoteSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few turns, but more work than all that the policy allows."""

    def heavy(v):
        square = jnp.broadcast_to(v[1], (300, 300))
        return jax.lax.while_loop(lambda c: c[0, 0] > -1.0, lambda c: jnp.abs(c @ c) * 1e-3, square)[0, :4]

    with pytest.raises(RunAborted, match=r"takes more than 15\d iterations \(rule max_operations\)"):
        run(session, local("data-owner", heavy, private("data-owner")).reveal())

    @jmpc.function
    def known(x):
        ones = jnp.ones((300, 300))
        return x * jax.lax.while_loop(lambda c: c[0, 0] > -1, lambda c: jnp.abs(c @ c) * 1e-3, ones)[0, 0]

    monkeypatch.setattr("jmpc.lowering.public._MOST_OPERATIONS", 1 << 28)
    with pytest.raises(jmpc.JmpcError, match="loop over known values takes more than 9 iterations"):
        run(session, known(private("data-owner")).reveal())


def test_loops_in_loops(nodes: Nodes) -> None:
    def nest(v, level):
        if not level:
            return v * v
        return jax.lax.scan(lambda c, _: (nest(c, level - 1), None), v, length=1)[0]

    answers = []
    with nodes.stranger("second-driver") as transport:
        for level in (15, 16):
            start = time.monotonic()
            secure = jmpc.function(lambda v, level=level: nest(v, level))(private("data-owner"))
            answers += submit(nodes, transport, built(secure.reveal()), "server0").values()
            assert time.monotonic() - start < 20
    assert orders.Ready.decode(answers[0]) is not None and "the nesting of loops" in str(orders.refusal(answers[1]))


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
        (answer,) = submit(nodes, transport, computation, "data-owner").values()
    assert "a loop inside the function of `reduce`" in str(orders.refusal(answer))


# -- size ----------------------------------------------------------------------------------------------------------


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
        (answer,) = submit(nodes, transport, built(known(private("data-owner")).reveal()), "server0").values()
    assert "max_memory_bytes" in str(orders.refusal(answer)) or "the size of a value" in str(orders.refusal(answer))


def test_too_many_calls(nodes: Nodes, nothing_sent: None) -> None:
    """Of which each is small, or has few equations of its own."""

    @jmpc.function
    def fn(v):
        for _ in range(100):
            v = v + 1
        return v

    source, secure, *_ = built(fn(private("data-owner")).reveal()).calls
    floods = {
        "reveals": (source, Share(0), *[Reveal(1, "driver")] * 600),
        "functions": (source, *[secure] * 6),
        "inputs": tuple(dataclasses.replace(source, key=f"input/{k}") for k in range(600)),
        "variables": tuple(Read(f"v{k}", ArrayType((0,), "float32")) for k in range(600)),
    }
    with nodes.stranger() as transport:
        for what, calls in floods.items():
            (answer,) = submit(nodes, transport, Computation(SERVERS, calls), "server0").values()
            assert "rule max_equations" in str(orders.refusal(answer)), what


def test_data_that_unpacks_to_far_more(nodes: Nodes, nothing_sent: None) -> None:
    with nodes.stranger() as transport:
        for bomb in (msgpack.packb([[[]] * 4000] * 200), msgpack.packb([[{}] * 4000] * 200), b"\x91" * (1 << 19)):
            (answer,) = submit(nodes, transport, bomb, "server0").values()
            assert "not msgpack within its limits" in str(orders.refusal(answer))


def test_a_small_computation_that_becomes_a_large_one(nodes: Nodes, nothing_sent: None) -> None:
    @jmpc.function
    def fn(v):
        for _ in range(15):
            v = jnp.exp(v * 0.01)
        return v

    with nodes.stranger() as transport:
        (answer,) = submit(nodes, transport, built(fn(private("data-owner")).reveal()), "server0").values()
    assert "lowered equations, at most 10,000 (rule max_lowered_equations)" in str(orders.refusal(answer))


@pytest.mark.parametrize(("combine", "initial"), [(lax.max, -np.inf), (lax.mul, 1)])
def test_windows_that_are_nearly_as_large_as_an_array(
    nodes: Nodes, nothing_sent: None, combine: Callable[..., Any], initial: float
) -> None:
    """Nothing is made for each place in a window before it is known how many there are."""
    n = 1 << 17

    @jmpc.function
    def windows(x):
        wide = jnp.broadcast_to(x, (n, 4)).reshape(-1)
        return lax.reduce_window(wide, np.float32(initial), combine, (2 * n,), (1,), "VALID")

    with nodes.stranger() as transport:
        (answer,) = submit(nodes, transport, built(windows(private("data-owner")).reveal()), "server0").values()
    assert re.search("rule max_(memory_bytes|operations)", str(orders.refusal(answer)))


def test_constants_that_are_small_until_they_are_encoded(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    patient(nodes, "server0", monkeypatch, max_memory_bytes=1 << 24)

    @jmpc.function
    def spread(v):
        return v[0] * jnp.broadcast_to(jax.lax.iota(np.float32, 4), (1 << 18, 4))

    @jmpc.function
    def network(v):  # the places that a sorting network compares
        return jnp.sort(jnp.broadcast_to(v[0], (1 << 17,)))[:4]

    with nodes.stranger() as transport:
        for fn in (spread, network):
            (answer,) = submit(nodes, transport, built(fn(private("data-owner")).reveal()), "server0").values()
            assert "memory bytes, at most 16,777,216 (rule max_memory_bytes)" in str(orders.refusal(answer))


def test_what_would_be_computed_while_it_is_prepared(nodes: Nodes, nothing_sent: None) -> None:
    @jmpc.function
    def fn(v):
        return v * jax.lax.fori_loop(0, 1000, lambda i, c: jnp.sin(c) + 1, jnp.ones(1 << 20))[0]

    with nodes.stranger() as transport:
        (answer,) = submit(nodes, transport, built(fn(private("data-owner")).reveal()), "server0").values()
    assert "(rule max_known_operations)" in str(orders.refusal(answer))


# -- time ----------------------------------------------------------------------------------------------------------


def slow(turns: int = 3000) -> jmpc.Value:
    """Takes long to prepare, though it is small: an executable for every equation."""

    @jmpc.function
    def fn(v):
        for size in range(1, turns):
            v = v + jax.lax.iota(np.float32, size)[size - 1]
        return v

    return fn(private("data-owner"))


def test_preparing_that_takes_too_long(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    patient(nodes, "server0", monkeypatch, max_prepare_seconds=1)
    with nodes.stranger() as transport:
        start = time.monotonic()
        (answer,) = submit(nodes, transport, built(slow().reveal()), "server0").values()
        assert time.monotonic() - start < 20
    assert "has not prepared a computation within 1 s (rule max_prepare_seconds)" in str(orders.refusal(answer))


def test_nobody_prepares_for_a_session_that_has_ended(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    patient(nodes, "server0", monkeypatch)
    session, submission = secrets.token_bytes(RUN_BYTES), secrets.token_bytes(RUN_BYTES)
    body = Submission(session, encode_computation(built(slow().reveal()))).encode()
    with nodes.stranger() as transport:
        transport.send("server0", Header(Kind.SUBMIT, submission, body=body))
        assert transport.wait_control(Kind.STATUS, submission, "server0").body == orders.TAKEN
        client = nodes.nodes["server0"]._clients["driver"]
        transport.send("server0", Header(Kind.STATUS, session, body=orders.CLOSED))
        inprocess.eventually(lambda: client.join(0.1), 20)


def test_sessions_that_are_begun_again_and_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leaves something behind that goes on: only a few may."""
    going_on, begun, answers = threading.Event(), [], []
    monkeypatch.setattr(
        "jmpc.runtime.repertoire.read_computation", lambda data, policy: (begun.append(data), going_on.wait(60))
    )
    node = nodes.nodes["server0"]
    inprocess.eventually(lambda: all(client.join(0.1) for client in node._ending), 20)
    with nodes.stranger() as transport:
        for count in range(6):
            submission = secrets.token_bytes(RUN_BYTES)
            body = Submission(secrets.token_bytes(RUN_BYTES), b"anything").encode()
            transport.send("server0", Header(Kind.SUBMIT, submission, body=body))
            answers.append(transport.wait_control(Kind.STATUS, submission, "server0").body)
            inprocess.eventually(lambda count=count: len(begun) == min(count + 1, 3))
    going_on.set()
    assert answers[:3] == [orders.TAKEN] * 3
    assert all("still at work for earlier sessions of driver" in str(orders.refusal(answer)) for answer in answers[3:])
    monkeypatch.undo()
    inprocess.eventually(lambda: all(client.join(0.1) for client in node._ending), 20)
    with nodes.session() as session:
        works(session)


# -- what is kept --------------------------------------------------------------------------------------------------


def test_variables_of_a_driver_are_bounded(nodes: Nodes, session: RemoteSession) -> None:
    small = jmpc.define_private_variable(jnp.zeros(100))
    large = jmpc.define_private_variable(jnp.zeros(1000))
    run(session, small.assign(small.initial))
    with pytest.raises(RunAborted, match=r"would keep 21,696 bytes.*rule max_stored_bytes.*new session"):
        run(session, large.assign(large.initial))
    run(session, small.assign(small + 1.0))  # replaces, and does not add
    assert set(nodes.stored("server0")) == {small.name}


def test_variables_of_sessions_that_still_go_on_count_as_well(nodes: Nodes) -> None:
    """A driver that begins session after session while its runs go on does not get as much for each of them."""
    node, going_on = nodes.nodes["server0"], threading.Event()
    with nodes.session() as session:
        kept = jmpc.define_private_variable(jnp.zeros(200))
        run(session, kept.assign(kept.initial))
        before = node._clients["driver"]
        assert before._running.offer(functools.partial(going_on.wait, 60))
    with nodes.session() as again:
        more = jmpc.define_private_variable(jnp.zeros(300))
        with pytest.raises(RunAborted, match="server0 would keep .*rule max_stored_bytes"):
            run(again, more.assign(more.initial))
        assert before in node._ending and before.stored_bytes > 3200
        going_on.set()
        inprocess.eventually(lambda: node._let_go() or not node._ending, 20)
        run(again, more.assign(more.initial))


def test_variables_without_elements_are_bounded_as_well(session: RemoteSession) -> None:
    many = [jmpc.define_private_variable(jnp.zeros((0,))) for _ in range(10)]
    with pytest.raises(RunAborted, match="rule max_stored_bytes"):
        run(session, *[variable.assign(variable.initial) for variable in many])


def test_what_is_prepared_for_a_driver_is_bounded_in_number_and_bytes(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(session)
    table = nodes.nodes["server0"]._repertoires["driver"]._prepared
    assert table.heaviest == POLICY["max_memory_bytes"] // 4
    monkeypatch.setattr(table, "heaviest", 4_000_000)
    for k in range(6):
        x = private("data-owner") + np.full((60_000, 4), k, np.float32)
        run(session, local("driver", lambda v: v[0], x.reveal()).reveal())
        assert table.weight <= 4_000_000
    assert 0 < len(table) < 6
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
