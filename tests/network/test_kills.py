"""Seven processes train; one of them is killed again and again, at moments that nobody chose, and training goes on."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from network.conftest import ROOT, TIMEOUT, Cluster, make_cluster

from jmpc.config import RemoteConfig
from jmpc.errors import ConfigError
from jmpc.runtime.control import ask
from jmpc.runtime.host import control_path

SEVEN = ("server0", "server1", "server2", "model-owner", "data-owner-0", "data-owner-1", "data-owner-2")
EXAMPLE = ROOT / "examples" / "federated_learning"
ITERATIONS, EVERY, KILLS = 2000, 50, 10


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = make_cluster(tmp_path_factory.mktemp("kills"), SEVEN)
    made.providers = EXAMPLE / "providers.py"
    try:
        made.start(*SEVEN)
        yield made
    finally:
        made.stop()


def _hears_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Training:
    """The example's script as a process, with what it says in a file."""

    def __init__(self, cluster: Cluster, name: str, *options: str) -> None:
        self.log = cluster.folder / f"training-{name}.log"
        command = [sys.executable, EXAMPLE / "run.py", "--config", cluster.config, "--quiet", "--log-every", "10"]
        command += ["--iterations", str(ITERATIONS), "--checkpoint", name, "--checkpoint-every", str(EVERY)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cluster.folder / "cache")}
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--out", cluster.folder, *options],
                env=environment,
                stdout=file,
                stderr=file,
                preexec_fn=_hears_ctrl_c,  # also where these tests run in the background
            )

    @property
    def iteration(self) -> int:
        """The last one that it told of; -1 before the first."""
        return max(map(int, re.findall(r"^Iteration (\d+)$", self.log.read_text(), re.MULTILINE)), default=-1)

    def reach(self, iteration: int) -> None:
        deadline = time.monotonic() + 300
        while self.iteration < iteration:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.02)

    def accuracy(self) -> float:
        assert self.process.wait(1200) == 0, self.log.read_text()[-2000:]
        found = re.search(r"held-out accuracy: (\S+) under MPC", self.log.read_text())
        assert found is not None
        return float(found[1])


def resident(cluster: Cluster) -> dict[str, int]:
    """Megabytes of each node."""
    found = {}
    for name, process in cluster.processes.items():
        status = Path(f"/proc/{process.pid}/status").read_text()
        found[name] = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) >> 10
    return found


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> float:
    return Training(cluster, "undisturbed").accuracy()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victim", SEVEN)
def test_whoever_is_killed_is_named_by_all_and_training_goes_on(
    cluster: Cluster, undisturbed: float, victim: str
) -> None:
    moments = random.Random(victim)
    training, options = Training(cluster, victim), ()
    training.reach(EVERY + 5)  # there is a checkpoint
    before = resident(cluster)
    for _ in range(KILLS):
        here = training.iteration
        training.reach(min(here + moments.randrange(20, 2 * ITERATIONS // KILLS - 40), ITERATIONS - 40))
        time.sleep(moments.uniform(0, 0.1))
        told = {name: len(cluster.log(name).read_text()) for name in SEVEN if name != victim}
        cluster.kill(victim)
        killed = time.monotonic()
        assert training.process.wait(TIMEOUT + 2) != 0
        said = training.log.read_text()
        assert re.search(rf"^jmpc\.errors\.\w+: .*{victim}", said, re.MULTILINE), said[-2000:]
        for name, start in told.items():
            while victim not in "".join(re.findall(r"failed: .*", cluster.log(name).read_text()[start:])):
                assert time.monotonic() - killed < TIMEOUT + 2, (name, cluster.log(name).read_text()[start:])
                time.sleep(0.05)
        assert cluster.alive()
        cluster.start(victim)
        options = ("--resume",)
        training = Training(cluster, victim, *options)
        training.reach(here - here % EVERY)
    assert abs(training.accuracy() - undisturbed) <= 0.005
    grown = {name: now - before[name] for name, now in resident(cluster).items() if name != victim}
    assert max(grown.values()) < 100, grown


def interrupt(cluster: Cluster, training: Training) -> None:
    training.process.send_signal(signal.SIGINT)


def cancel(cluster: Cluster, training: Training) -> None:
    """By the operator of one node: the run that it takes part in, which may have ended when that is said."""
    path = control_path(RemoteConfig.load(cluster.config), "server1")
    while True:
        for going in ask(path, "status")["runs"]:
            with suppress(ConfigError):
                ask(path, "cancel", run=going["run"])
                return


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stop", [interrupt, cancel])
def test_who_stops_a_run_stops_it_everywhere(cluster: Cluster, stop: Callable[[Cluster, Training], None]) -> None:
    training = Training(cluster, "stopped")
    training.reach(20)
    told = {name: len(cluster.log(name).read_text()) for name in SEVEN}
    stop(cluster, training)
    assert training.process.wait(TIMEOUT + 2) != 0
    if stop is cancel:
        assert "the operator of server1 cancelled it" in training.log.read_text()
    stopped = time.monotonic()
    for name, start in told.items():
        while "failed: " not in (said := cluster.log(name).read_text()[start:]) and "forgets the variables" not in said:
            assert time.monotonic() - stopped < TIMEOUT + 2, (name, said)
            time.sleep(0.05)
    assert cluster.alive()
    following = Training(cluster, "following")
    following.reach(20)
    following.process.kill()
    following.process.wait()
