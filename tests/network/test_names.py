"""Computations have names of their own for variables: prepared once, whichever is meant; and all mean the same."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from network import inprocess
from network.inprocess import SERVERS, Nodes, private, run

import jmpc
from jmpc.api import run as running
from jmpc.api.define import variable_name
from jmpc.config import LocalConfig, Mode
from jmpc.errors import AgreementError, RunAborted
from jmpc.net.framing import Header, Kind
from jmpc.runtime.orders import Order
from jmpc.runtime.remote import RemoteSession

NAMES = "rule variables"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path_factory.mktemp("names"), policy={"reveal_to": inprocess.POLICY["reveal_to"]})
    made.start(*inprocess.EVERYBODY)
    yield made
    made.stop()


def two(session: RemoteSession) -> tuple[jmpc.Variable, jmpc.Variable]:
    """Variables that one run has written, so that nothing tells their generations apart."""
    a, b = (jmpc.define_private_variable(np.full(4, x, np.float32)) for x in (1, 2))
    run(session, a.assign(a.initial), b.assign(b.initial))
    return a, b


def prepared(nodes: Nodes, name: str = "server0") -> int:
    return len(nodes.nodes[name]._repertoires["driver"]._prepared)


def test_what_differs_in_names_alone_is_prepared_once(nodes: Nodes) -> None:
    """In another session, after loading, and for other variables of one session."""
    counts = []
    for _ in range(2):
        with nodes.session() as session:
            for _ in range(2):
                w = jmpc.define_private_variable(np.ones(4, np.float32))
                run(session, w.assign(w.initial))
                run(session, w.assign(w * 0.5 + private("data-owner")))
                np.testing.assert_allclose(run(session, w.reveal())[0], 0.5 + np.arange(4), atol=1e-4)
                session.save("names", b"", {w.name: None})
                loaded = session.load("names", lambda _, w=w: {w.name: None}, variable_name)
                v = dataclasses.replace(w, name=loaded.names[w.name])
                np.testing.assert_allclose(run(session, v.reveal())[0], 0.5 + np.arange(4), atol=1e-4)
            assert len(session._known) == 4, "two of them are the same, but for the line that opens"
        counts.append({name: prepared(nodes, name) for name in (*SERVERS, "data-owner")})
    assert counts[0] == counts[1] == dict.fromkeys(SERVERS, 4) | {"data-owner": 1}


def test_two_variables_of_one_computation_stay_two(nodes: Nodes) -> None:
    with nodes.session() as session:
        a, b = two(session)
        for one, other, expected in ((a, b, -1.0), (b, a, 1.0)):
            known = len(session._known)
            np.testing.assert_allclose(run(session, (one - other).reveal())[0], np.full(4, expected), atol=1e-4)
        assert len(session._known) == known, "the same computation, on other variables"
        run(session, a.assign(b + 0.0), b.assign(a + 0.0))
        opened = run(session, a.reveal(), b.reveal())
        np.testing.assert_allclose(opened, np.array([[2.0] * 4, [1.0] * 4]), atol=1e-4)
        assert set(nodes.stored("server1")) == {a.name, b.name}


@pytest.mark.parametrize("mode", list(Mode))
def test_simulations_prepare_it_once_too(mode: Mode) -> None:
    jmpc.set_config(LocalConfig(mode=mode))
    for number in (1, 2, 3):
        w = jmpc.define_private_variable(np.full(4, number, np.float32))
        jmpc.run(w.assign(w * 2.0))
        np.testing.assert_allclose(jmpc.run(w.reveal()), np.full(4, 2.0 * number), atol=1e-4)
    session = running.current_session()
    assert isinstance(session, running.LocalSession) and len(session.simulation._prepared) == 3


# -- a driver that says other names than are meant -------------------------------------------------------------------


def said(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Every node is told these names."""
    encode = Order.encode
    monkeypatch.setattr(Order, "encode", lambda o: encode(dataclasses.replace(o, names=change(dict(o.names)))))


