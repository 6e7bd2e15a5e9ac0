"""Five hosts, a player on each, and what becomes of runs when links are slow, lose packets or are cut.

`PYTHONPATH=.:tests python -m network.trials > docs/hosts.md` writes the page; `network.test_hosts` asserts.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network import hosts
from network.conftest import PROVIDERS
from network.hosts import ROOT, Conditions, Hosts, Measured

from jmpc.admin import main as admin

NODES = ("server0", "server1", "server2", "data-owner")
DRIVER = "model-owner"
TIMEOUT = 8.0  # seconds
_PORT = 4440
_ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


@dataclass
class Cluster:
    """Nodes on hosts of their own, and a driver's process on another that does what it is asked."""

    hosts: Hosts
    folder: Path
    nodes: dict[str, subprocess.Popen]
    driver: subprocess.Popen

    def ask(self, **what: Any) -> dict[str, Any]:
        self.begin(**what)
        return self.answer()

    def begin(self, **what: Any) -> None:
        """Asks the driver; `answer` waits."""
        assert self.driver.stdin is not None
        self.driver.stdin.write(json.dumps(what) + "\n")
        self.driver.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.driver.stdout is not None
        line = self.driver.stdout.readline()
        assert line, (self.folder / f"{DRIVER}.log").read_text()[-2000:]
        return json.loads(line)

    def run(self, name: str, times: int = 1) -> list[float]:
        """Seconds of each run of a computation whose results are right."""
        answer = self.ask(run=name, times=times)
        assert "seconds" in answer, answer
        return answer["seconds"]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def alive(self) -> bool:
        return all(process.poll() is None for process in (*self.nodes.values(), self.driver))


@contextmanager
def cluster(folder: Path, timeout: float = TIMEOUT) -> Iterator[Cluster]:
    """Five players on hosts whose links are as fast as they get; all computations have run twice."""
    with hosts.made(*NODES, DRIVER) as made:
        players = {name: {"address": f"{made.address(name)}:{_PORT}"} for name in (*NODES, DRIVER)}
        policy = {"reveal_to": {name: [DRIVER] for name in ("data-owner", DRIVER)}}
        config = folder / "config.json"
        config.write_text(json.dumps({"players": players, "driver": DRIVER, "timeout": timeout, "policy": policy}))
        assert admin(["keygen", "--config", str(config)]) == 0
        environment = _ENVIRONMENT | {"XDG_CACHE_HOME": str(folder / "cache")}
        processes: dict[str, subprocess.Popen] = {}

        def start(name: str, *command: str | Path) -> subprocess.Popen:
            on_host = made.command(name, sys.executable, "-m", *command)
            with (folder / f"{name}.log").open("w") as log:
                out = subprocess.PIPE if name == DRIVER else log
                processes[name] = subprocess.Popen(
                    on_host, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=log, text=True
                )
            return processes[name]

        try:
            for name in NODES:
                start(name, "jmpc.player", name, "--config", config, "--providers", PROVIDERS)
            for name in NODES:
                _wait_for(lambda name=name: "listens at" in (folder / f"{name}.log").read_text(), 90)
            driver = start(DRIVER, "network.host_driver", config)
            assert driver.stdout is not None and driver.stdout.readline() == "ready\n"
            found = Cluster(made, folder, {name: processes[name] for name in NODES}, driver)
            for name in ("deep", "wide", "long"):
                found.run(name, times=2)
            yield found
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.communicate(timeout=20)


def _wait_for(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- times -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """Runs of a computation on a link, in seconds, and what was foreseen for the link as it was measured."""

    computation: str
    conditions: Conditions
    measured: Measured
    exchanges: int
    bytes: int
    talking: float  # by `explain`
    computing: float  # measured on links that are as fast as they get
    seconds: float

    @property
    def ratio(self) -> float:
        return self.seconds / (self.talking + self.computing)


def computing(cluster: Cluster, name: str) -> float:
    """Seconds that a computation takes on these hosts beside what talking takes on links as fast as they get."""
    cluster.hosts.change(Conditions())
    seconds = statistics.median(cluster.run(name, 7))
    return max(0.0, seconds - foreseen(cluster, name, cluster.hosts.probe("server0", "server1", 4_000_000))["seconds"])


def foreseen(cluster: Cluster, name: str, link: Measured) -> dict[str, Any]:
    return cluster.ask(explain=name, latency=link.round_trip / 2, bandwidth=link.rate)


def timing(cluster: Cluster, name: str, conditions: Conditions, computing: float, times: int = 3) -> Timing:
    """The median of runs after the first."""
    cluster.hosts.change(conditions)
    measured = cluster.hosts.probe("server0", "server1", int(conditions.rate / 2))
    told = foreseen(cluster, name, measured)
    seconds = statistics.median(cluster.run(name, times + 1)[1:])
    return Timing(
        name, conditions, measured, told["exchanges"], told["bytes"], told["seconds"], computing, seconds
    )


