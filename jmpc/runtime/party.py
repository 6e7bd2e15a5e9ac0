"""One player's part in one run over a transport: what threads of a simulation and nodes both do."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from jmpc.choreography.programs import Frame, Guard
from jmpc.errors import InputError, JmpcError, PeerError, RunAborted
from jmpc.net.handshake import Agreement, agree
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


@dataclass(frozen=True)
class Party:
    """A player in a run that is open on its transport.

    `keys` are those of the run where a test fixes them; otherwise the players agree on fresh ones. `terms`
    are bytes that all players must have been given alike. `failed` is called for an input that fails a check.
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
        program = prepared.program(me)
        with self.timeline.event(AGREE):
            keys, identity = self._agree() if self.keys is None else (self.keys, self.run)
        env = gather(prepared.lowered, [me], feed, store)
        link = _PulsedLink(self.transport, self.run, self.pulse, self.recorder, self.timeline)
        arrays = Machine(prepared.compiler, keystream_for(keys), link, self.pulse, self.failed).run(program, env)
        results = scatter(prepared.lowered, prepared.lowered.outputs_of(me), arrays)
        return dataclasses.replace(results, run=identity)

    def _agree(self) -> tuple[Keys, bytes]:
        sets = [frozenset(key) for key in self.prepared.keys]
        agreed: Agreement = agree(
            self.transport,
            self.me,
            self.prepared.players,
            sets,
            self.run,
            hashlib.sha256(self.prepared.digest + self.terms).digest(),
            self.pulse.timeout,
            runtime=RUNTIME,
        )
        return {tuple(sorted(names)): key for names, key in agreed.keys.items()}, agreed.identity

    def report(self) -> RunReport:
        """What the run has taken so far."""
        sent, received = (ledger.peers(self.run) for ledger in (self.transport.sent, self.transport.received))
        return RunReport.of(self.me, self.run, self.timeline, sent, received)

    def abort(self, error: BaseException) -> None:
        """Tells the others that this run is over, and why; the reason holds no data."""
        others = [player for player in self.prepared.players if player != self.me]
        self.transport.abort(self.run, reason_of(error), others)


@dataclass(frozen=True)
class _PulsedLink:
    """Frames of one run over a transport, waited for as long as their sender gets on."""

    transport: Transport
    run: bytes
    pulse: Pulse
    recorder: Recorder | None
    timeline: Timeline

    def send(self, frame: Frame, slot: Slot, buffers: Sequence[np.ndarray]) -> None:
        with self.timeline.event(SEND, frame.dst):
            TransportLink(self.transport, self.run, self.pulse.timeout, self.recorder).send(frame, slot, buffers)

    def receive(self, frame: Frame, slot: Slot) -> Sequence[memoryview]:
        with self.timeline.event(WAIT, frame.src):
            buffers = self.pulse.wait(frame.src, lambda s: self.transport.receive(frame.src, self.run, slot, s))
        self.pulse()
        return buffers


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
