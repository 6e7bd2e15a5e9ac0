"""Where all players run the script: a follower does what its own is at, whatever the lead says."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network.inprocess import SERVERS
from network.scripts import PLAYERS, VECTOR, Scripts, Session, built_by, config, constant, run

import jmpc
from jmpc.api.graph import build
from jmpc.computation import Assign, Read
from jmpc.errors import AgreementError, RunAborted, StorageError
from jmpc.net.computations import encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.transport import Transport
from jmpc.runtime.doing import Loading, Running, Saving
from jmpc.runtime.follower import FollowerSession
from jmpc.runtime.lead import LeadSession
from jmpc.runtime.orders import Submission
from jmpc.runtime.remote import RemoteSession
from jmpc.runtime.saving import Request, Task
from jmpc.storage.saved import ID_BYTES


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


def test_another_iteration_is_refused(scripts: Scripts) -> None:
    """Where the scripts are at the same one, and where they are not."""
    brought = []

    @jmpc.provider(types=VECTOR)
    def row(player: str, iteration: int) -> np.ndarray:
        brought.append(iteration)
        return np.full(2, iteration, np.float32)

    def built(session: Session, iteration: int) -> Any:
        fetch = jmpc.define_private_input("owner", row).reveal()
        return dataclasses.replace(built_by(session, fetch), iteration=iteration)

    def script(session: Session, iteration: int = 5) -> Any:
        return session.run(built(session, iteration))

    def lies(lead: LeadSession) -> None:
        made = built(lead, 5)
        with lead._step(Running.of(lead.me, made, lead._travelled(made.computation))):
            RemoteSession._perform(lead, dataclasses.replace(made, iteration=6))

    (array,) = scripts.do(script)["lead"].values()
    np.testing.assert_allclose(array, 5, atol=1e-4)
    refused(scripts.do(script, lies), "is told to do iteration 6 where its script does 5, at step 2: run ")
    for error in scripts.do(script, lambda lead: script(lead, 6)).values():
        assert isinstance(error, AgreementError) and "iteration 6)" in str(error) and "iteration 5)" in str(error)
    assert brought == [5]
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


def test_orders_of_others_are_refused(config_path: Path) -> None:
    """Also of a player that the configuration's policy would let submit to a node."""
    computation = build([constant(1).reveal()], SERVERS, "lead", 18).computation
    body = Submission(secrets.token_bytes(RUN_BYTES), encode_computation(computation)).encode()
    bodies = {Kind.SUBMIT: body, Kind.STORAGE: Request(Task.LIST, "model").encode(bytes(RUN_BYTES))}
    with FollowerSession(config(config_path, "server0")):
        for sender, match in (("owner", b"rule drivers"), ("lead", b"which is at its own code")):
            with Transport(sender, config(config_path, sender).endpoints, insecure=True, timeout=20) as transport:
                for kind, body in bodies.items():
                    number = secrets.token_bytes(RUN_BYTES)
                    transport.send("server0", Header(kind, number, body=body))
                    answer = transport.wait_control(Kind.STATUS, number, "server0").body
                    if answer == b"taken":
                        answer = transport.wait_control(Kind.STATUS, number, "server0").body
                    assert answer.startswith(b"refused: ") and match in answer, answer


@pytest.mark.parametrize("sender", ["owner", "lead"])
def test_malformed_words_do_not_fill_the_log(config_path: Path, caplog: pytest.LogCaptureFixture, sender: str) -> None:
    """Neither those of a stranger to the policy, nor those of the lead."""
    with (
        FollowerSession(config(config_path, "server0")) as session,
        Transport(sender, config(config_path, sender).endpoints, insecure=True, timeout=20) as transport,
        caplog.at_level(logging.WARNING, "jmpc.node"),
    ):
        for _ in range(100):
            transport.send("server0", Header(Kind.STEP, secrets.token_bytes(RUN_BYTES), body=b"x"))
        deadline = time.monotonic() + 20
        while (count := session._node._refused[sender]) < 100 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert count == 100 and len(caplog.records) <= 7, caplog.text
