"""Where all players run the script: a follower does what its own is at, whatever the lead says; as threads."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from network import inprocess
from network.inprocess import COMPILER, SERVERS

import jmpc
from jmpc.api.graph import build
from jmpc.api.run import initialise, opened
from jmpc.computation import Assign, Read
from jmpc.config import RemoteConfig
from jmpc.errors import AgreementError, FrameError, InputError, PeerError, RunAborted, StorageError
from jmpc.net.computations import encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.transport import Transport
from jmpc.protocols.rep3 import Rep3
from jmpc.providers import Registry
from jmpc.runtime import steps
from jmpc.runtime.doing import Loading, Running, Saving
from jmpc.runtime.follower import FollowerSession
from jmpc.runtime.lead import LeadSession
from jmpc.runtime.node import Node
from jmpc.runtime.orders import Submission
from jmpc.runtime.remote import RemoteSession
from jmpc.runtime.saving import Request, Task
from jmpc.runtime.script import Script
from jmpc.runtime.steps import End, Over, Step
from jmpc.storage.saved import ID_BYTES

PLAYERS = (*SERVERS, "owner", "other", "lead")
VECTOR = jax.ShapeDtypeStruct((2,), "float32")
Session = LeadSession | FollowerSession


def config(path: Path, me: str) -> RemoteConfig:
    return RemoteConfig.load(path, environment={"JMPC_PLAYER": me})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path, PLAYERS)


def written(folder: Path, players: tuple[str, ...], **rules: Any) -> Path:
    ports = inprocess.free_ports(len(players))
    addresses = {name: {"address": f"127.0.0.1:{port}"} for name, port in zip(players, ports, strict=True)}
    made = folder / "config.json"
    data = {"players": addresses, "driver": "lead", "insecure": True, "timeout": 6}
    made.write_text(json.dumps(data | {"policy": {"drivers": ["owner"]} | rules}))
    return made


@dataclass
class Scripts:
    """The sessions of all players, and what their scripts do."""

    sessions: dict[str, Session]

    @property
    def lead(self) -> LeadSession:
        return self.sessions["lead"]  # type: ignore[return-value]

    def do(self, script: Callable[[Session], Any], lead: Callable[[Any], Any] | None = None) -> dict[str, Any]:
        """What the script returns or raises at each player; `lead` is what that one does instead."""

        def one(session: Session) -> Any:
            try:
                return (lead or script)(session) if session.me == "lead" else script(session)
            except Exception as error:
                return error

        with ThreadPoolExecutor(len(self.sessions)) as pool:
            return dict(zip(self.sessions, pool.map(one, self.sessions.values()), strict=True))

    def works(self) -> None:
        results = self.do(lambda session: run(session, constant(3).reveal()))
        np.testing.assert_allclose(results["lead"], [[3, 3]], atol=1e-4)


@pytest.fixture
def scripts(path: Path) -> Iterator[Scripts]:
    with started(path, PLAYERS) as made:
        yield made


@contextmanager
def started(path: Path, players: tuple[str, ...]) -> Iterator[Scripts]:
    """The scripts of players, the last of which leads."""
    sessions: dict[str, Session] = {name: FollowerSession(config(path, name)) for name in players[:-1]}
    for session in sessions.values():
        session._node._host.make_compiler = lambda: COMPILER  # type: ignore[union-attr]
    sessions["lead"] = LeadSession(config(path, "lead"))
    for session in sessions.values():
        session._compiler = COMPILER
    made = Scripts(sessions)
    yield made
    with ThreadPoolExecutor(len(players)) as pool:
        list(pool.map(lambda session: session.close(), made.sessions.values()))


def built_by(session: Session, *fetches: Any) -> Any:
    made = build(fetches, session.servers, session.driver, session.fraction)
    initialise(session, made.variables)
    return made


def run(session: Session, *fetches: Any) -> list[Any]:
    made = built_by(session, *fetches)
    return opened(made, session.run(made), session.me)


def constant(number: float, player: str = "owner") -> jmpc.Value:
    """What the owner brings; another number is another computation."""
    brought = jmpc.define_private_input(player, lambda: np.ones(2, np.float32), types=VECTOR)
    return jmpc.function(lambda x: x * number)(brought)


# -- what it is for ------------------------------------------------------------------------------------------------


def test_results_open_where_they_are_revealed_and_errors_everywhere(scripts: Scripts) -> None:
    called, seen = [], []

    def script(session: Session) -> Any:
        def bring() -> np.ndarray:
            called.append(session.me)
            if len(called) == 2:
                raise ValueError("secret")
            return np.arange(2, dtype=np.float32)

        x = jmpc.define_private_input("owner", bring, types=VECTOR)
        total = jmpc.define_private_variable(x * 2.0)
        shown = jmpc.define_output("owner", total, lambda a: seen.append((session.me, a.tolist())))
        results = run(session, total.reveal(), total.reveal("owner"), *shown)
        with pytest.raises((InputError, RunAborted), match="owner.*failed"):
            run(session, total.assign(total + x))
        return [*results[:2], *run(session, total.reveal())]

    results = scripts.do(script)
    assert set(called) == {"owner"} and seen == [("owner", pytest.approx([0, 2], abs=1e-4))]
    np.testing.assert_allclose(results["lead"][0], [0, 2], atol=1e-4)
    np.testing.assert_allclose(results["lead"][2], [0, 2], atol=1e-4)
    np.testing.assert_allclose(results["owner"][1], [0, 2], atol=1e-4)
    assert results["server0"] == [None] * 3 and results["owner"][::2] == [None, None]


def test_who_takes_no_part_stays_in_step(scripts: Scripts) -> None:
    """The owner knows which variables there are, what went wrong, and what all call them when it joins in."""

    def script(session: Session) -> Any:
        first, second = (jmpc.define_private_variable(np.full(2, x, np.float32)) for x in (1.0, 2.0))
        run(session, first.assign(first + 1.0))
        with pytest.raises((RunAborted, InputError), match="lead: its input failed"):
            run(session, jmpc.define_private_variable(jmpc.define_private_input("lead", _fails, types=VECTOR)).reveal())
        return run(session, (first + second).reveal("owner"))

    results = scripts.do(script)
    np.testing.assert_allclose(results["owner"], [[4, 4]], atol=1e-4)


def _fails() -> np.ndarray:
    raise InputError("lead", "lead: its input failed")


def test_an_owner_that_a_run_goes_on_without_stays_in_step(scripts: Scripts) -> None:
    fails = threading.Event()

    def script(session: Session) -> Any:
        def bring() -> np.ndarray:
            if session.me == "other" and fails.is_set():
                raise ValueError("no data today")
            return np.full(2, 3.0 if session.me == "other" else 1.0, np.float32)

        owners = [jmpc.define_private_input(name, bring, types=VECTOR) for name in ("owner", "other")]
        mean = jmpc.aggregate(owners, min_owners=1, deadline=2)
        return run(session, mean.reveal())

    both = scripts.do(script)
    np.testing.assert_allclose(both["lead"][0], [2, 2], atol=1e-4)
    fails.set()
    without = scripts.do(script)
    np.testing.assert_allclose(without["lead"][0], [1, 1], atol=1e-4)
    assert without["other"] == without["owner"] == [None]
    scripts.works()


def test_a_computation_that_a_node_has_forgotten_is_submitted_again(scripts: Scripts) -> None:
    scripts.works()
    forgetful = scripts.sessions["server1"]._node._clients["lead"]._submissions  # type: ignore[union-attr]
    for key in list(forgetful._entries):
        forgetful.drop(key)
    results = scripts.do(lambda session: run(session, constant(3).reveal("owner")))
    assert results["lead"] == [None]
    scripts.works()


def test_scripts_that_differ_all_say_where(scripts: Scripts) -> None:
    def script(session: Session) -> Any:
        return run(session, constant(1 if session.me != "owner" else 2).reveal())

    for error in scripts.do(script).values():
        assert isinstance(error, AgreementError)
        assert error.args[0].count("run ") == 2 == error.args[0].count("test_gate.py:"), error
        assert "lead and owner" in error.args[0]
    scripts.works()


@pytest.mark.parametrize("player", ["owner", "lead"])
def test_who_is_interrupted_is_named(scripts: Scripts, player: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        session = scripts.sessions[player]
        if isinstance(session, LeadSession):
            patch.setattr(session, "_gather", interrupted)
        else:
            patch.setattr(session.script, "wait", interrupted)

        def script(session: Session) -> Any:
            try:
                return run(session, constant(3).reveal())
            except KeyboardInterrupt as error:
                return error

        results = scripts.do(script)
    assert isinstance(results.pop(player), KeyboardInterrupt)
    assert all(isinstance(error, RunAborted) and error.player == player for error in results.values()), results
    assert "its user has interrupted it" in str(results["server0"])
    scripts.works()


@pytest.mark.parametrize("player", ["owner", "lead"])
def test_a_script_that_ends_first_is_named(scripts: Scripts, player: str) -> None:
    scripts.works()

    def script(session: Session) -> Any:
        return session.close() if session.me == player else run(session, constant(3).reveal())

    results = scripts.do(script)
    assert results.pop(player) is None
    for error in results.values():
        assert isinstance(error, PeerError) and error.player == player and "has ended" in str(error), error


def test_a_script_that_is_started_again_is_named(scripts: Scripts, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts.works()
    with monkeypatch.context() as patch:
        patch.setattr(Script, "end", lambda self: None)  # it was killed
        scripts.sessions["owner"].close()
    scripts.sessions["owner"] = FollowerSession(config(path, "owner"))
    results = scripts.do(lambda session: run(session, constant(3).reveal()))
    again = results.pop("owner")
    assert isinstance(again, PeerError) and "lead is at step 2 already: start all of them again" in str(again)
    assert all(isinstance(error, PeerError) and error.player == "owner" for error in results.values()), results
    assert "was started again" in str(results["lead"])


def test_a_node_among_scripts_says_what_it_is(path: Path) -> None:
    nodes = {
        name: Node(RemoteConfig.load(path), name, Registry({}, {}), Rep3) for name in PLAYERS[:-1]
    }  # whose policy names another driver
    threads = [threading.Thread(target=node.serve, daemon=True) for node in nodes.values()]
    for thread in threads:
        thread.start()
    with LeadSession(config(path, "lead")) as lead, pytest.raises(RunAborted, match="rule drivers"):
        run(lead, constant(1).reveal())
    for node in nodes.values():
        node.stop()
    for thread in threads:
        thread.join(10)


def test_an_owner_that_was_left_out_is_told_if_something_was_to_open_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    owners = ("owner", "other", "third")
    players = (*SERVERS, *owners, "lead")

    def bring(owner: str) -> np.ndarray:
        if owner == "owner":
            raise ValueError("secret")
        return np.full(2, 4, np.float32)

    def script(session: Session, *receivers: str) -> Any:
        inputs = {it: jmpc.define_private_input(it, functools.partial(bring, it), types=VECTOR) for it in owners}
        mean = jmpc.aggregate(inputs, min_owners=2)
        return run(session, mean.reveal(), *map(mean.reveal, receivers))

    rules = {"reveal_to": dict.fromkeys(owners, ["lead", *owners])}
    with started(written(tmp_path, players, **rules), players) as scripts:
        assert scripts.do(script)["owner"] == [None] and "owner was left out of step 1" in caplog.text
        results = scripts.do(lambda session: script(session, "owner", "other"))
        assert isinstance(results["owner"], InputError | RunAborted), results
        np.testing.assert_allclose(results["other"][2], [4, 4], atol=1e-4)


# -- a lead that lies ----------------------------------------------------------------------------------------------


def refused(results: dict[str, Any], match: str) -> None:
    """The lead is told why, and no script got anything."""
    assert isinstance(results["lead"], RunAborted) and match in str(results["lead"]), results
    assert all(isinstance(error, Exception) for error in results.values()), results


def shared_bytes(scripts: Scripts) -> int:
    return sum(count.payload for s in scripts.sessions.values() for count in s.transport.sent.peers().values())


def test_another_computation_is_refused(scripts: Scripts) -> None:
    scripts.works()
    before = shared_bytes(scripts)

    def lies(lead: LeadSession) -> None:
        with lead._step(_doing(lead, constant(3).reveal())):
            RemoteSession._perform(lead, built_by(lead, constant(4).reveal()))

    results = scripts.do(lambda session: run(session, constant(3).reveal()), lies)
    refused(results, "does what its script asks for, which is at step 2: run ")
    assert "it was told something else: run " in str(results["lead"]) and shared_bytes(scripts) == before
    scripts.works()


def _doing(lead: LeadSession, *fetches: Any) -> Any:

    built = built_by(lead, *fetches)
    return Running.of(lead.me, built, lead._travelled(built.computation))


def test_the_same_one_twice_is_refused(scripts: Scripts) -> None:
    def lies(lead: LeadSession) -> None:
        built = built_by(lead, constant(3).reveal())
        with lead._step(_doing(lead, constant(3).reveal())):
            RemoteSession._perform(lead, built)
            RemoteSession._perform(lead, built)

    results = scripts.do(lambda session: run(session, constant(3).reveal()), lies)
    refused(results, "has begun step 1: run ")
    scripts.works()


def test_an_earlier_submission_is_refused_in_another_step_and_between_steps(scripts: Scripts) -> None:
    earlier: list[Any] = []

    def script(session: Session) -> Any:
        return run(session, constant(4).reveal())

    def first(lead: LeadSession) -> Any:
        earlier.append(built_by(lead, constant(3).reveal()))
        return lead.run(earlier[0])

    def lies(lead: LeadSession) -> None:
        with lead._step(_doing(lead, constant(4).reveal())):
            RemoteSession._perform(lead, earlier[0])

    scripts.do(lambda session: run(session, constant(3).reveal()), first)
    assert scripts.lead._know(earlier[0].computation).invitation is not None  # so it is not submitted again

    refused(scripts.do(script, lies), "was told something else")
    with pytest.raises(RunAborted, match="which is at its own code"):
        RemoteSession._perform(scripts.lead, earlier[0])
    scripts.works()


def test_an_order_with_other_variables_is_refused(scripts: Scripts) -> None:
    kept: dict[str, list[Any]] = {}

    def script(session: Session) -> Any:
        kept[session.me] = [jmpc.define_private_variable(np.full(2, x, np.float32)) for x in (1.0, 2.0)]
        return run(session, *(variable.reveal() for variable in kept[session.me]))

    def lies(lead: LeadSession) -> None:
        one, two = kept["lead"]
        honest, other = built_by(lead, one.reveal()), built_by(lead, two.reveal())
        assert honest.computation.identity == other.computation.identity
        doing = _doing(lead, one.reveal())
        with lead._step(doing, honest.names):
            RemoteSession._perform(lead, other)

    scripts.do(script)
    again = lambda session: run(session, kept[session.me][0].reveal())
    refused(scripts.do(again, lies), "is told to use other variables than its script does")

    def lies_from_the_start(lead: LeadSession) -> None:
        one, two = kept["lead"]
        other = built_by(lead, two.reveal())
        with lead._step(_doing(lead, one.reveal()), other.names):
            RemoteSession._perform(lead, other)

    refused(scripts.do(again, lies_from_the_start), "is told to use other variables than its script does")
    np.testing.assert_allclose(scripts.do(again)["lead"], [[1, 1]], atol=1e-4)


def test_a_computation_in_which_two_variables_have_changed_places_is_refused(scripts: Scripts) -> None:
    """It has the same identity, and its order says the same of what the script's own calls them."""
    kept: dict[str, list[Any]] = {}

    def script(session: Session) -> Any:
        kept[session.me] = [jmpc.define_private_variable(np.full(2, x, np.float32)) for x in (1.0, 42.0)]
        return again(session)

    def again(session: Session) -> Any:
        shown, secret = kept[session.me]
        return run(session, shown.reveal(), secret.assign(secret * 2.0))

    def lies(lead: LeadSession) -> Any:
        shown, secret = kept["lead"]
        honest = built_by(lead, shown.reveal(), secret.assign(secret * 2.0))
        one, two = honest.computation.variables
        places = {one: two, two: one}
        calls = [
            dataclasses.replace(call, variable=places[call.variable]) if isinstance(call, Read | Assign) else call
            for call in honest.computation.calls
        ]
        other = dataclasses.replace(honest, computation=dataclasses.replace(honest.computation, calls=tuple(calls)))
        assert other.computation.identity == honest.computation.identity and other.names == honest.names
        with lead._step(Running.of(lead.me, honest, lead._travelled(honest.computation)), honest.names):
            return RemoteSession._perform(lead, other)

    scripts.do(script)
    refused(scripts.do(again, lies), "is told to use other variables than its script does")
    np.testing.assert_allclose(scripts.do(again)["lead"][0], [1, 1], atol=1e-4)


