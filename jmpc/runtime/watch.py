"""Preparing what somebody else has written comes to an end: in time, in memory, and when nobody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jmpc.errors import JmpcError, PolicyError
from jmpc.policy import Policy


@dataclass
class Watch:
    """Called again and again while a computation is lowered, with the bytes of every constant that it makes.

    `closed` says whether the session has ended.
    """

    policy: Policy
    closed: Callable[[], bool]
    _bytes: int = 0
    _start: float = field(default_factory=time.monotonic)

    def __call__(self, nbytes: int = 0) -> None:
        self._bytes += nbytes
        self.policy.check_size(max_memory_bytes=self._bytes)
        if time.monotonic() - self._start > (limit := self.policy.max_prepare_seconds):
            raise PolicyError(
                f"{self.policy.me} has not prepared a computation within {limit} s (rule max_prepare_seconds): make it "
                "smaller, with loops such as lax.scan instead of loops in Python"
            )
        if self.closed():
            raise JmpcError("the session has ended")
