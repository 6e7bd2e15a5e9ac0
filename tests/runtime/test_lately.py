"""What a node counts by the hour takes the same room however much there is of it."""

from __future__ import annotations

import pytest

from jmpc.runtime import heap, lately
from jmpc.runtime.heap import Heap
from jmpc.runtime.lately import LastHour


def test_an_hour_later_it_is_forgotten_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    minute = 1000
    monkeypatch.setattr(lately.time, "monotonic", lambda: 60.0 * minute + 59)
    counted = LastHour()
    assert counted.total == 0
    for amount in (1, 2, 3):
        counted.add(amount)
        minute += 1
    minute = 1060
    for left in (6, 5, 3, 0):
        assert counted.total == left
        minute += 1
    assert not counted._minutes


def test_however_often_something_is_counted_it_takes_an_hours_minutes() -> None:
    counted = LastHour()
    for _ in range(10_000):
        counted.add(2)
    assert counted.total == 20_000 and len(counted._minutes) <= 2


def test_memory_is_given_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, trimmed = 100.0, []
    monkeypatch.setattr(heap.time, "monotonic", lambda: now)
    monkeypatch.setattr(heap, "_malloc_trim", lambda: trimmed.append)
    here = Heap()
    for later in (0.0, 10.0, 6.0, 1.0, 20.0):
        now += later
        here.tidy_up()
    assert trimmed == [0, 0]
    monkeypatch.undo()
    assert (trim := heap._malloc_trim()) is None or trim(0) in (0, 1)