def test_nodes_that_are_told_different_names_do_not_begin(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of two variables would meet, though each server holds the generation that it is told."""
    with nodes.session() as session:
        a, b = two(session)
        before, send = nodes.shared_bytes(), session.transport.send

        def swapped(peer: str, header: Header, *args: object, **kwargs: object) -> None:
            if header.kind is Kind.RUN and peer == "server1":
                order = Order.decode(header.body)
                names = dict(zip(order.names, reversed(order.names.values()), strict=True))
                header = dataclasses.replace(header, body=dataclasses.replace(order, names=names).encode())
            send(peer, header, *args, **kwargs)

        monkeypatch.setattr(session.transport, "send", swapped)
        with pytest.raises((AgreementError, RunAborted), match="run something else|other|differ"):
            run(session, (a - b).reveal())
        assert nodes.shared_bytes() == before
        monkeypatch.undo()
        np.testing.assert_allclose(run(session, (a - b).reveal())[0], -np.ones(4), atol=1e-4)


def test_names_that_are_not_those_of_the_computation(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes.session() as session:
        a, b = two(session)
        before = nodes.shared_bytes()
        for change, answer in (
            (lambda names: {}, NAMES),
            (lambda names: {"variable/0": names["variable/0"]}, NAMES),
            (lambda names: names | {"variable/2": "variable/other"}, NAMES),
            (lambda names: {"variable/0": a.name, "variable/9": b.name}, NAMES),
            (lambda names: dict.fromkeys(names, a.name), "two names mean one variable"),
            (lambda names: names | {"variable/1": "a variable"}, "malformed order"),
            (lambda names: names | {"variable/1": "variable/nobodys"}, "has lost 'variable/nobodys'"),
        ):
            said(monkeypatch, change)
            with pytest.raises(RunAborted, match=answer):
                run(session, (a - b).reveal())
            monkeypatch.undo()
        assert nodes.shared_bytes() == before


def test_a_variable_is_judged_by_what_it_is_whatever_it_is_called(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its owner does not let others see is not opened as another variable's."""
    with nodes.session() as session:
        public, kept = (jmpc.define_private_variable(x) for x in (np.ones(4, np.float32), private("data-owner") * 2.0))
        local = jmpc.define_local_variable("server0", np.ones(4, np.float32))
        wide = jmpc.define_private_variable(np.ones(5, np.float32))
        for variable in (public, kept, local, wide):
            run(session, variable.assign(variable.initial))
        before = nodes.shared_bytes()
        for meant, answer in (
            (kept, "another generation|other players' inputs"),
            (local, "has lost|another generation|rule type"),
            (wide, "another generation|rule type"),
        ):
            said(monkeypatch, lambda names, meant=meant: {"variable/0": meant.name})
            with pytest.raises(RunAborted, match=answer):
                run(session, public.reveal("model-owner"))
            session._variables[public.name], honest = session._variables[meant.name], session._variables[public.name]
            with pytest.raises(RunAborted, match="rule reveal_to|rule type|has lost"):  # with its true generation
                run(session, public.reveal("model-owner"))
            session._variables[public.name] = honest
            monkeypatch.undo()
        assert nodes.shared_bytes() == before


def test_variables_of_another_driver_cannot_be_named(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes.session() as session, nodes.session("second-driver") as other:
        (theirs, _), (mine, _) = two(session), two(other)
        said(monkeypatch, lambda names: {"variable/0": theirs.name})
        with pytest.raises(RunAborted, match=f"has lost '{theirs.name}'"):
            run(other, mine.reveal())


@pytest.mark.slow
def test_a_session_that_is_closed_leaves_nothing_behind(nodes: Nodes) -> None:
    """In the process of its driver."""
    for _ in range(3):
        with nodes.session() as session:
            two(session)
        ended = weakref.ref(session)
        del session
        gc.collect()
        assert ended() is None
