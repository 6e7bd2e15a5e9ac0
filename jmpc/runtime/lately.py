"""How much of something there was in the last hour."""

from __future__ import annotations

import time
from collections import deque

_HOUR = 60  # minutes


class LastHour:
    """A sum over the last hour, to a minute: what is an hour old counts for up to one minute more.

    It takes the same room however often something is added. Not safe to use from several threads.
    """

    def __init__(self) -> None:
        self._minutes: deque[list[int]] = deque()  # which minute, and how much there was in it

    @property
    def total(self) -> int:
        """Of everything that was added in the last hour."""
        while self._minutes and _minute() - self._minutes[0][0] > _HOUR:
            self._minutes.popleft()
        return sum(amount for _, amount in self._minutes)

    def add(self, amount: int) -> None:
        """Counts more, now."""
        if not self._minutes or self._minutes[-1][0] != _minute():
            self._minutes.append([_minute(), 0])
        self._minutes[-1][1] += amount


def _minute() -> int:
    return int(time.monotonic() // 60)
