"""Who of the players that a run can do without takes part in it, as one player sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from jmpc.choreography.programs import Quorum
from jmpc.errors import OwnersMissing
from jmpc.runtime.orders import printable

_log = logging.getLogger("jmpc")

Owners = frozenset[str]
Judge = Callable[[Owners, Owners], None]  # those that could be there, those that are; refuses the run by raising


def _accept(owners: Owners, present: Owners) -> None:
    """Any set of owners will do."""


@dataclass
class Attendance:
    """The optional players of one run, and those of them that are missing, each with the reason.

    A player is missing for the rest of a run: what it sends later changes nothing, and nobody waits for it any more.

    Args:
      optional: whom this player can do without.
      judge: called for every set of owners that the servers have agreed on, before anything is computed of it.
      left_out: called for a player that is missing from now on.
    """

    optional: Owners = frozenset()
    judge: Judge = _accept
    left_out: Callable[[str, str], None] = lambda player, why: None  # noqa: E731
    missing: dict[str, str] = field(default_factory=dict)
    _settled: list[tuple[Quorum, Owners]] = field(default_factory=list)  # the gathers so far, and who was there

    def is_there(self, player: str) -> bool:
        """Whether nothing is known that keeps a player from taking part."""
        return player not in self.missing

    def leave_out(self, player: str, why: str) -> None:
        """From now on a player is missing; the first reason counts. `why` holds no data, and may be of that player."""
        if player in self.optional and player not in self.missing:
            why = printable(why)
            self.missing[player] = why
            self.left_out(player, why)

    def delivered(self, owners: Iterable[str]) -> np.ndarray:
        """Who has delivered so far, in this order."""
        return np.array([self.is_there(owner) for owner in owners], np.bool_)

    def settle(self, quorum: Quorum, present: np.ndarray) -> None:
        """The servers have agreed on who is there.

        Raises:
          OwnersMissing: fewer than the run may go on with, naming the others; or some are missing that contributed to
            an earlier gather of the run, so few that the difference of the two sums would be about them.
          PolicyError: who is there must not be known beside what was opened before.
        """
        there = {owner for owner, is_there in zip(quorum.owners, present, strict=True) if is_there}
        for owner in quorum.owners:
            if owner not in there:
                self.leave_out(owner, "another server did not get its contribution in time")
        if len(there) < quorum.least:
            absent = [owner for owner in quorum.owners if owner not in there]
            raise OwnersMissing(
                absent,
                f"{quorum.line}: {len(there)} of {len(quorum.owners)} owners delivered, at least {quorum.least} "
                f"must; missing are {self.listed(absent)}",
            )
        self._compare(quorum, frozenset(there))
        self._settled.append((quorum, frozenset(there)))
        self.judge(frozenset(quorum.owners), frozenset(there))

    def _compare(self, quorum: Quorum, there: Owners) -> None:
        """At run time what `_check_gathers` of a computation demands of the owners that it names."""
        for before, others in self._settled:
            apart = sorted(there ^ others, key=lambda owner: (self.is_there(owner), owner))  # the missing ones first
            least = max(before.least, quorum.least)
            if 0 < len(apart) < least:
                raise OwnersMissing(
                    apart,
                    f"{quorum.line}: this gather and that at {before.line} would differ in {self.listed(apart)} alone, "
                    f"fewer than {least} owners, whom the difference of two sums would be about; the next run begins "
                    "without them if they stay away",
                )

    def listed(self, players: Iterable[str]) -> str:
        """Names, with the reasons that are known here."""
        return ", ".join(f"{player} ({self.missing.get(player, 'unknown')})" for player in sorted(players))


class Absences:
    """Tells the user who was left out of runs: whenever it is others than the last time."""

    def __init__(self) -> None:
        self._last: Owners = frozenset()

    def tell(self, optional: Owners, missing: Mapping[str, str]) -> None:
        """Who of the `optional` players was missing in a run, and why; of runs without any it says nothing."""
        if not optional:
            return
        if missing and frozenset(missing) != self._last:
            rows = ", ".join(f"{player} ({why})" for player, why in sorted(missing.items()))
            _log.warning("left out: %s", rows)
        self._last = frozenset(missing)
