"""A computation's account of itself: who takes part, what is opened to whom, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jmpc.choreography.cost import Cost, Times
from jmpc.choreography.releases import ReleaseAccount
from jmpc.runtime.prepare import Prepared


@dataclass(frozen=True)
class Account:
    """Exact figures of one computation, before it runs. `print` it, or read the fields."""

    players: tuple[str, ...]
    cost: Cost
    releases: tuple[ReleaseAccount, ...]
    executables: int
    masked_messages: int

    @property
    def rounds(self) -> int:
        """Sequential exchanges, if no loop of unknown length or branch adds to them."""
        return self.cost.rounds().get((), 0)

    def bytes_sent(self, player: str | None = None) -> int:
        """Payload bytes of one player, or of all, under the same condition."""
        return self.cost.bytes_sent(player).get((), 0)

    def __str__(self) -> str:
        lines = [f"players   {', '.join(self.players)}", f"rounds    {_amount(self.cost.rounds())}"]
        lines.append(f"messages  {self.masked_messages} masked, {len(self.releases)} released")
        lines.append(f"{'player':<18}{'sends, bytes':>14}{'frames':>8}{'keystream, bytes':>18}{'segments':>10}")
        for player in self.players:
            frames = sum(frame.place.trips for frame in self.cost.frames if frame.src == player)
            sent, stream = _amount(self.cost.bytes_sent(player)), _amount(self.cost.keystream[player])
            lines.append(f"{player:<18}{sent:>14}{frames:>8}{stream:>18}{self.cost.segments[player]:>10}")
        lines.append("opened, to whom")
        lines += [f"  {release}" for release in self.releases] or ["  nothing"]
        lines.append("bytes by source line")
        by_line = sorted(self.cost.by_line().items(), key=lambda item: -sum(item[1].values()))
        lines += [f"  {_amount(size):>14}  {line}" for line, size in by_line]
        return "\n".join(lines)


def _amount(total: Mapping[Times, int]) -> str:
    known = [f"{amount:,}" for times, amount in total.items() if not times]
    open_ended = [f"{amount:,} x ({' x '.join(times)})" for times, amount in total.items() if times]
    return " + ".join(known + open_ended) or "0"


def account(prepared: Prepared) -> Account:
    """The account of a prepared computation."""
    return Account(
        prepared.players,
        prepared.cost,
        prepared.releases(),
        prepared.compiler.size,
        prepared.lowered.choreography.masked_messages,
    )
