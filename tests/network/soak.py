"""`PYTHONPATH=.:tests python -m network.soak --minutes 60`: a day in small.

Five nodes as processes, and a driver that mixes runs of all kinds while nodes are stopped, killed and started again.
Nothing may fail but what a restart makes fail, every node's memory stays flat while it lives, and the last run works.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from network import my_data
from network.conftest import PLAYERS, Cluster, make_cluster
from tqdm import tqdm

import jmpc
from jmpc.errors import InputError, JmpcError, RunAborted

REVEAL_TO = {"data-owner": ["driver", "data-owner"], "model-owner": ["driver", "model-owner"]}


def private(player: str, name: str = "vector") -> jmpc.Value:
    return jmpc.define_private_input(player, name, types=my_data.VECTOR)


@dataclass
class Mixture:
    """Runs of all kinds; made anew after every restart, because variables live in nodes."""

    x: jmpc.Value = field(default_factory=lambda: private("data-owner"))
    y: jmpc.Value = field(default_factory=lambda: private("model-owner"))
    weights: jmpc.Variable = field(default_factory=lambda: jmpc.define_private_variable(np.zeros(4, np.float32)))

    def __post_init__(self) -> None:
        self.total = (self.x + self.y).reveal()
        self.product = jmpc.function(lambda a, b: jnp.outer(a, b) @ b)(self.x, self.y).reveal()
        self.order = jmpc.function(lambda a, b: jnp.sort(jnp.concatenate([b, a])))(self.x, self.y).reveal()
        self.softmax = jmpc.function(jax.nn.softmax)(self.x).reveal("data-owner")
        self.step = self.weights.assign(self.weights * 0.5 + self.x)
        self.weight = self.weights.reveal()
        self.refused = self.x.reveal("model-owner")
        self.not_finite = (private("data-owner", "not_finite") * 1.0).reveal("data-owner")

    @property
    def kinds(self) -> tuple[Callable[[], None], ...]:
        return (
            self.add,
            self.multiply,
            self.sort,
            self.open_elsewhere,
            self.train,
            self.save,
            self.be_refused,
            self.fail,
        )

    def add(self) -> None:
        np.testing.assert_allclose(jmpc.run(self.total), 10 + 2 * np.arange(4), atol=1e-4)

    def multiply(self) -> None:
        x, y = np.arange(4.0), 10 + np.arange(4.0)
        np.testing.assert_allclose(jmpc.run(self.product), x * (y @ y), rtol=1e-4)

    def sort(self) -> None:
        np.testing.assert_allclose(jmpc.run(self.order), [0, 1, 2, 3, 10, 11, 12, 13], atol=1e-4)

    def open_elsewhere(self) -> None:
        assert jmpc.run(self.softmax) is None

    def train(self) -> None:
        for _ in range(5):
            jmpc.run(self.step)
        assert np.all(jmpc.run(self.weight) < 2 * np.arange(4) + 1e-3)

    def save(self) -> None:
        jmpc.save("soak", self.weights)
        jmpc.run(jmpc.load("soak").reveal())

    def be_refused(self) -> None:
        _fails(lambda: jmpc.run(self.refused), RunAborted, "rule reveal_to")

    def fail(self) -> None:
        _fails(lambda: jmpc.run(self.not_finite), (RunAborted, InputError), "not finite")


def _fails(run: Callable[[], Any], kind: Any, text: str) -> None:
    try:
        run()
    except kind as error:
        assert text in str(error), str(error)
    else:
        raise AssertionError(f"nothing said {text!r}")


@dataclass
class Life:
    """A node since it was started last: its memory early and now, in megabytes."""

    since: float = field(default_factory=time.monotonic)
    early: int | None = None
    now: int = 0


def soak(cluster: Cluster, minutes: float, seed: int, growth: float, settle: float) -> Iterator[str]:
    """Runs for so long; says what happens.

    Args:
      growth: of a node's memory, from `settle` seconds after its start, that is still flat.
    """
    source, end = random.Random(seed), time.monotonic() + 60 * minutes
    lives = {name: Life() for name in PLAYERS}
    jmpc.set_config(jmpc.RemoteConfig.load(cluster.config))
    mixture, restart, runs = Mixture(), time.monotonic() + settle, 0
    while time.monotonic() < end:
        source.choice(mixture.kinds)()
        runs += 1
        for name, life in lives.items():
            life.now = _megabytes(cluster.processes[name].pid)
            if life.early is None and time.monotonic() - life.since > settle:
                life.early = life.now
        if time.monotonic() > restart:
            victim, how = source.choice(PLAYERS), source.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            _check_flat(victim, lives[victim], growth)
            _restart(cluster, victim, how, mixture, source)
            lives[victim] = Life()
            jmpc.set_config(jmpc.RemoteConfig.load(cluster.config))
            mixture, restart = Mixture(), time.monotonic() + source.uniform(0.5, 1.5) * settle
            yield f"{runs} runs; {victim} was ended by {how.name} and started again"
    for kind in mixture.kinds:
        kind()
    for name, life in lives.items():
        _check_flat(name, life, growth)
        yield f"{name}: {life.early} MB early, {life.now} MB at the end, {time.monotonic() - life.since:.0f} s of life"
    yield f"{runs} runs in {minutes:g} minutes, none failed outside of restarts"


def _restart(cluster: Cluster, victim: str, how: signal.Signals, mixture: Mixture, source: random.Random) -> None:
    """Ends a node and starts it again, now and then with a run in between, which must name it."""
    if how is signal.SIGKILL:
        cluster.kill(victim)
    else:
        assert cluster.terminate(victim, how) == 0, cluster.log(victim).read_text()[-2000:]
    if source.random() < 0.5:
        try:
            mixture.add()  # in which all take part
        except JmpcError as error:
            assert victim in str(error), str(error)
        else:
            raise AssertionError(f"a run went well without {victim}")
    cluster.start(victim)


def _check_flat(name: str, life: Life, growth: float) -> None:
    if life.early is not None:
        assert life.now <= life.early * (1 + growth), f"{name} has grown from {life.early} to {life.now} MB"


def _megabytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--growth", type=float, default=0.05, help="of a node's memory that is still flat")
    parser.add_argument("--settle", type=float, default=120.0, help="seconds after a start until memory is compared")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = make_cluster(Path(folder), PLAYERS, policy={"reveal_to": REVEAL_TO})
        try:
            cluster.start(*PLAYERS)
            for line in tqdm(
                soak(cluster, options.minutes, options.seed, options.growth, options.settle), unit="event"
            ):
                tqdm.write(line)
        finally:
            cluster.stop()
            jmpc.set_config(jmpc.LocalConfig())


if __name__ == "__main__":
    sys.exit(main())
