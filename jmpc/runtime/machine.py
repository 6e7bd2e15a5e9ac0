"""Executes one player's program: compiled segments, exchanges, loops.

The same machine runs every mode. In a fused simulation the program has no exchanges; between players a
`Link` carries them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Literal, Var

from jmpc.choreography.programs import (
    Atom,
    Branch,
    Delivered,
    Frame,
    Guard,
    Local,
    Message,
    Program,
    Receive,
    Scan,
    Segment,
    Send,
    While,
)
from jmpc.errors import FrameError, InputError
from jmpc.runtime.attendance import Attendance
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.evaluate import literal
from jmpc.runtime.keystream import Keystream

Array = Any
Slot = tuple[int, ...]  # (loop number, iteration) of every enclosing loop, then the depth


class Link(Protocol):
    """What carries frames between players."""

    def send(self, frame: Frame, slot: Slot, buffers: Sequence[np.ndarray]) -> None: ...

    def receive(self, frame: Frame, slot: Slot) -> Sequence[memoryview | np.ndarray]: ...

    def receive_by(self, frame: Frame, slot: Slot, deadline: float) -> Sequence[memoryview | np.ndarray] | None:
        """A frame of a player that may be missing; None if it does not come by `deadline` (of `time.monotonic`)."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds for which a player may be silent."""
        ...


class NoLink:
    """The link of a fused simulation: nothing is sent."""

    def send(self, frame: Frame, slot: Slot, buffers: Sequence[np.ndarray]) -> None:
        raise AssertionError("a fused program sends nothing")

    def receive(self, frame: Frame, slot: Slot) -> Sequence[memoryview | np.ndarray]:
        raise AssertionError("a fused program receives nothing")

    def receive_by(self, frame: Frame, slot: Slot, deadline: float) -> Sequence[memoryview | np.ndarray] | None:
        raise AssertionError("a fused program receives nothing")

    timeout = 0.0


def refuse(guard: Guard) -> None:
    """Ends the run because an input fails a check; all players learn that."""
    raise InputError(guard.player, guard.message)