def test_a_request_to_the_storage_is_refused_out_of_turn(scripts: Scripts) -> None:
    kept: dict[str, Any] = {}

    def script(session: Session) -> Any:
        kept[session.me] = jmpc.define_private_variable(np.ones(2, np.float32))
        run(session, kept[session.me].assign(kept[session.me] + 1.0))
        save(session, "model", kept[session.me])

    def save(session: Session, name: str, variable: Any) -> None:
        session.save(name, b"", {session.called(variable.name): None})

    assert set(scripts.do(script).values()) == {None}
    lead = scripts.lead
    places = {kept["lead"].name: None}

    def lies(lead: LeadSession) -> None:
        with lead._step(_doing(lead, constant(3).reveal())):
            RemoteSession.save(lead, "model", b"", places)

    refused(scripts.do(lambda session: run(session, constant(3).reveal()), lies), "save 'model' in its storage")
    version = lead._storages
    for request in (Request(Task.LIST, "model"), Request(Task.TELL, "model"), Request(Task.KEEP, "model")):
        with pytest.raises(RunAborted, match="in its storage"):
            lead._ask({"server0": request})
    with pytest.raises(RunAborted, match="list 'model' in its storage"):
        RemoteSession.load(lead, "model", lambda _: places, lambda: "variable/fresh")

    def saves_more(lead: LeadSession) -> None:

        with lead._step(Saving("lead", "save", name="model", descriptor=b"", variables=frozenset())):
            version.save("model", b"more", places, {name: lead._variables[name].run for name in places})

    refused(scripts.do(lambda session: save(session, "model", kept[session.me]), saves_more), "save 'model'")

    def loads_other(lead: LeadSession) -> None:

        with lead._step(Loading("lead", "load", name="model")):
            RemoteSession.load(lead, "another", lambda _: places, lambda: "variable/fresh")

    load = lambda session: session.load("model", lambda _: places, lambda: f"variable/{secrets.token_hex(4)}")
    refused(scripts.do(load, loads_other), "list 'another' in its storage")

    def loads_under_a_name_in_use(lead: LeadSession) -> None:

        with lead._step(Loading("lead", "load", name="model")):
            RemoteSession.load(lead, "model", lambda _: places, lambda: kept["lead"].name)

    refused(scripts.do(load, loads_under_a_name_in_use), "load 'model'")
    results = scripts.do(load)
    assert all(results[name].names == results["lead"].names for name in PLAYERS)


