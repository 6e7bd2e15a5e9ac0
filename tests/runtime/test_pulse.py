"""When a player is given up."""

from __future__ import annotations

import time

import pytest
import zmq

from jmpc.errors import LinkTimeout
from jmpc.net import Header, Kind, Transport
from jmpc.runtime.orders import WORKING
from jmpc.runtime.pulse import Pulse

RUN = b"r" * 16


def test_what_was_said_before_a_wait_hardly_makes_it_longer() -> None:
    """A player that is cut off has said that it works, and nobody had asked for it yet."""
    with zmq.Context() as context:
        endpoints = {name: f"inproc://{name}" for name in "ab"}
        with Transport("a", endpoints, context=context) as a, Transport("b", endpoints, context=context) as b:
            a.open_run(RUN)
            for _ in range(3):
                b.send("a", Header(Kind.DONE, RUN, body=WORKING))
            b.send("a", Header(Kind.STATUS, RUN))
            a.wait_control(Kind.STATUS, RUN, "b", 5)
            start, timeout = time.monotonic(), 1.6
            with pytest.raises(LinkTimeout, match="b did not get on"):
                Pulse(a, RUN, ["b"], timeout).wait("b", lambda seconds: a.receive("b", RUN, (0,), seconds))
            assert timeout < time.monotonic() - start < timeout * 1.24
