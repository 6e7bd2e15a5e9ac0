"""`PYTHONPATH=.:tests python -m network.soak --minutes 60`: a day in small.

Five nodes as processes, and two drivers side by side that mix runs of all kinds: one stays, and begins a new session
now and then; the other comes and goes. Meanwhile nodes are stopped, killed and started again. Nothing may fail but what
a restart makes fail, the memory of every node stays flat while it lives, and the last run works.

The exit status is 1 if that is not so.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from network import my_data
from network.conftest import PLAYERS, Cluster, make_cluster
from network.memory import Life
from tqdm import tqdm

import jmpc
from jmpc.api.graph import build
from jmpc.api.run import initialise, opened
from jmpc.errors import InputError, JmpcError, RunAborted
from jmpc.runtime.remote import RemoteSession

DRIVERS = ("driver", "second-driver")
OWNERS = ("data-owner", "model-owner")
POLICY = {"drivers": list(DRIVERS), "reveal_to": {owner: [*DRIVERS, *OWNERS] for owner in OWNERS}}

Run = Callable[[Any], Any]


def private(player: str, name: str = "vector") -> jmpc.Value:
    return jmpc.define_private_input(player, name, types=my_data.VECTOR)


@dataclass
class Mixture:
    """Runs of all kinds; made anew in every session, because variables live in nodes."""

    run: Run = jmpc.run
    x: jmpc.Value = field(default_factory=lambda: private("data-owner"))
    y: jmpc.Value = field(default_factory=lambda: private("model-owner"))
    weights: jmpc.Variable = field(default_factory=lambda: jmpc.define_private_variable(np.zeros(4, np.float32)))
    model: jmpc.Variable = field(default_factory=lambda: jmpc.define_local_variable("model-owner", np.ones(4, "f")))

    def __post_init__(self) -> None:
        x, y = self.x, self.y
        self.total = (x + y).reveal()
        self.product = jmpc.function(lambda a, b: jnp.outer(a, b) @ b)(x, y).reveal()
        self.order = jmpc.function(lambda a, b: jnp.sort(jnp.concatenate([b, a])))(x, y).reveal()
        self.softmax = jmpc.function(jax.nn.softmax)(x).reveal("data-owner")
        self.step = self.weights.assign(self.weights * 0.5 + x)
        self.weight = self.weights.reveal()
        self.inferred = jmpc.function(lambda w, a: jax.nn.sigmoid(w @ a - 10.0))(self.weights, x).reveal()
        self.federated = self.model.assign(_federated(self.model, x, y))
        self.norm = jmpc.define_local_computation("model-owner", jnp.linalg.norm, self.model).reveal()
        self.refused = x.reveal("server0")
        self.not_finite = (private("data-owner", "not_finite") * 1.0).reveal("data-owner")
        self.wrong_shape = (private("data-owner", "wrong_shape") + y).reveal()
        self.broken = (private("model-owner", "broken") + x).reveal()

    @property
    def kinds(self) -> tuple[Callable[[], None], ...]:
        return (
            self.add,
            self.multiply,
            self.sort,
            self.open_elsewhere,
            self.train,
            self.infer,
            self.train_federated,
            self.be_refused,
            self.bring_bad_inputs,
        )

    def add(self) -> None:
        np.testing.assert_allclose(self.run(self.total), 10 + 2 * np.arange(4), atol=1e-4)

    def multiply(self) -> None:
        x, y = np.arange(4.0), 10 + np.arange(4.0)
        np.testing.assert_allclose(self.run(self.product), x * (y @ y), rtol=1e-4)

    def sort(self) -> None:
        np.testing.assert_allclose(self.run(self.order), [0, 1, 2, 3, 10, 11, 12, 13], atol=1e-4)

    def open_elsewhere(self) -> None:
        assert self.run(self.softmax) is None

    def train(self) -> None:
        for _ in range(5):
            self.run(self.step)
        assert np.all(self.run(self.weight) < 2 * np.arange(4) + 1e-3)

    def infer(self) -> None:
        assert 0.0 <= self.run(self.inferred) <= 1.0 + 1e-3

    def train_federated(self) -> None:
        for _ in range(3):
            self.run(self.federated)
        assert np.isfinite(self.run(self.norm))

    def be_refused(self) -> None:
        _fails(lambda: self.run(self.refused), RunAborted, "rule reveal_to")

    def bring_bad_inputs(self) -> None:
        bad = {"not_finite": "not finite", "wrong_shape": "does not give float32\\[4\\]", "broken": "'broken' failed"}
        for name, text in bad.items():
            _fails(lambda name=name: self.run(getattr(self, name)), (RunAborted, InputError), text)


class Saving(Mixture):
    """Also saves and loads."""

    @property
    def kinds(self) -> tuple[Callable[[], None], ...]:
        return (*super().kinds, self.save)

    def save(self) -> None:
        jmpc.save("soak", {"weights": self.weights, "model": self.model})
        loaded = jmpc.load("soak")
        jmpc.run([loaded["weights"].reveal(), loaded["weights"].assign(loaded["weights"] + self.x)])


def _federated(model: jmpc.Variable, *inputs: jmpc.Value) -> jmpc.Value:
    """One step of the model owner's, by the mean of both owners' gradients."""
    gradients = [
        jmpc.define_local_computation(owner, lambda w, x: (w - x) / 16, model.reveal(owner), x, range=(-4.0, 4.0))
        for owner, x in zip(OWNERS, inputs, strict=True)
    ]
    mean = jmpc.function(lambda a, b: (a + b) / 2)(*gradients).reveal("model-owner")
    return jmpc.define_local_computation("model-owner", lambda w, g: w - 0.1 * g, model, mean)


def _fails(run: Callable[[], Any], kind: Any, text: str) -> None:
    try:
        run()
    except kind as error:
        assert re.search(text, str(error)), str(error)
    else:
        raise AssertionError(f"nothing said {text!r}")


def run_in(session: RemoteSession) -> Run:
    """`jmpc.run` in this session, beside that of the script."""

    def run(fetch: Any) -> Any:
        built = build([fetch], session.servers, session.driver, session.fraction)
        initialise(session, built.variables)
        (found,) = opened(built, session.run(built), session.me)
        return found

    return run


@dataclass(frozen=True)
class Plan:
    """How long, and what is flat.

    A node's memory is compared when it has settled: everything was run once, and is compiled (`eager_node`).

    Args:
      restart: seconds between two restarts, on average; 0 for none.
      settle: seconds after everything was run once until a node's memory is compared.
      window: seconds over which the middle is taken, there and at the end.
      growth: that is still flat.
      kinds: of runs, by name; by default all.
    """

    minutes: float = 60.0
    seed: int = 0
    restart: float = 600.0
    settle: float = 120.0
    window: float = 30.0
    growth: float = 0.05
    kinds: tuple[str, ...] = ()

    def of(self, mixture: Mixture) -> list[Callable[[], None]]:
        """What is run."""
        return [kind for kind in mixture.kinds if not self.kinds or kind.__name__ in self.kinds]


@dataclass
class Visits:
    """A driver that comes with a new session, does some runs, and goes; never while `quiet` is held."""

    config: Path
    plan: Plan
    quiet: threading.Lock = field(default_factory=threading.Lock)
    runs: Counter[str] = field(default_factory=Counter)
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        source = random.Random(self.plan.seed + 1)
        try:
            while not self.over.wait(source.uniform(0.0, 0.5)):
                with self.quiet:
                    self.visit(lambda mixture: source.choices(self.plan.of(mixture), k=source.randrange(1, 20)))
        except BaseException as error:
            self.error = error

    def visit(self, chosen: Callable[[Mixture], Iterable[Callable[[], None]]]) -> None:
        """One session, and some of its kinds of runs."""
        with RemoteSession(jmpc.RemoteConfig.load(self.config, player=DRIVERS[1])) as session:
            for kind in chosen(Mixture(run_in(session))):
                kind()
                self.runs[kind.__name__] += 1

    @contextmanager
    def going_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self.go_on, name="visits", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join(120)
        assert not thread.is_alive(), "a visit does not end"
        self.check()

    def check(self) -> None:
        """Raises what has failed in a visit."""
        if self.error is not None:
            raise self.error


class Soak:
    """See the module's docstring. `faults` is what was not as it should be."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.cluster, self.plan, self.faults = cluster, plan, list[str]()
        self._source = random.Random(plan.seed)
        self._visits = Visits(cluster.config, plan)
        self._runs: Counter[str] = Counter()
        self._mixture = self._begun()
        self._everything_once()
        self._lives = {name: Life(cluster.processes[name].pid) for name in PLAYERS}
        self._driver = Life(os.getpid())

    def events(self, progress: Callable[[float], None] = lambda seconds: None) -> Iterator[str]:
        """Runs for so long; says what happens, and to `progress` the seconds. Raises what fails outside of restarts."""
        plan, source, start = self.plan, self._source, time.monotonic()
        end, restart = start + 60 * plan.minutes, self._next_restart()
        with self._visits.going_on():
            while time.monotonic() < end:
                self._one(source.choice(plan.of(self._mixture)))
                progress(time.monotonic() - start)
                if source.random() < 0.05:
                    self._mixture = self._begun()
                if time.monotonic() > restart:
                    with self._visits.quiet:
                        yield from self._restart(source.choice(PLAYERS))
                    restart = self._next_restart()
            with self._visits.quiet:
                self._everything_once()

    def account(self) -> Iterator[str]:
        """What became of every node's memory, and what was run; after the end, also an early one."""
        for name in PLAYERS:
            yield self._judged(name)
        grown = self._driver.growth(self.plan.settle, self.plan.window)
        yield f"the drivers' process: {grown or 'lived too briefly to tell'}"
        counts = self._runs + self._visits.runs
        yield f"{sum(counts.values())} runs: {dict(counts)}"

    def _everything_once(self) -> None:
        """All kinds of runs, of both drivers."""
        for kind in self.plan.of(self._mixture):
            kind()
        self._visits.visit(self.plan.of)

    def _one(self, kind: Callable[[], None]) -> None:
        kind()
        self._runs[kind.__name__] += 1
        for life in (*self._lives.values(), self._driver):
            life.look()
        self._visits.check()

    def _begun(self) -> Saving:
        """A new session."""
        jmpc.set_config(jmpc.RemoteConfig.load(self.cluster.config))
        return Saving()

    def _next_restart(self) -> float:
        return time.monotonic() + (self._source.uniform(0.5, 1.5) * self.plan.restart or float("inf"))

    def _restart(self, victim: str) -> Iterator[str]:
        """Ends a node and starts it again, now and then with a run in between, which must name it."""
        how = self._source.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        yield self._judged(victim)
        if how is signal.SIGKILL:
            self.cluster.kill(victim)
        else:
            status = self.cluster.terminate(victim, how)
            assert status == 0, self.cluster.log(victim).read_text()[-2000:]
        if self._source.random() < 0.5:
            try:
                self._mixture.add()  # in which all take part
            except JmpcError as error:
                assert victim in str(error), str(error)
            else:
                raise AssertionError(f"a run went well without {victim}")
        self.cluster.start(victim)
        self._mixture = self._begun()
        self._until_known_to_all(victim)
        self._everything_once()
        self._lives[victim] = Life(self.cluster.processes[victim].pid)
        yield f"{sum(self._runs.values())} runs; {victim} was ended by {how.name} and started again"

    def _until_known_to_all(self, victim: str) -> None:
        """Runs fail, naming the victim, until all others have their links to it again: some seconds."""
        deadline = time.monotonic() + 20
        while True:
            try:
                self._mixture.add()
                return
            except JmpcError as error:
                assert victim in str(error) and time.monotonic() < deadline, str(error)
                time.sleep(0.2)

    def _judged(self, name: str) -> str:
        plan = self.plan
        grown = self._lives[name].growth(plan.settle, plan.window)
        if grown is None:
            return f"{name}: lived too briefly to tell"
        if grown.share > plan.growth:
            self.faults.append(f"{name} has grown: {grown}")
        return f"{name}: {grown}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    usual = Plan()
    parser.add_argument("--minutes", type=float, default=usual.minutes)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--restart", type=float, default=usual.restart, help="seconds between restarts; 0 for none")
    parser.add_argument("--settle", type=float, default=usual.settle, help="seconds until memory counts")
    parser.add_argument("--window", type=float, default=usual.window, help="seconds over which memory is looked at")
    parser.add_argument("--growth", type=float, default=usual.growth, help="of a node's memory that is still flat")
    plan = Plan(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as folder, soaked(Path(folder), plan) as soak:
        with tqdm(total=round(60 * plan.minutes), unit="s") as bar:
            try:
                for line in soak.events(lambda seconds: bar.update(round(seconds) - bar.n)):
                    bar.write(line)
                bar.write(f"{plan.minutes:g} minutes, and nothing failed outside of restarts")
            finally:
                for line in soak.account():
                    bar.write(line)
        for fault in soak.faults:
            print(fault, file=sys.stderr)
        return 1 if soak.faults else 0


@contextmanager
def soaked(folder: Path, plan: Plan) -> Iterator[Soak]:
    """A cluster for it."""
    made = make_cluster(folder, (*PLAYERS, DRIVERS[1]), policy=POLICY)
    cluster = dataclasses.replace(made, program=("network.eager_node",))
    try:
        cluster.start(*PLAYERS)
        yield Soak(cluster, plan)
    finally:
        jmpc.set_config(jmpc.LocalConfig())
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
