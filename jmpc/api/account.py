"""A computation's account of itself: who takes part, what is opened to whom, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jmpc.api.forecast import Forecast, Link, forecast
from jmpc.choreography.cost import Cost, Times
from jmpc.choreography.releases import ReleaseAccount, opened_values
from jmpc.computation import ArrayType, Gather, Noise
from jmpc.runtime.prepare import Prepared

Row = Sequence[str]

# Among the players whose inputs a value derives from: a variable was written by earlier runs, of any players.
UNKNOWN = "unknown, perhaps anyone's"  # which is no player's name


@dataclass(frozen=True)
class ServerNoise:
    """Noise that every server draws for each element of a `type`: `deviation` is that of any two of them together."""

    type: ArrayType
    deviation: float
    line: str


@dataclass(frozen=True)
class Account:
    """Exact figures of one computation, before it runs. `print` it, or read the fields.

    `cost` has every figure, those of loops of unknown length and of branches for each time that they run. `releases`
    have `UNKNOWN` among their inputs where they derive from a variable: what that derives from, earlier runs decided
    (in a run, nodes go by what they know of it).
    """

    players: tuple[str, ...]
    cost: Cost
    releases: tuple[ReleaseAccount, ...]
    masked_messages: int
    driver: str
    gathers: tuple[Gather, ...] = ()  # what owners contribute of whom some may be missing
    noise: tuple[ServerNoise, ...] = ()

    @property
    def rounds(self) -> int:
        """Sequential exchanges, apart from loops of unknown length and branches."""
        return self.cost.rounds().get((), 0)

    def bytes_sent(self, player: str | None = None) -> int:
        """Payload bytes of one player, or of all, under the same condition."""
        return self.cost.bytes_sent(player).get((), 0)

    def frames_sent(self, player: str | None = None) -> int:
        """Frames of one player, or of all, under the same condition."""
        return self.cost.frames_sent(player).get((), 0)

    def on(self, link: Link) -> Forecast:
        """How long a networked run of it talks if every player has such a link."""
        return forecast(self.cost, self.driver, link)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"players   {', '.join(self.players)}"
        yield f"rounds    {_formula(self.cost.rounds())}"
        for call in self.gathers:
            time = "" if call.deadline is None else f" within {call.deadline:g} s"
            yield f"gather    from at least {call.min_owners} of {', '.join(call.owners)}{time}  {call.line}"
        for drawn in self.noise:
            deviation = f"standard deviation {drawn.deviation:.6g} of any two servers together"
            yield f"noise     on {drawn.type}, {deviation}  {drawn.line}"
        yield f"messages  {self.masked_messages} masked, {len(self.releases)} released"
        for times in self._times():
            yield ""
            if times:
                yield f"and, {_each(times)}"
            yield from _table(self._costs(times))
        yield ""
        yield "opened"
        yield from _table(self._opened()) if self.releases else ["  nothing"]
        yield ""
        yield "bytes by source line"
        yield from _table(self._by_line())
        yield ""
        yield "Bytes are payloads: headers of frames and encryption come on top."

    def _times(self) -> list[Times]:
        """What figures are multiplied by: nothing, then each loop of unknown length and each branch."""
        everything = [self.cost.bytes_sent(), *self.cost.keystream.values()]
        return list(dict.fromkeys([(), *(times for figures in everything for times in figures)]))

    def _costs(self, times: Times) -> Iterator[Row]:
        columns = {
            "bytes sent": [self.cost.bytes_sent(player).get(times, 0) for player in self.players],
            "frames": [self.cost.frames_sent(player).get(times, 0) for player in self.players],
            "keystream": [self.cost.keystream[player].get(times, 0) for player in self.players],
        }
        if not times:
            columns["segments"] = [self.cost.segments[player] for player in self.players]
        yield "player", *columns
        for player, *figures in zip(self.players, *columns.values(), strict=True):
            if any(figures):
                yield player, *_numbers(figures)
        yield "all", *_numbers(map(sum, columns.values()))

    def _opened(self) -> Iterator[Row]:
        for it in opened_values(self.releases):
            inputs = sorted(it.inputs, key=lambda player: (player == UNKNOWN, player))
            derived = f"derived from {', '.join(inputs) or 'no private input'}"
            yield f"{it.src} -> {it.dst}", f"{it.why} {list(it.shape)}", derived, it.line

    def _by_line(self) -> Iterator[Row]:
        rows = [
            (size, line, _each(times)) for line, sizes in self.cost.by_line().items() for times, size in sizes.items()
        ]
        for size, line, each in sorted(rows, key=lambda row: (row[2], -row[0])):
            yield f"{size:,}", line, each


def _formula(total: Mapping[Times, int]) -> str:
    known = [f"{total.get((), 0):,}"]
    return " + ".join(known + [f"{amount:,} {_each(times)}" for times, amount in total.items() if times])


def _each(times: Times) -> str:
    return f"x {' x '.join(times)}" if times else ""


def _numbers(figures: Iterable[int]) -> list[str]:
    return [f"{figure:,}" for figure in figures]


def _table(rows: Iterable[Row]) -> Iterator[str]:
    """Rows in columns: text to the left, numbers, and the headings above them, to the right."""
    filled = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    numeric = [all(cell.replace(",", "").isdigit() for cell in column[-1:]) for column in zip(*filled, strict=True)]
    for row in filled:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def account(prepared: Prepared, driver: str) -> Account:
    """The account of a prepared computation that `driver` runs. What went into variables it reads, it does not tell."""
    releases = prepared.releases(dict.fromkeys(prepared.reads, frozenset({UNKNOWN})))
    masked, computation = prepared.lowered.choreography.masked_messages, prepared.lowered.computation
    noises = (call for call in computation.calls if isinstance(call, Noise))
    noise = tuple(ServerNoise(computation.types[call.arg], call.deviation, call.line) for call in noises)
    return Account(prepared.players, prepared.cost, releases, masked, driver, computation.gathers, noise)
