"""What nodes save survives their restart, bit by bit; what does not belong together is refused."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network import inprocess
from network.inprocess import EVERYBODY, SERVERS, Nodes, private

import jmpc
from jmpc.errors import LinkTimeout, RunAborted, StorageError
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.runtime.saving import Request, Task
from jmpc.runtime.store import Store


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path, policy={"reveal_to": {"data-owner": ["data-owner"]}})
    made.start(*EVERYBODY)
    yield made
    made.stop()


@contextmanager
def driving(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, driver: str = "driver") -> Iterator[Any]:
    with nodes.session(driver) as session, monkeypatch.context() as patch:
        patch.setattr("jmpc.api.run._Default.session", session)
        yield session


def contents(store: Store) -> dict[Any, bytes]:
    """Every slot, by its shape and place, whatever its variable is called."""
    return {(slot, np.shape(x)): np.asarray(x).tobytes() for (_, slot), x in store._arrays.items()}


def test_everything_comes_back_bit_by_bit_after_all_nodes_have_ended(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driving(nodes, monkeypatch):
        weights = jmpc.define_private_variable(np.arange(6.0).reshape(2, 3))
        local = jmpc.define_local_variable("model-owner", private("model-owner"))
        mine = jmpc.define_local_variable("driver", np.array([5.0]))
        jmpc.run([weights.assign(weights * weights), mine.assign(inprocess.local("driver", lambda x: x + 1, mine))])
        jmpc.save("model", {"weights": weights, "local": local, "mine": mine, "step": 3})
        before = {name: contents(nodes.store(name)) for name in (*SERVERS, "model-owner")}
    nodes.stop()
    nodes.start(*EVERYBODY)
    with driving(nodes, monkeypatch):
        loaded = jmpc.load("model")
        assert {name: contents(nodes.store(name)) for name in before} == before
        assert [set(b) for b in before.values()][0]  # there was something
        values = jmpc.run([loaded["weights"].reveal(), loaded["local"].reveal(), loaded["mine"].reveal()])
        np.testing.assert_allclose(values[0], np.arange(6.0).reshape(2, 3) ** 2, atol=1e-4)
        np.testing.assert_array_equal(values[1], 10 + np.arange(4))
        np.testing.assert_array_equal(values[2], [6.0])
        assert loaded["step"] == 3
    files = list((nodes.path.parent / "state").rglob("*.shares"))
    assert sorted(file.relative_to(nodes.path.parent / "state").parts[0] for file in files) == sorted(
        [*SERVERS, "model-owner", "driver"]
    )


def test_who_may_see_a_variable_is_saved_with_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    with driving(nodes, monkeypatch):
        kept = jmpc.define_private_variable(private("data-owner") * 2.0)
        jmpc.save("owned", kept)
    nodes.stop()
    nodes.start(*EVERYBODY)
    with driving(nodes, monkeypatch):
        loaded = jmpc.load("owned")
        with pytest.raises(RunAborted, match="rule reveal_to.*rules of data-owner"):
            jmpc.run(loaded.reveal())
        jmpc.run(loaded.reveal("data-owner"))


def test_another_driver_finds_nothing(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    with driving(nodes, monkeypatch):
        jmpc.save("model", jmpc.define_private_variable(np.ones(2)))
    with driving(nodes, monkeypatch, "second-driver"):
        with pytest.raises(
            StorageError, match="server0, server1, server2 have nothing that this driver saved as 'model'"
        ):
            jmpc.load("model")


def test_a_node_that_lost_its_files_or_its_key_is_named(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    state, keys = nodes.path.parent / "state", nodes.path.parent / "keys"
    with driving(nodes, monkeypatch):
        jmpc.save("model", jmpc.define_private_variable(np.ones(2)))
        (file,) = (state / "server1").rglob("*.shares")
        data = file.read_bytes()
        for damaged in (data[:-1], data[:50] + bytes([data[50] ^ 1]) + data[51:], b""):
            file.write_bytes(damaged)
            with pytest.raises(RunAborted, match="aborted by server1: .*was changed or cut off"):
                jmpc.load("model")
        file.write_bytes(data)
        jmpc.load("model")
        (keys / "server1.storage").unlink()
        with pytest.raises(RunAborted, match="aborted by server1: .*under another key"):
            jmpc.load("model")
        file.unlink()
        with pytest.raises(StorageError, match=r"by some not at all.*server1 has \[\]"):
            jmpc.load("model")


def test_parts_of_different_times_do_not_go_together(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restore from a backup at one player, or a death in the middle of saving."""
    state = nodes.path.parent / "state"
    with driving(nodes, monkeypatch):
        variable = jmpc.define_private_variable(np.ones(2))
        jmpc.save("model", variable)
        (old,) = (state / "server2").rglob("*.shares")
        backup = old.read_bytes()
        jmpc.run(variable.assign(variable + 1))
        jmpc.save("model", variable)
        (new,) = (state / "server2").rglob("*.shares")
        newest = new.read_bytes()
        new.unlink()
        old.write_bytes(backup)
        with pytest.raises(StorageError, match="saved at different times by different players.*server2 has"):
            jmpc.load("model")
        new.write_bytes(newest)  # beside the old one: what all have counts
        np.testing.assert_array_equal(jmpc.run(jmpc.load("model").reveal()), [2, 2])
        assert not old.exists()


