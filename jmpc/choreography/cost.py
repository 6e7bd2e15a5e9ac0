"""What a computation costs, read off its programs before anything runs: rounds, bytes, keystream, segments.

Shapes are static, so the figures are exact; tests hold them against what a run counted. What depends on a
loop of unknown length or on a branch is given apart, for each time that it runs.

Bytes on the wire are payloads: what frames add to them is the transport's. Keystream is what is made, which
is whole blocks for every draw, not what is used of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jmpc.choreography.programs import Branch, Program, Scan, Segment, Send, Step, While

Times = tuple[str, ...]  # loops of unknown length and branches that a figure must be multiplied by


@dataclass(frozen=True)
class Place:
    """Where in the control flow something happens: `trips` times for each combination of `times`."""

    path: tuple[int, ...] = ()
    trips: int = 1
    times: Times = ()


@dataclass(frozen=True)
class FrameCost:
    """One frame of the program: it travels `place.trips` times."""

    place: Place
    depth: int
    src: str
    dst: str
    size: int
    bits: int
    lines: tuple[tuple[str, int], ...]  # user's source line, payload bytes


@dataclass(frozen=True)
class Cost:
    """Exact cost of a computation; every figure is a mapping from unknown factors to a number."""

    players: tuple[str, ...]
    frames: tuple[FrameCost, ...]
    keystream: Mapping[str, Mapping[Times, int]]  # bytes each player makes
    segments: Mapping[str, int]

    def rounds(self) -> dict[Times, int]:
        """Sequential message exchanges."""
        depths: dict[Place, set[int]] = defaultdict(set)
        for frame in self.frames:
            depths[frame.place].add(frame.depth)
        return _total((place, len(found)) for place, found in depths.items())

    def bytes_sent(self, player: str | None = None) -> dict[Times, int]:
        """Payload bytes sent by one player, or by all."""
        return _total((f.place, f.size) for f in self.frames if player in (None, f.src))

    def frames_sent(self, player: str | None = None) -> dict[Times, int]:
        """Frames sent by one player, or by all."""
        return _total((f.place, 1) for f in self.frames if player in (None, f.src))

    def bits_sent(self) -> dict[Times, int]:
        """Protocol bits sent by all players, without the padding to whole bytes."""
        return _total((f.place, f.bits) for f in self.frames)

    def by_line(self) -> dict[str, dict[Times, int]]:
        """Payload bytes for each source line of the user."""
        rows: dict[str, list[tuple[Place, int]]] = defaultdict(list)
        for frame in self.frames:
            for line, size in frame.lines:
                rows[line].append((frame.place, size))
        return {line: _total(row) for line, row in rows.items()}


def _total(items) -> dict[Times, int]:
    total: Counter[Times] = Counter()
    for place, amount in items:
        total[place.times] += place.trips * amount
    return dict(total)


def cost(programs: Sequence[Program]) -> Cost:
    """The cost of a computation, given the programs of all its players."""
    frames, keystream, factors = [], {}, _name_factors(programs)
    for program in programs:
        drawn: Counter[Times] = Counter()
        for place, step in _walk(program, Place(), factors):
            if isinstance(step, Send):
                frames += [_frame(place, step.depth, frame) for frame in step.frames]
            elif isinstance(step, Segment):
                for draw in step.draws:
                    drawn[place.times] += place.trips * draw.size
        keystream[program.player] = dict(drawn)
    return Cost(
        tuple(program.player for program in programs),
        tuple(frames),
        keystream,
        {program.player: sum(1 for _ in program.segments()) for program in programs},
    )


def _frame(place: Place, depth: int, frame) -> FrameCost:
    lines: Counter[str] = Counter()
    for message in frame.messages:
        lines[message.line] += message.size
    bits = sum(message.value.aval.size * message.bits for message in frame.messages)
    return FrameCost(place, depth, frame.src, frame.dst, frame.size, bits, tuple(lines.items()))


def _name_factors(programs: Sequence[Program]) -> dict[int, str]:
    """What each loop of unknown length and each branch is called, by its number: its line, and which on it."""
    lines: dict[int, str] = {}
    for program in programs:
        for step, _ in program.everything_inside():
            if isinstance(step, While | Branch):
                lines[step.number] = step.line
    names: dict[int, str] = {}
    for number, line in sorted(lines.items()):
        same = [other for other in sorted(lines) if lines[other] == line]
        names[number] = line if len(same) == 1 else f"{line}, number {same.index(number) + 1}"
    return names


def _walk(program: Program, place: Place, factors: Mapping[int, str]) -> Iterator[tuple[Place, Step]]:
    """Every step of a program with its place, loops and branches entered."""
    path, trips, times = place.path, place.trips, place.times
    for step in program.steps:
        yield place, step
        match step:
            case Scan(number=number, length=length, body=body):
                yield from _walk(body, Place((*path, number), trips * length, times), factors)
            case While(number=number, cond=cond, body=body):
                again = (*times, f"iterations of the while at {factors[number]}")
                yield from _walk(cond, Place((*path, number, 0), trips, again), factors)
                yield from _walk(cond, Place((*path, number, 0), trips, times), factors)  # once more, to end it
                yield from _walk(body, Place((*path, number, 1), trips, again), factors)
            case Branch(number=number, programs=programs):
                for index, inner in enumerate(programs):
                    taken = (*times, f"times branch {index} of the cond at {factors[number]} is taken")
                    yield from _walk(inner, Place((*path, number, index), trips, taken), factors)
