"""What nodes tell of their runs: reports that equal what was predicted, logs, traces, metrics; and no data."""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from network import inprocess
from network.inprocess import EVERYBODY, Nodes, private, run

from jmpc.admin import main as admin
from jmpc.api.graph import build
from jmpc.errors import ConfigError
from jmpc.policy import Policy
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.logs import JsonFormatter
from jmpc.runtime.metrics import Metrics
from jmpc.runtime.node import Node
from jmpc.runtime.report import SEND, WAIT, RunReport, Timeline, trace_events


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("observing")
    made = inprocess.make(folder)
    made.start(*(name for name in EVERYBODY if name != "server0"))
    policy = Policy.default(made.config(), "server0")
    (port,) = inprocess.free_ports(1)
    made.metrics = f"127.0.0.1:{port}"
    node = Node(made.config(), "server0", made.registry, Rep3, policy, metrics=made.metrics, traces=folder / "traces")
    made.adopt(node)
    for name in ("server1", "data-owner"):
        made.nodes[name]._host.traces = folder / "traces"
    yield made
    made.stop()


def fetch():
    return ((private("data-owner") * private("model-owner")).sum() > 3).reveal()


def test_a_report_has_the_bytes_that_were_predicted(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    with nodes.session() as session, caplog.at_level(logging.INFO, "jmpc.node"):
        cost = session.prepare(build([fetch()], session.servers, "driver", 18).computation).cost
        run(session, fetch())
        records = {}

        def told() -> bool:
            for record in caplog.records:
                if hasattr(record, "figures"):
                    records[record.figures["player"]] = record
            return set(records) == set(EVERYBODY)

        inprocess.eventually(told)
    for player, record in records.items():
        figures = record.figures
        assert sum(it["sent"] for it in figures["peers"].values()) == cost.bytes_sent(player).get((), 0)
        assert sum(it["frames sent"] for it in figures["peers"].values()) == cost.frames_sent(player).get((), 0)
        assert 0 < figures["computing"] <= figures["seconds"] < 60 and figures["driver"] == "driver"
        assert "computing" in record.getMessage() and "bytes sent" in record.getMessage()
        line = json.loads(JsonFormatter().format(record))
        assert line["player"] == player and line["level"] == "INFO" and line["seconds"] == figures["seconds"]


def test_metrics_count_runs_seconds_and_bytes(nodes: Nodes) -> None:
    def page() -> str:
        with urllib.request.urlopen(f"http://{nodes.metrics}/metrics") as answer:
            return answer.read().decode()

    with nodes.session() as session:
        run(session, fetch())
        with pytest.raises(Exception, match="not finite"):
            run(session, (private("data-owner", "not_finite") * 1.0).reveal("data-owner"))
        inprocess.eventually(lambda: 'how="failed"' in page() and 'how="well"' in page())
    assert 'jmpc_bytes_total{peer="server1",player="server0",way="sent"}' in page()
    assert 'jmpc_run_seconds_total{on="computing",player="server0"}' in page()
    for address in (nodes.metrics, "127.0.0.1:nowhere", "127.0.0.1:99999"):
        with pytest.raises(ConfigError, match="--metrics"):
            Metrics("server0", address)


def test_traces_of_all_players_are_one(nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = nodes.path.parent / "traces"
    with nodes.session() as session:
        run(session, fetch())

    def files() -> list[str]:
        """The traces of the last run that server0 has told of."""
        mine = sorted(folder.glob("server0-*.json"), key=lambda path: path.stat().st_mtime)
        return [str(path) for path in folder.glob(f"*-{mine[-1].stem.rpartition('-')[2]}.json")] if mine else []

    inprocess.eventually(lambda: len(files()) == 3)
    assert admin(["trace", *files(), "--out", str(tmp_path / "trace.json")]) == 0
    assert "data-owner, server0, server1" in capsys.readouterr().out
    rows = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {row["name"] for row in rows if row["pid"] == "server0"}
    assert {"process_name", "compute", "agree", "wait for server2", "send to server1"} & names >= {"agree", "compute"}
    assert min(row["ts"] for row in rows if "ts" in row) == 0
    (tmp_path / "other.json").write_text('{"traceEvents": [1]}')
    assert admin(["trace", str(tmp_path / "other.json")]) == 1
    assert "is no trace of jmpc-node" in capsys.readouterr().err


def test_a_timeline_adds_up() -> None:
    timeline = Timeline()
    for what, peer in ((WAIT, "b"), (SEND, "b"), (WAIT, "b"), (WAIT, "c")):
        with timeline.event(what, peer):
            pass
    with pytest.raises(ValueError), timeline.event(WAIT, "c"):
        raise ValueError
    report = RunReport.of("a", b"1", timeline, {}, {})
    assert set(report.waited) == {"b", "c"} and set(report.sending) == {"b"} and len(timeline.events) == 5
    parts = report.computing + sum(report.waited.values()) + sum(report.sending.values())
    assert abs(parts - report.seconds) < 1e-6
    spans = [row for row in trace_events(report) if row["ph"] == "X"]
    assert all(row["dur"] > 0 and row["pid"] == "a" for row in spans)
    assert sum(row["dur"] for row in spans) <= report.seconds * 1e6 + 1
