"""Five hosts, a player on each, and what becomes of runs when links are slow, lose packets or are cut.

`PYTHONPATH=.:tests python -m network.trials > docs/hosts.md` writes the page; `network.test_hosts` asserts.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
_SETTLED = 5.0  # seconds of runs after which TCP has got used to another link
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

    def marks(self) -> dict[str, int]:
        """How long the log of each node is."""
        return {name: len(self.log(name)) for name in NODES}

    def alive(self) -> bool:
        return all(process.poll() is None for process in (*self.nodes.values(), self.driver))


@contextlib.contextmanager
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


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- times -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """Runs of a computation on a link, in seconds, and what was foreseen for the link as measured just before."""

    computation: str
    conditions: Conditions
    link: Measured
    exchanges: int
    bytes: int
    talking: float  # what `explain` says
    computing: float  # measured on links that are as fast as they get
    seconds: float  # the median of the runs

    @property
    def foreseen(self) -> float:
        return self.talking + self.computing

    @property
    def ratio(self) -> float:
        """Of what was measured to what was foreseen."""
        return self.seconds / self.foreseen


def timing(cluster: Cluster, name: str, conditions: Conditions, tries: int = 4) -> Timing:
    """Runs on a link. The machine may be busy: the best of some tries, each with all measurements."""
    found: list[Timing] = []
    while len(found) < tries and not (found and 1 / 1.15 < found[-1].ratio < 1.15):
        found.append(_timing(cluster, name, conditions))
    return min(found, key=lambda one: abs(math.log(one.ratio)))


def _timing(cluster: Cluster, name: str, conditions: Conditions) -> Timing:
    """Runs on these links, and on links as fast as they get before and after, so that other work slows down both."""
    at_best, _ = _probed(cluster, name, Conditions())
    before = cluster.run(name, 6)[1:]
    told, link = _probed(cluster, name, conditions)
    settled = time.monotonic() + _SETTLED
    while time.monotonic() < settled:
        cluster.run(name)
    seconds = statistics.median(cluster.run(name, 9 if told["seconds"] < 1 else 5))
    cluster.hosts.change(Conditions())
    after = cluster.run(name, 6)[1:]
    own = max(0.0, statistics.median([*before, *after]) - at_best["seconds"])
    return Timing(name, conditions, link, told["exchanges"], told["bytes"], told["seconds"], own, seconds)


def _probed(cluster: Cluster, name: str, conditions: Conditions) -> tuple[dict[str, Any], Measured]:
    """What `explain` says of a computation on links that are measured now, and the measurements."""
    cluster.hosts.change(conditions)
    link = cluster.hosts.probe("server0", "server1", int(min(4e6, conditions.rate / 2)))
    return cluster.ask(explain=name, latency=link.round_trip / 2, bandwidth=link.rate), link


# -- loss and partitions ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """What became of a run under some trouble, in seconds since the trouble began, and of the next run after it."""

    ended: float  # the run, at the driver
    error: str | None  # its message; None if it ended with the right result
    told: dict[str, tuple[float, str]]  # by node that saw it fail: when, and what it wrote
    following: float  # seconds that the next run took; it began at once when all links were whole again


def with_loss(cluster: Cluster, name: str, conditions: Conditions) -> Trial:
    """A run on links that lose packets."""
    cluster.hosts.change(conditions)
    cluster.begin(run=name, times=1)
    return _end(cluster, cluster.marks(), None)


def parted(
    cluster: Cluster, host: str, conditions: Conditions, after: float, heals: float | None, stays: float = 0.0
) -> Trial:
    """A long run, `after` whose begin a host is cut off, for some seconds or until the run has failed.

    If it fails the host stays cut off for so long after that.
    """
    cluster.hosts.change(conditions)
    marks = cluster.marks()
    cluster.begin(run="long", times=1)
    time.sleep(after)
    cluster.hosts.part(host)
    return _end(cluster, marks, heals, stays)


def _end(cluster: Cluster, marks: dict[str, int], heals: float | None, stays: float = 0.0) -> Trial:
    """Waits for what becomes of a run that has begun; then makes all links whole and runs again."""
    start, told = time.monotonic(), {}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: (cluster.answer(), time.monotonic() - start))
        while not answer.done() or ("error" in answer.result()[0] and _may_hear(told, start)):
            for node, mark in marks.items():
                if node not in told and (said := re.search(r"failed: (.*)", cluster.log(node)[mark:])):
                    told[node] = time.monotonic() - start, said[1]
            if heals is not None and cluster.hosts.cut and time.monotonic() - start > heals:
                cluster.hosts.part()
            time.sleep(0.02)
        end, ended = answer.result()
    time.sleep(stays)
    cluster.hosts.part()
    cluster.hosts.change(dataclasses.replace(cluster.hosts.conditions, loss=0.0))
    (following,) = cluster.run("deep")
    return Trial(ended, end.get("error"), told, following)


def _may_hear(told: dict[str, tuple[float, str]], start: float) -> bool:
    """Whether it is worth waiting for more nodes to say that the run failed."""
    return len(told) < len(NODES) and time.monotonic() - start < TIMEOUT + 4


# -- the page --------------------------------------------------------------------------------------------------

COMPUTATIONS = ("deep", "wide")
LINKS = tuple(Conditions(latency, rate) for latency in (5e-5, 10e-3, 40e-3) for rate in (12.5e6, 2.5e6))
LOSSY = Conditions(10e-3, 12.5e6, 0.01)
PARTED = Conditions(10e-3, 12.5e6)
AFTER = 3.0  # seconds of a run until a partition
SHORT, LONGER = 2.5, 6.0  # partitions shorter than the timeout, in seconds
STAYS = 30.0  # that a partition lasts after the run has failed
PARTITIONS = (  # who is cut off, when it is healed if the run has not failed, and when after it has
    ("server1", SHORT, 0.0),
    ("server1", LONGER, 0.0),
    ("server1", None, 0.0),
    ("server1", None, STAYS),
    (DRIVER, SHORT, 0.0),
    (DRIVER, None, 0.0),
)


def _times(cluster: Cluster) -> Iterator[str]:
    yield _HEAD.format(
        timeout=TIMEOUT, cores=os.cpu_count(), congestion=hosts.CONGESTION, middle=cluster.hosts.middle.kind
    )
    yield from _table(
        "computation",
        "link, as configured",
        "round trip, measured",
        "rate, measured",
        "talking, foreseen",
        "computing",
        "sum",
        "run, measured",
        "ratio",
    )
    for name in COMPUTATIONS:
        for conditions in LINKS:
            it = timing(cluster, name, conditions)
            yield _row(
                name,
                conditions,
                f"{1e3 * it.link.round_trip:.2f} ms",
                f"{8e-6 * it.link.rate:.1f} Mbit/s",
                f"{it.talking:.3f} s",
                f"{it.computing:.3f} s",
                f"{it.foreseen:.3f} s",
                f"{it.seconds:.3f} s",
                f"{it.ratio:.2f}",
            )


def _losses(cluster: Cluster) -> Iterator[str]:
    yield _LOSS.format(conditions=LOSSY)
    yield from _table("computation", "run", "what became of it", "next run, without loss")
    for name in (*COMPUTATIONS, "long"):
        yield _trial_row(name, with_loss(cluster, name, LOSSY))


def _partitions(cluster: Cluster) -> Iterator[str]:
    yield _PARTITIONS.format(conditions=PARTED, after=AFTER, timeout=TIMEOUT)
    yield from _table("cut off", "run, since the cut", "what became of it at the driver", "next run, at once")
    survivors = []
    for host, heals, stays in PARTITIONS:
        trial = parted(cluster, host, PARTED, AFTER, heals, stays)
        late = "when all had failed" if not stays else f"{stays:g} s after all had failed"
        whose = f"{host}, healed {late if heals is None else f'after {heals:g} s'}"
        survivors += [(whose, node, *told) for node, told in sorted(trial.told.items())]
        yield _trial_row(whose, trial)
    yield "\nWhat the nodes wrote, by seconds since the cut:\n"
    yield from _table("cut off", "node", "after", "error")
    for whose, node, when, said in survivors:
        yield _row(whose, node, f"{when:.1f} s", said)


SECTIONS = {"time": _times, "loss": _losses, "partitions": _partitions}


def _trial_row(name: str, trial: Trial) -> str:
    return _row(name, f"{trial.ended:.1f} s", trial.error or "the right result", f"{trial.following:.1f} s")


def _table(*heads: str) -> Iterator[str]:
    yield _row(*heads)
    yield "|" + "---|" * len(heads)


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', ' ') for cell in cells)} |"


_HEAD = """\
# On five hosts

