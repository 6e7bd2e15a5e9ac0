"""Sessions, variables and runs over time: restarts, deaths at bad moments, drivers side by side, fresh keys."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import re
import threading
import time
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pytest
from network import inprocess, my_data
from network.conftest import ROOT
from network.inprocess import OWNERS, SERVERS, Nodes, in_background, local, long_loop, private, run, works

import jmpc
import jmpc.net.handshake
import jmpc.runtime.repertoire
from jmpc.errors import AgreementError, InputError, JmpcError, PeerError, RunAborted
from jmpc.net.computations import encode_computation
from jmpc.net.framing import Header, Kind
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.orders import Submission
from jmpc.runtime.remote import RemoteSession

EVERYBODY = (*SERVERS, *OWNERS)


@pytest.fixture
def nodes(tmp_path) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path)
    made.start(*EVERYBODY)
    yield made
    my_data.RELEASED.set()
    made.stop()
    my_data.RELEASED.clear()


@pytest.fixture
def session(nodes: Nodes) -> Iterator[RemoteSession]:
    with nodes.session() as made:
        yield made


def assigned(session: RemoteSession, initial: float = 0.0) -> jmpc.Variable:
    variable = jmpc.define_private_variable(jnp.full((4,), initial))
    run(session, variable.assign(variable.initial))
    return variable


# -- agreement -----------------------------------------------------------------------------------------------------


class Chatty(Rep3):
    """A server that would send something else."""

    def reveal(self, x, to, why):
        return super().reveal(self.add_public(x, 1), to, why)


def test_a_player_that_would_run_something_else(nodes: Nodes, session: RemoteSession) -> None:
    works(session)
    nodes.nodes["server1"]._host.make_protocol = Chatty
    before = nodes.shared_bytes()
    fetch = (private("data-owner") * private("model-owner")).reveal()
    with pytest.raises((AgreementError, RunAborted), match=r"server1.*they differ in program.*nothing was sent"):
        run(session, fetch)
    assert nodes.shared_bytes() == before
    works(session)  # which every player has prepared alike
    nodes.nodes["server1"]._host.make_protocol = Rep3
    with nodes.session("second-driver") as other:
        np.testing.assert_allclose(run(other, fetch)[0], np.arange(4) * (10 + np.arange(4)), atol=1e-3)


def test_keys_are_fresh_in_every_run_session_and_life(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys as they are derived, and what two servers tell each other about the same inputs."""
    keys, bodies = [], []
    derive, encode = jmpc.net.handshake.derive, jmpc.net.handshake.encode_hello

    def noted(*args, **kwargs):
        made = derive(*args, **kwargs)
        if kwargs.get("purpose") == b"key":
            keys.append((args[2], args[3], made))  # of which set, in which run
        return made

    def told(hello, contributions):
        bodies.extend(contributions)
        return encode(hello, contributions)

    monkeypatch.setattr(jmpc.net.handshake, "derive", noted)
    monkeypatch.setattr(jmpc.net.handshake, "encode_hello", told)
    with nodes.session() as session:
        works(session)
        works(session)
        nodes.stop("server1")
        nodes.start("server1")
        inprocess.eventually(lambda: in_background(lambda: works(session))() is None, 30)
    with nodes.session() as session:
        works(session)
    runs = {of_run for _, of_run, _ in keys}
    assert len(runs) >= 4
    for of_run in runs:
        by_set: dict = {}
        for key_set, other_run, key in keys:
            if other_run == of_run:
                by_set.setdefault(key_set, []).append(key)
        assert all(len(set(made)) == 1 and len(made) == len(who) for who, made in by_set.items()), "members agree"
    distinct = {(key_set, of_run): key for key_set, of_run, key in keys}
    assert len(set(distinct.values())) == len(distinct), "no key serves two sets, runs, sessions or lives"
    pairs = [pair for pair in itertools.pairwise(sorted(bodies)) if pair[0] == pair[1]]
    assert len(set(bodies)) * 2 >= len(bodies) and len(pairs) <= len(bodies) // 2  # one for two fellow members


# -- what the README shows -----------------------------------------------------------------------------------------


