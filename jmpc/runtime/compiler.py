"""Compiles segments: each distinct one once, several at a time."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from weakref import WeakValueDictionary

import jax
import numpy as np

from jmpc.choreography.fingerprint import Fingerprint
from jmpc.choreography.primitives import COMPUTED
from jmpc.choreography.programs import Local, Program, Segment
from jmpc.runtime.evaluate import buffer_size, keystream_layout, local_function, segment_function
from jmpc.runtime.interpret import interpreter, work

Compiled = Callable[..., Sequence[Any]]
Submit = Callable[[Callable[[], Compiled]], "Future[Compiled]"]


class Compiler:
    """Compiled segments and local units, shared by all programs of a process.

    Segments that differ only in names, keys and draw addresses have one fingerprint and share one
    executable. Secrets, keys and data are arguments of an executable, never constants in it.

    It keeps an executable for as long as a program lives that has a step for it, and no longer: whoever
    bounds the programs that it remembers has bounded the executables.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._compiled: WeakValueDictionary[bytes, Future[Compiled]] = WeakValueDictionary()
        self._of_step: dict[int, Future[Compiled]] = {}  # by the id of a step, while that lives
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="jmpc-compile")

    @property
    def size(self) -> int:
        """The number of distinct executables that some program needs."""
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
        return (entry or self._start(step)).result()

    def _start(self, step: Segment | Local) -> Future[Compiled]:
        with self._lock:
            if id(step) in self._of_step:
                return self._of_step[id(step)]
        key = fingerprint(step)
        with self._lock:
            future = self._compiled.get(key)
            if future is None:
                # A copy, which an executable may hold on to: the step itself must be free to go.
                future = self._pool.submit(self._compile, dataclasses.replace(step))
                self._compiled[key] = future
            self._of_step[id(step)] = future
            weakref.finalize(step, self._of_step.pop, id(step), None)
        return future

    def _compile(self, step: Segment | Local) -> Compiled:
        if isinstance(step, Local):
            return _compile_local(step)
        on_cpu = jax.default_backend() == "cpu"
        interpreted = interpreter(step, self._part)
        if interpreted is None and not (on_cpu and work(step.equations) <= _LARGE_WORK):
            return _compile_segment(step, quickly=False)
        if interpreted is not None and interpreted.has_parts and on_cpu:  # what takes long in it is compiled
            return interpreted
        return _Tiered(step, self._pool.submit, interpreted)

    def _part(self, step: Segment) -> Compiled:
        """The executable of a part of a segment, which is being compiled; for as long as `step` lives."""
        self._start(step)
        return lambda buffers, inputs: self(step)(buffers, inputs)


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
    for eqn in step.equations:
        marks.equation(eqn, COMPUTED.get(eqn.primitive, sorted(eqn.params)))
    marks.token(len(step.outputs))
    marks.atoms(step.outputs)
    return marks.digest()


def _compile_segment(step: Segment, *, quickly: bool) -> Compiled:
    buffers = [
        jax.ShapeDtypeStruct((buffer_size(rows),), dtype) for dtype, rows in keystream_layout(step.draws).items()
    ]
    inputs = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in step.inputs]
    with jax.enable_x64(True):
        lowered = jax.jit(segment_function(step)).lower(buffers, inputs)
        return lowered.compile(compiler_options=_options(quickly))


def _compile_local(step: Local) -> Compiled:
    """Always with the same, default, options: floating-point results depend on them."""
    eqn = step.equation
    inputs = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in eqn.invars]
    with jax.enable_x64(True):
        return jax.jit(local_function(eqn)).lower(*inputs).compile()


# -- how well to compile for a CPU -----------------------------------------------------------------------------
#
# The code of a segment is integer code: its results do not depend on how it is compiled, or whether. Measured on
# the 23 segments of a program of 526 equations (a sign, a selection, a product, a truncation): compiling takes 3.3
# CPU-seconds with XLA's defaults, 2.1 without fusion emitters and in one piece, which run as fast, and 0.74
# without optimisation, which run 5 times as long (convolutions 25 times). Even to load what was compiled before takes
# 0.4 to 0.9 milliseconds an equation, as long as numpy takes for some 300,000 words; and most segments run once.
# Accelerators run well-compiled code alone, which takes longer to make: there, too, the host interprets what is small.

_LARGE_WORK = 1 << 23  # scalar results; with less, even 5 times as long is less than compiling well
_PATIENCE = 4.0  # compiling well takes about so many times as long as compiling quickly
_PATIENCE_INTERPRETED = 1e-3  # seconds for each equation


class _Tiered:
    """A segment interpreted, or compiled quickly; and well, beside its runs, once these have taken about as long.

    So a run-once script does not wait for the compiler, a training loop does not go without it, and
    neither pays more than a few times of what the better choice would have cost.
    """

    def __init__(self, step: Segment, submit: Submit, interpreted: Compiled | None) -> None:
        self._step, self._submit = step, submit
        self._lock = threading.Lock()
        # What is interpreted runs in this thread alone; while others want the processor, that takes no longer.
        self._clock = time.thread_time if interpreted else time.perf_counter
        start = self._clock()
        self._quick: Compiled = interpreted or _compile_segment(step, quickly=True)
        taken = self._clock() - start
        self._left = _PATIENCE_INTERPRETED * len(step.equations) if interpreted else _PATIENCE * taken
        self._well: Future[Compiled] | None = None

    @property
    def well_compiled(self) -> bool:
        return self._well is not None and self._well.done()

    def __call__(self, *args: Any) -> Sequence[Any]:
        if self._well is not None:
            return (self._well.result() if self._well.done() else self._quick)(*args)
        start = self._clock()
        results = jax.block_until_ready(self._quick(*args))
        with self._lock:
            self._left -= self._clock() - start
            if self._left < 0 and self._well is None:
                self._well = self._submit(lambda: _compile_segment(self._step, quickly=False))
        return results


@functools.cache
def _options(quickly: bool) -> dict[str, Any]:
    """The compiler's options, of those that this release of XLA knows."""
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
    if quickly:
        options["xla_backend_optimization_level"] = 0
    return {name: value for name, value in options.items() if _is_known(name, value)}


def _is_known(name: str, value: Any) -> bool:
    try:
        jax.jit(lambda x: x).lower(np.uint8(0)).compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True
