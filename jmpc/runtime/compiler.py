"""Compiles segments: each distinct one once, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from jmpc.choreography.fingerprint import Fingerprint
from jmpc.choreography.programs import Local, Program, Segment
from jmpc.runtime.evaluate import COMPUTED, buffer_size, keystream_layout, local_function, segment_function

Compiled = Callable[..., Sequence[Any]]


class Compiler:
    """A cache of compiled segments and local units, shared by all programs of a process.

    Segments that differ only in names, keys and draw addresses have one fingerprint and share one
    executable. Secrets, keys and data are arguments of an executable, never constants in it.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._compiled: dict[bytes, Future[Compiled]] = {}
        self._of_step: dict[int, tuple[Any, Future[Compiled]]] = {}  # keeps the step alive with its id
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="jmpc-compile")

    @property
    def size(self) -> int:
        """The number of distinct executables."""
        return len(self._compiled)

    def prepare(self, program: Program) -> None:
        """Starts compiling everything in `program`; returns at once."""
        for step in _units(program):
            self._start(step)

    def finish(self, program: Program) -> None:
        """Waits until everything in `program` is compiled."""
        for step in _units(program):
            self(step)

    def __call__(self, step: Segment | Local) -> Compiled:
        """The executable of a step; waits for it if it is still being compiled."""
        entry = self._of_step.get(id(step))
        return (entry[1] if entry else self._start(step)).result()

    def _start(self, step: Segment | Local) -> Future[Compiled]:
        with self._lock:
            if id(step) in self._of_step:
                return self._of_step[id(step)][1]
        key = fingerprint(step)
        with self._lock:
            future = self._compiled.get(key)
            if future is None:
                future = self._compiled[key] = self._pool.submit(_compile, step)
            self._of_step[id(step)] = (step, future)
        return future


def _units(program: Program) -> Iterable[Segment | Local]:
    for body in (program, *(inner for _, inner in program.everything_inside())):
        yield from (step for step in body.steps if isinstance(step, Segment | Local))


def fingerprint(step: Segment | Local) -> bytes:
    """Equal for steps that one executable can serve."""
    marks = Fingerprint()
    if isinstance(step, Local):
        marks.jaxpr(step.equation.params["jaxpr"])
        return marks.digest()
    marks.token("draws", [draw.bits for draw in step.draws], len(step.inputs), len(step.equations))
    marks.atoms([*(draw.var for draw in step.draws), *step.inputs])
    for eqn in step.equations:  # who talks to whom, and why, means nothing to an executable
        marks.equation(eqn, COMPUTED.get(eqn.primitive, sorted(eqn.params)))
    marks.token(len(step.outputs))
    marks.atoms(step.outputs)
    return marks.digest()


def _compile(step: Segment | Local) -> Compiled:
    if isinstance(step, Local):
        return _compile_local(step)
    buffers = [
        jax.ShapeDtypeStruct((buffer_size(rows),), dtype)
        for dtype, rows in keystream_layout(step.draws).items()
    ]
    inputs = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in step.inputs]
    with jax.enable_x64(True):
        lowered = jax.jit(segment_function(step)).lower(buffers, inputs)
        return lowered.compile(compiler_options=_options(step))


# Below this many element-wise results, optimising a segment costs more time than its runs will take.
_SMALL_WORK = 1 << 19


def _options(step: Segment) -> dict[str, bool | int]:
    """How to compile integer code on CPU; the results do not depend on it.

    Measured on segments of comparisons: without fusion emitters compiling takes 0.6 of the time and running as
    long; without optimisation compiling takes a quarter, running five times as long.
    """
    if jax.default_backend() != "cpu":
        return {}
    work = sum(var.aval.size for eqn in step.equations for var in eqn.outvars)
    small = {"xla_backend_optimization_level": 0} if work < _SMALL_WORK else {}
    return {"xla_cpu_use_fusion_emitters": False, **small}


def _compile_local(step: Local) -> Compiled:
    eqn = step.equation
    inputs = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in eqn.invars]
    with jax.enable_x64(True):
        return jax.jit(local_function(eqn)).lower(*inputs).compile()

