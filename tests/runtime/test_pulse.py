"""When a player is given up."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import zmq

from jmpc.errors import LinkTimeout
from jmpc.net import Header, Kind, Transport
from jmpc.runtime import pulse
from jmpc.runtime.orders import WORKING
from jmpc.runtime.pulse import Pulse

RUN = b"r" * 16


def test_what_was_said_before_a_wait_hardly_makes_it_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A player that is cut off has said that it works, and nobody had asked for it yet."""
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def nothing_comes(seconds: float) -> None:
        clock.now += seconds
        raise LinkTimeout("b", "nothing came")

    with zmq.Context() as context:
        endpoints = {name: f"inproc://{name}" for name in "ab"}
        with Transport("a", endpoints, context=context) as a, Transport("b", endpoints, context=context) as b:
            a.open_run(RUN)
            for _ in range(3):
                b.send("a", Header(Kind.DONE, RUN, body=WORKING))
            b.send("a", Header(Kind.STATUS, RUN))
            a.wait_control(Kind.STATUS, RUN, "b", 5)
            start = clock.now
            with pytest.raises(LinkTimeout, match="b did not get on"):
                Pulse(a, RUN, ["b"], 30.0).wait("b", nothing_comes)
            assert 30.0 < clock.now - start < 30.5
