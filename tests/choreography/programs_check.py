"""Properties that the programs of all players have together, whatever the choreography; and a tracer for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal, Var

from jmpc.choreography.liveness import reads, writes
from jmpc.choreography.programs import Branch, Frame, Program, Receive, Scan, Segment, Send, Step, While
from jmpc.choreography.schedule import Schedule, schedule
from jmpc.choreography.trace import Choreography, trace

A, B, C = PLAYERS = ("A", "B", "C")
ALL = frozenset(PLAYERS)

Place = tuple[int, ...]


def words(*shape: int) -> jax.ShapeDtypeStruct:
    """The type of a uint64 argument."""
    with jax.enable_x64(True):
        return jax.ShapeDtypeStruct(shape, np.uint64)


def traced(
    fn: Callable[..., Any], *inputs: str | Sequence[str], avals: Sequence[Any] | None = None, players=PLAYERS
) -> Choreography:
    """`fn` as a choreography; one argument of three words for each of `inputs`, its holders."""
    located = [(who,) if isinstance(who, str) else who for who in inputs]
    return trace(_flat(fn), avals or [words(3)] * len(inputs), located, players)


def _flat(fn: Callable[..., Any]) -> Callable[..., list[Any]]:
    return lambda *args: jax.tree.leaves(fn(*args))


def output_holders(choreography: Choreography) -> dict[str, tuple[int, ...]]:
    """For each player the positions of the results that it holds."""
    outs = choreography.closed.jaxpr.outvars
    return {p: tuple(i for i, v in enumerate(outs) if p in choreography.holders[v]) for p in choreography.players}


def planned(choreography: Choreography, outputs: Mapping[str, Sequence[int]] | None = None) -> Schedule:
    """The schedule for real players, who all return everything that they hold."""
    wanted = output_holders(choreography) if outputs is None else dict(outputs)
    return schedule(choreography.closed, choreography.holders, choreography.players, wanted)


def projected(choreography: Choreography, outputs: Mapping[str, Sequence[int]] | None = None) -> dict[str, Program]:
    """The checked programs of all players."""
    plan = planned(choreography, outputs)
    programs = {player: plan.program(player) for player in choreography.players}
    check_programs(choreography, programs)
    return programs


def check_programs(choreography: Choreography, programs: Mapping[str, Program]) -> None:
    """Asserts everything that must hold for the programs of one choreography."""
    check_frames(programs)
    inputs = choreography.closed.jaxpr.invars
    for player, program in programs.items():
        held = {v for v, who in zip(inputs, choreography.inputs, strict=True) if player in who}
        check_environment(program, held)
        check_holders(program, choreography)


def places(program: Program, place: Place = ()) -> Iterator[tuple[Place, Step]]:
    """Every step with its place in the control flow."""
    for step in program.steps:
        yield place, step
        match step:
            case Scan(number=number, body=body):
                yield from places(body, (*place, number))
            case While(number=number, cond=cond, body=body):
                yield from places(cond, (*place, number, 0))
                yield from places(body, (*place, number, 1))
            case Branch(number=number, programs=inner):
                for index, branch in enumerate(inner):
                    yield from places(branch, (*place, number, index))


def frames(program: Program, kind: type) -> dict[tuple[Place, int, str, str], Frame]:
    """The frames that a program sends, or receives, by slot."""
    found: dict[tuple[Place, int, str, str], Frame] = {}
    for place, step in places(program):
        if isinstance(step, kind):
            for frame in step.frames:
                slot = (place, step.depth, frame.src, frame.dst)
                assert slot not in found, f"two frames at {slot}"
                found[slot] = frame
    return found


def check_frames(programs: Mapping[str, Program]) -> None:
    """Both ends of every frame agree: slot, order and size of the messages."""
    sent: dict[Any, Frame] = {}
    received: dict[Any, Frame] = {}
    for player, program in programs.items():
        out, come = frames(program, Send), frames(program, Receive)
        assert all(frame.src == player != frame.dst for frame in out.values())
        assert all(frame.dst == player != frame.src for frame in come.values())
        sent |= out
        received |= come
        check_order(program)
    assert sent.keys() == received.keys()
    for slot, frame in sent.items():
        assert frame == received[slot]
        assert frame.messages
        assert frame.size == sum(m.payload.aval.size * m.payload.aval.dtype.itemsize for m in frame.messages)


def check_order(program: Program) -> None:
    """Rounds in order, what is sent in a round before what is received in it."""
    for body in (program, *(inner for _, inner in program.everything_inside())):
        rounds = [(s.depth, isinstance(s, Receive)) for s in body.steps if isinstance(s, Send | Receive)]
        assert rounds == sorted(set(rounds))


def check_environment(program: Program, held: set[Var]) -> None:
    """Every step finds what it reads; what is read no more is dropped, and nothing else is."""
    env = set(held) | {var for var, _ in program.constants}
    written: set[Var] = set()
    for step, dead in zip(program.steps, program.drops, strict=True):
        assert set(reads(step)) <= env, f"{step} reads what is not there"
        assert written.isdisjoint(writes(step)), f"{step} writes again"
        written |= set(writes(step))
        env |= set(writes(step))
        assert set(dead) <= env
        env -= set(dead)
        _check_inner(step)
    outputs = {atom for atom in program.outputs if not isinstance(atom, Literal)}
    assert outputs <= env
    assert env & written <= outputs, "buffers outlive their last use"


def _check_inner(step: Step) -> None:
    match step:
        case Scan(consts=consts, carry=carry, xs=xs, body=body):
            check_environment(body, {var for _, var in (*consts, *xs)} | {before for _, before, *_ in carry})
        case While(cond_consts=first, body_consts=second, carry=carry, cond=cond, body=body):
            check_environment(cond, {var for _, var in first} | {c[1] for c in carry if c[1] is not None})
            check_environment(body, {var for _, var in second} | {c[2] for c in carry})
        case Branch(operands=operands, programs=programs):
            for pairs, branch in zip(operands, programs, strict=True):
                check_environment(branch, {var for _, var in pairs})


def check_holders(program: Program, choreography: Choreography) -> None:
    """A player computes only what it holds."""
    for body in (program, *(inner for _, inner in program.everything_inside())):
        for step in body.steps:
            if isinstance(step, Segment):
                made = [
                    v for eqn in step.equations if eqn.primitive.name not in ("pack", "unpack") for v in eqn.outvars
                ]
                for var in (*made, *(draw.var for draw in step.draws)):
                    assert program.player in choreography.holders[var]
