"""What a node does for one session of one driver: its computations, its runs, its variables, apart from all others'."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from jmpc.api.describe import describe
from jmpc.choreography.programs import Guard
from jmpc.computation import Output
from jmpc.errors import ChoreographyError, InputError, JmpcError, PolicyError, RunAborted, StorageError
from jmpc.net.authors import Signature
from jmpc.net.framing import Header, Kind
from jmpc.remember import Remembered
from jmpc.runtime import orders
from jmpc.runtime.approvals import Pending
from jmpc.runtime.attendance import Attendance
from jmpc.runtime.gate import Take
from jmpc.runtime.grants import written
from jmpc.runtime.guard import approved_receivers, check_kept, check_permitted, check_run, may_tell
from jmpc.runtime.host import Host
from jmpc.runtime.inputs import Results, deliver
from jmpc.runtime.machine import refuse
from jmpc.runtime.orders import Done, Order, Ready, Submission, order_digest
from jmpc.runtime.party import Party, fellows, reason_of
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.pulse import Pulse
from jmpc.runtime.repertoire import Repertoire
from jmpc.runtime.saving import Request, Task, perform
from jmpc.runtime.store import Named, Store
from jmpc.runtime.worker import Worker

_log = logging.getLogger("jmpc.node")

KEPT_SUBMISSIONS = 256  # the driver keeps as many, and submits again what it is told is unknown
SOON = 0.1  # seconds that a node's main loop may wait for a link
_WAITING_SUBMISSIONS = 8
_WAITING_RUNS = 8


@dataclass(frozen=True)
class ActiveRun:
    """A run that is going on, who is in it, and since when by this process's clock."""

    run: bytes
    players: frozenset[str]
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class _Submitted:
    """A computation by its mark in the repertoire, and who vouches for it."""

    mark: bytes
    signature: Signature = Signature()


_PREPARING = _Submitted(b"")


