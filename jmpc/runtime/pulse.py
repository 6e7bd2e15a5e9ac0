"""How players of a run know that the others are still at work, and when to give one up.

A computation may take long, and who has done its part waits for the others. So a player whose thread gets
on (it receives something, a loop goes round, it waits for somebody itself) says so from time to time. One
that says nothing for the whole timeout is dead, stuck, or in a stretch of code that takes longer than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

from jmpc.errors import JmpcError, LinkTimeout, PolicyError
from jmpc.net.framing import Header, Kind
from jmpc.net.transport import Transport
from jmpc.policy import Policy
from jmpc.runtime.orders import WORKING

_T = TypeVar("_T")
_BEATS = 4  # in the time of a timeout
_LOOK_SECONDS = 0.2  # between looks whether a run that receives nothing has been ended


@dataclass
class Pulse:
    """One player's in one run that is open on its transport.

    Calling it says that the player gets on. It raises what has ended the run, and ends one that its
    `policy` finds too long.
    """

    transport: Transport
    run: bytes
    peers: Collection[str]
    timeout: float
    policy: Policy | None = None
    _steps: int = 0
    _start: float = field(default_factory=time.monotonic)
    _looked: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)

    def __call__(self) -> None:
        self._steps += 1
        self._beat()

    def _beat(self) -> None:
        """What a step does, for one that waits and makes none."""
        now = time.monotonic()
        if self.policy is not None:
            self._check(self.policy, now - self._start)
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            self.transport.check(self.run)
        if now - self._said > self.timeout / _BEATS:
            self._said = now
            for peer in self.peers:
                self.transport.send(peer, Header(Kind.DONE, self.run, body=WORKING))

    def wait(self, peer: str, attempt: Callable[[float], _T]) -> _T:
        """What `attempt(seconds)` returns, tried until `peer` has been silent for the whole timeout.

        Raises:
          LinkTimeout: naming the peer.
          RunAborted, PeerError, AuthenticationError: as the attempt does.
        """
        heard = time.monotonic()
        while (left := heard + self.timeout - time.monotonic()) > 0:
            try:
                return attempt(min(left, _LOOK_SECONDS))  # what was said before the wait counts as said soon after
            except LinkTimeout:
                self._beat()
                if self._heard(peer):
                    heard = time.monotonic()
        hint = self.transport.hint(peer)
        raise LinkTimeout(peer, f"{peer} did not get on with the run for {self.timeout:g} s: {hint}")

    def done(self, peer: str) -> bytes:
        """Waits until `peer` has done its part; the run that it means."""
        while (run := self.wait(peer, lambda seconds: self._word(peer, seconds))) == WORKING:
            self()
        return run

    def _word(self, peer: str, seconds: float) -> bytes:
        return self.transport.wait_control(Kind.DONE, self.run, peer, seconds).body

    def _heard(self, peer: str) -> bool:
        """Whether `peer` has said since last time that it is at work."""
        heard = False
        try:
            while True:
                if self._word(peer, 0.0) != WORKING:
                    raise JmpcError(f"{peer} says that it is done, but has not sent what is still expected of it")
                heard = True
        except LinkTimeout:
            return heard

    def _check(self, policy: Policy, seconds: float) -> None:
        if seconds > policy.max_run_seconds:
            raise PolicyError(f"{policy.me} ends a run after {seconds:.0f} s (rule max_run_seconds)")
        if self._steps > policy.max_loop_iterations:
            raise PolicyError(f"{policy.me} ends a run after {self._steps:,} steps (rule max_loop_iterations)")
