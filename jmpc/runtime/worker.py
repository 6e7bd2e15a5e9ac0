"""A thread that does one thing after the other."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

_log = logging.getLogger("jmpc.node")


class Worker:
    """Does tasks in the order in which they come; refuses more than `room` that wait.

    It is a daemon: a task that hangs does not keep the process alive.
    """

    def __init__(self, name: str, room: int) -> None:
        self._tasks: queue.Queue[Callable[[], None]] = queue.Queue(room)
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it was told to end."""
        return self._closed

    def offer(self, task: Callable[[], None]) -> bool:
        """Whether the task will be done; False if too many are waiting."""
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            return False
        return True

    def finish(self) -> None:
        """Ends the thread when everything is done that it was offered."""
        if not self.offer(self._end):
            self.close()

    def close(self) -> None:
        """Ends the thread after the task it is at; the others are dropped."""
        self._end()
        self.offer(self._end)  # wakes it up

    def join(self, timeout: float) -> bool:
        """Waits until the thread has ended; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _end(self) -> None:
        self._closed = True

    def _work(self) -> None:
        while not self._closed:
            task = self._tasks.get()
            if self._closed:
                return
            try:
                task()
            except Exception:
                _log.exception("a task failed")
