"""How players of a run know that the others are still at work, and when to give one up.

A computation may take long, and who has done its part waits for the others. So a player whose thread gets
on (it receives something, a loop goes round, it waits for somebody itself) says so from time to time. One
that says nothing for the whole timeout is dead, stuck, or in a stretch of code that takes longer than that.

It also says how much it has sent. Who has sent what never comes, because the link broke and came back meanwhile, is no
longer waited for, however much at work it is: players that wait for each other would otherwise do so for ever.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

from jmpc.errors import AuthenticationError, LinkTimeout, PeerError, PolicyError
from jmpc.net.framing import Header, Kind
from jmpc.net.transport import Transport
from jmpc.policy import Policy
from jmpc.runtime.attendance import Attendance
from jmpc.runtime.orders import Working

_T = TypeVar("_T")
_BEATS = 4  # in the time of a timeout
_OPTIONAL = 2  # parts of a timeout: for a full link to take a frame of a player that the run can do without
_LOOK_SECONDS = 0.2  # between looks whether a run that receives nothing has been ended
_MOST_SECONDS = 0.4  # that pass from one look to the next, unless this player was kept from running


@dataclass
class Pulse:
    """One player's in one run that is open on its transport, with those `peers` that it talks to.

    Calling it says that the player gets on. It raises what has ended the run, and ends one that its
    `policy` finds too long.
    """

    transport: Transport
    run: bytes
    peers: Collection[str]
    timeout: float
    policy: Policy | None = None
    attendance: Attendance = field(default_factory=Attendance)
    _sent: Counter[str] = field(default_factory=Counter)  # frames of arrays, by receiver
    _own_last: dict[str, bytes] = field(default_factory=dict)  # words to peers, said again until the run is closed
    _last: dict[str, bytes] = field(default_factory=dict)  # words of peers that have done their part
    _pieces: dict[str, int] = field(default_factory=dict)  # of large frames, by sender, when last looked
    _lost: dict[str, int] = field(default_factory=dict)  # how many frames a peer has sent and that have not come
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
                word = Header(Kind.DONE, self.run, body=self._own_last.get(peer) or Working(self._sent[peer]).encode())
                self.send(peer, lambda timeout, peer=peer, word=word: self.transport.send(peer, word, timeout=timeout))

    def count(self, peer: str) -> None:
        """A frame of arrays was sent to `peer`."""
        self._sent[peer] += 1

    def finish(self, peer: str, word: bytes) -> None:
        """Says the last word to `peer`, and from now on again in place of being at work: it may be lost."""
        self._own_last[peer] = word
        self.transport.send(peer, Header(Kind.DONE, self.run, body=word))

    def send(self, peer: str, attempt: Callable[[float | None], None]) -> None:
        """Calls `attempt(timeout)`, which sends something to `peer`.

        A player that the run can do without is left out if it takes nothing or is gone, and then told nothing.
        """
        if peer not in self.attendance.optional:
            attempt(None)
        elif self.attendance.is_there(peer):
            try:
                attempt(self.timeout / _OPTIONAL)
            except (PeerError, AuthenticationError) as error:
                if isinstance(error, PeerError) and error.player != peer:
                    raise
                self.attendance.leave_out(peer, str(error))
                self._beat()

    def wait_by(self, peer: str, attempt: Callable[[float], _T], deadline: float) -> _T | None:
        """What `attempt(seconds)` returns by a deadline (of `time.monotonic`); None if `peer` is left out."""
        while self.attendance.is_there(peer):
            left = max(0.0, deadline - time.monotonic())
            try:
                return attempt(min(left, self.timeout / _BEATS))
            except LinkTimeout:
                if left <= self.timeout / _BEATS:
                    self.attendance.leave_out(peer, f"nothing came of it in time: {self.transport.hint(peer)}")
            except PeerError as error:
                if error.player != peer:
                    raise
                self.attendance.leave_out(peer, str(error))
            except AuthenticationError as error:
                self.attendance.leave_out(peer, str(error))
            self._beat()
        return None

    def wait(self, peer: str, attempt: Callable[[float], _T]) -> _T:
        """What `attempt(seconds)` returns, tried until `peer` has been silent for the whole timeout.

        Raises:
          LinkTimeout: naming the peer.
          RunAborted, PeerError, AuthenticationError: as the attempt does.
        """
        silent, looked = 0.0, time.monotonic()
        while (left := self.timeout - silent) > 0:
            try:
                return attempt(min(left, _LOOK_SECONDS))  # what was said before the wait counts as said soon after
            except LinkTimeout:
                self._beat()
                before, looked = looked, time.monotonic()
                # What took longer than it can was a time when this player itself did not run, and could hear nobody.
                silent = 0.0 if self._heard(peer) else silent + min(looked - before, _MOST_SECONDS)
        hint = "it says that it is done" if peer in self._last else self.transport.hint(peer)
        if (lost := self._lost.get(peer, 0)) > 0:
            hint = f"{lost} of the messages that it has sent did not come; its link broke meanwhile, or is too slow"
        raise LinkTimeout(peer, f"{peer} did not get on with the run for {self.timeout:g} s: {hint}")

    def done(self, peer: str) -> bytes:
        """Waits until `peer` has done its part; its last word."""

        def word(seconds: float) -> bytes:
            return self._last[peer] if peer in self._last else self._word(peer, seconds)

        while Working.decode(last := self.wait(peer, word)) is not None:
            self()
        return last

    def _word(self, peer: str, seconds: float) -> bytes:
        return self.transport.wait_control(Kind.DONE, self.run, peer, seconds).body

    def _heard(self, peer: str) -> bool:
        """Whether `peer` has said since last time that it is at work, or done, and nothing of it is missing.

        A last word is kept for `done`: what it has sent before may still be on its way, and what is waited for may be
        that very word, come just now.
        """
        before, self._pieces[peer] = self._pieces.get(peer, 0), self.transport.pieces(peer)
        heard = self._pieces[peer] > before
        try:
            while peer not in self._last:
                working = Working.decode(word := self._word(peer, 0.0))
                if working is None:
                    self._last[peer] = word
                else:
                    self._lost[peer] = working.sent - self.transport.arrived(self.run, peer)
                heard = heard or self._lost.get(peer, 0) <= 0
        except LinkTimeout:
            pass
        return heard

    def _check(self, policy: Policy, seconds: float) -> None:
        if seconds > policy.max_run_seconds:
            raise PolicyError(f"{policy.me} ends a run after {seconds:.0f} s (rule max_run_seconds)")
        if self._steps > policy.max_loop_iterations:
            raise PolicyError(f"{policy.me} ends a run after {self._steps:,} steps (rule max_loop_iterations)")