def test_a_lead_that_tells_of_another_tree_than_was_saved_is_found_out(scripts: Scripts) -> None:
    kept: dict[str, Any] = {}

    def script(session: Session) -> Any:
        kept[session.me] = jmpc.define_private_variable(np.ones(2, np.float32))
        run(session, kept[session.me].assign(kept[session.me] + 1.0))
        session.save("model", b"tree", {session.called(kept[session.me].name): None})

    assert set(scripts.do(script).values()) == {None}
    places = {kept["lead"].name: None}
    load = lambda session: session.load("model", lambda _: places, lambda: f"variable/{secrets.token_hex(4)}")

    def lies(lead: LeadSession) -> None:

        with lead._step(Loading("lead", "load", name="model")) as tell:
            loaded = RemoteSession.load(lead, "model", lambda _: places, lambda: "variable/fresh")
            tell(dataclasses.replace(loaded, descriptor=b"another"))

    # The step is named as an honest lead would, or the scripts would not agree on it.
    results = scripts.do(load, lies)
    for server in SERVERS:
        assert isinstance(results[server], AgreementError) and "has not done its part" in str(results[server])


def _saves(kept: dict[str, Any]) -> Callable[[Session], None]:
    def save(session: Session) -> None:
        if session.me not in kept:
            kept[session.me] = jmpc.define_private_variable(np.ones(2, np.float32))
            run(session, kept[session.me].assign(kept[session.me] + 1.0))
        session.save("model", b"tree", {session.called(kept[session.me].name): None})

    return save


