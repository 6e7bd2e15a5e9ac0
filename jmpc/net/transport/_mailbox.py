"""What has arrived at a player and nobody has asked for yet.

Everything in it is bounded: frames of a run by bytes per sender, frames that are early by bytes and
time, control frames by number, and what is remembered of past runs by number. Who exceeds a bound
harms its own frames only.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from ...errors import ChoreographyError, JmpcError, PeerError, RunAborted
from ...remember import Remembered
from ..framing import Header, Kind, Limits
from ._turns import Turns

MAX_REASON: Final = 1000  # characters of an abort's reason
LATE: Final = "of a run that is over"  # nothing strange, where a run was aborted
GONE: Final = "of a player that the run goes on without"  # nor is this

# Frames that mean nothing once their run is over.
_RUN_BOUND: Final = frozenset({Kind.DATA, Kind.HELLO, Kind.DONE, Kind.COMMIT, Kind.ABORT})
_REMEMBERED_RUNS: Final = 4096  # closed or aborted, so that late frames are known as late
_REPLAY_WINDOW: Final = 1 << 16  # slots per sender and run that are remembered after they were received
_OVERHEAD: Final = 1024  # bytes that even an empty frame takes

Slot = tuple[int, ...]
Failure = Callable[[], JmpcError]  # makes a fresh exception for every thread that must raise it


@dataclass
class _Run:
    """What has arrived for a run that is open."""

    players: frozenset[str] | None
    optional: frozenset[str] = frozenset()
    failure: Failure | None = None
    gone: dict[str, Failure] = field(default_factory=dict)  # of the optional players, and why
    inbox: dict[tuple[str, Slot], list[memoryview]] = field(default_factory=dict)
    seen: dict[str, dict[Slot, None]] = field(default_factory=dict)
    pending: Counter[str] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)  # frames by sender, also those that were taken

    def admits(self, player: str) -> bool:
        return self.players is None or player in self.players

    def put(self, sender: str, header: Header, arrays: list[memoryview], limits: Limits) -> str | None:
        """Keep a DATA frame; why not, if it is dropped."""
        if not self.admits(sender):
            return "of a player that takes no part in the run"
        if sender in self.gone:
            return GONE
        seen = self.seen.setdefault(sender, {})
        if header.slot in seen or (sender, header.slot) in self.inbox:
            return "of a slot that came before"
        nbytes = sum(header.sizes) + _OVERHEAD
        if self.pending[sender] + nbytes > limits.max_pending_bytes:
            text = f"{sender} sent over {limits.max_pending_bytes} bytes that were not asked for yet"
            self.fail(sender, lambda: PeerError(sender, text))
            return "beyond what may wait"
        # Slots leave the window oldest first. A repeated frame that old is never asked for again,
        # so it only waits.
        if len(seen) >= _REPLAY_WINDOW:
            del seen[next(iter(seen))]
        seen[header.slot] = None
        self.inbox[sender, header.slot] = arrays
        self.pending[sender] += nbytes
        self.arrived[sender] += 1
        return None

    def fail(self, sender: str, failure: Failure) -> None:
        """`sender` has ended the run: for all, or, if that can go on without it, for itself."""
        if sender not in self.optional:
            self.failure = self.failure or failure
            return
        self.gone.setdefault(sender, failure)
        self.inbox = {key: arrays for key, arrays in self.inbox.items() if key[0] != sender}
        self.pending[sender] = 0

    def check(self, sender: str | None = None) -> None:
        """Raise what ended the run, or took `sender` out of it."""
        if self.failure is not None:
            raise self.failure()
        if sender in self.gone:
            raise self.gone[sender]()

    def take(self, sender: str, slot: Slot) -> list[memoryview] | None:
        arrays = self.inbox.pop((sender, slot), None)
        if arrays is not None:
            self.pending[sender] -= sum(map(len, arrays)) + _OVERHEAD
        return arrays


@dataclass(frozen=True)
class _Early:
    """A DATA frame of a run that is not open here yet: players do not start at the same instant."""

    expires: float
    sender: str
    header: Header
    arrays: list[memoryview]

    @property
    def nbytes(self) -> int:
        return sum(self.header.sizes) + _OVERHEAD


class Mailbox:
    """See the module's docstring. All methods are safe to use from any thread.

    Arguments:
        limits: on what it keeps.
        read, nudge: how those who wait read what arrives; see `Turns`.
    """

    def __init__(self, limits: Limits, read: Callable[[float], bool], nudge: Callable[[], None]) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._turns = Turns(self._lock, read, nudge)
        self._asked = threading.Condition(self._lock)  # for who waits for control frames of anybody
        self._runs: dict[bytes, _Run] = {}
        self._early: deque[_Early] = deque()
        self._early_bytes: Counter[str] = Counter()
        # By sender: who was heard last comes last, so that nobody's flood keeps others waiting.
        self._control: dict[str, deque[Header]] = {}
        self._control_bytes: Counter[str] = Counter()
        self._past: Remembered[bytes, None] = Remembered(_REMEMBERED_RUNS)
        self._aborts: Remembered[bytes, dict[str, str]] = Remembered(_REMEMBERED_RUNS)  # reasons, by player
        self._lost: dict[str, Failure] = {}

    def serve(self) -> None:
        """Read while nobody waits; for a thread of its own, until nothing will arrive any more."""
        try:
            with self._lock:
                self._turns.serve()
        finally:
            self.shut()

    def open_run(
        self, run: bytes, players: Iterable[str] | None, optional: Iterable[str] = ()
    ) -> list[tuple[str, str]]:
        """Accept frames of a run; sender and reason of every early one that was dropped."""
        state = _Run(None if players is None else frozenset(players), frozenset(optional))
        with self._lock:
            if run in self._runs or run in self._past:
                raise ChoreographyError(f"run {run.hex()} was opened before: every run needs a fresh id")
            self._runs[run] = state
            if (aborted := self._aborts.get(run)) is not None:
                self._aborts.drop(run)
                for player, reason in aborted.items():
                    self._mark_aborted(run, player, reason)
            early = [frame for frame in self._early if frame.header.run == run]
            self._drop_early(lambda frame: frame.header.run == run)
            reasons = [
                (frame.sender, state.put(frame.sender, frame.header, frame.arrays, self._limits)) for frame in early
            ]
            return [(sender, reason) for sender, reason in reasons if reason]

    def close_run(self, run: bytes) -> None:
        with self._lock:
            self._runs.pop(run, None)
            self._aborts.drop(run)
            self._past.put(run, None)
            for sender, queue in list(self._control.items()):
                for header in [item for item in queue if item.run == run and item.kind in _RUN_BOUND]:
                    self._drop_control(sender, queue.index(header))
            self._drop_early(lambda frame: frame.header.run == run)
            self._turns.tell()
            self._turns.resume()

    def put(self, sender: str, header: Header, arrays: list[memoryview]) -> str | None:
        """Keep a frame; why not, if it is dropped."""
        with self._lock:
            if header.kind in _RUN_BOUND and header.run in self._past:
                return LATE
            if header.kind != Kind.DATA:
                reason = self._put_control(sender, header)
            elif (state := self._runs.get(header.run)) is not None:
                reason = state.put(sender, header, arrays, self._limits)
            else:
                reason = self._put_early(sender, header, arrays)
            self._turns.tell()
            return reason

    def take(self, sender: str, run: bytes, slot: Slot, deadline: float) -> list[memoryview] | None:
        """The arrays of one exchange; None if they do not come in time."""
        in_time = True
        with self._lock:
            while True:
                state = self._state(run)
                state.check(sender)
                if (arrays := state.take(sender, slot)) is not None:
                    return arrays
                if not in_time:
                    return None
                in_time = self._wait(sender, deadline)

    def take_control(
        self, kinds: Collection[Kind], run: bytes | None, sender: str | None, deadline: float | None
    ) -> tuple[str, Header] | None:
        """The oldest control frame of a sender that matches, with the sender; None if none comes in time.

        Senders take turns.
        """
        in_time = True
        with self._lock:
            while True:
                if run is not None and run in self._runs:
                    self._runs[run].check(sender)
                for who in list(self._control) if sender is None else [sender]:
                    for index, header in enumerate(self._control.get(who, ())):
                        if header.kind in kinds and run in (None, header.run):
                            self._drop_control(who, index)
                            if who in self._control:
                                self._control[who] = self._control.pop(who)
                            return who, header
                if not in_time:
                    return None
                in_time = self._wait(sender, deadline)

    def check(self, run: bytes) -> None:
        """Raise what ended the run, if something did."""
        with self._lock:
            if run in self._runs:
                self._runs[run].check()

    def check_peer(self, peer: str) -> None:
        """Raise what those who wait for `peer` would, if it is lost."""
        with self._lock:
            if peer in self._lost:
                raise self._lost[peer]()

    def arrived(self, run: bytes, sender: str) -> int:
        """How many frames of arrays `sender` has sent in a run that is open, as far as they have come."""
        with self._lock:
            return self._runs[run].arrived[sender] if run in self._runs else 0

    def abort(self, run: bytes, me: str, reason: str) -> None:
        """End a run at this player, at its own wish."""
        with self._lock:
            self._mark_aborted(run, me, reason, always=True)
            self._turns.tell()

    def dismiss(self, run: bytes, player: str, why: str) -> None:
        """Go on with a run without one of its optional players: what came of it, and still comes, is forgotten."""
        with self._lock:
            if (state := self._runs.get(run)) is not None and player in state.optional:
                state.fail(player, lambda: PeerError(player, why))
                self._turns.tell()

    def lose(self, peer: str, failure: Failure) -> None:
        """Make everybody who waits for `peer` fail, until `regain`."""
        with self._lock:
            self._lost[peer] = failure
            self._turns.tell()

    def regain(self, peer: str) -> None:
        with self._lock:
            self._lost.pop(peer, None)

    def expire(self, now: float) -> int:
        """Forget early frames whose run was not opened in time; how many."""
        if not self._early:
            return 0
        with self._lock:
            return self._drop_early(lambda frame: frame.expires <= now)

    def shut(self) -> None:
        """Have nothing read any more, and all who wait fail; returns when nobody reads."""
        with self._lock:
            self._turns.end()
            self._asked.notify_all()

    # The methods below are called with the lock held.

    def _wait(self, sender: str | None, deadline: float | None) -> bool:
        """Return when something may have changed; False if it was too late to wait, so that this is the last look."""
        if self._turns.over:
            raise JmpcError("the transport is closed")
        if sender in self._lost:
            raise self._lost[sender]()
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if sender is None:
            self._asked.wait(left)
        else:
            self._turns.wait(left)
        return left is None or left > 0.0

    def _state(self, run: bytes) -> _Run:
        if run not in self._runs:
            raise ChoreographyError(f"run {run.hex()} is not open at this player: call open_run first")
        return self._runs[run]

    def _mark_aborted(self, run: bytes, player: str, reason: str, always: bool = False) -> None:
        state = self._runs.get(run)
        if state is None:
            self._aborts.put(run, {**(self._aborts.get(run) or {}), player: reason})
        elif always:
            state.failure = state.failure or (lambda: RunAborted(player, reason))
        elif player in state.optional:
            state.fail(player, lambda: PeerError(player, reason))
        elif state.admits(player):
            state.fail(player, lambda: RunAborted(player, reason))

    def _put_control(self, sender: str, header: Header) -> str | None:
        state = self._runs.get(header.run)
        if header.kind in _RUN_BOUND and state is not None and not state.admits(sender):
            return "of a player that takes no part in the run"
        if header.kind in _RUN_BOUND and state is not None and sender in state.gone:
            return GONE
        if header.kind == Kind.ABORT:
            self._mark_aborted(header.run, sender, _printable(header.body))
        queue = self._control.setdefault(sender, deque())
        queue.append(header)
        self._asked.notify_all()
        self._control_bytes[sender] += len(header.body)
        reason = None
        # The oldest go first: a peer that floods loses its own words, nobody else's.
        while (
            len(queue) > self._limits.max_control_frames
            or self._control_bytes[sender] > 2 * self._limits.max_body_bytes
        ):
            self._drop_control(sender, 0)
            reason = "too many control frames"
        return reason

    def _drop_control(self, sender: str, index: int) -> None:
        queue = self._control[sender]
        self._control_bytes[sender] -= len(queue[index].body)
        del queue[index]
        if not queue:
            del self._control[sender]

    def _put_early(self, sender: str, header: Header, arrays: list[memoryview]) -> str | None:
        frame = _Early(time.monotonic() + self._limits.early_seconds, sender, header, arrays)
        if self._early_bytes[sender] + frame.nbytes > self._limits.max_early_bytes:
            return "of a run that is not open, beyond what may wait"
        self._early.append(frame)
        self._early_bytes[sender] += frame.nbytes
        return None

    def _drop_early(self, condition: Callable[[_Early], bool]) -> int:
        before = len(self._early)
        self._early = deque(frame for frame in self._early if not condition(frame))
        self._early_bytes = Counter()
        for frame in self._early:
            self._early_bytes[frame.sender] += frame.nbytes
        return before - len(self._early)


def _printable(reason: bytes) -> str:
    text = reason[: 4 * MAX_REASON].decode("utf-8", "replace")[:MAX_REASON]
    return "".join(char if char.isprintable() else "?" for char in text)
