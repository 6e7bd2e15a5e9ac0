"""Links that carry frames: a transport's, and one that only records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jmpc.choreography.programs import Frame
from jmpc.net.framing import Header, Kind
from jmpc.net.transport import Transport

Slot = tuple[int, ...]
Recorder = Callable[[str, Frame, Slot, Sequence[np.ndarray]], None]  # sender, frame, slot, payloads


@dataclass(frozen=True)
class TransportLink:
    """Frames of one run over a transport; `recorder` sees what is sent (tests)."""

    transport: Transport
    run: bytes
    timeout: float
    recorder: Recorder | None = None
    send_timeout: float | None = None  # None: the transport's

    def send(self, frame: Frame, slot: Slot, buffers: Sequence[np.ndarray]) -> None:
        if self.recorder is not None:
            self.recorder(frame.src, frame, slot, buffers)
        self.transport.send(frame.dst, Header(Kind.DATA, self.run, slot), buffers, self.send_timeout)

    def receive(self, frame: Frame, slot: Slot) -> Sequence[memoryview]:
        return self.transport.receive(frame.src, self.run, slot, self.timeout)


@dataclass(frozen=True)
class RecordingLink:
    """Keeps copies of all messages, by (slot, sender, receiver): the view of every player."""

    messages: dict[tuple[Slot, str, str], list[np.ndarray]] = field(default_factory=dict)

    def record(self, _: str, frame: Frame, slot: Slot, buffers: Sequence[Any]) -> None:
        self.messages[slot, frame.src, frame.dst] = [np.array(buffer) for buffer in buffers]

    def send(self, frame: Frame, slot: Slot, buffers: Sequence[np.ndarray]) -> None:
        self.record(frame.src, frame, slot, buffers)

    def receive(self, frame: Frame, slot: Slot) -> Sequence[np.ndarray]:
        raise AssertionError("a recording link belongs to a fused program, which receives nothing")
