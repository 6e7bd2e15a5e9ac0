"""What one run has taken at one player: time by what it was spent on, bytes and frames by peer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from jmpc.net.framing import Count

_MOST_EVENTS: Final = 1 << 16

SEND: Final = "send to"
WAIT: Final = "wait for"
AGREE: Final = "agree"


@dataclass(frozen=True)
class Event:
    """Something that a player did, apart from computing, in nanoseconds since the run began."""

    what: str
    peer: str
    start: int
    end: int


@dataclass
class Timeline:
    """When a player sent and waited in one run; the rest of the time it computed.

    The first events are kept one by one, all of them in sums.
    """

    events: list[Event] = field(default_factory=list)
    sums: dict[tuple[str, str], int] = field(default_factory=dict)  # nanoseconds, by what was done and the peer
    began: float = field(default_factory=time.time)  # by the wall clock, which may differ between machines
    _start: int = field(default_factory=time.perf_counter_ns)

    @contextmanager
    def event(self, what: str, peer: str = "") -> Iterator[None]:
        """Notes how long what is done inside takes, however it ends."""
        start = time.perf_counter_ns() - self._start
        try:
            yield
        finally:
            end = time.perf_counter_ns() - self._start
            self.sums[what, peer] = self.sums.get((what, peer), 0) + end - start
            if len(self.events) < _MOST_EVENTS:
                self.events.append(Event(what, peer, start, end))

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return (time.perf_counter_ns() - self._start) * 1e-9


@dataclass(frozen=True)
class RunReport:
    """What a run has taken at a player.

    `waited` and `sending` are seconds by peer, `sent` and `received` what went over the links; a frame is one message
    of a round to one peer. `missing` are the owners that the run went on without. `timeline` has the events behind the
    figures.
    """

    player: str
    run: str
    seconds: float
    agreeing: float
    waited: Mapping[str, float]
    sending: Mapping[str, float]
    sent: Mapping[str, Count]
    received: Mapping[str, Count]
    missing: tuple[str, ...]
    timeline: Timeline = field(repr=False)

    @classmethod
    def of(
        cls,
        player: str,
        run: bytes,
        timeline: Timeline,
        sent: Mapping[str, Count],
        received: Mapping[str, Count],
        missing: Iterable[str] = (),
    ) -> RunReport:
        def seconds(which: str) -> dict[str, float]:
            return {peer: ns * 1e-9 for (what, peer), ns in timeline.sums.items() if what == which}

        agreeing = sum(seconds(AGREE).values())
        waited, sending = seconds(WAIT), seconds(SEND)
        figures = timeline.seconds, agreeing, waited, sending, sent, received
        return cls(player, run.hex(), *figures, tuple(missing), timeline)

    @property
    def computing(self) -> float:
        """Seconds in which it neither waited nor sent."""
        return max(0.0, self.seconds - self.agreeing - sum(self.waited.values()) - sum(self.sending.values()))

    @property
    def bytes_sent(self) -> int:
        """Payload bytes, as `jmpc.explain` counts them."""
        return sum(count.payload for count in self.sent.values())

    @property
    def bytes_received(self) -> int:
        return sum(count.payload for count in self.received.values())

    @property
    def figures(self) -> dict[str, Any]:
        """Everything but the events, as data that JSON can hold."""
        peers = sorted({*self.waited, *self.sent, *self.received})
        none = Count(0, 0, 0)
        rows = {
            peer: {
                "waited": round(self.waited.get(peer, 0.0), 6),
                "sent": self.sent.get(peer, none).payload,
                "received": self.received.get(peer, none).payload,
                "frames sent": self.sent.get(peer, none).frames,
                "frames received": self.received.get(peer, none).frames,
            }
            for peer in peers
        }
        seconds = {"seconds": self.seconds, "agreeing": self.agreeing, "computing": self.computing}
        rounded = {name: round(value, 6) for name, value in seconds.items()}
        return {"player": self.player, "run": self.run, **rounded, "missing": list(self.missing), "peers": rows}

    def __str__(self) -> str:
        waits = ", ".join(f"{peer} {seconds:.3f}" for peer, seconds in sorted(self.waited.items()) if seconds > 5e-4)
        bytes_ = f"{self.bytes_sent:,} bytes sent, {self.bytes_received:,} received"
        without = f"; without {', '.join(self.missing)}" if self.missing else ""
        return (
            f"{self.seconds:.3f} s, of which {self.computing:.3f} computing, {sum(self.waited.values()):.3f} waiting"
            f"{f' ({waits})' if waits else ''}; {bytes_}{without}"
        )


def trace_events(report: RunReport) -> list[dict[str, Any]]:
    """The run as events of a Chrome trace (Perfetto reads it): one process for each player, by the wall clock."""
    base, player = report.timeline.began * 1e6, report.player
    rows: list[dict[str, Any]] = [{"ph": "M", "pid": player, "name": "process_name", "args": {"name": player}}]
    end = 0
    for event in report.timeline.events:
        rows.append(_span(player, "compute", end, event.start, base))
        rows.append(_span(player, f"{event.what} {event.peer}".strip(), event.start, event.end, base))
        end = event.end
    rows.append(_span(player, "compute", end, int(report.seconds * 1e9), base))
    return [row for row in rows if row["ph"] == "M" or row["dur"] > 0]


def _span(player: str, name: str, start: int, end: int, base: float) -> dict[str, Any]:
    return {"ph": "X", "pid": player, "tid": 1, "name": name, "ts": base + start * 1e-3, "dur": (end - start) * 1e-3}