class Machine:
    """One player in one run. Not reusable: the keystream of a run is used once.

    Args:
      compiler: holds the compiled segments.
      keystream: of this player, in this run.
      link: to the other players.
      progress: called in every iteration of a loop; what it raises ends the run.
      failed: called for every guard that fails; what it raises ends the run before anything more is sent.
      attendance: of the players that it can do without.
    """

    def __init__(
        self,
        compiler: Compiler,
        keystream: Keystream,
        link: Link | None = None,
        progress: Callable[[], None] | None = None,
        failed: Callable[[Guard], None] = refuse,
        attendance: Attendance | None = None,
    ) -> None:
        self._compile = compiler
        self._keystream = keystream
        self._link = link or NoLink()
        self._progress = progress
        self._failed = failed
        self._attendance = attendance or Attendance()
        self._iterations: Counter[int] = Counter()  # of every loop, never reset within a run
        self._prefetched: dict[tuple[int, int], Sequence[Any]] = {}
        self._has_run = False

    def run(self, program: Program, env: Mapping[Var, Array]) -> list[Array]:
        """Runs `program` on the arrays of its inputs; returns its outputs. Once: see the class."""
        if self._has_run:
            raise AssertionError("a machine runs once: a second run would draw the same keystream again")
        self._has_run = True
        with jax.enable_x64(True):
            return self._run(program, dict(env), (), 0)

    def _run(self, program: Program, env: dict[Var, Array], path: Slot, iteration: int) -> list[Array]:
        env.update(program.constants)
        for index, (step, dead) in enumerate(zip(program.steps, program.drops, strict=True)):
            match step:
                case Segment():
                    self._segment(step, env, iteration)
                case Local(equation=eqn):
                    results = self._compile(step)(*(_read(env, atom) for atom in eqn.invars))
                    env.update(zip(eqn.outvars, results, strict=True))
                case Delivered(equation=eqn):
                    env[eqn.outvars[0]] = self._attendance.delivered(eqn.params["owners"])
                case Send(depth=depth, frames=frames):
                    for frame in frames:
                        self._link.send(frame, (*path, depth), [_wire(env[m.payload]) for m in frame.messages])
                case Receive():
                    self._prefetch(program, index + 1, iteration)
                    self._receive(step, (*path, step.depth), env)
                case Scan():
                    self._scan(step, env, path)
                case While():
                    self._while(step, env, path)
                case Branch():
                    self._branch(step, env, path, iteration)
            for var in dead:
                env.pop(var, None)
        return [_read(env, atom) for atom in program.outputs]

    # -- segments ----------------------------------------------------------------------------------------------

    def _segment(self, step: Segment, env: dict[Var, Array], iteration: int) -> None:
        buffers = self._prefetched.pop((id(step), iteration), None)
        if buffers is None:
            buffers = self._keystream.buffers(step.draws, iteration)
        results = self._compile(step)(buffers, [env[var] for var in step.inputs])
        env.update(zip(step.outputs, results, strict=True))
        for guard in step.guards:
            if not bool(_read(env, guard.ok)):
                self._fail(guard)
        for quorum in step.quorums:
            self._attendance.settle(quorum, np.asarray(_read(env, quorum.present)))

    def _fail(self, guard: Guard) -> None:
        """In a fused simulation, too, a run can do without an optional player whose input is refused."""
        if guard.player in self._attendance.optional:
            self._attendance.leave_out(guard.player, guard.message)
        else:
            self._failed(guard)

    def _prefetch(self, program: Program, index: int, iteration: int) -> None:
        """Makes the next segment's keystream while the network is at work."""
        for step in program.steps[index : index + 1]:
            if isinstance(step, Segment) and step.draws:
                self._prefetched[id(step), iteration] = self._keystream.buffers(step.draws, iteration)

    # -- exchanges ---------------------------------------------------------------------------------------------

    def _receive(self, step: Receive, slot: Slot, env: dict[Var, Array]) -> None:
        """First what must come, then, by one deadline for all of them, what players send that may be missing."""
        optional = self._attendance.optional
        for frame in step.frames:
            if frame.src not in optional:
                self._take(frame, slot, self._link.receive(frame, slot), env)
        if awaited := [frame for frame in step.frames if frame.src in optional]:
            deadline = time.monotonic() + (self._link.timeout if step.deadline is None else step.deadline)
            for frame in awaited:
                self._take_or_leave(frame, slot, deadline, env)

    def _take_or_leave(self, frame: Frame, slot: Slot, deadline: float, env: dict[Var, Array]) -> None:
        """A frame that may not come, or not as it should: then its sender is missing, and zeros take its place."""
        if self._attendance.is_there(frame.src):
            buffers = self._link.receive_by(frame, slot, deadline)
            try:
                if buffers is not None:
                    return self._take(frame, slot, buffers, env)
            except FrameError as error:
                self._attendance.leave_out(frame.src, str(error))
        env.update((m.payload, np.zeros(m.payload.aval.shape, m.payload.aval.dtype)) for m in frame.messages)

    def _take(
        self, frame: Frame, slot: Slot, buffers: Sequence[memoryview | np.ndarray], env: dict[Var, Array]
    ) -> None:
        if len(buffers) != len(frame.messages):
            raise FrameError(
                f"frame {slot} from {frame.src!r} has {len(buffers)} arrays, expected {len(frame.messages)}"
            )
        for message, buffer in zip(frame.messages, buffers, strict=True):
            env[message.payload] = _unwire(buffer, message, frame.src, slot)

    # -- loops and branches ------------------------------------------------------------------------------------

    def _count(self, number: int) -> int:
        """The iteration that starts now, counted over the whole run: the loop part of a keystream address."""
        if self._progress is not None:
            self._progress()
        self._iterations[number] += 1
        return self._iterations[number] - 1

    def _scan(self, step: Scan, env: dict[Var, Array], path: Slot) -> None:
        consts = {var: _read(env, atom) for atom, var in step.consts}
        state = [_read(env, atom) for atom, *_ in step.carry]
        stacks = [(var, _on_host(_read(env, atom))) for atom, var in step.xs]
        rows: list[list[Array]] = []
        order = range(step.length)
        for index in reversed(order) if step.reverse else order:
            inner = consts | {var: stack[index] for var, stack in stacks}
            inner |= {before: value for (_, before, _, _), value in zip(step.carry, state, strict=True)}
            outputs = self._run(step.body, inner, (*path, step.number, index), self._count(step.number))
            state = outputs[: len(step.carry)]
            rows.append(outputs[len(step.carry) :])
        if step.reverse:
            rows.reverse()
        env.update((final, value) for (*_, final), value in zip(step.carry, state, strict=True) if final is not None)
        for column, (_, outer) in enumerate(step.ys):
            env[outer] = _stack([row[column] for row in rows], outer.aval)

    def _while(self, step: While, env: dict[Var, Array], path: Slot) -> None:
        cond_consts = {var: _read(env, atom) for atom, var in step.cond_consts}
        body_consts = {var: _read(env, atom) for atom, var in step.body_consts}
        state = [_read(env, atom) for atom, *_ in step.carry]
        turn = 0
        while True:
            count = self._count(step.number)
            inner = {c[1]: value for c, value in zip(step.carry, state, strict=True) if c[1] is not None}
            here = (*path, step.number, turn)
            (go_on,) = self._run(step.cond, cond_consts | inner, (*here, 0), count)
            if not bool(go_on):
                break
            inner = {c[2]: value for c, value in zip(step.carry, state, strict=True)}
            state = self._run(step.body, body_consts | inner, (*here, 1), count)
            turn += 1
        env.update((c[-1], value) for c, value in zip(step.carry, state, strict=True) if c[-1] is not None)

    def _branch(self, step: Branch, env: dict[Var, Array], path: Slot, iteration: int) -> None:
        chosen = min(max(int(_read(env, step.index)), 0), len(step.programs) - 1)
        inner = {var: _read(env, atom) for atom, var in step.operands[chosen]}
        outputs = self._run(step.programs[chosen], inner, (*path, step.number, chosen), iteration)
        env.update((outer, value) for (_, outer), value in zip(step.results[chosen], outputs, strict=True))


