"""The owners that a driver's runs can do without: who has agreed to a computation, and who is asked again.

An owner is invited to a run if it has said, since it was last left out of one, that it is ready for the computation and
who may see its data. So one that died costs the runs after that nothing: it is asked again, nobody waits for it, and
once it has answered it is invited again. One that is there, but does not answer or is left out again and again, is
asked ever more rarely.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jmpc.computation import Gather
from jmpc.errors import AuthenticationError, FrameError, JmpcError, LinkTimeout, OwnersMissing, PeerError
from jmpc.net.framing import Header, Kind
from jmpc.net.transport import Transport
from jmpc.runtime import orders
from jmpc.runtime.attendance import Owners
from jmpc.runtime.orders import Ready

_log = logging.getLogger("jmpc")

PREPARE_TIMEOUT = 20  # times the configured one: nodes trace and compile before they are ready
_MOST_PAUSES = 6  # doublings of the time for which nobody asks an owner that was left out again and again


@dataclass
class _Guest:
    """An owner, about one computation: in which of its lives it was asked, when, and what it answered.

    Up to `until` it may answer, if it was `reached`.
    """

    life: int
    asked: float
    until: float
    reached: bool
    ready: Ready | None = None
    refused: str | None = None

    @property
    def silent(self) -> bool:
        return self.ready is None and self.refused is None


@dataclass
class Invitation:
    """A computation as it was submitted to owners: `body` under the id `submission`."""

    submission: bytes
    body: bytes
    guests: dict[str, _Guest] = field(default_factory=dict)


class Invitations:
    """Of one session.

    Args:
      timeout: seconds; how long an owner may take to answer.
    """

    def __init__(self, transport: Transport, timeout: float) -> None:
        self._transport, self._timeout = transport, timeout
        self._lives: Counter[str] = Counter()  # how often each was left out
        self._strikes: Counter[str] = Counter()  # how often since it was last there to the end
        self._pauses: dict[str, float] = {}  # until when it is not asked

    def ask(self, invitation: Invitation, owners: Iterable[str]) -> None:
        """Submits a computation to those that have not been asked since they were left out, or have not answered."""
        now = time.monotonic()
        for owner in owners:
            guest, since = invitation.guests.get(owner), self._transport.up_since(owner)
            if guest is not None and guest.life == self._lives[owner]:
                if not guest.silent or since is None or (now < guest.until and since < guest.asked):
                    continue
                if guest.reached:
                    self._strike(owner)
                    guest.reached = False
            if now < self._pauses.get(owner, now):
                continue
            invitation.guests[owner] = _Guest(self._lives[owner], now, now + self._timeout, since is not None)
            try:
                header = Header(Kind.SUBMIT, invitation.submission, body=invitation.body)
                self._transport.send(owner, header, timeout=0)
            except JmpcError as error:
                _log.debug("%s could not be asked: %s", owner, error)

    def answers(self, invitation: Invitation, owners: Iterable[str], seconds: float, *, all_of: bool) -> None:
        """Takes in what owners have answered.

        Waits for `all_of` them; otherwise for those that there is a link to, a timeout from when they were asked.
        """
        deadline = time.monotonic() + seconds
        for owner in owners:
            guest = invitation.guests.get(owner)
            if guest is not None and guest.life == self._lives[owner]:
                until = guest.asked + self._timeout if self._transport.up_since(owner) is not None else 0.0
                self._listen(invitation.submission, owner, guest, deadline if all_of else min(deadline, until))

    def _listen(self, submission: bytes, owner: str, guest: _Guest, deadline: float) -> None:
        while guest.silent:
            left = max(0.0, deadline - time.monotonic())
            try:
                body = self._transport.wait_control(Kind.STATUS, submission, owner, left).body
                if body == orders.TAKEN:
                    guest.until = time.monotonic() + PREPARE_TIMEOUT * self._timeout
                guest.refused = orders.refusal(body)
                guest.ready = Ready.decode(body)
            except FrameError as error:
                guest.refused = str(error)
            except (LinkTimeout, PeerError, AuthenticationError):
                return
            if guest.refused is not None:
                _log.warning("%s takes no part: %s", owner, guest.refused)

    def judge(self, invitation: Invitation, shown: Mapping[str, Owners]) -> None:
        """Refuses owners whose word does not let all those see their data to whom the computation shows it.

        With such a word in its order a run would end everywhere, by the policies of others, each time.

        Args:
          shown: for each owner who else sees something that derives from what it brings.
        """
        for owner, ready in self.ready(invitation).items():
            if more := shown[owner] - ready.receivers - ready.approved:
                guest = invitation.guests[owner]
                guest.ready, guest.refused = None, f"it does not let {', '.join(sorted(more))} see what it brings"
                _log.warning("%s takes no part: %s", owner, guest.refused)

    def ready(self, invitation: Invitation) -> dict[str, Ready]:
        """Who is invited to the next run, and who may see its data."""
        current = {owner: it for owner, it in invitation.guests.items() if it.life == self._lives[owner]}
        return {owner: it.ready for owner, it in current.items() if it.ready is not None}

    def check(self, invitation: Invitation, gathers: Iterable[Gather]) -> None:
        """Raises OwnersMissing if for some gather too few owners are invited."""
        ready = self.ready(invitation)
        for call in gathers:
            absent = [owner for owner in call.owners if owner not in ready]
            if len(call.owners) - len(absent) < call.min_owners:
                rows = "; ".join(f"{owner}: {self._why(invitation, owner)}" for owner in absent)
                raise OwnersMissing(
                    absent,
                    f"{call.line}: {len(call.owners) - len(absent)} of {len(call.owners)} owners are ready, at least "
                    f"{call.min_owners} must be; {rows}",
                )

    def _why(self, invitation: Invitation, owner: str) -> str:
        guest = invitation.guests.get(owner)
        refused = None if guest is None else guest.refused
        return refused or f"it does not answer; {self._transport.hint(owner)}"

    def ended(self, invited: Iterable[str], missing: Mapping[str, str], *, well: bool) -> None:
        """A run has ended; those that were invited and missing must answer again, all if nobody knows who was."""
        for owner in invited:
            if well and owner not in missing:
                self._strikes[owner] = 0
                continue
            self._lives[owner] += 1
            if owner in missing:
                self._strike(owner)

    def _strike(self, owner: str) -> None:
        """An owner that was there did not do its part: from the second time on it is not asked for a while."""
        self._strikes[owner] += 1
        pauses = min(self._strikes[owner] - 2, _MOST_PAUSES)
        if pauses >= 0:
            self._pauses[owner] = time.monotonic() + self._timeout * 2**pauses