def test_a_lead_that_says_that_something_was_saved_which_was_not_is_found_out(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server could not write its part, and nobody was told to remove what was there before."""
    kept: dict[str, Any] = {}
    save = _saves(kept)
    assert set(scripts.do(save).values()) == {None}

    def full(*_: Any) -> None:
        raise StorageError("server0 cannot save 'model'")

    def lies(tasks: tuple[Task, ...], number: int) -> Callable[[LeadSession], None]:
        def script(lead: LeadSession) -> None:
            runs = {kept["lead"].name: lead._variables[kept["lead"].name].run}
            with lead._step(Saving("lead", "save", name="model", descriptor=b"tree", variables=frozenset())):
                version = number, secrets.token_bytes(ID_BYTES)
                for task in tasks:
                    for server in SERVERS:
                        said = (b"tree", runs) if task is Task.SAVE else ()
                        with suppress(RunAborted):
                            lead._ask({server: Request(task, "model", version, *said)})

        return script

    def found_out(results: dict[str, Any], servers: tuple[str, ...], match: str) -> None:
        for server in servers:
            assert isinstance(results[server], AgreementError) and match in str(results[server]), results

    found_out(scripts.do(save, lies((Task.SAVE,), time.time_ns())), SERVERS, "has not done its part")
    with monkeypatch.context() as patch:
        patch.setattr(scripts.sessions["server0"]._node._host.archive, "write", full)  # type: ignore[union-attr]
        both = lies((Task.SAVE, Task.KEEP), time.time_ns())
        found_out(scripts.do(save, both), SERVERS[:1], "server0 has not done its part")
    found_out(scripts.do(save, lies((Task.SAVE, Task.KEEP), 1)), SERVERS, "saved as 'model' later than what lead had")
    assert set(scripts.do(save).values()) == {None}


def test_a_lead_that_says_that_something_was_loaded_which_was_not_is_found_out(scripts: Scripts) -> None:
    kept: dict[str, Any] = {}
    assert set(scripts.do(_saves(kept)).values()) == {None}
    places = {kept["lead"].name: None}
    load = lambda session: session.load("model", lambda _: places, lambda: f"variable/{secrets.token_hex(4)}")

    def lies(lead: LeadSession) -> None:
        lead._storages = dataclasses.replace(lead._storages, ask=lambda requests: no_keeping(lead, requests))
        with lead._step(Loading("lead", "load", name="model")) as tell:
            tell(RemoteSession.load(lead, "model", lambda _: places, lambda: "variable/fresh"))

    def no_keeping(lead: LeadSession, requests: Any) -> Any:
        return {} if {it.task for it in requests.values()} == {Task.KEEP} else lead._ask(requests)

    results = scripts.do(load, lies)
    for server in SERVERS:
        assert isinstance(results[server], AgreementError) and "has not done its part" in str(results[server]), results


def test_a_lead_that_says_a_run_has_ended_which_never_began_is_found_out(scripts: Scripts) -> None:
    def lies(lead: LeadSession) -> None:
        with lead._step(_doing(lead, constant(3).reveal())):
            pass

    results = scripts.do(lambda session: run(session, constant(3).reveal()), lies)
    assert results.pop("lead") is None and results.pop("other") == [None]  # which takes no part
    for player, error in results.items():
        assert isinstance(error, AgreementError) and f"{player} has not done its part" in str(error)


def test_orders_of_others_are_refused(path: Path) -> None:
    """Also of a player that the configuration's policy would let submit to a node."""
    computation = build([constant(1).reveal()], SERVERS, "lead", 18).computation
    body = Submission(secrets.token_bytes(RUN_BYTES), encode_computation(computation)).encode()
    bodies = {Kind.SUBMIT: body, Kind.STORAGE: Request(Task.LIST, "model").encode(bytes(RUN_BYTES))}
    with FollowerSession(config(path, "server0")):
        for sender, match in (("owner", b"rule drivers"), ("lead", b"which is at its own code")):
            with Transport(sender, config(path, sender).endpoints, insecure=True, timeout=20) as transport:
                for kind, body in bodies.items():
                    number = secrets.token_bytes(RUN_BYTES)
                    transport.send("server0", Header(kind, number, body=body))
                    answer = transport.wait_control(Kind.STATUS, number, "server0").body
                    if answer == b"taken":
                        answer = transport.wait_control(Kind.STATUS, number, "server0").body
                    assert answer.startswith(b"refused: ") and match in answer, answer


def test_words_of_another_session_change_nothing() -> None:
    said: list[Any] = []
    script = Script("owner", "lead", lambda session, word: said.append(word))
    first, second = bytes(RUN_BYTES), bytes([1]) * RUN_BYTES

    def hear(session: bytes, word: Step | Over | End) -> None:
        script.hear("owner", Header(Kind.STEP, session, body=word.encode()))

    hear(second, End())
    hear(second, Over(1, "lead", "over"))
    assert not script.joined
    hear(first, Step(first, 0, bytes(32), "its own code"))
    hear(second, End())
    hear(second, Over(1, "lead", "over"))

    script.begin(Loading("owner", "load", name="model"))
    assert [word.number for word in said] == [1]
    hear(first, Step(first, 1, bytes(32), "load"))
    assert len(said) == 1
    hear(first, Step(first, 1, bytes(32), "load"))  # asked again: it did not arrive
    assert len(said) == 2
    with pytest.raises(FrameError):
        script.hear("owner", Header(Kind.STEP, first, body=b"\xc1"))
    hear(second, Step(second, 0, bytes(32), "its own code"))
    with pytest.raises(PeerError, match="lead was started again"):
        script.wait(lambda: None)


@pytest.mark.parametrize("sender", ["owner", "lead"])
def test_malformed_words_do_not_fill_the_log(path: Path, caplog: pytest.LogCaptureFixture, sender: str) -> None:
    """Neither those of a stranger to the policy, nor those of the lead."""
    with (
        FollowerSession(config(path, "server0")) as session,
        Transport(sender, config(path, sender).endpoints, insecure=True, timeout=20) as transport,
        caplog.at_level(logging.WARNING, "jmpc.node"),
    ):
        for _ in range(100):
            transport.send("server0", Header(Kind.STEP, secrets.token_bytes(RUN_BYTES), body=b"x"))
        deadline = time.monotonic() + 20
        while (count := session._node._refused[sender]) < 100 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert count == 100 and len(caplog.records) <= 7, caplog.text


def test_a_variable_whose_first_run_did_not_end_well_for_all_is_assigned_again(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One player could not be told that all were done."""
    lost: list[str] = []
    send = scripts.lead.transport.send

    def loses(player: str, header: Header, *args: Any, **more: Any) -> None:
        if header.kind is Kind.COMMIT and player == "server1" and not lost:
            lost.append(player)
            scripts.lead.transport.abort(header.run, "it is lost", [player])
            raise PeerError(player, f"lost {player}: its link is down")
        send(player, header, *args, **more)

    def script(session: Session) -> Any:
        variable = jmpc.define_private_variable(np.ones(2, np.float32))
        with pytest.raises((PeerError, RunAborted)):
            run(session, variable.reveal())
        return run(session, variable.reveal())

    monkeypatch.setattr(scripts.lead.transport, "send", loses)
    results = scripts.do(script)
    assert lost == ["server1"] and results["owner"] == [None], results
    np.testing.assert_allclose(results["lead"], [[1, 1]], atol=1e-4)


class _Said:
    """A script of `owner` without a network, and what it says."""

    def __init__(self) -> None:
        self.words: list[Any] = []
        self.script = Script("owner", "lead", lambda session, word: self.words.append(word))
        self.hear(Step(bytes(RUN_BYTES), 0, bytes(32), "its own code"))

    def hear(self, word: Step | Over | End) -> None:
        self.script.hear("owner", Header(Kind.STEP, bytes(RUN_BYTES), body=word.encode()))

    def begin(self) -> Loading:
        doing = Loading("owner", "load", name="model")
        self.script.begin(doing)
        return doing

    def asked(self, match: str | None = None) -> None:
        """Its node is asked for what its script is at."""
        with nullcontext() if match is None else pytest.raises(AgreementError, match=match):
            with self.script.request(Request(Task.LIST, "model")):
                pass


def test_a_step_that_is_said_to_have_ended_well_too_early_has_not() -> None:
    said = _Said()
    said.hear(Over(1))
    said.begin()
    said.asked()
    with pytest.raises(TimeoutError):
        said.script.wait(_times_out)


def _times_out() -> None:
    raise TimeoutError


def test_nothing_of_a_step_is_done_once_it_is_over() -> None:
    said = _Said()
    said.begin()
    said.asked()
    said.hear(Over(1))
    said.asked("which is at its own code")  # before the script has seen that it is
    said.hear(Over(1, "lead", "the first word counts"))
    assert said.script.wait(_times_out).well
    said.asked("which is at its own code")
    said.hear(Over(2, "lead", "it is given up before it begins here"))
    said.begin()
    said.asked("which is at its own code")
    assert said.script.wait(_times_out).reason == "it is given up before it begins here"


def test_a_lead_that_goes_on_without_a_word_is_not_waited_for() -> None:
    said = _Said()
    said.begin()
    for _ in range(2):
        said.hear(Step(bytes(RUN_BYTES), 2, bytes(32), "step 2: load"))
    with pytest.raises(PeerError, match="lead is at step 2 already, and the script of owner is at step 1: load"):
        said.script.wait(_times_out)
    said.script.leave("it was not waited for")
    said.begin()
    with pytest.raises(TimeoutError):
        said.script.wait(_times_out)


@pytest.mark.parametrize("ends", [False, True])
def test_a_word_that_a_step_has_ended_which_is_lost_is_said_again(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Before the next step, and before the lead's script ends."""
    lost: list[Over] = []
    send = scripts.lead.transport.send

    def loses(player: str, header: Header, *args: Any, **more: Any) -> None:
        if header.kind is Kind.STEP and player == "owner" and not lost:
            if isinstance(word := steps.decode(header.body), Over):
                lost.append(word)
                return
        send(player, header, *args, **more)

    def script(session: Session) -> Any:
        first = run(session, constant(3).reveal())
        if not ends:
            return run(session, constant(3).reveal())
        if session.me == "lead":
            session.close()
        return first

    monkeypatch.setattr(scripts.lead.transport, "send", loses)
    results = scripts.do(script)
    assert lost == [Over(1)] and results["owner"] == [None], results
    np.testing.assert_allclose(results["lead"], [[3, 3]], atol=1e-4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        End().encode() + b"x",
        Step(bytes(15), 1, bytes(32), "").encode(),
        Step(bytes(16), 1, bytes(31), "").encode(),
        Step(bytes(16), -1, bytes(32), "").encode(),
        Step(bytes(16), 1, bytes(32), "", {"a": "x", "b": "x"}).encode(),
        Step(bytes(16), True, bytes(32), "").encode(),
        Over(1, "lead\n", "x").encode(),
        Over(1, "lead", "x", names={"a": ""}).encode(),
    ],
    ids=range(10),
)
def test_malformed_words_are_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        steps.decode(body)


def test_words_come_back_as_they_were() -> None:
    for word in (
        Step(bytes(16), 3, bytes(32), "step 3: run (x.py:1)", {"variable/0": "variable/ab"}),
        Over(3, "owner", "why", False, b"tree", {"variable/0": "variable/ab"}),
        Over(3),
        End(),
    ):
        assert steps.decode(word.encode()) == word