class Client:
    """One session of one driver at one node.

    Computations are prepared in one thread and run, one after the other, in another: a driver that hangs,
    floods or submits something huge keeps itself waiting, not the node and not other drivers.

    `stored_beside` says how many bytes the variables of other sessions of this driver take, where runs still go on.
    """

    def __init__(
        self, host: Host, repertoire: Repertoire, driver: str, session: bytes, stored_beside: Callable[[Client], int]
    ) -> None:
        self.driver, self.session = driver, session
        self.store = Store()
        self._stored_beside, self._expected_bytes = stored_beside, 0
        self._host, self._repertoire = host, repertoire
        self._submissions: Remembered[bytes, _Submitted] = Remembered(KEPT_SUBMISSIONS)
        self._preparing = Worker(f"jmpc-prepare-{driver}", _WAITING_SUBMISSIONS)
        self._running = Worker(f"jmpc-run-{driver}", _WAITING_RUNS)
        self.active: ActiveRun | None = None  # the run that is going on

    def finish(self) -> None:
        """Ends after the runs that have been ordered: the driver has closed the session, or a new one has begun."""
        self._preparing.close()
        self._running.finish()

    def close(self, reason: str) -> None:
        """Ends at once, telling the players of the run that is going on why."""
        self._preparing.close()
        self._running.close()
        self.cancel(reason)

    def cancel(self, reason: str, run: bytes | None = None) -> None:
        """Ends the run that is going on, everywhere; if it is another than `run`, nothing."""
        if (active := self.active) is not None and run in (None, active.run):
            self._host.transport.abort(active.run, reason, active.players - {self._host.name})

    def join(self, timeout: float) -> bool:
        """Waits until both threads have ended, up to `timeout` seconds for each; whether they have."""
        return self._running.join(timeout) and self._preparing.join(timeout)

    @property
    def stored_bytes(self) -> int:
        """What the variables of this session take, or will once what goes on has written its own."""
        return max(self.store.bytes_after({}), self._expected_bytes)

    def _in_all(self, size: int) -> int:
        """What all variables of the driver take if those of this session take `size` bytes, as they are about to."""
        self._expected_bytes = size  # said before others are asked: of two sessions at once, one sees the other
        return size + self._stored_beside(self)

    # -- submissions -------------------------------------------------------------------------------------------

    def submit(self, submission: bytes, submitted: Submission) -> None:
        """Takes a computation in and answers at once; prepares it and answers again."""
        self._tell(submission, orders.TAKEN, SOON)  # first: what is known already is ready in no time
        if self._submissions.get(submission) is None:  # who asks again may run it as before in the meantime
            self._submissions.put(submission, _PREPARING)
        if not self._preparing.offer(functools.partial(self._prepare, submission, submitted)):
            self._submissions.drop(submission)
            self._tell(submission, orders.refused(f"{self._host.name}: too many computations are waiting here"), SOON)

    def _prepare(self, submission: bytes, submitted: Submission) -> None:
        host = self._host
        try:
            mark, prepared = self._repertoire.prepare(submitted.computation, lambda: self._preparing.closed)
            if not prepared.reads:  # of variables it is not known yet whose inputs they derive from
                check_kept(prepared, host.policy, {})
            with self._told_to_operator(prepared):
                check_permitted(prepared, host.policy, submitted.signature, approved=self._is_approved(prepared))
            self._submissions.put(submission, _Submitted(mark, submitted.signature))
            more = approved_receivers(prepared, host.name) if self._is_approved(prepared) else frozenset()
            answer = Ready(host.policy.receivers, more).encode()
        except Exception as error:
            reason = orders.printable(reason_of(error))
            _log.warning("%s refuses a computation of %s: %s", host.name, self.driver, reason)
            if not isinstance(error, JmpcError):
                _log.debug("while preparing", exc_info=True)
            self._submissions.drop(submission)
            answer = orders.refused(reason)
            host.gate.refused(error)
        self._tell(submission, answer)

    def _is_approved(self, prepared: Prepared) -> bool:
        return not prepared.reads and prepared.lowered.computation.identity in self._host.approvals

    @contextmanager
    def _told_to_operator(self, prepared: Prepared) -> Iterator[None]:
        """What the policy does not permit, the operator may approve; see `Approvals` for what."""
        try:
            yield
        except PolicyError as error:
            identity, approvals = prepared.lowered.computation.identity, self._host.approvals
            if prepared.reads:
                raise
            if not approvals.knows(self.driver, identity):
                account = describe(prepared, self.driver)
                if not approvals.refused(Pending(identity.hex(), self.driver, str(error), account)):
                    raise
            raise PolicyError(f"{error}; its operator can approve computation {identity.hex()[:16]}") from error

    def _tell(self, submission: bytes, answer: bytes, timeout: float | None = None) -> None:
        try:
            self._host.transport.send(self.driver, Header(Kind.STATUS, submission, body=answer), timeout=timeout)
        except JmpcError as lost:
            _log.warning("%s could not answer %s: %s", self._host.name, self.driver, lost)

    # -- runs --------------------------------------------------------------------------------------------------

    def run(self, run: bytes, body: bytes) -> None:
        """Takes part in a run, when those before it have ended."""
        if not self._running.offer(functools.partial(self._run, run, body)):
            body = orders.aborted(f"{self._host.name}: too many runs are waiting here")
            self._host.transport.send(self.driver, Header(Kind.ABORT, run, body=body), timeout=SOON)

    def _run(self, run: bytes, body: bytes) -> None:
        host, transport = self._host, self._host.transport
        told, opened, logged = frozenset({self.driver}), False, False
        party: Party | None = None
        try:
            order = Order.decode(body)
            prepared, signature = self._submitted(order)
            peers, guests = fellows(prepared, host.name, order.receivers, self.driver)
            told |= peers
            with host.gate.turn(prepared, order) as take:
                transport.open_run(run, told, guests)
                opened, self.active = True, ActiveRun(run, told | {host.name})
                approved = self._is_approved(prepared)
                with self._told_to_operator(prepared):
                    check_permitted(prepared, host.policy, signature, approved=approved)  # it may have been withdrawn
                store = self.store.named(order.names)
                releases = check_run(prepared, host.policy, store, order, approved=approved, in_all=self._in_all)
                identity = prepared.lowered.computation.identity
                author, iteration = signature.author, order.iteration
                host.audit.begins(
                    run,
                    self.driver,
                    identity,
                    releases,
                    used=prepared.providers_of(host.name),
                    approved=approved,
                    author=author,
                    iteration=iteration,
                )
                logged = True
                attendance = self._attendance(prepared, run, guests)
                pulse = Pulse(transport, run, peers, host.config.timeout, host.policy, attendance)
                terms, failed = order_digest(body), self._failed(prepared, order)
                party = Party(host.name, prepared, transport, run, pulse, terms=terms, failed=failed)
                results = party.play(functools.partial(host.feed, order.iteration), store)
                if host.name not in prepared.optional:  # whom the driver does not wait for
                    done = Done(results.run, attendance.missing).encode()
                    pulse.finish(self.driver, done)
                pulse.wait(self.driver, functools.partial(transport.wait_control, Kind.COMMIT, run, self.driver))
                self._commit(prepared, store, order, results, take)
                self._ended(run, "well", "well", party)
        except Exception as error:
            self._fail(run, told, error)
            self._ended(run, "failed" if logged else "refused", orders.printable(reason_of(error)), party)
        finally:
            self.active, self._expected_bytes = None, 0
            if opened:
                transport.close_run(run)

    def _ended(self, run: bytes, how: str, why: str, party: Party | None) -> None:
        """Tells the operator; whatever fails here changes nothing for the others, who have ended the run as well."""
        try:
            if how != "refused":
                missing = () if party is None else party.pulse.attendance.missing
                self._host.audit.ended(run, self.driver, why, missing)
            self._host.ended(self.driver, how, None if party is None else party.report())
        except Exception:
            _log.exception("%s: the end of run %s could not be written down", self._host.name, run.hex()[:8])

    def _attendance(self, prepared: Prepared, run: bytes, guests: frozenset[str]) -> Attendance:
        """Of the players that this one can do without: none, if the others can do without it."""
        host, short = self._host, run.hex()[:8]
        if self.driver in prepared.optional:
            raise PolicyError(f"{self.driver} is the driver, without which no run goes on: it cannot be left out")
        if host.name in prepared.optional:
            return Attendance()

        def left_out(player: str, why: str) -> None:
            _log.warning("%s: run %s of %s goes on without %s: %s", host.name, short, self.driver, player, why)
            host.transport.dismiss(run, player, f"{host.name} goes on without {player}: {why}")

        unknown = dict.fromkeys(prepared.optional - guests, "it has not agreed to this computation")
        judge = host.sets.judge(host.name, host.policy.min_set_difference)
        return Attendance(prepared.optional, judge, left_out, unknown)

    def _submitted(self, order: Order) -> tuple[Prepared, Signature]:
        submitted = self._submissions.get(order.submission)
        if submitted == _PREPARING:
            raise ChoreographyError(f"{self._host.name} is still preparing this computation")
        prepared = self._repertoire.get(submitted.mark) if submitted is not None else None
        if submitted is None or prepared is None:
            raise _Unknown(orders.UNKNOWN)
        return prepared, submitted.signature

    def _failed(self, prepared: Prepared, order: Order) -> Callable[[Guard], None]:
        """What happens when an input fails a check: an error for all, or zeros in its place and a line in the log."""
        host = self._host
        if may_tell(prepared, order, self.driver, host.policy, host.config, host.supply):
            return refuse
        return lambda guard: _log.warning(
            "%s: zeros take the place of an input (%s); %s is not told, it may not see all data of this run",
            host.name,
            guard.message,
            self.driver,
        )

    def _commit(self, prepared: Prepared, store: Named, order: Order, results: Results, take: Take) -> None:
        store.commit(results.generation, written(prepared, order, results.run))
        take(results.outputs)
        sinks, me = {}, self._host.name
        for port in prepared.lowered.outputs:
            if isinstance(port.call, Output) and me in port.players and (sink := self._host.supply.sink(me, port.call)):
                sinks[port.name.rpartition("/")[0]] = sink
        try:
            deliver(results.outputs, sinks)
        except Exception:  # the run has ended well everywhere; this is between the node and its operator
            _log.exception("%s: a sink failed", self._host.name)

    # -- saving and loading ------------------------------------------------------------------------------------

    def keep(self, request_id: bytes, body: bytes) -> None:
        """Saves or loads variables, when the runs that were ordered before have ended."""
        if not self._running.offer(functools.partial(self._keep, request_id, body)):
            self._tell(request_id, orders.refused(f"{self._host.name}: too many runs are waiting here"), SOON)

    def _keep(self, request_id: bytes, body: bytes) -> None:
        host = self._host
        try:
            request = Request.decode(body)
            with host.gate.request(request):
                if request.task in (Task.SAVE, Task.LOAD):
                    host.audit.stored(self.driver, request.task.name.lower(), request.name, len(request.variables))
                check_size = lambda size: host.policy.check_size(max_stored_bytes=self._in_all(size))
                answer = perform(request, self.driver, self.store, host.archive, check_size).encode()
            if len(answer) > host.transport.limits.max_body_bytes:
                raise StorageError(f"{host.name} has more to say of {request.name!r} than a message holds: save less")
        except Exception as error:
            reason = orders.printable(reason_of(error))
            _log.warning("%s: a request of %s to the storage: %s", host.name, self.driver, reason)
            if not isinstance(error, JmpcError):
                _log.warning("the failed request", exc_info=error)
            answer = orders.refused(reason)
        finally:
            self._expected_bytes = 0
        self._tell(request_id, answer)

    def _fail(self, run: bytes, told: Iterable[str], error: Exception) -> None:
        reason = orders.printable(reason_of(error))
        here = orders.printable(str(error)) if isinstance(error, InputError) else reason  # with details for this player
        _log.warning("%s: run %s of %s failed: %s", self._host.name, run.hex()[:8], self.driver, here)
        if isinstance(error, RunAborted):  # whoever ended the run has told everybody
            return
        if not isinstance(error, JmpcError):
            _log.warning("the failed run", exc_info=error)
        self._host.transport.abort(run, reason, set(told) - {self._host.name})


class _Unknown(JmpcError):
    """The driver and this node do not mean the same session, or it was restarted."""