def _read(env: Mapping[Var, Array], atom: Atom) -> Array:
    return literal(atom) if isinstance(atom, Literal) else env[atom]


def _on_host(x: Array) -> Array:
    """`x` where its rows are cheapest to take: numpy has views of them, compiled code makes copies."""
    is_host = isinstance(x, np.ndarray | np.generic) or all(device.platform == "cpu" for device in x.devices())
    return np.asarray(x) if is_host and isinstance(x.dtype, np.dtype) else x  # typed random keys stay


def _stack(rows: Sequence[Array], aval: ShapedArray) -> Array:
    if not rows:
        return np.zeros(aval.shape, aval.dtype)
    rows = [_on_host(row) for row in rows]
    return np.stack(rows) if isinstance(rows[0], np.ndarray | np.generic) else jnp.stack(rows)


def _wire(x: Array) -> np.ndarray:
    """The bytes of an array as they travel: little-endian, row-major, without a copy where possible."""
    return np.ascontiguousarray(x)


def _unwire(buffer: memoryview | np.ndarray, message: Message, src: str, slot: Slot) -> np.ndarray:
    aval = message.payload.aval
    data = np.frombuffer(buffer, np.uint8)
    if data.size != message.size:
        raise FrameError(f"frame {slot} from {src!r}: an array of {data.size} bytes, expected {message.size}")
    return data.view(aval.dtype).reshape(aval.shape)
