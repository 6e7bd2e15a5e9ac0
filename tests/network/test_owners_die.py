"""Ten owners train with other players on this machine; two are killed, at rounds that nobody chose, and it goes on.

The training of the example, with as many iterations as make the accuracy settle.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from network.conftest import ROOT, Cluster, make_cluster

OWNERS = tuple(f"data-owner-{i}" for i in range(10))
PLAYERS = ("server0", "server1", "server2", "model-owner", *OWNERS)
EXAMPLE = ROOT / "examples" / "federated_learning"
ITERATIONS = int(os.environ.get("JMPC_DROPOUT_ITERATIONS", "1500"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = make_cluster(tmp_path_factory.mktemp("dropouts"), PLAYERS)
    made.providers = EXAMPLE / "providers.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JMPC_OWNERS", str(len(OWNERS)))
        try:
            for player in PLAYERS:  # one after the other: each imports JAX
                made.start(player)
            yield made
        finally:
            for player in (*made.processes,):  # nor do so many end at once
                made.terminate(player)


class Training:
    """The example's script as a process, with what it says in a file."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.log = cluster.folder / f"training-{name}.log"
        command = [sys.executable, EXAMPLE / "run.py", "--config", cluster.config, "--quiet", "--log-every", "10"]
        command += ["--iterations", str(ITERATIONS), "--out", cluster.folder]
        command += ["--owners", str(len(OWNERS)), "--min-owners", "8", "--deadline", "5"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cluster.folder / "cache")}
        with self.log.open("w") as file:
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)

    @property
    def iteration(self) -> int:
        """The last one that it told of; -1 before the first."""
        return max(map(int, re.findall(r"^Iteration (\d+)$", self.log.read_text(), re.MULTILINE)), default=-1)

    def reach(self, iteration: int) -> None:
        deadline = time.monotonic() + 900
        while self.iteration < iteration:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.02)

    def accuracy(self) -> float:
        assert self.process.wait(1800) == 0, self.log.read_text()[-2000:]
        found = re.search(r"held-out accuracy: (\S+) under MPC", self.log.read_text())
        assert found is not None
        return float(found[1])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_of_ten_die_and_training_ends_as_well_as_without(cluster: Cluster) -> None:
    undisturbed = Training(cluster, "undisturbed").accuracy()
    chance = random.Random()
    victims = chance.sample(OWNERS, 2)
    rounds = sorted(chance.randrange(20, ITERATIONS * 2 // 3) for _ in victims)
    training = Training(cluster, "disturbed")
    for victim, moment in zip(victims, rounds, strict=True):
        training.reach(moment)
        time.sleep(chance.uniform(0, 0.2))
        cluster.kill(victim)
        print(f"killed {victim} after iteration {training.iteration}")
    accuracy = training.accuracy()
    print(f"accuracy {accuracy:.4f}, undisturbed {undisturbed:.4f}")
    assert abs(accuracy - undisturbed) <= 0.01
    said = training.log.read_text()
    assert all(re.search(rf"left out: .*{victim}", said) for victim in victims), said[:4000]
    assert cluster.alive()
