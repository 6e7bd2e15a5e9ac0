"""One player's part in one run over a transport: what threads of a simulation and nodes both do."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from jmpc.choreography.programs import Frame, Guard
from jmpc.errors import InputError, JmpcError, PeerError, RunAborted
from jmpc.net.handshake import KEY_BYTES, Agreement, Guests, agree
from jmpc.net.transport import Transport
from jmpc.runtime.device_keystream import keystream_for
from jmpc.runtime.inputs import Feed, Results, gather, scatter
from jmpc.runtime.links import Recorder, Slot, TransportLink
from jmpc.runtime.machine import Machine, refuse
from jmpc.runtime.prepare import VERSION, Prepared
from jmpc.runtime.pulse import Pulse
from jmpc.runtime.report import AGREE, SEND, WAIT, RunReport, Timeline
from jmpc.runtime.store import Named

RUNTIME = f"{VERSION} jax {'.'.join(jax.__version__.split('.')[:2])} numpy {np.__version__.split('.')[0]}"

Keys = dict[tuple[str, ...], bytes]
Names = frozenset[str]


@dataclass(frozen=True)
class Party:
    """A player in a run that is open on its transport.

    `keys` are those of the run where a test fixes them; otherwise the players agree on fresh ones. `terms`
    are bytes that all players must have been given alike. `failed` is called for an input that fails a check. The
    `pulse` knows which of the players that the run can do without are there.
    """

    me: str
    prepared: Prepared
    transport: Transport
    run: bytes
    pulse: Pulse
    keys: Keys | None = None
    recorder: Recorder | None = None
    terms: bytes = b""
    failed: Callable[[Guard], None] = refuse
    timeline: Timeline = field(default_factory=Timeline)

    def play(self, feed: Feed, store: Named) -> Results:
        """Agrees with the others on what is run, then runs this player's program; nothing is committed.

        Raises:
          AgreementError, NotStarted: before anything is sent, if another player would run something else or nothing.
          InputError, PeerError, RunAborted: naming the player.
        """
        prepared, me = self.prepared, self.me
        program, attendance = prepared.program(me), self.pulse.attendance
        with self.timeline.event(AGREE):
            keys, identity = self._agree() if self.keys is None else (self.keys, self.run)
        env = gather(prepared.lowered, [me], feed, store, progress=self.pulse)
        link = _PulsedLink(self.transport, self.run, self.pulse, self.recorder, self.timeline)
        machine = Machine(prepared.compiler, keystream_for(keys), link, self.pulse, self.failed, attendance)
        arrays = machine.run(program, env)
        results = scatter(prepared.lowered, prepared.lowered.outputs_of(me), arrays)
        return dataclasses.replace(results, run=identity)

    def _agree(self) -> tuple[Keys, bytes]:
        prepared, attendance = self.prepared, self.pulse.attendance
        sets = [frozenset(key) for key in prepared.keys]
        expected = frozenset(filter(attendance.is_there, attendance.optional))
        guests = Guests(prepared.optional, expected, prepared.patience(self.pulse.timeout))
        agreed: Agreement = agree(
            self.transport,
            self.me,
            prepared.players,
            sets,
            self.run,
            hashlib.sha256(prepared.digest + self.terms).digest(),
            self.pulse.timeout,
            runtime=RUNTIME,
            guests=guests,
            beat=self.pulse,
        )
        for player, why in agreed.missing.items():
            attendance.leave_out(player, why)
        # Words of its own stand for those that nobody uses: they hide nothing, but would, if anybody did.
        lacking = [names for names in sets if self.me in names and names & prepared.optional]
        made_up = {names: secrets.token_bytes(KEY_BYTES) for names in lacking}
        keys = made_up | agreed.keys
        return {tuple(sorted(names)): key for names, key in keys.items()}, agreed.identity

    def report(self) -> RunReport:
        """What the run has taken so far."""
        sent, received = (ledger.peers(self.run) for ledger in (self.transport.sent, self.transport.received))
        missing = self.pulse.attendance.missing
        return RunReport.of(self.me, self.run, self.timeline, sent, received, sorted(missing))

    def abort(self, error: BaseException) -> None:
        """Tells the others that this run is over, and why; the reason holds no data."""
        self.transport.abort(self.run, reason_of(error), self.pulse.peers)


def fellows(prepared: Prepared, me: str, invited: Collection[str], driver: str | None = None) -> tuple[Names, Names]:
    """Whom a player of a run talks to, and those of them that it can do without.

    One that the others can do without needs all of them, and has nothing to do with others of its kind. Only the
    `invited` ones are expected; a `driver` is always there.
    """
    required = frozenset(prepared.players) - prepared.optional | ({driver} if driver is not None else set())
    guests = frozenset() if me in prepared.optional else prepared.optional & frozenset(invited)
    return (required | guests) - {me}, guests


@dataclass(frozen=True)
class _PulsedLink:
    """Frames of one run over a transport, waited for as long as their sender gets on, or up to a deadline."""

    transport: Transport
    run: bytes
    pulse: Pulse
    recorder: Recorder | None
    timeline: Timeline

    def send(self, frame: Frame, slot: Slot, buffers: Sequence[np.ndarray]) -> None:
        with self.timeline.event(SEND, frame.dst):
            self.pulse.send(frame.dst, lambda timeout: self._link(timeout).send(frame, slot, buffers))
        self.pulse.count(frame.dst)

    def receive(self, frame: Frame, slot: Slot) -> Sequence[memoryview]:
        with self.timeline.event(WAIT, frame.src):
            buffers = self.pulse.wait(frame.src, lambda s: self.transport.receive(frame.src, self.run, slot, s))
        self.pulse()
        return buffers

    def receive_by(self, frame: Frame, slot: Slot, deadline: float) -> Sequence[memoryview] | None:
        with self.timeline.event(WAIT, frame.src):
            take = lambda s: self.transport.receive(frame.src, self.run, slot, s)
            return self.pulse.wait_by(frame.src, take, deadline)

    def _link(self, timeout: float | None) -> TransportLink:
        return TransportLink(self.transport, self.run, self.pulse.timeout, self.recorder, timeout)

    @property
    def timeout(self) -> float:
        return self.pulse.timeout


_LOST = re.compile(r"lost ([^ :]{1,64}): ")


def reason_of(error: BaseException) -> str:
    """What other players may know of an error: jmpc's own messages are written for them, others are only named."""
    if isinstance(error, RunAborted):
        named = error.player in error.reason  # who passes a reason on does not hide who gave it
        return error.reason if named else f"{error.player}: {error.reason}"
    if isinstance(error, PeerError):
        return f"lost {error.player}: {error}"
    if isinstance(error, InputError):
        return error.message
    if isinstance(error, KeyboardInterrupt):
        return "its user has interrupted it"
    return str(error) if isinstance(error, JmpcError) else "internal error; see its log"


def lost_player(reason: str) -> str | None:
    """The player that was lost, by a reason of `reason_of`."""
    found = _LOST.match(reason)
    return found[1] if found else None
