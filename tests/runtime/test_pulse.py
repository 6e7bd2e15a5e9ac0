"""When a player is given up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import zmq

from jmpc.errors import LinkTimeout
from jmpc.net import Header, Kind, Transport
from jmpc.runtime import pulse
from jmpc.runtime.orders import Working
from jmpc.runtime.pulse import Pulse

RUN = b"r" * 16


@pytest.fixture
def pair() -> Iterator[tuple[Transport, Transport]]:
    with zmq.Context() as context:
        endpoints = {name: f"inproc://{name}" for name in "ab"}
        with Transport("a", endpoints, context=context) as a, Transport("b", endpoints, context=context) as b:
            a.open_run(RUN)
            yield a, b


def say(a: Transport, b: Transport, *words: bytes) -> None:
    """Has b say these words to a, and waits until they are there."""
    for word in words:
        b.send("a", Header(Kind.DONE, RUN, body=word))
    b.send("a", Header(Kind.STATUS, RUN))
    a.wait_control(Kind.STATUS, RUN, "b", 5)


def test_what_was_said_before_a_wait_hardly_makes_it_longer(
    pair: tuple[Transport, Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A player that is cut off has said that it works, and nobody had asked for it yet."""
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def nothing_comes(seconds: float) -> None:
        clock.now += seconds
        raise LinkTimeout("b", "nothing came")

    a, b = pair
    say(a, b, *[Working().encode()] * 3)
    start = clock.now
    with pytest.raises(LinkTimeout, match="b did not get on"):
        Pulse(a, RUN, ["b"], 30.0).wait("b", nothing_comes)
    assert 30.0 < clock.now - start < 30.5


def test_a_player_that_did_not_run_itself_gives_nobody_up_for_that(
    pair: tuple[Transport, Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine slept, or it collected garbage: longer than the timeout, in which others may have said nothing."""
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: clock.now))
    a, b = pair
    looks = iter([100.0, 0.2, 50.0])

    def arrays(seconds: float) -> bytes:
        assert seconds > 0.0
        if (took := next(looks, None)) is None:
            return b"arrays"
        clock.now += took
        raise LinkTimeout("b", "nothing yet")

    assert Pulse(a, RUN, ["b"], 1.2).wait("b", arrays) == b"arrays"


def test_a_last_word_that_comes_between_two_looks_is_not_lost(pair: tuple[Transport, Transport]) -> None:
    a, b = pair
    made = Pulse(a, RUN, ["b"], 30.0)
    looks = iter([LinkTimeout("b", "nothing yet"), b"arrays"])

    def arrays(seconds: float) -> bytes:
        """They come later than the last word of who has sent them."""
        if isinstance(look := next(looks), LinkTimeout):
            say(a, b, Working().encode(), b"the end")
            raise look
        return look

    assert made.wait("b", arrays) == b"arrays"
    assert made.done("b") == b"the end"


def test_a_last_word_is_what_is_waited_for(pair: tuple[Transport, Transport], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair
    made, whole = Pulse(a, RUN, ["b"], 30.0), Pulse._word
    looks = iter([True])

    def word(self: Pulse, peer: str, seconds: float) -> bytes:
        if next(looks, False):  # it comes when the first look has just ended
            say(a, b, b"the end")
            raise LinkTimeout(peer, "nothing yet")
        return whole(self, peer, seconds)

    monkeypatch.setattr(Pulse, "_word", word)
    assert made.done("b") == b"the end"


def test_a_peer_that_is_done_and_has_not_sent_all_is_given_up(pair: tuple[Transport, Transport]) -> None:
    a, b = pair
    say(a, b, b"the end")
    with pytest.raises(LinkTimeout, match="for 0.3 s: it says that it is done"):
        Pulse(a, RUN, ["b"], 0.3).wait("b", lambda seconds: a.receive("b", RUN, (1,), seconds))


def test_who_has_sent_what_never_came_is_given_up_however_much_at_work_it_is(
    pair: tuple[Transport, Transport],
) -> None:
    """A frame is lost when a link breaks and comes back; both players wait then, and both say that they are at work."""
    a, b = pair
    made = Pulse(a, RUN, ["b"], 0.5)
    b.send("a", Header(Kind.DATA, RUN, (0,)), [b"came"])
    a.receive("b", RUN, (0,), 5)

    def nothing(seconds: float) -> None:
        say(a, b, Working(2).encode())  # the second was lost
        time.sleep(min(seconds, 0.05))
        raise LinkTimeout("b", "nothing yet")

    with pytest.raises(LinkTimeout, match="for 0.5 s: 1 of the messages that it has sent did not come"):
        made.wait("b", nothing)


def test_who_has_sent_nothing_that_is_missing_is_waited_for(pair: tuple[Transport, Transport]) -> None:
    a, b = pair
    made, start = Pulse(a, RUN, ["b"], 0.3), time.monotonic()
    b.send("a", Header(Kind.DATA, RUN, (0,)), [b"came, and nobody has asked for it yet"])

    def at_last(seconds: float) -> bool:
        if time.monotonic() - start > 1:
            return True
        say(a, b, Working(1).encode())
        raise LinkTimeout("b", "nothing yet")

    assert made.wait("b", at_last)


def test_a_last_word_is_said_again(pair: tuple[Transport, Transport]) -> None:
    a, b = pair
    mine = Pulse(b, RUN, ["a"], 0.2)
    b.open_run(RUN)
    mine.finish("a", b"the end")
    assert Pulse(a, RUN, ["b"], 5.0).done("b") == b"the end"
    with pytest.raises(LinkTimeout):
        mine.wait("a", lambda seconds: b.receive("a", RUN, (9,), seconds))
    assert Pulse(a, RUN, ["b"], 5.0).done("b") == b"the end"
