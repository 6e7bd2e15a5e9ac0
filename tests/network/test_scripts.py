"""Where all players run the script: they stay in step, and who does not is named."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network.inprocess import SERVERS
from network.scripts import PLAYERS, VECTOR, Scripts, Session, config, constant, run, started, written

import jmpc
from jmpc.config import RemoteConfig
from jmpc.errors import AgreementError, InputError, PeerError, RunAborted
from jmpc.net.framing import Header, Kind
from jmpc.protocols.rep3 import Rep3
from jmpc.providers import Registry
from jmpc.runtime.follower import FollowerSession
from jmpc.runtime.lead import LeadSession
from jmpc.runtime.node import Node
from jmpc.runtime.script import Script


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
        assert error.args[0].count("run ") == 2 == error.args[0].count("(scripts.py:"), error
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


def test_a_script_that_is_started_again_is_named(
    scripts: Scripts, config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts.works()
    with monkeypatch.context() as patch:
        patch.setattr(Script, "end", lambda self: None)  # it was killed
        scripts.sessions["owner"].close()
    scripts.sessions["owner"] = FollowerSession(config(config_path, "owner"))
    results = scripts.do(lambda session: run(session, constant(3).reveal()))
    again = results.pop("owner")
    assert isinstance(again, PeerError) and "lead is at step 2 already: start all of them again" in str(again)
    assert all(isinstance(error, PeerError) and error.player == "owner" for error in results.values()), results
    assert "was started again" in str(results["lead"])


def test_a_node_among_scripts_says_what_it_is(config_path: Path) -> None:
    nodes = {
        name: Node(RemoteConfig.load(config_path), name, Registry({}, {}), Rep3) for name in PLAYERS[:-1]
    }  # whose policy names another driver
    threads = [threading.Thread(target=node.serve, daemon=True) for node in nodes.values()]
    for thread in threads:
        thread.start()
    with LeadSession(config(config_path, "lead")) as lead, pytest.raises(RunAborted, match="rule drivers"):
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
