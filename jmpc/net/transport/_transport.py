"""The player's end of all its links; see the package's docstring."""

import functools
import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Final, Self

import zmq

from ...errors import AuthenticationError, ChoreographyError, ConfigError, FrameError, JmpcError, LinkTimeout
from ..framing import Buffer, Header, Kind, Ledger, Limits, decode, encode
from ..keys import Authenticator, KeyRing
from ._bulk import KEY_BYTES, KNOWN, LOST, READY, Arrived, Port, listening, sending
from ._endpoints import check_endpoints, check_plain_text
from ._links import EVENTS, Link, LinkClosed, ask
from ._mailbox import GONE, LATE, MAX_REASON, Mailbox, Slot
from ._reader import Reader
from ._sockets import Sockets

_log: Final = logging.getLogger("jmpc.net")

_DEFAULT_LIMITS: Final = Limits()
_BEGINNINGS: Final = frozenset({Kind.SUBMIT, Kind.RUN, Kind.HELLO, Kind.STORAGE})  # of what takes more than one frame
_TICK_MS: Final = 100
_TOLD_SECONDS: Final = 0.1  # with less, a wait had only what earlier ones had left of their common time


class Transport:
    """One player's links to all others.

    Arguments:
        name: this player.
        endpoints: where each player listens, this one included: "tcp://host:port", or
            "inproc://name" for players that are threads of one process and share a `context`.
        keys: this player's key ring. None is for inproc, and for loopback with `insecure`.
        context: shared by players in one process. With keys a transport makes its own.
        limits: what it accepts.
        insecure: plain text on purpose, refused unless every address is a loopback address.
        listen: where to bind if that is not this player's endpoint (behind address translation).
        bulk: the second port of each player that has one, for large arrays; see `_bulk`. Not used without keys.
        bulk_listen: where to bind the own one, if not there.
        timeout: seconds that `send`, `receive` and `wait_control` wait unless told otherwise.
        high_water: frames that may wait for one peer before `send` waits.
        lost_after: seconds that a link that was up may be down, before those who wait for it fail.
        linger: seconds that `close` gives to frames that have not left.

    Attributes:
        sent, received: ledgers of frames and bytes.

    Raises:
        ConfigError: an address is missing, unusable or taken, or the links would be neither
            private nor local.
    """

    def __init__(
        self,
        name: str,
        endpoints: Mapping[str, str],
        *,
        keys: KeyRing | None = None,
        context: zmq.Context | None = None,
        limits: Limits = _DEFAULT_LIMITS,
        insecure: bool = False,
        listen: str | None = None,
        bulk: Mapping[str, str] = MappingProxyType({}),
        bulk_listen: str | None = None,
        timeout: float = 30.0,
        high_water: int = 1000,
        lost_after: float = 3.0,
        linger: float = 2.0,
    ) -> None:
        check_endpoints(name, endpoints, keys, context)
        if keys is None:
            check_plain_text(name, {**endpoints, f"{name} (listen)": listen or endpoints[name]}, insecure)
        self.name, self.limits, self.timeout = name, limits, timeout
        self.sent, self.received = Ledger(), Ledger()
        self._endpoints, self._keys = dict(endpoints), keys
        self._bulk = {} if keys is None else dict(bulk)
        self._lost_after = lost_after
        self._linger_ms = int(linger * 1000)
        self._dropped: Counter[str] = Counter()
        self._links: dict[str, Link] = {}
        self._pieces: Counter[str] = Counter()
        self._notes: dict[str, str] = {}  # of links that have ended
        self._lock = threading.Lock()  # guards _dropped, _links and _closed
        self._closed = False
        self._sockets = Sockets(name, context, high_water, timeout)
        self._port: Port | None = None
        try:
            self._bell = self._sockets.bell()
            self._mail = Mailbox(limits, lambda seconds: self._reader.read(seconds), self._bell.ring)
            self._open_sockets(listen or self._endpoints[name], bulk_listen or self._bulk.get(name))
        except BaseException:
            self._close_sockets()
            raise
        self._thread = threading.Thread(target=self._mail.serve, name=f"jmpc-net-{name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace
        self.close()

    @property
    def dropped(self) -> dict[str, int]:
        """How many frames and connections were refused, by reason."""
        with self._lock:
            return dict(self._dropped)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def admit(self, keys: KeyRing) -> None:
        """Use other public keys from now on: who has none is let in no longer, also where it is connected already.

        Raises:
            ConfigError: this player's own pair is another one, which takes a new transport.
        """
        if self._keys is None or self._zap is None:
            return
        if keys.own_public != self._keys.own_public:
            raise ConfigError(f"the own key of {self.name} is another one: restart jmpc-node {self.name} to use it")
        before, self._keys = self._keys.peers, keys
        self._zap.admit(keys.names())
        for peer in [peer for peer, key in before.items() if keys.peers.get(peer) != key]:
            with self._lock:
                if peer in self._links:
                    self._links[peer].obsolete = True  # the next one has the new key
            if self._port is not None:
                self._port.bulk.forget(peer)
            if peer not in keys.peers:
                text = f"the key of {peer} was revoked at {self.name}"
                self._mail.lose(peer, lambda text=text: AuthenticationError(text))

    def open_run(self, run: bytes, players: Iterable[str] | None = None, optional: Iterable[str] = ()) -> None:
        """Accept frames of `run`, from `players` only if given. Open it before saying HELLO.

        If one of the `optional` players ends the run, or sends more than may wait, it goes on without that one: who
        waits for it fails with a PeerError.

        Raises:
            ChoreographyError: a run of this id was opened before.
        """
        for sender, reason in self._mail.open_run(run, players, optional):
            self._drop(sender, reason)

    def dismiss(self, run: bytes, player: str, why: str) -> None:
        """Go on with a run without one of its optional players, for the reason `why`, and tell it if it can be told.

        What came of it and still comes is forgotten, and who waits for it fails with a PeerError.
        """
        self._mail.dismiss(run, player, why)
        with self._lock:
            link = self._links.get(player)
        if link is not None and link.up_since is not None:
            try:
                body = why[:MAX_REASON].encode()
                self.send(player, Header(Kind.ABORT, run, body=body), timeout=0)
            except JmpcError as error:
                _log.debug("%s could not tell %s that a run goes on without it: %s", self.name, player, error)

    def up_since(self, peer: str) -> float | None:
        """Since when (of `time.monotonic`) there is a link to `peer`; None if there is none, as far as can be told."""
        with self._lock:
            link = self._links.get(peer)
        return None if link is None else link.up_since

    def close_run(self, run: bytes) -> None:
        """Forget a run: what it left behind is dropped, what still comes for it as well."""
        self._mail.close_run(run)

    def hint(self, peer: str) -> str:
        """What somebody who waits in vain for `peer` should know."""
        with self._lock:
            link = self._links.get(peer)
            note = self._notes.get(peer, "")
        return ask(peer, note) if link is None else link.hint()

    def reach(self, peer: str) -> None:
        """Open the link to `peer`, so that it shows when that player comes and goes.

        Raises:
            AuthenticationError, ConfigError: as `send`.
        """
        self._link(peer)

    def is_up(self, peer: str) -> bool:
        """Whether the link to `peer` is open and stands. ZeroMQ's heartbeats notice who is gone within 15 seconds."""
        with self._lock:
            link = self._links.get(peer)
        return link is not None and link.up

    def check_peer(self, peer: str) -> None:
        """Raise what is known to keep `peer` from answering.

        Raises:
            PeerError, AuthenticationError: as `receive`.
        """
        self._mail.check_peer(peer)

    def check(self, run: bytes) -> None:
        """Raise what ended a run, if something did; for stretches without messages.

        Raises:
            RunAborted, PeerError: as `receive`.
        """
        self._mail.check(run)

    def arrived(self, run: bytes, peer: str) -> int:
        """How many frames of arrays have come from `peer` in a run, those among them that were received already."""
        return self._mail.arrived(run, peer)

    def pieces(self, peer: str) -> int:
        """How many pieces of large frames have come from `peer` at the second port, ever."""
        return self._pieces[peer]

    def send(
        self,
        peer: str,
        header: Header,
        buffers: Sequence[Buffer] = (),
        timeout: float | None = None,
    ) -> None:
        """Hand a frame to the link to `peer`; returns before it arrives.

        Buffers of 64 KiB or more are not copied: ZeroMQ holds a reference to them until they have
        left, and until then nobody may write to them. Over inproc the receiver sees the very same
        memory.

        Raises:
            LinkTimeout: the link is full and stayed so for `timeout` seconds, or nothing of a large frame left.
            AuthenticationError: `peer` refuses this player's key.
            RunAborted, PeerError: the run of a DATA frame is over.
            FrameError: a receiver with this player's limits would refuse the frame.
            ConfigError: no such player.
        """
        parts = encode(header, buffers, self.limits)
        timeout = self.timeout if timeout is None else max(0.0, timeout)
        link = self._link(peer)
        if header.kind in _BEGINNINGS:
            link.hope(self._mail)

        def check() -> None:
            if self._closed:
                raise JmpcError("the transport is closed")
            if header.kind == Kind.DATA:
                self._mail.check(header.run)

        try:
            sent = link.send(parts, timeout, check)
        except LinkClosed:  # it was retired just now; of a transport that is closed `_link` says so
            sent = self._link(peer).send(parts, timeout, check)
        if not sent:
            raise self._timeout(peer, "took no frame", timeout)
        self.sent.add(peer, header, len(parts[0]), sum(map(len, parts[1:])))

    def receive(
        self,
        peer: str,
        run: bytes,
        slot: Slot,
        timeout: float | None = None,
        *,
        sizes: Sequence[int] | None = None,
    ) -> list[memoryview]:
        """The arrays that `peer` sent for one exchange, once; waits for them.

        They are read-only views of ZeroMQ's memory, which lives as long as they do. With `sizes`
        the frame must hold arrays of exactly these bytes.

        Raises:
            LinkTimeout: nothing came for `timeout` seconds.
            RunAborted: some player ended the run.
            PeerError: the link to `peer` broke, or it sent more than may wait.
            AuthenticationError: `peer` refuses this player's key.
            FrameError: the arrays have other sizes.
            ChoreographyError: the run is not open.
        """
        self._address(peer)
        timeout = self.timeout if timeout is None else timeout
        arrays = self._mail.take(peer, run, slot, time.monotonic() + timeout)
        if arrays is None:
            raise self._timeout(peer, f"did not send slot {slot} of run {run.hex()}", timeout)
        if sizes is not None and (came := [array.nbytes for array in arrays]) != list(sizes):
            raise FrameError(f"{peer} sent arrays of {came} bytes for slot {slot}, expected were {list(sizes)}")
        return arrays

    def control(
        self, kinds: Collection[Kind] = frozenset(Kind), timeout: float | None = None
    ) -> tuple[str, Header] | None:
        """The oldest control frame of these kinds, and its sender; None if none comes in time.

        For a node's main loop, which has no end of its own: None as `timeout` waits for ever.
        Frames that another thread gets with `wait_control` should not be among `kinds`.

        Raises:
            JmpcError: the transport was closed.
        """
        return self._mail.take_control(kinds, None, None, None if timeout is None else time.monotonic() + timeout)

    def wait_control(self, kind: Kind, run: bytes, sender: str, timeout: float | None = None) -> Header:
        """The oldest control frame of one kind that `sender` sent for `run`; waits for it.

        Raises:
            LinkTimeout, RunAborted, PeerError, AuthenticationError: as `receive`.
        """
        self._address(sender)
        timeout = self.timeout if timeout is None else timeout
        found = self._mail.take_control({kind}, run, sender, time.monotonic() + timeout)
        if found is None:
            raise self._timeout(sender, f"did not send {kind.name} of run {run.hex()}", timeout)
        return found[1]

    def abort(self, run: bytes, reason: str, peers: Iterable[str] = ()) -> None:
        """End a run here and, if they can be reached, at `peers`: who waits in it fails.

        The reason travels and is shown: no secret may be in it. Never raises for a peer that cannot
        be told.
        """
        reason = reason[:MAX_REASON]
        self._mail.abort(run, self.name, reason)
        for peer in peers:
            try:
                self.send(peer, Header(Kind.ABORT, run, body=reason.encode()), timeout=_TICK_MS / 1000)
            except JmpcError as error:
                _log.warning("%s could not tell %s that a run was aborted: %s", self.name, peer, error)

    def close(self) -> None:
        """Close all sockets; what was sent has `linger` seconds to leave. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._mail.shut()
        self._thread.join()
        for link in self._known_links():
            link.close(self._linger_ms)
        self._close_sockets()

    # What follows runs in the threads of the callers.

    def _open_sockets(self, endpoint: str, bulk: str | None) -> None:
        self._zap: Authenticator | None = None
        if self._keys is not None:
            self._zap = Authenticator(self._sockets.context, self.name, self._keys.names())
            self._sockets.keep(self._zap.socket)
        router = self._sockets.open(zmq.ROUTER, endpoint)
        router.setsockopt(zmq.MAXMSGSIZE, self.limits.max_frame_bytes)
        if self._keys is not None:
            self._keys.arm_server(router, self.name)
        else:
            # A player that starts again has the same routing id, and libzmq may not have noticed
            # that it was gone.
            router.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._sockets.bind(router, endpoint)
        self._reader = Reader(
            frozenset(self._endpoints) - {self.name},
            router,
            self._bell,
            self._zap,
            self._mail,
            links=self._known_links,
            retire=self._retire,
            accept=self._accept,
            refuse=self._drop,
            lost_after=self._lost_after,
        )
        if bulk is not None:
            router = listening(self._sockets.open(zmq.ROUTER, bulk))
            self._sockets.bind(router, bulk)
            self._port = Port(self.name, router, self.limits, self._arrived, lambda why: self._drop("a stranger", why))

    def _close_sockets(self) -> None:
        if self._port is not None:
            self._port.close()
        self._sockets.close()

    def _link(self, peer: str) -> Link:
        with self._lock:
            if self._closed:
                raise JmpcError("the transport is closed")
            if peer not in self._links:
                self._mail.regain(peer)  # it may know this player's key by now
                self._links[peer] = self._connect(peer)
                self._bell.ring()  # there is one more monitor to watch
            return self._links[peer]

    def _connect(self, peer: str) -> Link:
        endpoint = self._address(peer)
        if self._keys is not None and peer not in self._keys.peers:
            raise AuthenticationError(f"{self.name} has no key of {peer}, or it was revoked: copy it, or make one")
        dealer = self._sockets.open(zmq.DEALER, endpoint)
        over_tcp = endpoint.startswith("tcp:")
        monitor = dealer.get_monitor_socket(EVENTS) if over_tcp else None
        if self._keys is not None:
            self._keys.arm_client(dealer, peer)
        else:
            dealer.routing_id = self.name.encode()
        dealer.connect(endpoint)
        to_bulk = functools.partial(self._to_bulk, self._bulk[peer]) if peer in self._bulk else None
        return Link(self.name, peer, endpoint, dealer, monitor, self._notes.pop(peer, ""), to_bulk)

    def _to_bulk(self, endpoint: str) -> zmq.Socket:
        """A socket that its lane closes."""
        dealer = sending(self._sockets.open_apart(zmq.DEALER, endpoint))
        dealer.connect(endpoint)
        return dealer

    def _known_links(self) -> list[Link]:
        with self._lock:
            return list(self._links.values())

    def _address(self, peer: str) -> str:
        if peer == self.name:
            raise ChoreographyError(f"{peer} does not talk to itself: what a player holds needs no message")
        if peer not in self._endpoints:
            raise ConfigError(f"no player {peer!r} in the configuration; known are {sorted(self._endpoints)}")
        return self._endpoints[peer]

    def _timeout(self, peer: str, what: str, timeout: float) -> LinkTimeout:
        when = f"within {timeout:.3g} s" if timeout >= _TOLD_SECONDS else "in time"
        return LinkTimeout(peer, f"{peer} ({self._endpoints[peer]}) {what} {when}: {self.hint(peer)}")

    def _drop(self, sender: str, reason: str, detail: str = "") -> None:
        with self._lock:
            self._dropped[reason] += 1
            count = self._dropped[reason]
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th...: a flood must not fill the log
            level = logging.INFO if reason in (LATE, GONE) else logging.WARNING
            _log.log(level, "%s dropped a frame of %s: %s %s(%d so far)", self.name, sender, reason, detail, count)

    # What follows runs in the thread that has the turn to read, or in that of the second port.

    def _retire(self, link: Link) -> bool:
        """Let a link go, if nobody is sending, who would find out."""
        if link.busy:
            return False
        with self._lock:
            if self._links.get(link.peer) is link:
                del self._links[link.peer]
                self._notes[link.peer] = link.note
            self._sockets.release(link.dealer)
        return True

    def _accept(self, sender: str, parts: Sequence[memoryview], by_bulk: bool = False) -> None:
        """Judges one frame; from the thread of either port."""
        try:
            header, arrays = decode(parts, self.limits)
            if by_bulk and header.kind != Kind.DATA:
                raise FrameError(f"a {header.kind.name} where only arrays travel")
        except FrameError as error:
            self._drop(sender, "malformed", f"({error}) ")
            return
        if header.kind == Kind.KEY:
            self._hear_key(sender, header)
            return
        reason = self._mail.put(sender, header, arrays)
        if reason is not None:
            self._drop(sender, reason)
        else:
            self.received.add(sender, header, len(parts[0]), sum(map(len, parts[1:])))

    def _hear_key(self, sender: str, header: Header) -> None:
        if len(header.body) == KEY_BYTES and self._port is not None:
            self._port.bulk.learn(sender, header.run, header.body)
            self._tell(sender, Header(Kind.KEY, header.run, body=KNOWN))
        elif header.body in (KNOWN, READY, LOST):
            with self._lock:
                link = self._links.get(sender)
            if link is not None and (lane := link.lane) is not None:
                lane.told(header)
        else:
            self._drop(sender, "malformed", "(a key of the wrong length, or for no port) ")

    def _arrived(self, arrived: Arrived) -> None:
        """What came in at the second port; in the thread that reads it."""
        self._pieces[arrived.sender] += 1
        if arrived.parts is not None:
            self._accept(arrived.sender, arrived.parts, by_bulk=True)
        if arrived.answer is not None:
            if arrived.answer.body == LOST:
                self._drop(arrived.sender, "of which a part is missing")
            self._tell(arrived.sender, arrived.answer)

    def _tell(self, peer: str, header: Header) -> None:
        """Says something of a key, if there is room for it at once: whoever waits for it sends again."""
        try:
            self.send(peer, header, timeout=0.0)
        except JmpcError as error:
            _log.debug("%s could not tell %s of a key: %s", self.name, peer, error)