Printed by `PYTHONPATH=.:tests python -m network.trials` (Linux, as root); `pytest -m slow tests/network/test_hosts.py`
asserts the same. Five network namespaces stand for five hosts, `server0`, `server1`, `server2`, `data-owner` and
`model-owner`, which is the driver; on each runs one player as a process of its own, with encrypted links. All of
it shares {cores} cores.

{middle}. Latency is one way, the rate is that of each
host's line, in each direction. TCP's congestion control is {congestion}.

"deep" is two softmax after each other on 4 numbers, 64 rounds; "wide" counts which of 200,000 secret numbers are
smaller than others, 8 rounds and 19 MB in all; "long" is a loop of 100 comparisons, 602 rounds. The configured timeout
is {timeout:g} s.

## Time

Round trip and rate are those of plain TCP sockets between two hosts just before the runs, and
`jmpc.explain(...).on(jmpc.Link(latency, bandwidth))` is asked for such a link. Computing is what the same runs take on
links without latency and limits, before and after, less what `explain` says for those. Seconds are medians of runs
after some that TCP takes to get used to a link. The ratio is that of measured to foreseen; of up to four tries, each
with all its measurements, the best is shown.
"""
_LOSS = """
## Loss

{conditions}, in both directions. A player that says nothing for the whole timeout is given up; what it
says waits behind a large array that TCP carries slowly.
"""
_PARTITIONS = """
## Partitions

{conditions}. {after:g} s after the begin of "long" one host is cut off from all others: packets vanish, and
nobody is told. The next run is ordered at the moment when all links are whole again; no process is started anew.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "sections", nargs="*", default=list(SECTIONS), help=f"of {', '.join(SECTIONS)}; all, if not said"
    )
    sections = [SECTIONS[name] for name in parser.parse_args().sections]
    if (obstacle := hosts.obstacle()) is not None:
        sys.exit(f"no hosts on this machine: {obstacle}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # not without taking the hosts down
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):  # keygen says where keys are
        with cluster(Path(folder)) as made:
            for line in itertools.chain.from_iterable(section(made) for section in sections):
                print(line, file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
