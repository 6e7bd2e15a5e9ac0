"""What a run said, held against what its account foresaw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from jmpc.choreography.cost import Times
from jmpc.choreography.programs import Scan, Step, While
from jmpc.runtime.links import Slot
from jmpc.runtime.prepare import Prepared

Messages = Mapping[tuple[Slot, str, str], Sequence[np.ndarray]]


def check_account(prepared: Prepared, messages: Messages, iterations: int = 0) -> None:
    """Asserts that frames and bytes of every pair of players in every round are those of the account.

    Args:
      iterations: of every loop of unknown length.
    """
    frames: Counter[tuple[Slot, str, str]] = Counter()
    sizes: Counter[tuple[Slot, str, str]] = Counter()
    for frame in prepared.cost.frames:
        key = ((*frame.place.path, frame.depth), frame.src, frame.dst)
        times = frame.place.trips * iterations ** len(frame.place.times)
        frames[key] += times
        sizes[key] += times * frame.size
    kinds = {
        step.number: step for player in prepared.players for step, _ in prepared.program(player).everything_inside()
    }
    for (slot, src, dst), buffers in messages.items():
        key = (_place(slot, kinds), src, dst)
        frames[key] -= 1
        sizes[key] -= sum(buffer.nbytes for buffer in buffers)
    assert not any(frames.values()) and not any(sizes.values())
    cost = prepared.cost
    assert at(cost.rounds(), iterations) == len({slot for slot, _, _ in messages})
    assert at(cost.frames_sent(), iterations) == len(messages)
    for player in prepared.players:
        sent = sum(b.nbytes for (_, src, _), buffers in messages.items() for b in buffers if src == player)
        assert at(cost.bytes_sent(player), iterations) == sent
    assert sum(at(size, iterations) for size in cost.by_line().values()) == at(cost.bytes_sent(), iterations)


def at(total: Mapping[Times, int], iterations: int) -> int:
    return sum(amount * iterations ** len(times) for times, amount in total.items())


def _place(slot: Slot, steps: Mapping[int, Step]) -> Slot:
    """A slot without the iterations of loops: where it is in the program."""
    path, rest = [], list(slot)
    while len(rest) > 1:
        path.append(number := rest.pop(0))
        if isinstance(steps[number], Scan | While):
            rest.pop(0)  # the iteration
        if not isinstance(steps[number], Scan):
            path.append(rest.pop(0))  # predicate or body, or which branch
    return (*path, *rest)
