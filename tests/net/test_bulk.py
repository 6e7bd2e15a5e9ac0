"""The second port: large arrays under keys that were told over CURVE."""

import math
import threading
import time

import numpy as np
import pytest
import zmq

from jmpc.errors import FrameError
from jmpc.net import Header, Kind, Limits
from jmpc.net.framing import encode
from jmpc.net.transport import _bulk, _links
from jmpc.net.transport._bulk import BULK_BYTES, LOST, PIECE_BYTES, READY, Bulk, Lane

RUN = bytes(range(16))
LARGE = np.arange((3 * PIECE_BYTES + 1000) // 8, dtype=np.uint64)


def data(slot: int) -> Header:
    return Header(Kind.DATA, RUN, (slot,))


@pytest.fixture
def pair(start, tcp_endpoints, key_rings):
    endpoints, rings, bulk = tcp_endpoints("a", "b"), key_rings("a", "b"), tcp_endpoints("b")
    a, b = (start(name, endpoints, keys=rings[name], bulk=bulk) for name in "ab")
    a.open_run(RUN)
    b.open_run(RUN)
    return a, b


def warm_up(a, b, slot: int = 1000) -> None:
    """Sends until the second port is in use."""
    end = time.monotonic() + 5
    while (lane := a._link("b").lane) is None or not lane.ready:
        assert time.monotonic() < end
        a.send("b", data(slot), [LARGE])
        b.receive("a", RUN, (slot,))
        slot += 1
        time.sleep(0.01)


def test_large_arrays_take_the_second_port(pair):
    a, b = pair
    warm_up(a, b)
    before = a._link("b").lane._counter
    small = np.arange(5, dtype=np.uint32)
    for slot in range(3):
        a.send("b", data(slot), [LARGE + slot, small, LARGE[:9000]])
    for slot in range(3):
        first, second, third = b.receive("a", RUN, (slot,), sizes=[LARGE.nbytes, 20, 72000])
        assert np.array_equal(np.frombuffer(first, np.uint64), LARGE + slot)
        assert np.array_equal(np.frombuffer(second, np.uint32), small)
        assert np.array_equal(np.frombuffer(third, np.uint64), LARGE[:9000])
    assert a._link("b").lane._counter == before + 3 * (1 + 4 + 1 + 1)  # header, pieces of three parts
    assert a.dropped == b.dropped == {}
    assert a.sent.slots(RUN)["b", (0,)] == b.received.slots(RUN)["a", (0,)]


def test_small_frames_and_those_without_a_port_go_the_usual_way(pair):
    a, b = pair
    a.send("b", data(0), [bytes(BULK_BYTES - 1)])
    assert a._link("b").lane is None
    b.send("a", data(0), [LARGE])  # a has no second port
    assert len(a.receive("b", RUN, (0,))[0]) == LARGE.nbytes
    assert b._link("a").lane is None


def test_a_port_that_nobody_reaches_is_done_without(start, tcp_endpoints, key_rings):
    endpoints, rings = tcp_endpoints("a", "b"), key_rings("a", "b")
    a = start("a", endpoints, keys=rings["a"], bulk=tcp_endpoints("b"))
    b = start("b", endpoints, keys=rings["b"], bulk=tcp_endpoints("b"))  # which listens somewhere else
    a.open_run(RUN)
    b.open_run(RUN)
    for slot in range(3):
        a.send("b", data(slot), [LARGE])
        assert len(b.receive("a", RUN, (slot,))[0]) == LARGE.nbytes
    assert not a._link("b").lane.ready


def test_a_receiver_that_comes_back_gets_another_key(start, tcp_endpoints, key_rings):
    endpoints, rings, bulk = tcp_endpoints("a", "b"), key_rings("a", "b"), tcp_endpoints("b")
    a, b = (start(name, endpoints, keys=rings[name], bulk=bulk) for name in "ab")
    a.open_run(RUN)
    b.open_run(RUN)
    warm_up(a, b)
    lane = a._link("b").lane
    b.close()
    b = start("b", endpoints, keys=rings["b"], bulk=bulk)
    b.open_run(RUN)
    end, slot = time.monotonic() + 10, 0
    while not (a._link("b").lane is not lane and a._link("b").lane.ready):
        assert time.monotonic() < end
        a.send("b", data(slot), [LARGE])
        time.sleep(0.05)
        slot += 1
    a.send("b", data(5000), [LARGE])
    assert np.array_equal(np.frombuffer(b.receive("a", RUN, (5000,))[0], np.uint64), LARGE)


def test_what_strangers_say_there_is_dropped(pair):
    a, b = pair
    warm_up(a, b)
    lane = a._link("b").lane
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.connect(a._bulk["b"])
        stranger.send_multipart([bytes(25), bytes(100)])
        stranger.send_multipart([lane._id + (1 << 40).to_bytes(8, "big") + b"\x01", bytes(100)])
        stranger.send_multipart([b"x"])
        end = time.monotonic() + 5
        while sum(b.dropped.values()) < 3:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert set(b.dropped) == {
        "a message under an unknown key",
        "a message that does not open",
        "a message of the wrong form",
    }
    a.send("b", data(0), [LARGE])  # and nothing else has changed
    assert len(b.receive("a", RUN, (0,))[0]) == LARGE.nbytes


# -- the two ends without sockets ------------------------------------------------------------------------------


class NoSocket:
    def close(self, linger: int) -> None:
        pass


@pytest.fixture
def ends():
    """A sender and a receiver that has the sender's key."""
    lane, bulk = Lane(NoSocket(), 0), Bulk(Limits())
    bulk.learn("a", lane.offer.run, lane.offer.body)
    assert bulk.take(views(lane.probe)).answer == Header(Kind.KEY, lane.offer.run, body=READY)
    return lane, bulk


def views(message):
    return [memoryview(part) for part in message]


def frame(*buffers, kind=Kind.DATA):
    return encode(Header(kind, RUN, (0,)), buffers)


def test_what_is_sealed_says_nothing(ends):
    lane, _ = ends
    sent = b"".join(part for message in lane.messages(frame(bytes(PIECE_BYTES))) for part in message)
    assert bytes(64) not in sent and lane.offer.body not in sent


def test_every_message_has_its_own_nonce(ends):
    lane, _ = ends
    heads = [lane.probe[0], *(head for _ in range(2) for head, _ in lane.messages(frame(LARGE)))]
    assert len({head[:24] for head in heads}) == len(heads) == 11


def test_a_message_that_comes_twice_or_late_is_refused(ends):
    lane, bulk = ends
    first, *rest = lane.messages(frame(LARGE))
    bulk.take(views(first))
    with pytest.raises(FrameError, match="came before"):
        bulk.take(views(first))
    for message in rest[:-1]:
        assert bulk.take(views(message)).parts is None
    with pytest.raises(FrameError, match="came before"):
        bulk.take(views(rest[0]))
    assert bulk.take(views(rest[-1])).parts is not None


def test_a_gap_drops_the_frame_and_tells_the_sender(ends):
    lane, bulk = ends
    begin, first, second, *rest = lane.messages(frame(LARGE))
    bulk._keys[lane.offer.run].answered = -math.inf
    bulk.take(views(begin))
    arrived = bulk.take(views(second))
    assert arrived.answer.body == LOST and arrived.parts is None
    lane.ready = True
    lane.told(arrived.answer)
    assert not lane.usable(0)
    with pytest.raises(FrameError, match="came before"):
        bulk.take(views(begin))
    assert bulk.take(views(first)).answer is None  # so soon after the last
    bulk._keys[lane.offer.run].answered = -math.inf  # what was said may not have arrived
    assert bulk.take(views(rest[0])).answer.body == LOST
    assert all(bulk.take(views(message)).parts is None for message in lane.messages(frame(LARGE)))


@pytest.mark.parametrize("place", [0, 20, 24])
def test_a_flipped_bit_of_the_head_or_the_rest_is_refused(ends, place):
    lane, bulk = ends
    head, sealed = lane._sealed(1, frame(LARGE)[0])
    bad = bytearray(head)
    bad[place] ^= 1
    with pytest.raises(FrameError):
        bulk.take(views([bytes(bad), sealed]))
    with pytest.raises(FrameError, match="open"):
        bulk.take(views([head, bytes([sealed[0] ^ 1]) + sealed[1:]]))
    assert bulk.take(views([head, sealed])).sender == "a"


def test_what_does_not_fit_a_frame_is_refused(ends):
    lane, bulk = ends
    with pytest.raises(FrameError, match="no frame"):
        bulk.take(views(lane._sealed(2, b"piece")))
    bulk.take(views(lane._sealed(1, frame(bytes(BULK_BYTES))[0])))
    with pytest.raises(FrameError, match="no frame"):
        bulk.take(views(lane._sealed(2, bytes(BULK_BYTES + 1))))
    with pytest.raises(FrameError):
        bulk.take(views(lane._sealed(1, b"no header")))
    small = Bulk(Limits(max_frame_bytes=1000))
    small.learn("a", lane.offer.run, lane.offer.body)
    small._keys[lane.offer.run].counter = lane._counter
    with pytest.raises(FrameError, match="at most 1000"):
        small.take(views(lane._sealed(1, frame(bytes(BULK_BYTES))[0])))


def test_of_a_sender_the_last_two_keys_are_known(ends):
    """What was sealed under the one before may come later than the news of the next."""
    lane, bulk = ends
    other, second, third = (Lane(NoSocket(), 0) for _ in range(3))
    bulk.learn("b", other.offer.run, other.offer.body)
    bulk.learn("a", second.offer.run, second.offer.body)
    assert [bulk.take(views(message)) for message in lane.messages(frame(LARGE))][-1].parts is not None
    assert bulk.take(views(second.probe)).sender == "a"
    bulk.learn("a", third.offer.run, third.offer.body)
    with pytest.raises(FrameError, match="unknown key"):
        bulk.take(views(next(lane.messages(frame(LARGE)))))
    bulk.learn("a", other.offer.run, other.offer.body)  # nobody takes over another's
    assert bulk.take(views(other.probe)).sender == "b"


def test_a_slow_receiver_gets_all_of_it_and_what_is_small_goes_on(pair, monkeypatch):
    """A frame may take longer than the timeout as long as something of it leaves; others do not wait for it."""
    a, b = pair
    warm_up(a, b)
    lane, real, waiting = a._link("b").lane, _links._try_send, threading.Event()
    began = time.monotonic()

    def slow(socket, parts):
        if socket is lane.dealer:
            waiting.set()
            time.sleep(0.1)
        return real(socket, parts)

    monkeypatch.setattr(_links, "_try_send", slow)
    sender = threading.Thread(target=lambda: a.send("b", data(0), [LARGE], timeout=0.3))
    sender.start()
    assert waiting.wait(5)
    a.send("b", Header(Kind.STATUS, RUN, body=b"small"), timeout=0.05)
    assert sender.is_alive()
    assert b.wait_control(Kind.STATUS, RUN, "a", 5).body == b"small"
    assert len(b.receive("a", RUN, (0,), 5)[0]) == LARGE.nbytes
    assert time.monotonic() - began > 0.4
    sender.join()


def test_another_key_loses_nothing_that_was_sent(pair, monkeypatch):
    a, b = pair
    warm_up(a, b)
    monkeypatch.setattr(_bulk, "_MOST_MESSAGES", 30)
    window = 5  # frames of five messages: a key lasts for more than are on their way, as it always does
    for slot in range(30 + window):
        if slot < 30:
            a.send("b", data(slot), [LARGE + slot])
        if (came := slot - window) >= 0:
            assert np.array_equal(np.frombuffer(b.receive("a", RUN, (came,))[0], np.uint64), LARGE + came)


def test_a_link_that_was_closed_is_no_place_to_send(pair):
    a, b = pair
    warm_up(a, b)
    link = a._link("b")
    link.obsolete = True  # to be closed by who reads: it polls the link's monitor
    until = time.monotonic() + 5
    while not link.closed and time.monotonic() < until:
        time.sleep(0.01)
    for parts in (frame(LARGE), frame(b"small")):
        with pytest.raises(_links.LinkClosed):
            link.send(parts, 1.0, lambda: None)
