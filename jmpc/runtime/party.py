"""One player's part in one run over a transport: what threads of a simulation and nodes both do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jmpc.net.handshake import agree
from jmpc.net.transport import Transport
from jmpc.runtime.device_keystream import keystream_for
from jmpc.runtime.inputs import Feed, Results, gather, scatter
from jmpc.runtime.links import Recorder, TransportLink
from jmpc.runtime.machine import Machine
from jmpc.runtime.prepare import VERSION, Prepared
from jmpc.runtime.store import Store

RUNTIME = f"{VERSION} jax {'.'.join(jax.__version__.split('.')[:2])} numpy {np.__version__.split('.')[0]}"

Keys = dict[tuple[str, ...], bytes]


@dataclass(frozen=True)
class Party:
    """A player in a run that is open on its transport.

    `keys` are those of the run where a test fixes them; otherwise the players agree on fresh ones.
    """

    me: str
    prepared: Prepared
    transport: Transport
    run: bytes
    timeout: float
    keys: Keys | None = None
    recorder: Recorder | None = None

    def play(self, feed: Feed, store: Store) -> Results:
        """Agrees with the others on what is run, then runs this player's program; nothing is committed.

        Raises:
          AgreementError: before anything is sent, if another player would run something else.
          InputError, PeerError, RunAborted: naming the player.
        """
        prepared, me = self.prepared, self.me
        program = prepared.program(me)
        keys = self._agree() if self.keys is None else self.keys
        env = gather(prepared.lowered, [me], feed, store)
        link = TransportLink(self.transport, self.run, self.timeout, self.recorder)
        arrays = Machine(prepared.compiler, keystream_for(keys), link).run(program, env)
        return scatter(prepared.lowered, prepared.lowered.outputs_of(me), arrays)

    def _agree(self) -> Keys:
        sets = [frozenset(key) for key in self.prepared.keys]
        agreed = agree(
            self.transport,
            self.me,
            self.prepared.players,
            sets,
            self.run,
            self.prepared.digest,
            self.timeout,
            runtime=RUNTIME,
        )
        return {tuple(sorted(names)): key for names, key in agreed.items()}

    def abort(self, error: BaseException) -> None:
        """Tells the others that this run is over, and why; the reason holds no data."""
        others = [player for player in self.prepared.players if player != self.me]
        self.transport.abort(self.run, reason_of(error), others)


def reason_of(error: BaseException) -> Any:
    """What other players may know of an error: jmpc's own messages are written for them, others are only named."""
    from jmpc.errors import JmpcError

    return str(error) if isinstance(error, JmpcError) else f"internal error ({type(error).__name__})"