def test_a_server_that_dies_while_it_saves_leaves_what_was_saved_before(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driving(nodes, monkeypatch):
        variable = jmpc.define_private_variable(np.ones(2))
        jmpc.save("model", variable)
        jmpc.run(variable.assign(variable + 1))
        nodes.stop("server2")
        with pytest.raises(jmpc.JmpcError, match="server2"):
            jmpc.save("model", variable)
    nodes.start("server2")
    with driving(nodes, monkeypatch):
        np.testing.assert_array_equal(jmpc.run(jmpc.load("model").reveal()), [1, 1])


def test_what_one_player_could_not_save_leaves_what_was_saved_before(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time a player holds a part that held none the first time, and refuses."""
    with driving(nodes, monkeypatch):
        secret = jmpc.define_private_variable(np.ones(2))
        jmpc.save("model", {"secret": secret})
        local = jmpc.define_local_variable("model-owner", private("model-owner"))
        (nodes.path.parent / "state" / "model-owner" / "saved").touch()  # in the place of its folder
        jmpc.run(secret.assign(secret + 1))
        with pytest.raises(RunAborted, match="model-owner cannot save 'model'"):
            jmpc.save("model", {"secret": secret, "local": local})
        np.testing.assert_array_equal(jmpc.run(jmpc.load("model")["secret"].reveal()), [1, 1])


def test_a_session_does_not_remove_what_a_later_one_is_saving(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    with driving(nodes, monkeypatch) as session:
        variable = jmpc.define_private_variable(np.ones(2))
        jmpc.save("model", variable)
        keep = session._storages.__class__._keep
        kept = []
        monkeypatch.setattr(session._storages.__class__, "_keep", lambda *args: kept.append(args))
        jmpc.run(variable.assign(variable + 1))
        jmpc.save("model", variable)  # which has not said yet that all have it
        monkeypatch.undo()
        (older,) = [args for args in kept]
        jmpc.run(variable.assign(variable + 1))
        jmpc.save("model", variable)
        with pytest.raises(RunAborted, match="does not have what was saved as 'model' any more"):
            keep(*older)  # too late: it says so, and removes nothing
        np.testing.assert_array_equal(jmpc.run(jmpc.load("model").reveal()), [3, 3])


def test_parts_of_two_variables_are_not_mixed_whatever_a_driver_says(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One server loads another variable under the name than the others do; both were written by one run."""
    with driving(nodes, monkeypatch) as session:
        one, two = (jmpc.define_private_variable(np.full(2, float(i))) for i in (1, 2))
        jmpc.run([one.assign(one + 0), two.assign(two + 0)])
        jmpc.save("pair", [one, two])

        def mixed(requests):
            if any(request.task is Task.LOAD for request in requests.values()):
                it = requests["server2"]
                swapped = dict(zip(it.variables, reversed(list(it.variables.values())), strict=True))
                requests = requests | {"server2": Request(it.task, it.name, it.version, variables=swapped)}
            return session._ask(requests)

        session._storages = dataclasses.replace(session._storages, ask=mixed)
        loaded = jmpc.load("pair")
        with pytest.raises(RunAborted, match="server2 has another generation"):
            jmpc.run(loaded[0].reveal())


def test_a_generation_that_is_not_there_is_not_saved(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    with driving(nodes, monkeypatch) as session:
        variable = jmpc.define_private_variable(np.ones(2))
        jmpc.run(variable.assign(variable + 1))
        runs = {variable.name: bytes(RUN_BYTES)}
        with pytest.raises(RunAborted, match="has another generation of a variable that it is to save"):
            session._storages.save("model", b"", {variable.name: None}, runs)
        runs = {"variable/unknown": bytes(RUN_BYTES)}
        with pytest.raises(RunAborted, match="has no generation of a variable"):
            session._storages.save("model", b"", {"variable/unknown": None}, runs)


def test_saving_keeps_to_the_policy(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.stop("server0")
    nodes.start("server0", max_saved_bytes=50_000, max_stored_bytes=100_000)
    with driving(nodes, monkeypatch):
        jmpc.save("small", jmpc.define_private_variable(np.ones(1000)))
        with pytest.raises(RunAborted, match="server0 would have .*rule max_saved_bytes"):
            jmpc.save("large", jmpc.define_private_variable(np.ones(4000)))
        with pytest.raises(RunAborted, match="server0 .*rule max_stored_bytes"):
            for _ in range(10):
                jmpc.load("small")


def test_a_node_that_is_not_there_is_named_before_anybody_waits_for_its_disk(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driving(nodes, monkeypatch):
        jmpc.save("model", jmpc.define_private_variable(np.ones(2)))
    nodes.stop("server2")
    with driving(nodes, monkeypatch) as session:
        start = time.monotonic()
        with pytest.raises(LinkTimeout, match="server2 .*does not answer: .*is jmpc-node server2 running there"):
            jmpc.load("model")
        assert time.monotonic() - start < session._config.timeout + 2
    nodes.start("server2")


@pytest.mark.parametrize("sender", ["driver", "model-owner"])
def test_malformed_requests_and_those_of_strangers_are_refused(nodes: Nodes, sender: str) -> None:
    good = Request(Task.TELL, "model").encode(bytes(RUN_BYTES))
    with nodes.stranger(sender) if sender == "driver" else _as_owner(nodes, sender) as transport:
        for body in (good, good[:-1], b"", b"\xc0", good.replace(b"model", b"../xx"), bytes(100)):
            run = bytes([len(body) % 256]) * RUN_BYTES
            answers = nodes.ask(transport, Kind.STORAGE, run, body, "server0")
            assert answers["server0"].startswith(b"refused: ")
            assert (b"rule drivers" in answers["server0"]) == (sender != "driver")


@contextmanager
def _as_owner(nodes: Nodes, name: str) -> Iterator[Any]:
    nodes.stop(name)
    with nodes.stranger(name) as transport:
        yield transport
    nodes.start(name)


def test_headers_of_storage_are_control_frames() -> None:
    assert Header(Kind.STORAGE).kind == 8
