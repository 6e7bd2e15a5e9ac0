"""Who waits for a frame reads the sockets, and the transport's own thread only while nobody does."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from jmpc.errors import LinkTimeout
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.transport import Transport
from jmpc.net.transport._sockets import Sockets
from jmpc.net.transport._turns import Turns

SOON = 5.0


@dataclass
class Arrivals:
    """Stands for the sockets: `bell` lets a read return, `more` says whether anything will come after it."""

    readers: list[int] = field(default_factory=list)
    bell: threading.Event = field(default_factory=threading.Event)
    more: bool = True

    def read(self, seconds: float) -> bool:
        self.readers.append(threading.get_ident())
        self.bell.wait(seconds)
        self.bell.clear()
        return self.more


@dataclass
class Waiting:
    """A thread that waits for its turn, or for somebody else's, until `stop`."""

    turns: Turns
    lock: threading.Lock
    stop: threading.Event = field(default_factory=threading.Event)
    woken: int = 0

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._wait, daemon=True)
        self.thread.start()

    def _wait(self) -> None:
        with self.lock:
            while not self.stop.is_set() and not self.turns.over:
                self.turns.wait(SOON)
                self.woken += 1

    def end(self) -> None:
        with self.lock:
            self.stop.set()
            self.turns.tell()
        self.thread.join(SOON)
        assert not self.thread.is_alive()


@dataclass
class Scene:
    sockets: Arrivals = field(default_factory=Arrivals)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.turns = Turns(self.lock, self.sockets.read, self.sockets.bell.set)

    def waiting(self) -> Waiting:
        return Waiting(self.turns, self.lock)

    def serving(self) -> threading.Thread:
        def serve() -> None:
            with self.lock:
                self.turns.serve()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        with self.lock:
            self.turns.end()


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.end()


def soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SOON
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def test_who_waits_reads_and_the_own_thread_rests(scene):
    waiting = scene.waiting()
    assert soon(lambda: scene.sockets.readers.count(waiting.thread.ident) > 2)
    own = scene.serving()
    time.sleep(0.3)
    assert own.ident not in scene.sockets.readers
    waiting.end()
    assert soon(lambda: own.ident in scene.sockets.readers)


def test_who_comes_to_wait_takes_over_from_the_own_thread(scene):
    own = scene.serving()
    assert soon(lambda: own.ident in scene.sockets.readers)
    waiting = scene.waiting()
    assert soon(lambda: waiting.thread.ident in scene.sockets.readers)
    waiting.end()


def test_the_main_thread_leaves_the_reading_to_others(scene):
    own = scene.serving()
    end = time.monotonic() + 0.3
    with scene.lock:
        while (left := end - time.monotonic()) > 0:
            scene.turns.wait(left)
    assert set(scene.sockets.readers) == {own.ident}


def test_the_next_who_waits_takes_over(scene):
    first = scene.waiting()
    assert soon(lambda: first.thread.ident in scene.sockets.readers)
    second = scene.waiting()
    first.end()
    assert soon(lambda: second.thread.ident in scene.sockets.readers)
    second.end()


def test_a_change_by_another_thread_wakes_who_reads_and_who_waits(scene):
    both = [scene.waiting(), scene.waiting()]
    assert soon(lambda: len(scene.sockets.readers) > 0)
    start = time.monotonic()
    for one in both:
        one.end()
    assert time.monotonic() - start < SOON / 2


def test_the_own_thread_is_back_at_once_when_told_to(scene):
    own = scene.serving()
    waiting = scene.waiting()
    assert soon(lambda: waiting.thread.ident in scene.sockets.readers)
    with scene.lock:
        waiting.stop.set()
        scene.turns.tell()
    waiting.thread.join(SOON)
    with scene.lock:
        scene.turns.resume()
    assert soon(lambda: scene.sockets.readers[-1] == own.ident)


def test_the_end_comes_when_nobody_reads_any_more(scene):
    own, waiting = scene.serving(), [scene.waiting() for _ in range(3)]
    assert soon(lambda: len(scene.sockets.readers) > 1)
    scene.end()
    reads = len(scene.sockets.readers)
    for thread in [own, *(one.thread for one in waiting)]:
        thread.join(SOON)
        assert not thread.is_alive()
    assert len(scene.sockets.readers) == reads


