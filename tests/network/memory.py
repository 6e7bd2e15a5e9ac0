"""The memory of processes over time, as the kernel counts it."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

_BETWEEN = 0.5  # seconds between two looks


def megabytes(pid: int) -> float:
    """What of a process lies in memory now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


@dataclass(frozen=True)
class Growth:
    """Of a process: megabytes early and late, as the middle of what was seen in a while, and megabytes in an hour."""

    early: float
    late: float
    slope: float
    seconds: float

    @property
    def share(self) -> float:
        return self.late / self.early - 1

    def __str__(self) -> str:
        sizes = f"{self.early:.1f} MB early, {self.late:.1f} MB late ({self.share:+.1%})"
        return f"{sizes}, {self.slope:+.1f} MB an hour over {self.seconds:.0f} s"


@dataclass
class Life:
    """A process since it has done everything for the first time."""

    pid: int
    since: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, float]] = field(default_factory=list)  # seconds since then, megabytes

    def look(self) -> None:
        """Notes its memory, if that was not done just now."""
        now = time.monotonic() - self.since
        if not self.seen or now - self.seen[-1][0] > _BETWEEN:
            self.seen.append((now, megabytes(self.pid)))

    def growth(self, settle: float, window: float) -> Growth | None:
        """From `settle` seconds on, over `window` seconds there and at the end; None for a short life."""
        if not self.seen or (end := self.seen[-1][0]) < settle + 2 * window:
            return None
        settled = [(when, size) for when, size in self.seen if when >= settle]
        early = [size for when, size in settled if when < settle + window]
        late = [size for when, size in settled if when > end - window]
        if not early:  # something took so long that nobody looked
            return None
        slope = statistics.linear_regression(*zip(*settled, strict=True)).slope
        return Growth(statistics.median(early), statistics.median(late), 3600 * slope, end - settle)
