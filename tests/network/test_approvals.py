"""What a policy refuses is refused before anything is sent, and may be approved by hand, or signed by an author."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from network import inprocess, my_data
from network.inprocess import EVERYBODY, SERVERS, Nodes, local, private, run, submit

import jmpc
from jmpc.admin import main as admin
from jmpc.api.graph import Built
from jmpc.computation import ArrayType, Assign, Call, Computation, Output, Publish, Read, Reveal, Source
from jmpc.errors import ConfigError, RunAborted
from jmpc.net.authors import generate
from jmpc.policy import InputRule
from jmpc.runtime import audit, orders
from jmpc.runtime.approvals import Approvals, Pending
from jmpc.runtime.control import ask
from jmpc.runtime.host import approvals_path, audit_path, control_path
from jmpc.runtime.orders import Order
from jmpc.runtime.remote import RemoteSession
from jmpc.storage.key import storage_key

REVEAL_TO = {"data-owner": frozenset({"data-owner"}), "model-owner": frozenset({"driver", "data-owner"})}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path)
    made.start(*(name for name in EVERYBODY if name != "data-owner"))
    made.start("data-owner", reveal_to=REVEAL_TO)
    yield made
    made.stop()


@pytest.fixture
def session(nodes: Nodes) -> Iterator[RemoteSession]:
    with nodes.session() as made:
        yield made


def command(nodes: Nodes, *words: str, player: str = "data-owner") -> int:
    return admin([words[0], "--config", str(nodes.path), "--player", player, *words[1:]])


def test_an_owner_approves_one_computation_after_reading_what_it_does(
    nodes: Nodes, session: RemoteSession, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = (private("data-owner") * 2.0).sum().reveal()
    before = nodes.shared_bytes()
    with pytest.raises(RunAborted, match="data-owner.*rule reveal_to.*its operator can approve computation") as caught:
        run(session, total)
    identity = str(caught.value).split("approve computation ")[1][:16]
    assert nodes.shared_bytes() == before  # nothing was sent
    assert command(nodes, "pending") == 0 and f"{identity}  of driver, refused:" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert command(nodes, "approve", identity) == 1
    said = capsys.readouterr().out
    assert "data-owner, private: its 'vector', float32[4]" in said and "reveal to driver" in said
    assert (
        "test_approvals.py" in said.split("operations by source line")[1]
        and "mul 2.0" in said
        and "reduce_sum" in said
        and "submitted by driver" in said
        and "not approved" in said
    )
    with pytest.raises(RunAborted, match="rule reveal_to"):
        run(session, total)
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    assert command(nodes, "approve", identity) == 0
    np.testing.assert_allclose(run(session, total)[0], 12, atol=1e-4)
    with pytest.raises(RunAborted, match="rule reveal_to"):  # another one is another one
        run(session, (private("data-owner") * 3.0).sum().reveal())
    nodes.stop("data-owner")
    nodes.start("data-owner", reveal_to=REVEAL_TO)
    session.close()
    with nodes.session() as again:  # in another session, on another line, after a restart
        np.testing.assert_allclose(run(again, (private("data-owner") * 2.0).sum().reveal())[0], 12, atol=1e-4)
        assert command(nodes, "withdraw", identity) == 0
        with pytest.raises(RunAborted, match="rule reveal_to"):
            run(again, (private("data-owner") * 2.0).sum().reveal())
    assert command(nodes, "withdraw", identity) == 1 and command(nodes, "approve", "ff") == 1
    assert approvals_path(nodes.config(), "data-owner").stat().st_mode & 0o777 == 0o600


def test_the_account_tells_computations_apart_by_what_they_take(nodes: Nodes, session: RemoteSession) -> None:
    """One row or the sum of all: written on one line, under one name, by the same operations."""

    def part(first: int, last: int) -> jmpc.Value:
        return jmpc.function(lambda x: x[first:last].sum())(private("data-owner")).reveal()

    texts = []
    for rows in ((0, 1), (2, 3), (0, 3)):
        with pytest.raises(RunAborted, match="rule reveal_to"):
            run(session, part(*rows))
        path = control_path(nodes.config(), "data-owner")
        account = ask(path, "account", identity=ask(path, "pending")[-1]["computation"])
        texts.append(account.partition("operations by source line")[2])
        assert f"slice[limit_indices=({rows[1]},), start_indices=({rows[0]},)] -> " in texts[-1], texts[-1]
    assert "reduce_sum[axes=(0,)] -> float32[]" in texts[0] and len(set(texts)) == 3


def test_the_account_says_which_columns_and_that_they_are_opened_as_they_are(
    nodes: Nodes, session: RemoteSession
) -> None:
    with pytest.raises(RunAborted, match="rule reveal_to"):
        types = {"age": my_data.VECTOR, "weight": my_data.VECTOR}
        run(session, jmpc.define_private_input("data-owner", "table", types=types)["age"].reveal())
    path = control_path(nodes.config(), "data-owner")
    account = ask(path, "account", identity=ask(path, "pending")[-1]["computation"])
    assert "its 'table', ['age'] float32[4], ['weight'] float32[4]" in account
    assert "nothing is computed: what is opened or kept are the inputs as they are" in account


def test_an_approval_does_not_go_with_what_the_computation_stores(nodes: Nodes, session: RemoteSession) -> None:
    kept = jmpc.define_private_variable(private("data-owner") * 2.0)
    both = [kept.assign(kept.initial), kept.initial.sum().reveal()]
    with pytest.raises(RunAborted, match="rule reveal_to"):
        run(session, *both)
    path = control_path(nodes.config(), "data-owner")
    (waiting,) = ask(path, "pending")
    ask(path, "approve", identity=waiting["computation"])
    np.testing.assert_allclose(run(session, *both)[1], 12, atol=1e-4)
    with pytest.raises(RunAborted, match="rule reveal_to.*rules of data-owner") as caught:
        run(session, kept.reveal())
    assert "can approve" not in str(caught.value)  # its identity does not say of which variable


def test_a_driver_does_not_approve_for_others(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = (private("data-owner") + private("model-owner")).reveal("data-owner")
    run(session, opened)
    encode = Order.encode
    said = {"data-owner": frozenset({"driver"})}
    monkeypatch.setattr(Order, "encode", lambda o: encode(dataclasses.replace(o, approved=said)))
    with pytest.raises(RunAborted, match=r"the operator of data-owner has approved nothing for \['driver'\]"):
        run(session, opened)


def test_public_values_on_one_line_are_not_one_value_of_many_owners(nodes: Nodes) -> None:
    """Whoever writes a computation by hand says on which line each stands, and may say the same of all."""
    nodes.stop(*SERVERS)
    nodes.start(*SERVERS, min_owners=2)
    calls: list[Call] = []
    for i, owner in enumerate(("data-owner", "model-owner")):
        taken = len(calls) - len(calls) // 4  # an output makes no value
        source = Source(owner, "calendar", (ArrayType((4,), "float32"),), f"input/{i}", "mean.py:7")
        same = local(owner, lambda v: v * 1.0, private(owner)).node.make((taken,), "driver")
        opened = Output(taken + 2, "driver", "", f"mean/{i}", "mean.py:7")
        calls += [source, dataclasses.replace(same, line="mean.py:7"), Publish(taken + 1, "mean.py:7"), opened]
    with nodes.stranger() as transport:
        for answer in submit(nodes, transport, Computation(SERVERS, tuple(calls)), *SERVERS).values():
            reason = str(orders.refusal(answer))
            assert "rule min_owners" in reason and "of data-owner" in reason and "of model-owner" in reason


def test_inputs_are_for_computations_that_an_author_has_signed(nodes: Nodes, tmp_path: Path) -> None:
    alice, mallory = (bytes.fromhex(generate(tmp_path / "keys", name)) for name in ("alice", "mallory"))
    nodes.stop("model-owner")
    rule = {"vector": InputRule(authors=frozenset({"alice"}))}
    nodes.start("model-owner", inputs=rule, authors={"alice": alice, "mallory": mallory})
    before = nodes.shared_bytes()
    for author, message in ((None, "it is not signed"), ("mallory", "it is signed by mallory")):
        with _signed(nodes, author) as session:
            with pytest.raises(RunAborted, match=f"model-owner.*rule inputs.vector.*{message}.*of alice"):
                run(session, private("model-owner").sum().reveal())
    assert nodes.shared_bytes() == before
    with _signed(nodes, "alice") as session:
        np.testing.assert_allclose(run(session, private("model-owner").sum().reveal())[0], 46, atol=1e-4)
    path = control_path(nodes.config(), "model-owner")
    ask(path, "approve", identity=ask(path, "pending")[0]["computation"])
    with nodes.session() as session:
        np.testing.assert_allclose(run(session, private("model-owner").sum().reveal())[0], 46, atol=1e-4)


def _signed(nodes: Nodes, author: str | None) -> RemoteSession:
    return RemoteSession(dataclasses.replace(nodes.config("driver"), author=author))


def test_too_few_owners_are_refused_also_when_variables_are_opened(nodes: Nodes, session: RemoteSession) -> None:
    nodes.stop(*SERVERS)
    nodes.start(*SERVERS, min_owners=2)
    before = nodes.shared_bytes()
    with pytest.raises(RunAborted, match="rule min_owners.*of model-owner"):
        run(session, private("model-owner").sum().reveal())
    assert nodes.shared_bytes() == before
    kept = jmpc.define_private_variable(private("model-owner") * 1.0)
    run(session, kept.assign(kept.initial))
    with pytest.raises(RunAborted, match="rule min_owners"):
        run(session, kept.sum().reveal())
    with pytest.raises(RunAborted, match="rule min_owners"):  # beside who sees it
        run(session, (kept + private("data-owner")).reveal("data-owner"))


def test_openings_on_one_line_are_not_one_opening(nodes: Nodes, session: RemoteSession) -> None:
    nodes.stop(*SERVERS)
    nodes.start(*SERVERS, min_owners=2)
    a, b = private("model-owner") * 1.0, private("data-owner", "calendar") * 1.0
    with pytest.raises(RunAborted, match="rule min_owners"):
        run(session, *[x.reveal("data-owner") for x in (a, b)])
    account = str(jmpc.explain([x.reveal("model-owner") for x in (a, b)]))
    assert "reveal to model-owner [4]" in account and "reveal to model-owner (2) [4]" in account


def test_what_is_stored_is_read_as_what_it_is(nodes: Nodes, session: RemoteSession) -> None:
    """As int64, an int32 would show how it came about."""
    kept = jmpc.define_private_variable(np.array([5, -7], np.int32))
    run(session, kept.assign(kept.initial * np.int32(1 << 30) * np.int32(2)))
    assert run(session, kept.reveal())[0].tolist() == [-(1 << 31), -(1 << 31)]
    for other in (ArrayType((2,), "int64"), ArrayType((2,), "uint32"), ArrayType((2,), "float32")):
        wider = Computation(
            SERVERS, (Read(kept.name, other), Reveal(0, "driver"), Output(1, "driver", "", "fetch/0")), 18
        )
        with pytest.raises(RunAborted, match=r"holds 'variable/\w+' as int32\[2\] in shares.*rule type"):
            session.run(Built(wider, {}, {}, (kept,), {kept.name: kept.name}, ("fetch/0",)))


def test_who_approves_sees_all_rules_and_everything_that_is_kept(nodes: Nodes, session: RemoteSession) -> None:
    nodes.stop("data-owner")
    nodes.start("data-owner", reveal_to=REVEAL_TO, min_owners=2, inputs={"vector": InputRule()})
    kept = jmpc.define_private_variable(private("data-owner") * 1.0)
    value = kept.initial
    for _ in range(30):
        value = value * 0.5 + 0.25
    with pytest.raises(RunAborted, match="rule inputs.vector.*rule min_owners.*rule reveal_to"):
        run(session, value.sum().reveal(), kept.assign(kept.initial))
    path = control_path(nodes.config(), "data-owner")
    (waiting,) = ask(path, "pending")
    account = ask(path, "account", identity=waiting["computation"])
    assert "float32[4] as shares, derived from data-owner: the variable" in account.split("operations by")[0]
    assert "add 0.25" in account and "account" not in waiting
    with pytest.raises(ConfigError, match="was not refused lately"):
        ask(path, "account", identity="00")
    assert command(nodes, "approve", "--yes", waiting["computation"][:15]) == 1
    assert command(nodes, "approve", "--yes", waiting["computation"][:16]) == 0
    run(session, value.sum().reveal(), kept.assign(kept.initial))
    said, _ = audit.read(audit_path(nodes.config(), "data-owner"), storage_key(nodes.config().keys, "data-owner"))
    assert [entry.get("judged") for entry in said][0] == "approved"
    assert [entry["approved"] for entry in said if "opened" in entry] == [True]


def test_what_was_approved_can_be_shown_again(
    nodes: Nodes, session: RemoteSession, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunAborted, match="approve computation") as caught:
        run(session, (private("data-owner") * 3.0).sum().reveal())
    identity = str(caught.value).split("approve computation ")[1][:16]
    capsys.readouterr()
    assert command(nodes, "show", identity) == 0
    shown = capsys.readouterr().out
    assert "mul 3" in shown or "3.0" in shown
    assert command(nodes, "approve", "--yes", identity) == 0
    nodes.stop("data-owner")
    nodes.start("data-owner", reveal_to=REVEAL_TO)
    capsys.readouterr()
    assert command(nodes, "show", identity) == 0
    assert capsys.readouterr().out == shown
    assert command(nodes, "withdraw", identity) == 0
    assert command(nodes, "show", identity) == 1


def test_an_approval_without_an_account_is_one_as_well(tmp_path: Path) -> None:
    path = tmp_path / "approved.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps([{"computation": "a" * 64, "time": "2026-01-01"}]))
    approvals = Approvals(path)
    assert approvals.approved == {"a" * 64: "2026-01-01"} and bytes.fromhex("a" * 64) in approvals
    with pytest.raises(ConfigError, match="nor approved while it could be shown"):
        approvals.account("a" * 64)
    approvals.approve("b" * 64)
    assert Approvals(path).approved.keys() == {"a" * 64, "b" * 64}


def test_what_waits_for_an_operator_is_bounded_by_driver(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path / "approved.json")
    for number in range(40):
        assert approvals.refused(Pending(f"{number:064x}", "driver", "why", "account"))
    assert approvals.refused(Pending("f" * 64, "second-driver", "why", "account"))
    assert not approvals.refused(Pending("e" * 64, "driver", "why", "x" * (1 << 21)))
    waiting = approvals.pending()
    assert len(waiting) == 17 and {it["driver"] for it in waiting} == {"driver", "second-driver"}
    assert approvals.knows("driver", bytes.fromhex(f"{39:064x}")) and not approvals.knows("driver", bytes(32))


def test_no_more_runs_in_an_hour_than_the_policy_says(nodes: Nodes, session: RemoteSession) -> None:
    nodes.stop("server1")
    nodes.start("server1", max_runs_per_hour=2)
    total = private("model-owner").sum().reveal()
    for _ in range(2):
        run(session, total)
    before = nodes.shared_bytes()
    with pytest.raises(RunAborted, match="server1.*rule max_runs_per_hour"):
        run(session, total)
    assert nodes.shared_bytes() == before


def test_the_identity_is_of_what_is_computed() -> None:
    def built(factor: float, **kwargs):
        kept = jmpc.define_private_variable(np.ones(3, np.float32))
        return inprocess.built((kept * factor).reveal(), kept.assign(kept * factor), **kwargs)

    assert built(2.0).identity == built(2.0).identity != built(3.0).identity
    one = built(2.0)
    other = dataclasses.replace(one, calls=tuple(map(_renamed, one.calls)))
    assert other.identity == one.identity and other.structure != one.structure


def _renamed(call: Call) -> Call:
    """As somebody might write it who calls variables otherwise."""
    return dataclasses.replace(call, variable="kept") if isinstance(call, Read | Assign) else call


def test_a_file_that_lists_nothing_of_the_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "approved.json"
    path.touch(mode=0o600)
    for text in ("", "{}", '[{"computation": "12", "time": ""}]', "[1]"):
        path.write_text(text)
        if text == "{}":
            assert not Approvals(path).approved
            continue
        with pytest.raises(ConfigError, match="no list of approved computations"):
            Approvals(path)
    path.unlink()
    with pytest.raises(ConfigError, match="no identity"):
        Approvals(path).approve("12")