def test_it_is_over_when_the_sockets_are_gone(scene):
    waiting, own = scene.waiting(), scene.serving()
    assert soon(lambda: len(scene.sockets.readers) > 0)
    scene.sockets.more = False
    scene.sockets.bell.set()
    waiting.thread.join(SOON)
    own.join(SOON)
    assert scene.turns.over and not waiting.thread.is_alive() and not own.is_alive()


@pytest.fixture
def readers(inproc):
    """Three players, and by name the threads that have read at each."""
    transports = {made.name: made for made in inproc("a", "b", "c")}
    found: dict[str, set[int]] = {name: set() for name in transports}

    def noting(name: str, transport: Transport) -> None:
        read = transport._reader.read

        def note(seconds: float) -> bool:
            found[name].add(threading.get_ident())
            return read(seconds)

        transport._reader.read = note

    for name, transport in transports.items():
        noting(name, transport)
    return transports, found


def in_a_thread(call: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(60)


def test_without_time_what_has_arrived_is_still_received(inproc):
    """Just after somebody has read, when the own thread is patient."""
    a, b = inproc("a", "b")
    run = bytes(RUN_BYTES)
    a.open_run(run)

    def receive() -> None:
        for slot in range(20):
            with pytest.raises(LinkTimeout):
                a.receive("b", run, (99,), 0.001)
            b.send("a", Header(Kind.DATA, run, (slot,)), [b"here"])
            time.sleep(0.001)
            assert a.receive("b", run, (slot,), 0.0)

    in_a_thread(receive)


def test_frames_of_others_that_take_long_to_read_do_not_hold_up_who_reads_for_all(inproc):
    a, b, _ = inproc("a", "b", "c")
    a.open_run(bytes(RUN_BYTES))
    accept = a._reader._accept

    def slowly(sender: str, parts: list[memoryview]) -> None:
        time.sleep(0.05)
        accept(sender, parts)

    a._reader._accept = slowly

    def receive() -> float:
        with pytest.raises(LinkTimeout):
            a.receive("c", bytes(RUN_BYTES), (0,), 0.001)  # from now on the own thread is patient
        for _ in range(60):
            b.send("a", Header(Kind.DATA, b"\1" * RUN_BYTES), [b"for a run that is not open"])
        start = time.monotonic()
        with pytest.raises(LinkTimeout):
            a.receive("c", bytes(RUN_BYTES), (0,), 0.05)
        return time.monotonic() - start

    assert in_a_thread(receive) < 1.0


def test_no_ring_is_lost_by_a_bell_of_narrow_sockets(context):
    bell = Sockets("a", context, 2, 1.0).bell()
    for _ in range(5000):
        bell.ring()
        bell.ring()
        assert bell.heard.poll(1000)
        bell.hear()
        assert not bell.heard.poll(0)
    for end in (bell.heard, bell._rung):
        end.close()


def test_many_runs_at_once_lose_nothing(readers):
    """Three players, six runs, each in a thread of its own at each player that waits, sends and computes by turns."""
    transports, found = readers
    runs = [bytes([number]) * RUN_BYTES for number in range(6)]
    for transport in transports.values():
        for run in runs:
            transport.open_run(run)

    def play(me: str, run: bytes) -> int:
        transport, peers = transports[me], sorted(set(transports) - {me})
        for slot in range(60):
            for peer in peers:
                transport.send(peer, Header(Kind.DATA, run, (slot,)), [f"{me} {slot}".encode()])
            for peer in peers:
                (array,) = transport.receive(peer, run, (slot,), SOON)
                assert bytes(array) == f"{peer} {slot}".encode()
            if slot % 20 == run[0]:
                time.sleep(0.03)  # longer than the own thread is patient
        for peer in peers:
            transport.send(peer, Header(Kind.DONE, run, body=me.encode()))
        assert [transport.wait_control(Kind.DONE, run, peer, SOON).body.decode() for peer in peers] == peers
        return threading.get_ident()

    with ThreadPoolExecutor(len(transports) * len(runs)) as pool:
        playing = [(me, pool.submit(play, me, run)) for me in transports for run in runs]
        ends = [(me, future.result(60)) for me, future in playing]
    threads = {me: {ident for name, ident in ends if name == me} for me in transports}
    for me in transports:
        assert found[me] & threads[me], "who waits reads"
        assert transports[me].dropped == {}
