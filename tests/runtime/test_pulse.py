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
from jmpc.runtime.orders import WORKING
from jmpc.runtime.pulse import Pulse

RUN = b"r" * 16


@pytest.fixture
def pair() -> Iterator[tuple[Transport, Transport]]:
    """Two players; the run is open at the first one."""
    with zmq.Context() as context:
        endpoints = {name: f"inproc://{name}" for name in "ab"}
        with Transport("a", endpoints, context=context) as a, Transport("b", endpoints, context=context) as b:
            a.open_run(RUN)
            yield a, b


def say(b: Transport, a: Transport, *words: bytes) -> None:
    """Until a has them all."""
    for word in words:
        b.send("a", Header(Kind.DONE, RUN, body=word))
    b.send("a", Header(Kind.STATUS, RUN))
    a.wait_control(Kind.STATUS, RUN, "b", 20)


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
    say(b, a, WORKING, WORKING, WORKING)
    start = clock.now
    with pytest.raises(LinkTimeout, match="b did not get on"):
        Pulse(a, RUN, ["b"], 30.0).wait("b", nothing_comes)
    assert 30.0 < clock.now - start < 30.5


def test_who_is_done_is_still_heard_out(pair: tuple[Transport, Transport]) -> None:
    """The last word of a player may be there just before its last array, at somebody who waits for that."""
    a, b = pair
    beats = Pulse(a, RUN, ["b"], 30.0)

    def array(seconds: float) -> bytes:
        if not beats._ended:
            say(b, a, WORKING, b"identity")
            raise LinkTimeout("b", "nothing came")
        return b"array"

    assert beats.wait("b", array) == b"array"
    assert beats.done("b") == b"identity"
