"""The driver's side of networked mode: submits computations to nodes and plays its own part."""

from __future__ import annotations

import functools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jmpc.api.graph import Built
from jmpc.api.session import KEPT_GRAPHS, announce
from jmpc.computation import Computation, Output, Source
from jmpc.config import RemoteConfig
from jmpc.errors import (
    AgreementError,
    ConfigError,
    InputError,
    JmpcError,
    LinkTimeout,
    NotStarted,
    OwnersMissing,
    PeerError,
    PolicyError,
    RunAborted,
)
from jmpc.net.authors import Author, Signature
from jmpc.net.computations import decode_computation, encode_computation
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.ping import ping
from jmpc.policy import Policy
from jmpc.precision import Precision
from jmpc.protocols.families import FAMILIES
from jmpc.remember import Remembered
from jmpc.runtime import orders
from jmpc.runtime.attendance import Absences, Attendance
from jmpc.runtime.client import KEPT_SUBMISSIONS
from jmpc.runtime.closing import Closing
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.differencing import Sets
from jmpc.runtime.grants import written
from jmpc.runtime.guard import shown_to
from jmpc.runtime.host import archive_of, sets_path
from jmpc.runtime.inputs import Results, deliver
from jmpc.runtime.invitations import PREPARE_TIMEOUT, Invitation, Invitations
from jmpc.runtime.orders import Done, Order, Ready, Submission, order_digest
from jmpc.runtime.party import Party, fellows, lost_player, reason_of
from jmpc.runtime.prepare import Prepared, prepare
from jmpc.runtime.pulse import Pulse
from jmpc.runtime.saving import Answer, Request, perform
from jmpc.runtime.simulate import source_feed
from jmpc.runtime.storages import Loaded, Places, Storages
from jmpc.runtime.store import Generation, Named, Origins, Store

_log = logging.getLogger("jmpc")

_T = TypeVar("_T")
_SOON = 0.2  # seconds between looks whether owners have come back
_AGAIN_SECONDS = 0.5  # until a node that has not answered is asked again


@dataclass
class _Known:
    """A computation as this player has prepared it, as it travels, and as it was submitted, if it was."""

    prepared: Prepared
    encoded: bytes
    invitation: Invitation | None = None
    ready: Mapping[str, Ready] = field(default_factory=dict)  # what each player said that no run can do without


