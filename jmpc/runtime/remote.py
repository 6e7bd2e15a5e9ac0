"""The driver's side of networked mode: submits computations to nodes and plays its own part."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from jmpc.api.graph import Built
from jmpc.api.session import announce
from jmpc.computation import Assign, Computation, Read
from jmpc.config import RemoteConfig
from jmpc.errors import ConfigError, JmpcError, RunAborted
from jmpc.net.computations import encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.transport import Transport
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.inputs import Results, deliver
from jmpc.runtime.orders import Order, decode_status
from jmpc.runtime.party import Party, reason_of
from jmpc.runtime.prepare import Prepared, prepare
from jmpc.runtime.simulate import source_feed
from jmpc.runtime.store import Store

_log = logging.getLogger("jmpc")

_PREPARE_TIMEOUT = 20  # times the configured one: nodes trace and compile before they are ready


class RemoteSession:
    """A driver's session with the nodes of a configuration."""

    def __init__(self, config: RemoteConfig) -> None:
        if config.me is None:
            raise ConfigError(
                "the configuration names no driver; add a player 'driver', or say which player this script is: "
                "RemoteConfig.load(path, player=NAME)"
            )
        self.servers = config.servers[:3]
        self.driver = config.me
        self.fraction = config.precision
        self.built: dict[tuple[Any, ...], Built] = {}
        self._config = config
        self._compiler = Compiler()
        self._prepared: dict[bytes, Prepared] = {}
        self._submitted: dict[int, bytes] = {}  # id of a prepared computation to its submission
        self._generations: dict[str, bytes] = {}
        self._players: frozenset[str] = frozenset()
        self._store = Store()
        self.transport = Transport(
            self.driver,
            config.endpoints,
            keys=config.key_ring(self.driver),
            insecure=config.insecure,
            listen=config.listen(self.driver),
            timeout=config.timeout,
        )

    def knows(self, variable: str) -> bool:
        return variable in self._generations

    def announce(self, built: Built) -> None:
        """Logs who takes part, whenever someone new does."""
        self._players = announce(built.computation.players, self._players, self.driver)

    def prepare(self, computation: Computation) -> Prepared:
        """The computation as this player lowers it; nothing is sent."""
        mark = computation.structure
        if mark not in self._prepared:
            self._prepared[mark] = prepare(computation, Rep3, self._compiler)
        return self._prepared[mark]

    def run(self, built: Built) -> Mapping[str, Any]:
        """Submits a computation if need be, runs it everywhere, and commits it if all parts ended well.

        Raises what made it fail, naming the player; then nothing is committed and the next run can start.
        """
        prepared = self.prepare(built.computation)
        peers = [player for player in prepared.players if player != self.driver]
        if missing := [player for player in peers if player not in self._config.players]:
            raise ConfigError(f"players {missing} are not in the configuration; known are {list(self._config.players)}")
        self._submit(prepared, peers)
        run = secrets.token_bytes(RUN_BYTES)
        self.transport.open_run(run, {*prepared.players, self.driver})
        try:
            results = self._play(prepared, built, run, peers)
        except BaseException as error:
            self.transport.abort(run, reason_of(error), peers)
            self._submitted.pop(id(prepared), None)  # a node may have been restarted: submit again next time
            raise
        finally:
            self.transport.close_run(run)
        deliver(results.outputs, {g: sink for g, (owner, sink) in built.sinks.items() if owner == self.driver})
        return results.outputs

    def _submit(self, prepared: Prepared, peers: list[str]) -> None:
        if id(prepared) in self._submitted:
            return
        submission = secrets.token_bytes(RUN_BYTES)
        body = encode_computation(prepared.lowered.computation)
        for peer in peers:
            self.transport.send(peer, Header(Kind.SUBMIT, submission, body=body))
        if self.driver in prepared.players:
            self._compiler.finish(prepared.program(self.driver))
        for peer in peers:
            answer = self.transport.wait_control(
                Kind.STATUS, submission, peer, _PREPARE_TIMEOUT * self._config.timeout
            )
            if (refusal := decode_status(answer.body)) is not None:
                raise RunAborted(peer, refusal)
        self._submitted[id(prepared)] = submission

    def _play(self, prepared: Prepared, built: Built, run: bytes, peers: list[str]) -> Results:
        touched = {call.variable for call in built.computation.calls if isinstance(call, Read | Assign)}
        generations = {name: self._generations[name] for name in touched if name in self._generations}
        order = Order(self._submitted[id(prepared)], generations).encode()
        for peer in peers:
            self.transport.send(peer, Header(Kind.RUN, run, body=order))
        results = Results()
        if self.driver in prepared.players:
            party = Party(self.driver, prepared, self.transport, run, self._config.timeout)
            feeds = {key: feed for key, feed in built.feeds.items() if feed[0] == self.driver}
            results = party.play(source_feed(feeds), self._store)
        for peer in peers:
            self.transport.wait_control(Kind.DONE, run, peer)
        for peer in peers:
            self.transport.send(peer, Header(Kind.COMMIT, run))
        self._store.commit(results.generation, run)
        self._generations.update({c.variable: run for c in built.computation.calls if isinstance(c, Assign)})
        return results

    def close(self) -> None:
        """Closes the links; variables stay on the servers until their nodes stop."""
        try:
            self.transport.close()
        except JmpcError as error:
            _log.warning("while closing: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()
