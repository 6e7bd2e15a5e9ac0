"""What operators ask of their nodes: status, cancel, audit, and whether the others are there."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from network import inprocess
from network.inprocess import EVERYBODY, Nodes, in_background, long_loop, private, run

import jmpc
from jmpc.admin import main as admin
from jmpc.choreography.releases import ReleaseAccount
from jmpc.errors import ConfigError, PolicyError, StorageError
from jmpc.net.framing import Header, Kind
from jmpc.net.ping import ping
from jmpc.runtime import audit
from jmpc.runtime.audit import AuditLog
from jmpc.runtime.control import Control, ask
from jmpc.runtime.host import audit_path, control_path
from jmpc.storage.key import storage_key

KEY = bytes(32)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path)
    made.start(*EVERYBODY)
    yield made
    made.stop()


def command(nodes: Nodes, *words: str) -> int:
    first, *rest = words
    where = [str(nodes.path)] if first == "check" else ["--config", str(nodes.path)]
    return admin([first, *where, *rest])


def test_check_reaches_everybody_or_says_who_is_not_there(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    for asker in ("server0", "driver"):  # a node that runs, and a player without one
        assert command(nodes, "check", "--player", asker, "--timeout", "1.5") == 1  # second-driver is no node
        said = capsys.readouterr()
        assert said.out.count("yes, ") == len(EVERYBODY) - (asker in EVERYBODY) and "asks" in said.out
        assert "is jmpc-node second-driver running there?" in said.err
    nodes.stop("data-owner")
    assert command(nodes, "check", "--player", "server0", "--timeout", "1") == 1
    assert "is jmpc-node data-owner running there?" in capsys.readouterr().err
    assert command(nodes, "check") == 0
    assert "the others were not asked" in capsys.readouterr().out


def test_other_versions_and_configurations_are_seen(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.loads(nodes.path.read_text())
    other = nodes.path.with_name("other.json")
    other.write_text(json.dumps(data | {"precision": 20}))
    assert admin(["check", str(other), "--player", "driver", "--timeout", "1"]) == 1
    assert "server0: its configuration has other players, roles, protocol or precision" in capsys.readouterr().err
    monkeypatch.setattr("jmpc.admin._check.RUNTIME", "jmpc/9")
    assert command(nodes, "check", "--player", "driver", "--timeout", "1") == 1
    assert "install the same versions" in capsys.readouterr().err


def test_anybody_may_ask_whether_a_node_is_there_and_nonsense_is_not_answered(nodes: Nodes) -> None:
    nodes.stop("model-owner")
    with nodes.stranger("model-owner") as transport:
        (pong,) = ping(transport, ["server0"], 5.0).values()
        assert pong.runtime.startswith("jmpc/") and 0 < pong.seconds < 5
        for body in (b"", b"\xc1", b"\x92\x01\x02", b"\x92\xa1\n\xc4\x00"):
            transport.send("server0", Header(Kind.PONG, bytes(16), body=body))
        (pong,) = ping(transport, ["server0"], 5.0).values()
        assert pong.runtime.startswith("jmpc/")


def test_status_and_cancel(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    with nodes.session() as session:
        inprocess.works(session)
        ended = in_background(lambda: run(session, long_loop().reveal()))
        path = control_path(nodes.config(), "server1")
        inprocess.eventually(lambda: any(it["seconds"] > 0.3 for it in ask(path, "status")["runs"]))
        found = ask(path, "status")
        (going,) = found["runs"]
        assert going["driver"] == "driver" and "data-owner" in going["players"] and "driver" in found["sessions"]
        assert command(nodes, "status", "--player", "server1") == 0
        said = capsys.readouterr().out
        assert f"run {going['run']} of driver with" in said and "server0" in said and "takes computations of" in said
        assert command(nodes, "cancel", "--player", "server1", "ffff") == 1 or going["run"].startswith("ffff")
        assert command(nodes, "cancel", "--player", "server1", going["run"][:8]) == 0
        assert "the operator of server1 cancelled it" in str(ended())
        inprocess.eventually(lambda: not any(ask(control_path(nodes.config(), n), "status")["runs"] for n in EVERYBODY))
        inprocess.works(session)
    assert command(nodes, "status", "--player", "server1", "--json") == 0


def entries(nodes: Nodes, player: str) -> list[dict]:
    found, problems = audit.read(audit_path(nodes.config(), player), storage_key(nodes.config().keys, player))
    assert not problems
    return found


def test_the_audit_log_has_every_run_and_how_it_ended(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    with nodes.session() as session:
        inprocess.works(session)
        with pytest.raises(Exception, match="not finite"):
            run(session, (private("data-owner", "not_finite") * 1.0).reveal("data-owner"))
        inprocess.works(session)
    path = audit_path(nodes.config(), "server0")
    inprocess.eventually(lambda: len(entries(nodes, "server0")) == 6)
    first, well, second, failed, third, _ = entries(nodes, "server0")
    assert well["ended"] == "well" and "not finite" in failed["ended"] and failed["run"] == second["run"]
    assert {tuple(it["of"]) for it in first["opened"]} >= {("data-owner", "model-owner")}
    assert {it["to"] for it in first["opened"]} == {"driver"} and path.stat().st_mode & 0o777 == 0o600
    assert third["opened"] == first["opened"] and path.read_text().count('"opened"') == 2  # each is written once
    assert command(nodes, "audit", "--player", "server0") == 0
    said = capsys.readouterr().out
    assert "to driver: reveal to driver [4], of data-owner, model-owner" in said and "ended well" in said
    assert first["used"] == [] and "of this player" not in said
    assert [entry["used"] for entry in entries(nodes, "data-owner") if "opened" in entry][1] == ["not_finite"]
    assert command(nodes, "audit", "--player", "data-owner") == 0
    assert "takes not_finite of this player" in capsys.readouterr().out
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for changed in (
        lines[1:],
        [lines[0], *lines[2:]],
        [lines[0].replace(b'"to": "driver"', b'"to": "nobody"'), *lines[1:]],
        [*lines[:-1], lines[-1].replace(b"well", b"ill.")],
        [*lines, lines[1]],
    ):
        path.write_bytes(b"".join(changed))
        assert command(nodes, "audit", "--player", "server0") == 1
        said = capsys.readouterr()
        assert ("was changed" in said.err or "taken out, or put in" in said.err) and said.out
    path.write_bytes(whole)


def test_a_log_goes_on_after_a_restart_and_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "node" / "audit.jsonl"

    def log() -> AuditLog:
        return AuditLog(path, lambda: KEY, 1 << 20)

    log().ended(b"1", "driver", "well")
    log().ended(b"2", "driver", "well")
    found, problems = audit.read(path, KEY)
    assert [entry["run"] for entry in found] == ["31", "32"] and not problems
    with path.open("ab") as file:
        file.write(b'{"after": ')
    log().ended(b"3", "driver", "well")
    found, problems = audit.read(path, KEY)
    assert [entry["run"] for entry in found] == ["31", "32", "33"]
    assert problems == ["line 3 was changed, or cut off when the node died"]
    assert audit.read(path, bytes(31) + b"x")[0] == []


def test_what_does_not_fit_on_the_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", lambda: KEY, 1 << 20)
    log.ended(b"1", "driver", "well")
    real = os.fdopen

    class Full:
        def __init__(self, *args, **options) -> None:
            self._file = real(*args, **options)
            self.seek, self.truncate = self._file.seek, self._file.truncate

        def __enter__(self):
            return self

        def __exit__(self, *error) -> None:
            self._file.close()

        def write(self, data: bytes) -> int:
            return self._file.write(data[:9])

    monkeypatch.setattr("jmpc.runtime.audit.os.fdopen", Full)
    with pytest.raises(StorageError, match="the audit log cannot be written"):
        log.ended(b"2", "driver", "well")
    monkeypatch.undo()
    log.ended(b"3", "driver", "well")
    found, problems = audit.read(tmp_path / "audit.jsonl", KEY)
    assert [entry["run"] for entry in found] == ["31", "33"] and not problems


def test_one_driver_does_not_fill_the_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", lambda: KEY, 5000)
    with pytest.raises(PolicyError, match="rule max_audit_bytes"):
        for number in range(100):
            log.begins(bytes([number]), "driver", b"", [])
    log.begins(b"x", "second-driver", b"", [])


def test_nothing_that_a_driver_wrote_reaches_the_terminal_as_it_is(
    nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    log = AuditLog(audit_path(nodes.config(), "driver"), lambda: storage_key(nodes.config().keys, "driver"), 1 << 20)
    evil = "\x1b[2J\n2026  run 1 of driver  ended well"
    release = ReleaseAccount("server0", "driver", evil, evil, (3,), frozenset({"owner"}))
    log.begins(b"1", "driver", b"2", [release], used=[evil], iteration=(1 << 63) - 1)
    log.ended(b"1", "driver", evil)
    log.stored("driver", "save", evil, 3)
    assert command(nodes, "audit", "--player", "driver") == 0
    said = capsys.readouterr().out
    assert ", iteration 9223372036854775807\n" in said
    assert "\x1b" not in said and len(said.splitlines()) == 5 and "?[2J?2026" in said


def test_who_cannot_write_its_log_takes_no_part(nodes: Nodes, nothing_sent: None) -> None:
    log = audit_path(nodes.config(), "server0")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.mkdir()
    with nodes.session() as session, pytest.raises(Exception, match="audit log cannot be written"):
        inprocess.works(session)
    log.rmdir()


def test_a_run_that_has_ended_well_is_kept_whatever_its_log_does(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All others have committed it."""
    with nodes.session() as session:
        kept = jmpc.define_private_variable(private("model-owner") * 1.0)

        def full(*args) -> None:
            raise StorageError("the audit log cannot be written")

        monkeypatch.setattr(nodes.nodes["server1"]._host.audit, "ended", full)
        run(session, kept.assign(kept.initial))
        inprocess.eventually(lambda: "could not be written down" in caplog.text)
        monkeypatch.undo()
        np.testing.assert_allclose(run(session, kept.reveal())[0], 10 + np.arange(4), atol=1e-4)


def test_commands_that_are_none(tmp_path: Path, nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    path = control_path(nodes.config(), "server0")
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
    for sent in (b"", b"{}\n", b"[]\n", b'"status"\n', b"\xff\n", b"x" * (1 << 17) + b"\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").read()
            except OSError:  # it has closed before it has read all
                continue
            assert b"malformed command" in answer
    with pytest.raises(ConfigError, match="no command 'reveal'; known are .*'status'"):
        ask(path, "reveal")
    with pytest.raises(ConfigError, match="TypeError; see the node's log"):
        ask(path, "status", of="everybody")
    with pytest.raises(ConfigError, match="no node answers at"):
        ask(tmp_path / "nothing", "status")
    assert command(nodes, "status") == 1
    assert "say whose is meant, --player NAME" in capsys.readouterr().err


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="chmod"):
        Control(folder / "control", {})
    folder.chmod(0o700)
    (folder / "control").touch()  # of a node that was killed
    control = Control(folder / "control", {"double": lambda x: 2 * x})
    assert ask(folder / "control", "double", x=21) == 42
    control.close()
    assert os.listdir(folder) == []
