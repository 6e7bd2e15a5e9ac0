"""A player as a process: takes computations from drivers that its policy lists, and plays its part in them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from jmpc.computation import Read, Source
from jmpc.config import RemoteConfig
from jmpc.errors import FrameError, InputError, JmpcError, PolicyError
from jmpc.lowering.computation import ProtocolFactory
from jmpc.net.computations import decode_computation
from jmpc.net.framing import Header, Kind
from jmpc.net.transport import Transport
from jmpc.policy import Policy
from jmpc.providers import Registry
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.guard import check_computation, check_releases
from jmpc.runtime.inputs import Results, deliver
from jmpc.runtime.orders import Order, encode_status
from jmpc.runtime.party import Party, reason_of
from jmpc.runtime.prepare import Prepared, prepare
from jmpc.runtime.store import Store

_log = logging.getLogger("jmpc.node")

_KEPT_SUBMISSIONS = 256  # of each driver


@dataclass
class _Client:
    """What a node keeps for one driver: its computations and its variables, apart from all others'."""

    submissions: OrderedDict[bytes, Future[Prepared]] = field(default_factory=OrderedDict)
    store: Store = field(default_factory=Store)


class Node:
    """One player. `serve` runs until `stop`.

    Args:
      config: of the cluster.
      name: this player.
      registry: its providers and sinks.
      make_protocol: the protocol among the servers.
      workers: how many runs it takes part in at a time.
    """

    def __init__(
        self,
        config: RemoteConfig,
        name: str,
        registry: Registry,
        make_protocol: ProtocolFactory,
        workers: int = 8,
    ) -> None:
        self.name = name
        self._config = config
        self._registry = registry
        self._make_protocol = make_protocol
        self._policy = Policy.default(config, name)
        self._compiler = Compiler()
        self._clients: dict[str, _Client] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="jmpc-run")
        self._lowering = ThreadPoolExecutor(1, thread_name_prefix="jmpc-lower")
        self._stopped = threading.Event()
        self.transport = Transport(
            name,
            config.endpoints,
            keys=config.key_ring(name),
            insecure=config.insecure,
            listen=config.listen(name),
            timeout=config.timeout,
        )

    def serve(self) -> None:
        """Answers drivers until `stop`; no frame and no failed run ends it."""
        _log.info("%s listens at %s", self.name, self._config.get_player(self.name).address)
        while not self._stopped.is_set():
            try:
                order = self.transport.control({Kind.SUBMIT, Kind.RUN}, timeout=0.2)
                if order is not None:
                    self._take(*order)
            except JmpcError as error:
                _log.warning("%s: %s", self.name, error)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._lowering.shutdown(wait=False, cancel_futures=True)
        self.transport.close()

    def stop(self) -> None:
        """Ends `serve` soon; safe in a signal handler."""
        self._stopped.set()

    def _take(self, sender: str, header: Header) -> None:
        if header.kind is Kind.SUBMIT:
            self._submit(sender, header)
        else:
            self._pool.submit(self._run, sender, header)

    # -- submissions -----------------------------------------------------------------------------------------

    def _submit(self, sender: str, header: Header) -> None:
        try:
            self._policy.check_submitter(sender)
        except PolicyError as error:
            self._tell(sender, header.run, error)
            return
        submissions = self._clients.setdefault(sender, _Client()).submissions
        while len(submissions) >= _KEPT_SUBMISSIONS:
            submissions.popitem(last=False)
        submissions[header.run] = self._lowering.submit(self._prepare, sender, header)

    def _prepare(self, sender: str, header: Header) -> Prepared:
        """Decodes, judges, lowers and compiles a computation, and tells the driver."""
        try:
            computation = decode_computation(header.body)
            check_computation(computation, self._policy, self._config, sender, len(header.body))
            prepared = prepare(computation, self._make_protocol, self._compiler)
            self._compiler.finish(prepared.program(self.name))
        except Exception as error:
            _log.warning("%s refuses a computation of %s: %s", self.name, sender, reason_of(error))
            if not isinstance(error, JmpcError):
                _log.debug("while preparing", exc_info=True)
            self._tell(sender, header.run, error)
            raise
        self._tell(sender, header.run, None)
        return prepared

    def _tell(self, sender: str, submission: bytes, error: BaseException | None) -> None:
        reason = None if error is None else f"{self.name}: {reason_of(error)}"
        try:
            self.transport.send(sender, Header(Kind.STATUS, submission, body=encode_status(reason)))
        except JmpcError as lost:
            _log.warning("%s could not answer %s: %s", self.name, sender, lost)

    # -- runs -------------------------------------------------------------------------------------------------

    def _run(self, sender: str, header: Header) -> None:
        run, party = header.run, None
        try:
            self._policy.check_submitter(sender)
            client = self._clients.setdefault(sender, _Client())
            prepared, order = self._ordered(client, header)
            self.transport.open_run(run, {*prepared.players, sender})
            party = Party(self.name, prepared, self.transport, run, self._config.timeout)
            self._check(client, prepared, order)
            results = party.play(self._feed, client.store)
            self.transport.send(sender, Header(Kind.DONE, run))
            self.transport.wait_control(Kind.COMMIT, run, sender)
            self._commit(client, prepared, run, results)
            _log.info("%s finished run %s", self.name, run.hex()[:8])
        except Exception as error:
            self._fail(sender, run, party, error)
        finally:
            if party is not None:
                self.transport.close_run(run)

    def _ordered(self, client: _Client, header: Header) -> tuple[Prepared, Order]:
        order = Order.decode(header.body)
        submission = client.submissions.get(order.submission)
        if submission is None:
            raise FrameError(f"{self.name} does not know this computation; it may have been restarted: submit it again")
        return submission.result(), order

    def _check(self, client: _Client, prepared: Prepared, order: Order) -> None:
        """Judges what this run would open, and that the variables are what the driver thinks they are."""
        mine = [port for port in prepared.lowered.inputs if port.kind is Read and self.name in port.players]
        for name in {port.name for port in mine}:
            if client.store.generation(name) != order.generations.get(name):
                raise InputError(
                    self.name,
                    f"{self.name} has another generation of {name!r} than the driver expects: a run ended there in "
                    "part, or the node was restarted; assign the variable again",
                )
        check_releases(prepared, self._policy, client.store)

    def _commit(self, client: _Client, prepared: Prepared, run: bytes, results: Results) -> None:
        client.store.commit(results.generation, run, prepared.provenance(client.store))
        sinks = {}
        for port in prepared.lowered.outputs:
            if sink := getattr(port.call, "sink", ""):
                sinks[port.name.rpartition("/")[0]] = self._registry.sinks[sink]
        deliver({k: v for k, v in results.outputs.items() if k.rpartition("/")[0] in sinks}, sinks)

    def _fail(self, sender: str, run: bytes, party: Party | None, error: Exception) -> None:
        _log.warning("%s: run %s of %s failed: %s", self.name, run.hex()[:8], sender, reason_of(error))
        _log.debug("the failed run", exc_info=error)
        peers = {sender, *(party.prepared.players if party is not None else ())} - {self.name}
        self.transport.abort(run, reason_of(error), peers)

    def _feed(self, source: Source) -> Any:
        provider = self._registry.providers.get(source.provider)
        if provider is None:
            raise InputError(
                self.name,
                f"{self.name} has no provider {source.provider!r}; registered are {sorted(self._registry.providers)}. "
                f"Start it with: jmpc-node {self.name} --providers FILE.py",
            )
        return provider(self.name)


