"""What reads the sockets of a player, in whichever thread has the turn."""

import math
import time
from collections.abc import Callable, Collection
from typing import Final

import zmq

from ..keys import Authenticator
from ._links import Link
from ._mailbox import Mailbox
from ._sockets import Bell

_LOOK_SECONDS: Final = 0.1  # between looks after links and frames that are early: a frame waits for that as well
_MOST_SECONDS: Final = 0.005  # that frames are read, before who reads looks whether its own has come or is overdue

Accept = Callable[[str, list[memoryview]], None]
Refuse = Callable[[str, str, str], None]


class Reader:
    """Reads frames, requests of those who want to connect, and what ZeroMQ tells of this player's own links.

    Arguments:
        players: whose frames are taken in.
        router: where frames arrive.
        bell: makes a `read` that waits look again, also for links that are new.
        authenticator: says who may connect, and who sent a frame; None where the routing id says that.
        mail: is told of links that broke.
        links: all there are.
        retire: called with a link that will carry nothing again; whether it may be closed now.
        accept: called with the sender and the parts of a frame.
        refuse: called with whose frame or connection was refused, why, and details.
        lost_after: seconds that a link that was up may be down.
    """

    def __init__(
        self,
        players: Collection[str],
        router: zmq.Socket,
        bell: Bell,
        authenticator: Authenticator | None,
        mail: Mailbox,
        *,
        links: Callable[[], list[Link]],
        retire: Callable[[Link], bool],
        accept: Accept,
        refuse: Refuse,
        lost_after: float,
    ) -> None:
        self._players, self._router, self._bell, self._authenticator = players, router, bell, authenticator
        self._mail, self._links, self._retire = mail, links, retire
        self._accept, self._refuse, self._lost_after = accept, refuse, lost_after
        self._watched: dict[zmq.Socket, Link] = {}
        self._due = 0.0
        self._poller = zmq.Poller()
        for made in [router, bell.heard, *([authenticator.socket] if authenticator else [])]:
            self._poller.register(made, zmq.POLLIN)

    def read(self, seconds: float) -> bool:
        """Take in what has arrived, or the first that does within `seconds`; False if the sockets are gone.

        One thread at a time may call it. Nothing that a peer does makes it raise.
        """
        try:
            ready = dict(self._poller.poll(math.ceil(1000 * seconds)))
            if self._bell.heard in ready:
                self._bell.hear()
                self._watch_new_links()
            self._answer(ready)
            if (now := time.monotonic()) >= self._due:
                self._due = now + _LOOK_SECONDS
                self._look_after(now)
        except zmq.ContextTerminated:  # a shared context, ended by its owner
            return False
        except Exception as error:
            # Whatever a peer made happen, the other peers' frames must still be read.
            self._refuse("some player", "unreadable", f"({type(error).__name__}) ")
        return True

    def _answer(self, ready: Collection[zmq.Socket]) -> None:
        if self._router in ready:
            self._read_frames()
        if self._authenticator is not None and self._authenticator.socket in ready:
            if not self._authenticator.answer():
                self._refuse("a stranger", "connection with an unknown key", "")
        for ready_one in ready:
            if ready_one in self._watched:
                self._watched[ready_one].hear(self._mail)

    def _read_frames(self) -> None:
        until = time.monotonic() + _MOST_SECONDS
        while True:
            routing_id, *frames = self._receive()
            sender = self._sender(routing_id, frames)
            if sender is None:
                self._refuse("a stranger", "of an unknown sender", "")
            else:
                self._accept(sender, [frame.buffer for frame in frames])
            more = int(self._router.getsockopt(zmq.EVENTS)) & zmq.POLLIN  # sooner said than by an exception
            if not more or time.monotonic() > until:
                return

    def _receive(self) -> list[zmq.Frame]:
        """As `recv_multipart`, which asks the socket after each part whether there is more."""
        frames = [self._router.recv(zmq.NOBLOCK, copy=False)]
        while frames[-1].more:
            frames.append(self._router.recv(zmq.NOBLOCK, copy=False))
        return frames

    def _sender(self, routing_id: zmq.Frame, frames: list[zmq.Frame]) -> str | None:
        if self._authenticator is None:
            name = routing_id.bytes.decode("ascii", "replace")
        else:
            try:
                name = self._authenticator.name_of(str(frames[0].get("User-Id")))
            except (zmq.ZMQError, IndexError):
                return None
        return name if name in self._players else None

    def _watch_new_links(self) -> None:
        for link in self._links():
            if link.monitor is not None and link.monitor not in self._watched:
                self._watched[link.monitor] = link
                self._poller.register(link.monitor, zmq.POLLIN)

    def _look_after(self, now: float) -> None:
        for monitor, link in list(self._watched.items()):
            link.look_after(self._mail, now, self._lost_after)
            if (link.refused is not None or link.ended or link.obsolete) and self._retire(link):
                # libzmq does not try such a link again; the next frame makes a new one.
                self._poller.unregister(monitor)
                del self._watched[monitor]
                link.close(0)
        if expired := self._mail.expire(now):
            self._refuse("some player", "of a run that was not opened in time", f"({expired}) ")
