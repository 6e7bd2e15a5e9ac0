"""How long a computation talks on given links, read off its cost: rounds take the latency, bytes the bandwidth.

    seconds = exchanges in a row x latency + bytes in a row / bandwidth

In every round all players send what they have for each other, and nobody goes on before it is there: so of a round's
bytes those in a row are the most that one player sends or receives in it. Around the rounds of the computation a
networked run has exchanges of its own (see `jmpc.runtime.orders` and `jmpc.net.handshake`): the driver's order, two of
the agreement on keys and programs, and the word of every player that it is done. That word travels with the last
round's messages, so it takes an exchange of its own only if one of these goes to somebody else than the driver.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jmpc.choreography.cost import Cost, Place, Times
from jmpc.errors import ConfigError

_BEFORE = 3  # exchanges: the order, and the agreement's two


@dataclass(frozen=True)
class Link:
    """What connects each player with all others.

    Args:
      latency: seconds from one player to another, one way.
      bandwidth: payload bytes a second that a player can send, and at the same time receive.

    Raises:
      ConfigError: for a latency or bandwidth that no link has.
    """

    latency: float
    bandwidth: float

    def __post_init__(self) -> None:
        if not 0 <= self.latency < math.inf:
            raise ConfigError(f"Link: latency is a number of seconds, one way, not {self.latency!r}")
        if not self.bandwidth > 0:
            raise ConfigError(f"Link: bandwidth is a positive number of bytes a second, not {self.bandwidth!r}")

    def __str__(self) -> str:
        return f"{1e3 * self.latency:g} ms one way, {8e-6 * self.bandwidth:g} Mbit/s"


@dataclass(frozen=True)
class Forecast:
    """What a run of a computation that all players have prepared takes on `link`. `print` it, or read the fields.

    Apart from computing, encryption, headers, and the time that TCP needs to fill a long link. As in a `Cost`, figures
    of loops of unknown length and of branches are for each time that they run.
    """

    link: Link
    exchanges: Mapping[Times, int]  # one after the other, those of the run itself among them
    bytes_in_a_row: Mapping[Times, int]

    @property
    def seconds(self) -> float:
        """Apart from loops of unknown length and branches."""
        return self.seconds_of(())

    def seconds_of(self, times: Times) -> float:
        """For each time that these loops and branches run."""
        exchanges, size = self.exchanges.get(times, 0), self.bytes_in_a_row.get(times, 0)
        return exchanges * self.link.latency + size / self.link.bandwidth

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.seconds:.3g} s on links of {self.link}, with the run's own exchanges"
        for times, exchanges in self.exchanges.items():
            if times:
                yield f"and {self.seconds_of(times):.3g} s x {' x '.join(times)}"
            yield f"  {exchanges:,} exchanges in a row, {self.bytes_in_a_row.get(times, 0):,} bytes in a row"
        yield "Computing comes on top, and encryption, headers, and what TCP takes to fill a long link."


def forecast(cost: Cost, driver: str, link: Link) -> Forecast:
    """The forecast of a run that `driver` orders, every player behind a link of its own."""
    rounds: dict[tuple[Place, int], Counter[tuple[str, bool]]] = defaultdict(Counter)
    for frame in cost.frames:
        busy = rounds[frame.place, frame.depth]
        busy[frame.src, True] += frame.size
        busy[frame.dst, False] += frame.size
    exchanges: Counter[Times] = Counter({(): _BEFORE + _after(cost, driver)})
    in_a_row: Counter[Times] = Counter({(): 0})
    for (place, _), busy in rounds.items():
        exchanges[place.times] += place.trips
        in_a_row[place.times] += place.trips * max(busy.values())
    return Forecast(link, dict(exchanges), dict(in_a_row))


def _after(cost: Cost, driver: str) -> int:
    """Exchanges after the last round until the driver knows that all are done."""
    last = max((frame.depth for frame in cost.frames if not frame.place.path), default=-1)
    receivers = {frame.dst for frame in cost.frames if not frame.place.path and frame.depth == last}
    return int(receivers != {driver})
