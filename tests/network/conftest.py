"""A cluster of real processes on loopback, with keys of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from network import inprocess
from network import scripts as scripts_module
from network.inprocess import Nodes
from network.scripts import Scripts

import jmpc
from jmpc.admin import main as admin
from jmpc.runtime.remote import RemoteSession

ROOT = Path(__file__).parents[2]
PROVIDERS = Path(__file__).parent / "my_data.py"
PLAYERS = ("server0", "server1", "server2", "data-owner", "model-owner")
TIMEOUT = 8  # seconds


@dataclass
class Cluster:
    """Nodes that can be started, killed and asked for their logs."""

    folder: Path
    config: Path
    program: tuple[str, ...] = ("jmpc.player",)  # a module, and arguments before those of `jmpc-node`
    providers: Path = PROVIDERS
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        environment = os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(self.folder / "cache")}
        for name in names:
            command = [
                sys.executable,
                "-m",
                *self.program,
                name,
                "--config",
                self.config,
                "--providers",
                self.providers,
            ]
            self.log(name).unlink(missing_ok=True)
            with self.log(name).open("a") as log:
                self.processes[name] = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        deadline = time.monotonic() + 90
        for name in names:
            while "listens at" not in self.log(name).read_text():
                assert self.processes[name].poll() is None, self.log(name).read_text()
                assert time.monotonic() < deadline, f"{name} did not start"
                time.sleep(0.05)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def kill(self, name: str) -> None:
        """As kill -9, or a machine that loses power, does."""
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def terminate(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        """As an operator does; the exit status."""
        process = self.processes.pop(name)
        process.send_signal(how)
        return process.wait(20)

    def alive(self) -> bool:
        return all(process.poll() is None for process in self.processes.values())

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(20)


def make_cluster(folder: Path, names: tuple[str, ...], **fields: Any) -> Cluster:
    """A cluster that is not started yet, of these players and a driver; `fields` go into its configuration."""
    names = (*names, "driver")
    ports = inprocess.free_ports(len(names))
    addresses = {name: {"address": f"127.0.0.1:{port}"} for name, port in zip(names, ports, strict=True)}
    config = folder / "config.json"
    config.write_text(json.dumps({"players": addresses, "driver": "driver", "timeout": TIMEOUT, **fields}))
    assert admin(["keygen", "--config", str(config)]) == 0
    return Cluster(folder, config)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    policy = {"reveal_to": {"data-owner": ["driver", "data-owner"], "model-owner": ["driver", "model-owner"]}}
    made = make_cluster(tmp_path_factory.mktemp("cluster"), (*PLAYERS, "silent"), policy=policy)
    try:
        made.start(*PLAYERS)
        yield made
    finally:
        made.stop()


@pytest.fixture
def remote(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with this process as its driver."""
    jmpc.set_config(jmpc.RemoteConfig.load(cluster.config))
    yield cluster
    jmpc.set_config(jmpc.LocalConfig())


# Nodes as threads of this process, with a policy that allows little: what they refuse is tried on these. A file that
# needs others overrides the first.


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path_factory.mktemp("nodes"), policy=inprocess.POLICY)
    made.start(*inprocess.EVERYBODY)
    yield made
    made.stop()


@pytest.fixture
def session(nodes: Nodes) -> Iterator[RemoteSession]:
    with nodes.session() as made:
        yield made
        inprocess.works(made)  # whatever was refused, the next run works


@pytest.fixture
def nothing_sent(nodes: Nodes) -> Iterator[None]:
    before = nodes.shared_bytes()
    yield
    assert nodes.shared_bytes() == before, "shares have moved"


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    """The configuration of players that all run the same script."""
    return scripts_module.written(tmp_path, scripts_module.PLAYERS)


@pytest.fixture
def scripts(config_path: Path) -> Iterator[Scripts]:
    """Their sessions."""
    with scripts_module.started(config_path, scripts_module.PLAYERS) as made:
        yield made
