"""Runs one choreography in every mode, with fixed keys, and keeps every message."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from choreography.programs_check import check_environment, check_programs, output_holders, planned
from jax.extend.core import Var

from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.programs import Frame, Program
from jmpc.choreography.schedule import schedule
from jmpc.choreography.trace import Choreography
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.evaluate import local_function, segment_function
from jmpc.runtime.keystream import HostKeystream
from jmpc.runtime.links import RecordingLink
from jmpc.runtime.machine import Link, Machine

Slot = tuple[int, ...]
Messages = dict[tuple[Slot, str, str], list[np.ndarray]]
Keys = Mapping[tuple[str, ...], bytes]


def fixed_keys(choreography: Choreography, run: int = 0) -> Keys:
    """Keys that depend on nothing but their holders and the run."""
    return {key: hashlib.sha256(repr((key, run)).encode()).digest() for key in choreography.keys}


class Eager:
    """Instead of a compiler: segments as they are, operation by operation."""

    def __call__(self, step: Any) -> Callable[..., Sequence[Any]]:
        return local_function(step.equation) if hasattr(step, "equation") else segment_function(step)


@dataclass
class Wires:
    """Between all players of one process: every frame under its slot, once."""

    timeout: float = 30.0
    messages: Messages = field(default_factory=dict)
    waiting: Messages = field(default_factory=dict)
    broken: list[BaseException] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def send(self, frame: Frame, slot: Slot, buffers: Sequence[np.ndarray]) -> None:
        key, copies = (slot, frame.src, frame.dst), [np.array(b) for b in buffers]
        with self.news:
            assert key not in self.messages, f"two frames at {key}"
            self.messages[key] = self.waiting[key] = copies
            self.news.notify_all()

    def receive(self, frame: Frame, slot: Slot) -> Sequence[np.ndarray]:
        key = (slot, frame.src, frame.dst)
        with self.news:
            arrived = self.news.wait_for(lambda: key in self.waiting or self.broken, self.timeout)
            assert arrived and not self.broken, f"{frame.dst} waits for {key}"
            return [b.reshape(-1).view(np.uint8) for b in self.waiting.pop(key)]

    def fail(self, error: BaseException) -> None:
        with self.news:
            self.broken.append(error)
            self.news.notify_all()


@dataclass(frozen=True)
class Case:
    """A choreography with values for its arguments."""

    choreography: Choreography
    arrays: Sequence[np.ndarray]
    compiler: Any = field(default_factory=Compiler)

    def env(self, player: str | None = None) -> dict[Var, Any]:
        """The arguments that `player` holds, or all."""
        rows = zip(self.choreography.closed.jaxpr.invars, self.arrays, self.choreography.inputs, strict=True)
        return {var: array for var, array, who in rows if player is None or player in who}

    def fused_program(self, *, cut: bool = False, record: bool = False) -> Program:
        wanted = {TOGETHER: tuple(range(len(self.choreography.closed.jaxpr.outvars)))}
        receivers = planned(self.choreography).needs.receivers if record else None
        plan = schedule(self.choreography.closed, None, (), wanted, cut_messages=cut, record=receivers)
        program = plan.program(TOGETHER)
        check_environment(program, set(self.choreography.closed.jaxpr.invars))
        return program

    def fused(self, keys: Keys, link: Link | None = None, *, cut: bool = False) -> list[np.ndarray]:
        """All outputs of a fused run."""
        program = self.fused_program(cut=cut, record=link is not None)
        outs = Machine(self.compiler, HostKeystream(keys), link).run(program, self.env())
        return [np.asarray(out) for out in outs]

    def programs(self) -> dict[str, Program]:
        plan = planned(self.choreography)
        programs = {player: plan.program(player) for player in self.choreography.players}
        check_programs(self.choreography, programs)
        return programs

    def threads(self, keys: Keys, wires: Any) -> dict[str, dict[int, np.ndarray]]:
        """For each player its outputs, by position; `wires` connect all, or there is a link for each."""
        programs, positions = self.programs(), output_holders(self.choreography)
        links = wires if isinstance(wires, Mapping) else dict.fromkeys(programs, wires)

        def play(player: str) -> dict[int, np.ndarray]:
            mine = {key: value for key, value in keys.items() if player in key}
            try:
                outs = Machine(self.compiler, HostKeystream(mine), links[player]).run(
                    programs[player], self.env(player)
                )
            except BaseException as error:
                if isinstance(wires, Wires):
                    wires.fail(error)
                raise
            return {i: np.asarray(out) for i, out in zip(positions[player], outs, strict=True)}

        with ThreadPoolExecutor(len(programs)) as pool:
            futures = {player: pool.submit(play, player) for player in programs}
        errors = [f.exception() for f in futures.values() if f.exception() is not None]
        for error in sorted(errors, key=lambda e: isinstance(e, AssertionError)):  # the cause, not its echo
            raise error
        return {player: future.result() for player, future in futures.items()}


def agree_in_all_modes(case: Case, keys: Keys | None = None) -> tuple[list[np.ndarray], Messages]:
    """Runs `case` fused, fused in pieces, recorded and in threads; asserts that everything is equal, bit for bit."""
    keys = fixed_keys(case.choreography) if keys is None else keys
    fused, link, wires = case.fused(keys), RecordingLink(), Wires()
    equal(fused, case.fused(keys, cut=True))
    equal(fused, case.fused(keys, link))
    for outs in case.threads(keys, wires).values():
        for position, out in outs.items():
            equal([fused[position]], [out])
    assert not wires.waiting, "frames that nobody received"
    assert wires.messages.keys() == link.messages.keys()
    for key, arrays in wires.messages.items():
        equal([a.reshape(-1) for a in arrays], [a.reshape(-1) for a in link.messages[key]])
    return fused, wires.messages


def equal(these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> None:
    """Asserts equal types and bits."""
    for this, that in zip(these, those, strict=True):
        assert this.dtype == that.dtype and this.shape == that.shape
        assert this.tobytes() == that.tobytes()


def random_words(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 64, shape, np.uint64)


def x64() -> Any:
    return jax.enable_x64(True)
