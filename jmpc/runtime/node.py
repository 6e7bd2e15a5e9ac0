"""A player as a process: takes computations from drivers that its policy lists, and plays its part in them."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from jmpc.config import RemoteConfig
from jmpc.errors import ConfigError, FrameError, JmpcError, PolicyError
from jmpc.lowering.computation import ProtocolFactory
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.ping import answer, answers, ping
from jmpc.policy import Policy
from jmpc.providers import Supply
from jmpc.runtime import orders
from jmpc.runtime.approvals import Approvals
from jmpc.runtime.client import SOON, Client
from jmpc.runtime.control import Command, Control
from jmpc.runtime.differencing import Sets
from jmpc.runtime.gate import Gate
from jmpc.runtime.heap import Heap
from jmpc.runtime.host import Host, approvals_path, archive_of, audit_of, control_path, sets_path
from jmpc.runtime.lately import LastHour
from jmpc.runtime.metrics import Metrics
from jmpc.runtime.orders import Order, Submission
from jmpc.runtime.party import RUNTIME
from jmpc.runtime.repertoire import Repertoire
from jmpc.runtime.saving import session_of
from jmpc.runtime.steps import Over, Step, decode
from jmpc.storage.key import storage_key

_log = logging.getLogger("jmpc.node")

_TICK_SECONDS = 0.2  # how soon `stop` is noticed
_GRACE_SECONDS = 2.0  # for what is going on when a node stops
_ENDING_SESSIONS = 2  # of one driver, that still have something going on, beside its present one


class Node:
    """One player. `serve` runs until `stop`.

    Args:
      config: of the cluster.
      name: this player.
      supply: its providers and sinks.
      make_protocol: the protocol among the servers.
      policy: what it agrees to; by default what the configuration says.
      gate: what it takes part in, of what its policy allows; in everything unless said.
      metrics: "host:port" at which Prometheus finds its figures.
      traces: a folder for the events of every run.
    """

    def __init__(
        self,
        config: RemoteConfig,
        name: str,
        supply: Supply,
        make_protocol: ProtocolFactory,
        policy: Policy | None = None,
        *,
        gate: Gate | None = None,
        metrics: str | None = None,
        traces: Path | None = None,
    ) -> None:
        self.name = name
        self._config = config
        self._address = config.get_player(name).address
        self._policy = policy or Policy.default(config, name)
        self._repertoires: dict[str, Repertoire] = {}  # by driver, as are the clients
        self._clients: dict[str, Client] = {}
        self._ending: list[Client] = []  # of sessions that are over, as long as something in them goes on
        self._lately: dict[tuple[str, Kind], LastHour] = {}  # runs and submissions, by driver
        self._refused: Counter[str] = Counter()  # orders, by sender
        self._stopped = threading.Event()
        self.transport = config.transport(name)
        try:
            self._host = self._made(supply, make_protocol, gate or Gate(), metrics, traces)
            self._since = time.monotonic()
            self._control = Control(control_path(config, name), self._commands)
        except BaseException:
            self.transport.close()
            raise

    def _made(
        self, supply: Supply, make_protocol: ProtocolFactory, gate: Gate, metrics: str | None, traces: Path | None
    ) -> Host:
        config, name, policy = self._config, self.name, self._policy
        storage_key(config.keys, name)  # made now, not in the middle of a run
        return Host(
            name,
            config,
            policy,
            supply,
            make_protocol,
            self.transport,
            archive_of(config, name, policy.max_saved_bytes),
            audit_of(config, name, policy.max_audit_bytes),
            Approvals(approvals_path(config, name)),
            Sets(sets_path(config, name)),
            gate,
            metrics=None if metrics is None else Metrics(name, metrics),
            traces=traces,
        )

    def serve(self) -> bool:
        """Answers drivers until `stop`; no frame and no failed run ends it.

        Returns:
          Whether everything that was going on has come to an end.
        """
        whose = ", ".join(sorted(self._policy.drivers)) or "nobody, because no driver is configured"
        _log.info("%s listens at %s and takes computations of %s", self.name, self._address, whose)
        kinds = {Kind.SUBMIT, Kind.RUN, Kind.STATUS, Kind.STORAGE, Kind.PING, Kind.STEP}
        heap = Heap()
        while not self._stopped.is_set():
            heap.tidy_up()
            self._let_go()
            try:
                order = self.transport.control(kinds, timeout=_TICK_SECONDS)
                if order is not None:
                    self._take(*order)
            except JmpcError as error:
                _log.warning("%s: %s", self.name, orders.printable(str(error)))
            except Exception:
                _log.exception("%s: an order could not be taken", self.name)
        return self._close()

    def stop(self) -> None:
        """Ends `serve` soon; safe in a signal handler."""
        self._stopped.set()

    def interrupt(self, reason: str) -> None:
        """Ends the runs that are going on, everywhere."""
        for client in [*self._clients.values(), *self._ending]:
            client.cancel(reason)

    def _close(self) -> bool:
        self._control.close()
        if self._host.metrics is not None:
            self._host.metrics.close()
        clients = [*self._clients.values(), *self._ending]
        for client in clients:
            client.close(self._host.gate.farewell(self.name))
        self.transport.close()
        return all([client.join(_GRACE_SECONDS) for client in clients])

    def _take(self, sender: str, header: Header) -> None:
        """One order. What takes long is done elsewhere."""
        if header.kind is Kind.PING:  # which any player may send
            answer(self.transport, sender, header, RUNTIME, self._config.digest)
            return
        try:
            self._policy.check_submitter(sender)
        except PolicyError as error:
            self._refuse(sender, header, error)
            return
        match header.kind:
            case Kind.SUBMIT:
                try:
                    submission = Submission.decode(header.body)
                    self._count(sender, header.kind)
                    client = self._client(sender, submission.session)
                except JmpcError as error:
                    self._refuse(sender, header, error)
                    return
                client.submit(header.run, submission)
            case Kind.RUN:
                self._run(sender, header)
            case Kind.STORAGE:
                try:
                    client = self._client(sender, session_of(header.body))
                except JmpcError as error:
                    self._refuse(sender, header, error)
                    return
                client.keep(header.run, header.body[RUN_BYTES:])
            case Kind.STEP:
                try:
                    said = self._host.gate.hear(self.name, header)
                except FrameError as error:
                    self._refuse(sender, header, error)
                    return
                if said is not None:
                    self.transport.send(sender, Header(Kind.STEP, header.run, body=said.encode()), timeout=SOON)
            case Kind.STATUS if header.body == orders.CLOSED:
                client = self._clients.get(sender)
                if client is not None and client.session == header.run:
                    self._forget(sender)

    def _refuse(self, sender: str, header: Header, error: JmpcError) -> None:
        self._refused[sender] += 1
        if (count := self._refused[sender]) & (count - 1) == 0:  # the 1st, 2nd, 4th...: a flood must not fill the log
            _log.warning("%s (%d refused of %s so far)", orders.printable(str(error)), count, sender)
        self._answer(sender, header, str(error))

    def _answer(self, sender: str, header: Header, reason: str) -> None:
        """Says why an order is not taken, to its sender alone: a run of that id may be another's."""
        refused = Kind.STATUS, orders.refused(reason)
        answers = {Kind.SUBMIT: refused, Kind.STORAGE: refused, Kind.RUN: (Kind.ABORT, orders.aborted(reason))}
        if header.kind is Kind.STEP and (step := _step_of(header)) is not None:
            answers[Kind.STEP] = Kind.STEP, Over(step.number, self.name, reason).encode()
        if header.kind in answers:
            kind, body = answers[header.kind]
            try:
                self.transport.send(sender, Header(kind, header.run, body=body), timeout=SOON)
            except JmpcError as lost:  # who does not listen need not be told
                _log.debug("%s could not answer %s: %s", self.name, sender, lost)

    def _client(self, driver: str, session: bytes) -> Client:
        """The state of a session. A driver has one at a time: a new one ends the one before.

        Raises:
          JmpcError: if too much of earlier ones is still going on.
        """
        client = self._clients.get(driver)
        if client is not None and client.session == session:
            return client
        if client is not None:
            self._forget(driver)
        self._let_go()
        if sum(ended.driver == driver for ended in self._ending) > _ENDING_SESSIONS:
            raise JmpcError(
                f"{self.name} is still at work for earlier sessions of {driver}: wait until what they have submitted "
                f"is prepared or has ended, or restart jmpc-node {self.name}"
            )
        if driver not in self._repertoires:
            self._repertoires[driver] = Repertoire(self._host)
        client = Client(self._host, self._repertoires[driver], driver, session, self._stored_beside)
        self._clients[driver] = client
        return client

    def _stored_beside(self, client: Client) -> int:
        """What the variables of other sessions of the same driver take."""
        others = {*self._clients.values(), *self._ending} - {client}
        return sum(it.stored_bytes for it in others if it.driver == client.driver)

    def _let_go(self) -> None:
        """Forgets sessions in which nothing goes on any more."""
        self._ending = [ended for ended in self._ending if not ended.join(0)]

    def _forget(self, driver: str) -> None:
        client = self._clients[driver]
        client.finish()
        self._ending.append(client)  # before it is no present one: it counts all the time
        del self._clients[driver]
        _log.info("%s forgets the variables of %s", self.name, driver)

    # -- what its operator asks --------------------------------------------------------------------------------

    @property
    def _commands(self) -> dict[str, Command]:
        approvals = self._host.approvals
        return {
            "status": self._status,
            "cancel": self._cancel,
            "ping": self._ping,
            "reload": self._reload,
            "pending": approvals.pending,
            "approved": lambda: approvals.approved,
            "account": approvals.account,
            "approve": self._approve,
            "withdraw": self._withdraw,
        }

    def _status(self) -> dict[str, Any]:
        now, clients = time.monotonic(), {**self._clients}
        runs = [
            {
                "run": active.run.hex(),
                "driver": client.driver,
                "players": sorted(active.players),
                "seconds": round(now - active.since, 1),
            }
            for client in (*clients.values(), *self._ending)
            if (active := client.active) is not None
        ]
        sent, received = self.transport.sent.peers(), self.transport.received.peers()
        return {
            "player": self.name,
            "address": self._address,
            "runtime": RUNTIME,
            "seconds": round(now - self._since, 1),
            "drivers": sorted(self._policy.drivers),
            "sessions": {driver: client.stored_bytes for driver, client in clients.items()},
            "runs": runs,
            "refused": dict(self._refused),
            "dropped": self.transport.dropped,
            "peers": {
                peer: {
                    "sent": sent[peer].payload if peer in sent else 0,
                    "received": received[peer].payload if peer in received else 0,
                }
                for peer in sorted(sent.keys() | received.keys())
            },
        }

    def _cancel(self, run: str) -> str:
        found = {
            active.run.hex(): client
            for client in (*self._clients.values(), *self._ending)
            if (active := client.active) is not None and active.run.hex().startswith(run)
        }
        if len(found) != 1 or not run:
            raise ConfigError(f"{self.name} has {len(found)} runs that begin with {run!r}: `jmpc-admin status` has all")
        ((whole, client),) = found.items()
        client.cancel(f"the operator of {self.name} cancelled it", bytes.fromhex(whole))
        return whole

    def _approve(self, identity: str) -> None:
        self._host.approvals.approve(identity)
        self._host.audit.judged(identity, "approved")

    def _withdraw(self, identity: str) -> None:
        self._host.approvals.withdraw(identity)
        self._host.audit.judged(identity, "withdrawn")

    def _reload(self) -> list[str]:
        """Reads the public keys again; the players that have one."""
        keys = self._config.key_ring(self.name)
        if keys is None:
            raise ConfigError(f"{self.name} has no keys: its links are plain text")
        self.transport.admit(keys)
        _log.info("%s has read the keys of %s", self.name, ", ".join(sorted(keys.peers)))
        return sorted(keys.peers)

    def _ping(self, timeout: float = 5.0) -> dict[str, Any]:
        peers = [player for player in self._config.players if player != self.name]
        return answers(ping(self.transport, peers, timeout), self._config.digest)

    def _run(self, sender: str, header: Header) -> None:
        try:
            session = Order.decode(header.body).session
            if not orders.is_run_of(header.run, sender):
                raise FrameError("a run of an id that another driver has made")
        except FrameError as error:
            self._refuse(sender, header, FrameError(f"{self.name}: {error}"))
            return
        client = self._clients.get(sender)
        if client is None or client.session != session:
            self._answer(sender, header, orders.UNKNOWN)
            return
        try:
            self._count(sender, header.kind)
        except PolicyError as error:
            self._refuse(sender, header, error)
            return
        client.run(header.run, header.body)

    def _count(self, driver: str, kind: Kind) -> None:
        """Raises PolicyError for more runs, or more submissions, than a driver may order in an hour."""
        lately = self._lately.setdefault((driver, kind), LastHour())
        self._policy.check_size(max_runs_per_hour=lately.total + 1)
        lately.add(1)


def _step_of(header: Header) -> Step | None:
    """The step that a driver's script says it is at; None if it says nothing of the kind."""
    try:
        said = decode(header.body)
    except FrameError:
        return None
    return said if isinstance(said, Step) else None
