"""What the scheduler emits: one plain, printable program for each player.

A program is a list of steps over an environment of arrays, named by the variables of the trace. Segments
and local units are compiled; exchanges are what the network does; loops and branches hold programs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jax.extend.core import JaxprEqn, Literal, Var

Atom = Var | Literal
BLOCK_BYTES = 64  # keystream is made in whole blocks, and no block serves two draws


@dataclass(frozen=True)
class Draw:
    """One keystream array: `var` is drawn under `key` at the address `op_id` (and loop iteration)."""

    var: Var
    key: tuple[str, ...]
    op_id: int
    bits: int

    @functools.cached_property
    def padded(self) -> int:
        """Elements that are made for this draw: those of whole blocks."""
        lanes = BLOCK_BYTES // self.var.aval.dtype.itemsize
        return -(-self.var.aval.size // lanes) * lanes

    @property
    def size(self) -> int:
        """Bytes that are made for this draw."""
        return self.padded * self.var.aval.dtype.itemsize


@dataclass(frozen=True)
class Guard:
    """After its segment has run, `ok` must be true; otherwise `player` refuses its input."""

    ok: Atom
    player: str
    message: str


@dataclass(frozen=True)
class Quorum:
    """After its segment has run, `present` says who of `owners` is there; with fewer than `least` the run ends."""

    present: Atom
    owners: tuple[str, ...]
    least: int
    line: str


@dataclass(frozen=True)
class Segment:
    """A stretch between two exchanges that is compiled as one function of `draws` and `inputs`."""

    equations: tuple[JaxprEqn, ...]
    draws: tuple[Draw, ...]
    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]
    guards: tuple[Guard, ...] = ()
    quorums: tuple[Quorum, ...] = ()


@dataclass(frozen=True)
class Delivered:
    """A look at which owners have delivered up to here; see `primitives.delivered`."""

    equation: JaxprEqn


@dataclass(frozen=True)
class Local:
    """A player's own JAX code: one unit, compiled once, the same executable in every mode."""

    equation: JaxprEqn


@dataclass(frozen=True)
class Message:
    """One array of a frame; `payload` is the packed form of `value` if its elements are partly empty."""

    value: Var
    payload: Var
    bits: int
    line: str
    why: str | None  # of a release; None if masked

    @property
    def size(self) -> int:
        """Payload bytes."""
        return -(-self.value.aval.size * self.bits // 8)


@dataclass(frozen=True)
class Frame:
    """All messages of one depth from `src` to `dst`: they travel together."""

    src: str
    dst: str
    messages: tuple[Message, ...]

    @property
    def size(self) -> int:
        """Payload bytes."""
        return sum(message.size for message in self.messages)


@dataclass(frozen=True)
class Send:
    """Hands the frames of round `depth` to the network."""

    depth: int
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Receive:
    """Waits for the frames of round `depth`; for those of players that may be missing up to `deadline` seconds.

    None is as long as for any other player.
    """

    depth: int
    frames: tuple[Frame, ...]
    deadline: float | None = None


@dataclass(frozen=True)
class Scan:
    """A loop of known length. Operands are outer atoms, the other tuples are pairs (outer, inner)."""

    number: int
    line: str
    length: int
    reverse: bool
    consts: tuple[tuple[Atom, Var], ...]
    carry: tuple[tuple[Atom, Var, Atom, Var | None], ...]  # outer initial, inner before, inner after, outer final
    xs: tuple[tuple[Atom, Var], ...]
    ys: tuple[tuple[Atom, Var], ...]  # inner element, outer stack
    body: Program


@dataclass(frozen=True)
class While:
    """A loop on a public predicate."""

    number: int
    line: str
    cond_consts: tuple[tuple[Atom, Var], ...]
    body_consts: tuple[tuple[Atom, Var], ...]
    carry: tuple[tuple[Atom, Var | None, Var | None, Atom, Var | None], ...]
    # outer initial, inner of cond, inner of body, inner after, outer final
    cond: Program  # its one output is the predicate
    body: Program


@dataclass(frozen=True)
class Branch:
    """A choice by a public index among programs; `operands` per branch, results pairs (inner, outer)."""

    number: int
    line: str
    index: Atom
    operands: tuple[tuple[tuple[Atom, Var], ...], ...]
    results: tuple[tuple[tuple[Atom, Var], ...], ...]
    programs: tuple[Program, ...]


Step = Segment | Local | Delivered | Send | Receive | Scan | While | Branch


@dataclass(frozen=True)
class Program:
    """One player's steps. `drops[i]` are the variables that nothing needs after step i."""

    player: str
    constants: tuple[tuple[Var, Any], ...]  # the declared ones that the steps read
    steps: tuple[Step, ...]
    drops: tuple[tuple[Var, ...], ...]
    outputs: tuple[Atom, ...]

    def inner(self) -> Iterator[tuple[Step, Program]]:
        """The programs inside the loops and branches of this one, not recursively."""
        for step in self.steps:
            match step:
                case Scan(body=body):
                    yield step, body
                case While(cond=cond, body=body):
                    yield step, cond
                    yield step, body
                case Branch(programs=programs):
                    for program in programs:
                        yield step, program

    def everything_inside(self) -> Iterator[tuple[Step, Program]]:
        """All programs inside loops and branches, with the step that each belongs to."""
        for step, program in self.inner():
            yield step, program
            yield from program.everything_inside()

    def with_segments(self, change: Callable[[Segment], Segment]) -> Program:
        """The program with every segment changed, those of loops and branches included."""

        def changed(step: Step) -> Step:
            match step:
                case Segment():
                    return change(step)
                case Scan(body=body):
                    return dataclasses.replace(step, body=body.with_segments(change))
                case While(cond=cond, body=body):
                    return dataclasses.replace(step, cond=cond.with_segments(change), body=body.with_segments(change))
                case Branch(programs=programs):
                    return dataclasses.replace(step, programs=tuple(p.with_segments(change) for p in programs))
            return step

        return dataclasses.replace(self, steps=tuple(map(changed, self.steps)))

    def segments(self) -> Iterator[Segment]:
        """All segments, those of loops and branches included."""
        for program in (self, *(inner for _, inner in self.everything_inside())):
            yield from (step for step in program.steps if isinstance(step, Segment))
