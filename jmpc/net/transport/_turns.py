"""Whose turn it is to read what arrives at a player.

To hand a frame from the thread that reads it to the one that waits for it takes longer than to read it. So a thread
that waits reads by itself, for all that wait, and a thread of the transport's own only while none of them does.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

_TICK_SECONDS: Final = 0.1
# Seconds after which nobody is expected any more to come back for the next frame. In a main thread, or for control
# frames of anybody, a wait may take up to twice that longer: less would have the own thread take turns between rounds.
_PATIENCE: Final = 0.01


class Turns:
    """One turn at a time, and those who wait for what it brings. Every method is called with `lock` held.

    Arguments:
        lock: of what changes.
        read: takes in what has arrived or does within some seconds, without the lock; False if nothing will any more.
        nudge: makes a `read` that is going on, or else the next one, return soon; from any thread.

    Attributes:
        over: whether nothing is read any more.
    """

    def __init__(self, lock: threading.Lock, read: Callable[[float], bool], nudge: Callable[[], None]) -> None:
        self.over = False
        self._lock, self._read, self._nudge = lock, read, nudge
        self._changed, self._resting = threading.Condition(lock), threading.Condition(lock)
        self._reader: int | None = None  # the thread whose turn it is
        self._own: int | None = None  # the thread of `serve`
        self._next = 0  # threads that wait for a turn of their own
        self._last = float("-inf")  # when somebody who waited had a turn, or wanted one

    def wait(self, seconds: float | None) -> None:
        """Return when something may have changed, and within `seconds`."""
        # Ctrl-C reaches a main thread anywhere, also between two parts of a message: it leaves the reading to others.
        if threading.get_ident() == threading.main_thread().ident:
            self._changed.wait(seconds)
        elif self._reader is None:
            self._take_turn(_TICK_SECONDS if seconds is None else seconds)
        else:
            self._last = time.monotonic()
            if self._reader == self._own:
                self._nudge()
            self._next += 1
            try:
                self._changed.wait(seconds)
            finally:
                self._next -= 1

    def tell(self) -> None:
        """Something has changed: all who wait look again."""
        self._changed.notify_all()
        if self._reader not in (None, self._own, threading.get_ident()):  # that one waits as well
            self._nudge()

    def serve(self) -> None:
        """Read while nobody else does, until it is over; for a thread of its own."""
        self._own = threading.get_ident()
        while not self.over:
            if self._reader is not None or time.monotonic() < self._last + _PATIENCE:
                self._resting.wait(_PATIENCE)
            else:
                self._take_turn(_TICK_SECONDS)

    def resume(self) -> None:
        """Nobody is expected back soon: the thread of `serve` need not be patient."""
        self._last = float("-inf")
        self._resting.notify()

    def end(self) -> None:
        """Have nothing read any more; returns when nobody reads."""
        self.over = True
        self._changed.notify_all()
        self._resting.notify()
        while self._reader not in (None, threading.get_ident()):
            self._nudge()
            self._changed.wait(_TICK_SECONDS)

    def _take_turn(self, seconds: float) -> None:
        self._reader = threading.get_ident()
        self._lock.release()
        more = True
        try:
            more = self._read(min(seconds, _TICK_SECONDS))
        finally:
            self._lock.acquire()
            self.over = self.over or not more
            if self._reader != self._own:
                self._last = time.monotonic()
            self._reader = None
            if self._next or self.over:  # one of those has the next turn
                self._changed.notify_all()