class RemoteSession(Closing):
    """A driver's session with the nodes of a configuration."""

    def __init__(self, config: RemoteConfig) -> None:
        if config.me is None:
            raise ConfigError(
                "the configuration names no driver; add a player 'driver', or say which player this script is: "
                "RemoteConfig.load(path, player=NAME)"
            )
        self.servers = config.servers[:3]
        self.driver = self.me = config.me
        self.fraction = Precision.of(config.precision).fraction
        self.built: Remembered[tuple[Any, ...], Built] = Remembered(KEPT_GRAPHS)
        self._config = config
        self._protocol = FAMILIES[config.protocol]
        self._id = secrets.token_bytes(RUN_BYTES)
        self._running = threading.Lock()  # one run at a time
        self._compiler = Compiler()
        self._known: Remembered[bytes, _Known] = Remembered(KEPT_SUBMISSIONS)  # by structure; as many as nodes keep
        self._told: set[str] = set()  # the nodes that know this session
        self._variables: dict[str, Generation] = {}
        self._players: frozenset[str] = frozenset()
        self._store = Store()
        self._author = Author.load(config.keys, config.author) if config.author else None
        policy = Policy.default(config, self.driver)
        self._archive = archive_of(config, self.driver, policy.max_saved_bytes)
        # Of a driver that is a server itself: who is no server settles nothing.
        self._judge = Sets(sets_path(config, self.driver)).judge(self.driver, policy.min_set_difference)
        self._storages = Storages(self.servers, self._ask)
        self.transport = config.transport(self.driver)
        self._invitations = Invitations(self.transport, config.timeout)
        self._absences = Absences()
        self.close_at_exit()

    def knows(self, variable: str) -> bool:
        return variable in self._variables

    def called(self, variable: str) -> str:
        """What all players call a variable: what this script does."""
        return variable

    def announce(self, built: Built) -> None:
        """Logs who takes part, whenever someone new does."""
        self._players = announce(built.computation.players, self._players, self.driver)

    def prepare(self, computation: Computation) -> Prepared:
        """The computation as this player lowers it; nothing is sent."""
        return self._know(computation).prepared

    def _know(self, computation: Computation) -> _Known:
        """A computation is lowered as it will be read by the others.

        So nothing that travelling changes (the type of a number, the form of a call) makes their programs
        another one than this player's.
        """
        known = self._known.get(computation.structure)
        if known is None:
            data = encode_computation(computation)
            known = _Known(prepare(decode_computation(data), self._protocol, self._compiler), data)
            self._known.put(computation.structure, known)
        return known

    def run(self, built: Built) -> Mapping[str, Any]:
        """Submits a computation if need be, runs it everywhere, and commits it if all parts ended well.

        Raises what made it fail, naming the player; then nothing is committed and the next run can start.
        """
        with self._running:
            results = self._perform(built)
        deliver(results.outputs, {g: sink for g, (owner, sink) in built.sinks.items() if owner == self.driver})
        return results.outputs

    def _perform(self, built: Built) -> Results:
        self._check(built)
        known = self._know(built.computation)
        try:
            return self._run(known, built)
        except NotStarted as error:
            if error.reason != orders.UNKNOWN:
                raise
            _log.info("%s does not know a computation any more; it is submitted again", error.player)
            known.invitation = None
            return self._run(known, built)

    def _check(self, built: Built) -> None:
        """What can be said without asking anybody."""
        players = built.computation.players
        if self.driver in built.computation.optional:
            raise ConfigError(
                f"{self.driver!r} is the driver, without which no run goes on: it contributes to no gather"
            )
        if missing := [player for player in players if player not in self._config.players]:
            raise ConfigError(f"players {missing} are not in the configuration; known are {list(self._config.players)}")
        self._check_functions(built)

    def _check_functions(self, built: Built) -> None:
        """Functions do not travel: who is to call one must have it."""
        for call in built.computation.calls:
            if isinstance(call, Source) and not call.provider and call.player != self.driver:
                raise InputError(
                    call.player,
                    f"the input of {call.player!r} is a Python function of this script, which does not travel: "
                    f"register it with @jmpc.provider in a file that jmpc-node {call.player} loads with --providers",
                )
            if isinstance(call, Output) and not call.sink and call.player != self.driver:
                if call.key.rpartition("/")[0] in built.sinks:
                    raise InputError(
                        call.player,
                        f"the sink of {call.player!r} is a Python function of this script, which does not travel: "
                        f"register it with @jmpc.sink in a file that jmpc-node {call.player} loads with --providers",
                    )

    def _run(self, known: _Known, built: Built) -> Results:
        prepared = known.prepared
        reads = self._reads(built, prepared)
        invitation, invited = self._invite(known, {name: generation.origins for name, generation in reads.items()})
        ready = {**known.ready, **invited}
        run = orders.new_run(self.driver)
        peers, guests = fellows(prepared, self.driver, invited, self.driver)
        self.transport.open_run(run, peers | {self.driver}, guests)
        left_out = functools.partial(self.transport.dismiss, run)
        attendance = Attendance(prepared.optional, self._judge, left_out)
        for owner in prepared.optional - guests:
            attendance.missing[owner] = "it has not agreed to the computation since it was last away"
        well = False
        try:
            asked = (prepared.owners | prepared.optional) & ready.keys()
            receivers = {player: ready[player].receivers for player in asked}
            approved = {player: ready[player].approved for player in asked}
            order = Order(self._id, invitation.submission, receivers, reads, approved, built.names, built.iteration)
            store = self._store.named(built.names)
            pulse = Pulse(self.transport, run, peers, self._config.timeout, attendance=attendance)
            results = self._play(prepared, built, store, pulse, order.encode())
            self._commit(pulse, store, written(prepared, order, results.run), results)
            well = True
            self._absences.tell(prepared.optional, attendance.missing)
            return results
        finally:
            self._invitations.ended(guests, attendance.missing, well=well)
            self.transport.close_run(run)

    # -- submitting --------------------------------------------------------------------------------------------

    def _invite(self, known: _Known, origins: Mapping[str, Origins]) -> tuple[Invitation, Mapping[str, Ready]]:
        """Makes a computation known to all nodes in it, if need be; those owners that no run waits for, if they agree.

        `origins` says what each variable that the run reads derives from.

        Raises:
          OwnersMissing: if of those too few do.
        """
        prepared, timeout = known.prepared, self._config.timeout
        owners = sorted(prepared.optional)
        began, submitted = time.monotonic(), known.invitation is None
        if known.invitation is None:
            known.invitation, known.ready = self._submit(known)
        invitation, invitations = known.invitation, self._invitations
        if not submitted:
            invitations.ask(invitation, owners)
        # Owners have as long again to get ready as the others took.
        seconds = timeout + time.monotonic() - began
        invitations.answers(invitation, owners, seconds, all_of=submitted)
        shown = {owner: shown_to(prepared, owner, origins) for owner in owners}
        gathers, deadline = prepared.lowered.computation.gathers, time.monotonic() + timeout
        while True:
            invitations.judge(invitation, shown)
            try:
                invitations.check(invitation, gathers)
                return invitation, invitations.ready(invitation)
            except OwnersMissing:
                if time.monotonic() > deadline:
                    raise
            invitations.ask(invitation, owners)
            invitations.answers(invitation, owners, _SOON, all_of=True)

    def _submit(self, known: _Known) -> tuple[Invitation, Mapping[str, Ready]]:
        """Submits a computation to the nodes that no run can do without, asks the others; who may see whose data."""
        prepared = known.prepared
        peers = [player for player in prepared.players if player != self.driver and player not in prepared.optional]
        while self.transport.control({Kind.STATUS}, timeout=0) is not None:
            pass  # answers to a submission that was given up
        body = Submission(self._id, known.encoded, self._signature(known)).encode()
        if len(body) > (most := self.transport.limits.max_body_bytes):
            raise PolicyError(
                f"the computation takes {len(body):,} bytes, at most {most:,} travel: give large arrays as inputs "
                "or variables, not as constants"
            )
        invitation = Invitation(secrets.token_bytes(RUN_BYTES), body)
        submission = invitation.submission
        for peer in peers:
            self.transport.send(peer, Header(Kind.SUBMIT, submission, body=body))
        self._invitations.ask(invitation, sorted(prepared.optional))
        self._told.update(peers, prepared.optional)
        if self.driver in prepared.players:
            self._compiler.prepare(prepared.program(self.driver))
        timeout = self._config.timeout
        self._answers(submission, peers, "take the computation", orders.is_taken, timeout)
        if self.driver in prepared.players:
            self._compiler.finish(prepared.program(self.driver))
        told = self._answers(submission, peers, "get ready", Ready.decode, PREPARE_TIMEOUT * timeout)
        own = Policy.default(self._config, self.driver).receivers
        return invitation, {self.driver: Ready(own), **told}

    def _signature(self, known: _Known) -> Signature:
        if self._author is None:
            return Signature()
        return self._author.sign(known.prepared.lowered.computation.identity)

    def _answers(
        self, submission: bytes, peers: Iterable[str], what: str, read: Callable[[bytes], _T | None], timeout: float
    ) -> dict[str, _T]:
        """Waits for one answer of every node; says of all that do not give it."""
        answers: dict[str, _T] = {}
        deadline, silent = time.monotonic() + timeout, []
        for peer in peers:
            try:
                left = max(0.0, deadline - time.monotonic())
                header = self.transport.wait_control(Kind.STATUS, submission, peer, left)
            except LinkTimeout:
                silent.append(peer)
                continue
            if (reason := orders.refusal(header.body)) is not None:
                raise RunAborted(peer, reason)
            if (answer := read(header.body)) is None:
                raise RunAborted(peer, f"{peer} gave an answer that this version of jmpc does not know")
            answers[peer] = answer
        if silent:
            rows = [f"{peer} ({self._config.get_player(peer).address}): {self.transport.hint(peer)}" for peer in silent]
            raise LinkTimeout(silent[0], f"{', '.join(silent)} did not {what} within {timeout:g} s; {'; '.join(rows)}")
        return answers

    # -- running -----------------------------------------------------------------------------------------------

    def _reads(self, built: Built, prepared: Prepared) -> dict[str, Generation]:
        names = {variable: built.names[variable] for variable in prepared.reads}
        if unknown := sorted(set(names.values()) - self._variables.keys()):
            raise InputError(self.driver, f"no run of this session has assigned {unknown}")
        return {variable: self._variables[name] for variable, name in names.items()}

    def _play(self, prepared: Prepared, built: Built, store: Named, pulse: Pulse, order: bytes) -> Results:
        """Everybody's part of a run, up to the point where all are done; whatever goes wrong ends it everywhere."""
        results: Results | None = None
        run, peers, attendance = pulse.run, sorted(pulse.peers), pulse.attendance
        required = [peer for peer in peers if peer not in attendance.optional]
        begin = Header(Kind.RUN, run, body=order)
        try:
            for peer in peers:
                pulse.send(peer, lambda timeout, peer=peer: self.transport.send(peer, begin, timeout=timeout))
            if self.driver in prepared.players:
                party = Party(self.driver, prepared, self.transport, run, pulse, terms=order_digest(order))
                feeds = {key: feed for key, feed in built.feeds.items() if feed[0] == self.driver}
                results = party.play(source_feed(feeds, built.iteration), store)
            done = {peer: Done.decode(pulse.done(peer)) for peer in required}
            results = results or Results(run=done[required[0]].run)
            if other := [peer for peer, said in done.items() if said.run != results.run]:
                raise AgreementError(f"{', '.join(other)} ended another run than {self.driver} and the others")
            for server in reversed(self.servers):  # the first one gets no contributions, and knows no reasons
                if server != self.driver:  # who knows that already
                    for player, why in done[server].missing.items():
                        attendance.leave_out(player, why)
        except RunAborted as error:
            self.transport.abort(run, reason_of(error), peers)
            if error.reason == orders.UNKNOWN and self.driver not in prepared.players:
                raise NotStarted(error.player, error.reason) from error  # it has nothing to lose
            if (player := lost_player(error.reason)) is not None:
                attendance.leave_out(player, error.reason)  # who ends runs by being lost is asked ever more rarely
                raise PeerError(player, str(error)) from error
            raise
        except BaseException as error:
            self.transport.abort(run, reason_of(error), peers)
            raise
        return results

    def _commit(self, pulse: Pulse, store: Named, written: Mapping[str, Generation], results: Results) -> None:
        """All parts have ended well. From here on there is no way back: who is not told has lost its variables.

        Owners that the run could have gone on without keep none, and are told in case that they wait for it.
        """
        lost: JmpcError | None = None
        commit = Header(Kind.COMMIT, pulse.run)
        for peer in sorted(pulse.peers):
            try:
                pulse.send(peer, lambda timeout, peer=peer: self.transport.send(peer, commit, timeout=timeout))
            except JmpcError as error:
                lost = lost or error
        store.commit(results.generation, written)
        self._variables.update((store.names[variable], generation) for variable, generation in written.items())
        if lost is not None:
            raise lost

    # -- saving and loading ------------------------------------------------------------------------------------

    def save(self, name: str, descriptor: bytes, places: Places) -> None:
        """Has the players save the present generations of variables, all of them or none."""
        with self._running:
            runs = {variable: self._variables[variable].run for variable in places}
            self._storages.save(name, descriptor, places, runs)

    def load(self, name: str, places_of: Callable[[bytes], Places], fresh: Callable[[], str]) -> Loaded:
        """Has the players load what they saved under a name; see `Storages.load`."""
        with self._running:
            loaded = self._storages.load(name, places_of, fresh)
            self._variables.update(loaded.generations)
            return loaded

    def _ask(self, requests: Mapping[str, Request]) -> Mapping[str, Answer]:
        """Asks the storages of players, this one's own among them."""
        number, peers = secrets.token_bytes(RUN_BYTES), [player for player in requests if player != self.driver]
        if missing := [player for player in peers if player not in self._config.players]:
            raise ConfigError(f"players {missing} are not in the configuration; known are {list(self._config.players)}")
        self._check_there(peers)
        for peer in peers:
            self.transport.send(peer, Header(Kind.STORAGE, number, body=requests[peer].encode(self._id)))
        self._told.update(peers)
        found: dict[str, Answer] = {}
        if self.driver in requests:
            found[self.driver] = perform(requests[self.driver], self.driver, self._store, self._archive)
        what, patience = "answer for its storage", PREPARE_TIMEOUT * self._config.timeout
        return found | self._answers(number, peers, what, Answer.decode, patience)

    def _check_there(self, peers: Sequence[str]) -> None:
        """Raises what keeps a node from answering, long before its disk could be the reason.

        Asks again and again: an answer may go to the session before this one, where nobody listens any more.
        """
        deadline = time.monotonic() + self._config.timeout
        while peers:
            answers = ping(self.transport, peers, min(_AGAIN_SECONDS, max(0.0, deadline - time.monotonic())))
            for error in answers.values():
                if isinstance(error, JmpcError) and not isinstance(error, LinkTimeout):
                    raise error
            peers = [peer for peer, answer in answers.items() if isinstance(answer, LinkTimeout)]
            if peers and time.monotonic() >= deadline:
                where, hint = self._config.get_player(peers[0]).address, self.transport.hint(peers[0])
                raise LinkTimeout(peers[0], f"{peers[0]} ({where}) does not answer: {hint}")

    def close(self) -> None:
        """Closes the links; the nodes forget this session's variables."""
        for peer in sorted(self._told):
            try:
                self.transport.send(peer, Header(Kind.STATUS, self._id, body=orders.CLOSED), timeout=0.1)
            except JmpcError as error:
                _log.debug("while closing: %s", error)
        self._told.clear()
        self.transport.close()