def test_the_first_block_of_the_readme(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    text = block[1].replace("jmpc.LocalConfig()", "CONFIG").replace("input-provider", "data-owner")
    try:
        exec(compile(text, "README.md", "exec"), {"CONFIG": nodes.config("driver")})
    finally:
        jmpc.set_config(jmpc.LocalConfig())
    assert "10." in capsys.readouterr().out


# -- variables and commits -----------------------------------------------------------------------------------------


def test_a_training_loop(nodes: Nodes, session: RemoteSession) -> None:
    w = assigned(session)
    step = w.assign(w + private("data-owner") * 0.5)
    for _ in range(3):
        run(session, step)
    np.testing.assert_allclose(run(session, w.reveal())[0], 1.5 * np.arange(4), atol=1e-4)
    kept = jmpc.define_local_variable("model-owner", lambda: jnp.full((4,), 2.0))
    run(session, kept.assign(kept.initial))
    square = kept.assign(local("model-owner", lambda v: v * v, kept))
    run(session, square)
    run(session, square)
    np.testing.assert_allclose(run(session, kept.reveal())[0], np.full(4, 16.0))
    assert set(nodes.stored("model-owner")) == {kept.name} and set(nodes.stored("server2")) == {w.name}


def test_a_run_that_fails_commits_nothing(nodes: Nodes, session: RemoteSession) -> None:
    w = assigned(session, 1.0)
    before = {name: nodes.stored(name)[w.name] for name in SERVERS}
    with pytest.raises(RunAborted, match="broken"):
        run(session, w.assign(w + private("data-owner", "broken")))
    assert {name: nodes.stored(name)[w.name] for name in SERVERS} == before
    np.testing.assert_allclose(run(session, w.reveal())[0], np.ones(4), atol=1e-5)


def test_a_driver_that_dies_between_done_and_commit(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    session = nodes.session()
    w = assigned(session, 1.0)
    before = {name: nodes.stored(name)[w.name] for name in SERVERS}
    provenance = jmpc.runtime.prepare.Prepared.provenance
    in_time = threading.Event()

    def die(self, variables):
        if threading.current_thread() is threading.main_thread():  # the driver: everybody is done, nobody committed
            session._told.clear()
            session.transport.close()
            in_time.set()
            raise KeyboardInterrupt
        return provenance(self, variables)

    monkeypatch.setattr(jmpc.runtime.prepare.Prepared, "provenance", die)
    with pytest.raises(KeyboardInterrupt):
        run(session, w.assign(w + private("data-owner")))
    monkeypatch.undo()
    assert in_time.is_set()
    assert {name: nodes.stored(name)[w.name] for name in SERVERS} == before, "discarded"
    with nodes.session() as again:
        works(again)


def test_a_commit_that_reaches_some_only(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    with quick(nodes) as session:
        w = assigned(session, 1.0)
        send = session.transport.send

        def break_off(peer: str, header: Header, *args, **kwargs) -> None:
            if header.kind is Kind.COMMIT and peer == "server1":
                raise PeerError("server1", "the link to server1 broke")
            send(peer, header, *args, **kwargs)

        monkeypatch.setattr(session.transport, "send", break_off)
        with pytest.raises(PeerError, match="server1"):
            run(session, w.assign(w + private("data-owner")))
        monkeypatch.undo()
        with pytest.raises(RunAborted, match=rf"server1 has another generation of '{w.name}'.*assign the variable a"):
            run(session, w.reveal())
        works(session)
        run(session, w.assign(w.initial))
        np.testing.assert_allclose(run(session, w.reveal())[0], np.ones(4), atol=1e-5)


def test_a_node_that_was_restarted(nodes: Nodes, session: RemoteSession) -> None:
    w = assigned(session, 3.0)
    works(session)
    nodes.stop("server2")
    nodes.start("server2")
    inprocess.eventually(lambda: in_background(lambda: works(session))() is None, 30)  # once the link is up again
    with pytest.raises(
        RunAborted, match=rf"server2 has lost '{w.name}': jmpc-node server2 was restarted.*assign it again"
    ):
        run(session, w.reveal())
    run(session, w.assign(w.initial))
    np.testing.assert_allclose(run(session, w.reveal())[0], np.full(4, 3.0), atol=1e-5)


def test_computations_that_a_node_has_forgotten_are_submitted_again(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jmpc.runtime.repertoire, "KEPT_COMPUTATIONS", 2)
    fetches = [(private("data-owner") * float(k)).reveal() for k in range(1, 5)]
    for _ in range(2):
        for k, fetch in enumerate(fetches, 1):
            np.testing.assert_allclose(run(session, fetch)[0], k * np.arange(4), atol=1e-3)
    assert len(nodes.nodes["server0"]._repertoires["driver"]._prepared) == 2


def test_a_driver_keeps_as_many_computations_as_nodes(session: RemoteSession) -> None:
    session._known.most = 2
    for k in range(1, 5):
        run(session, local("data-owner", lambda v, k=k: v * k, private("data-owner")).reveal())
    assert len(session._known) == 2


@pytest.mark.slow
def test_what_a_node_compiled_goes_with_the_computation(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jmpc.runtime.repertoire, "KEPT_COMPUTATIONS", 2)
    session._known.most = 2
    fetches = [local("data-owner", lambda v, k=k: v * k, private("data-owner")).reveal() for k in range(1, 8)]
    sizes = []
    for k, fetch in enumerate(fetches, 1):
        np.testing.assert_allclose(run(session, fetch)[0], k * np.arange(4))
        gc.collect()
        sizes.append(inprocess.COMPILER.size)
    assert len(set(sizes[2:])) == 1, sizes
    np.testing.assert_allclose(run(session, fetches[0])[0], np.arange(4))


def test_a_computation_that_runs_may_be_forgotten(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node keeps what a run needs until it ends."""
    monkeypatch.setattr(jmpc.runtime.repertoire, "KEPT_COMPUTATIONS", 1)
    kept = jmpc.define_private_input("data-owner", "vector", types=my_data.VECTOR, range=(-4, 4))
    fetch = (long_loop(40) + (private("model-owner", "stuck") * 0.0)).reveal()
    end = in_background(lambda: run(session, fetch))
    inprocess.eventually(lambda: (mine := nodes.nodes["server0"]._clients.get("driver")) and mine.active)
    client, table = nodes.nodes["server0"]._clients["driver"], nodes.nodes["server0"]._repertoires["driver"]._prepared
    (held,) = table._entries
    for k in range(3):
        data = encode_computation(inprocess.built((kept * (k + 0.5)).reveal()))
        client.submit(bytes([k]) * 16, Submission(bytes(16), data))
    inprocess.eventually(lambda: getattr(client._submissions.get(bytes([2]) * 16), "mark", None) in table)
    assert held not in table
    my_data.RELEASED.set()
    assert end() is None


# -- drivers side by side -------------------------------------------------------------------------------------------


def test_a_session_finds_what_was_prepared_for_the_one_before(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = jmpc.runtime.repertoire.prepare
    monkeypatch.setattr(jmpc.runtime.repertoire, "prepare", lambda *args: made.append(args) or real(*args))
    for _ in range(2):
        with nodes.session() as session:
            works(session)
    assert len(made) == len(EVERYBODY)
    with nodes.session("second-driver") as session:
        works(session)
    assert len(made) == 2 * len(EVERYBODY)


def test_two_drivers_side_by_side(nodes: Nodes) -> None:
    with nodes.session() as one, nodes.session("second-driver") as two:
        v, w = assigned(one, 1.0), assigned(two, 2.0)
        assert set(nodes.stored("server0")) == {v.name}
        assert set(nodes.stored("server0", "second-driver")) == {w.name}

        def train(session: RemoteSession, variable: jmpc.Variable) -> None:
            for _ in range(10):
                run(session, variable.assign(variable + private("data-owner")))

        ends = [in_background(lambda: train(one, v)), in_background(lambda: train(two, w))]
        assert [end() for end in ends] == [None, None]
        np.testing.assert_allclose(run(one, v.reveal())[0], 1 + 10 * np.arange(4), atol=1e-3)
        np.testing.assert_allclose(run(two, w.reveal())[0], 2 + 10 * np.arange(4), atol=1e-3)


def test_a_driver_cannot_reach_the_variables_of_another(nodes: Nodes) -> None:
    with nodes.session() as one, nodes.session("second-driver") as two:
        v = assigned(one, 1.0)
        two._variables[v.name] = one._variables[v.name]
        with pytest.raises(RunAborted, match=f"has lost '{v.name}'"):
            run(two, v.reveal())


def test_a_driver_that_is_stuck_holds_up_nobody_else(nodes: Nodes) -> None:
    """Its run waits for a provider, it floods a server with computations, and the other driver goes on."""
    with nodes.session() as one, nodes.session("second-driver") as two:
        works(two)
        end = in_background(lambda: run(one, (private("model-owner", "stuck") + 1.0).reveal()))
        inprocess.eventually(lambda: (mine := nodes.nodes["server0"]._clients.get("driver")) and mine.active)
        for _ in range(100):
            one.transport.send("server1", Header(Kind.SUBMIT, bytes(16), body=Submission(one._id, b"junk").encode()))
            one.transport.send("server1", Header(Kind.RUN, bytes(16), body=b"junk"))
        start = time.monotonic()
        pair = [private("data-owner"), private("data-owner")]
        for _ in range(3):
            run(two, (pair[0] + pair[1]).reveal())
        assert time.monotonic() - start < 5.0
        my_data.RELEASED.set()
        assert end() is None
        works(one)


# -- long runs, stops and deaths -------------------------------------------------------------------------------------


def quick(nodes: Nodes, timeout: float = 1.2) -> RemoteSession:
    """A session, and nodes, that lose patience soon."""
    for node in nodes.nodes.values():
        node._host.config = dataclasses.replace(node._host.config, timeout=timeout)
    return RemoteSession(dataclasses.replace(nodes.config("driver"), timeout=timeout))


def test_a_run_may_take_longer_than_the_timeout(nodes: Nodes) -> None:
    """Whoever waits, even a player that only gets the result, waits as long as the others get on."""
    with quick(nodes) as session:
        w = assigned(session)
        run(session, long_loop(100).reveal("data-owner"))
        start = time.monotonic()
        run(session, long_loop(400).reveal("data-owner"))
        turns = int(400 * 2.5 / (time.monotonic() - start)) + 1  # compiling included: rather too few turns
        start = time.monotonic()
        run(session, long_loop(turns).reveal("data-owner"), (w + 1.0).reveal())
        assert time.monotonic() - start > 1.2


def test_a_player_that_does_not_get_on_is_given_up_by_name(nodes: Nodes) -> None:
    with quick(nodes) as session:
        stuck = private("model-owner", "stuck") + private("data-owner")
        run(session, (private("model-owner") + private("data-owner")).reveal())
        start = time.monotonic()
        with pytest.raises(PeerError, match="model-owner.*link is up, so it is busy, stuck") as caught:
            run(session, stuck.reveal())
        assert caught.value.player == "model-owner" and time.monotonic() - start < 1.2 + 2 + 2
        my_data.RELEASED.set()
        inprocess.eventually(lambda: in_background(lambda: works(session))() is None, 30)


def test_a_node_that_is_stopped_says_so(nodes: Nodes, session: RemoteSession) -> None:
    works(session)
    end = in_background(lambda: run(session, long_loop().reveal()))
    inprocess.eventually(lambda: nodes.nodes["server1"].transport.sent.peers()["server2"].frames > 100, 30)
    nodes.stop("server1")
    error = end()
    assert isinstance(error, JmpcError) and "jmpc-node server1 was stopped" in str(error), error
    nodes.start("server1")
    inprocess.eventually(lambda: in_background(lambda: works(session))() is None, 30)


def test_a_driver_that_gives_up_ends_the_run_everywhere(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does."""
    works(session)

    def interrupt(self, peer):
        raise KeyboardInterrupt

    monkeypatch.setattr(jmpc.runtime.pulse.Pulse, "done", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(session, long_loop().reveal("data-owner"))
    monkeypatch.undo()
    start = time.monotonic()
    works(session)
    assert time.monotonic() - start < 5.0


def test_what_only_exists_in_simulation_is_refused(session: RemoteSession) -> None:
    unfed = jmpc.define_private_input("driver", "batch", types=my_data.VECTOR)
    with pytest.raises(InputError, match="'batch' is only known by name here"):
        run(session, (unfed * 2.0).reveal())
