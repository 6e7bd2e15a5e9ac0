"""Whether another player is there, in which version and with which configuration: asked of any player, by any.

    asker -> player  PING  the frame's run is the question's id
    player -> asker  PONG  msgpack [runtime, digest of the configuration]

The answer comes on the player's own link to the asker, so it shows that both ways are open.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from jmpc.errors import FrameError, JmpcError
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.net.transport import Transport
from jmpc.net.unpacking import unpack

_log = logging.getLogger("jmpc.net")

_MAX_RUNTIME = 200
_DIGEST_BYTES = 32
_SOON = 0.1  # seconds that who asks may wait for a link


@dataclass(frozen=True)
class Pong:
    """A player's answer, and how long after the question it came."""

    runtime: str
    configuration: bytes
    seconds: float


def ping(transport: Transport, peers: Iterable[str], timeout: float) -> dict[str, Pong | JmpcError]:
    """Asks players whether they are there; of each its answer, or why there is none within `timeout` seconds."""
    question, peers = secrets.token_bytes(RUN_BYTES), list(peers)
    found: dict[str, Pong | JmpcError] = {}
    start = time.monotonic()
    for peer in peers:
        try:
            transport.send(peer, Header(Kind.PING, question), timeout=_SOON)
        except JmpcError as error:
            found[peer] = error
    for peer in (peer for peer in peers if peer not in found):
        try:
            left = max(0.0, start + timeout - time.monotonic())
            found[peer] = _read(transport.wait_control(Kind.PONG, question, peer, left).body, time.monotonic() - start)
        except JmpcError as error:
            found[peer] = error
    return found


def answer(transport: Transport, sender: str, header: Header, runtime: str, configuration: bytes) -> None:
    """Answers a PING, if its sender takes an answer at once."""
    body = msgpack.packb([runtime, configuration])
    try:
        transport.send(sender, Header(Kind.PONG, header.run, body=body), timeout=0.0)
    except JmpcError as lost:
        _log.debug("%s could not be answered: %s", sender, lost)


def answers(found: Mapping[str, Pong | JmpcError], configuration: bytes) -> dict[str, dict[str, Any]]:
    """What `ping` found, as data that JSON can hold: of each player a runtime, or an error."""
    rows: dict[str, dict[str, Any]] = {}
    for peer, pong in found.items():
        if isinstance(pong, Pong):
            same = pong.configuration == configuration
            rows[peer] = {"runtime": pong.runtime, "milliseconds": round(1000 * pong.seconds, 1), "same": same}
        else:
            rows[peer] = {"error": str(pong)}
    return rows


def _read(body: bytes, seconds: float) -> Pong:
    try:
        runtime, configuration = unpack(body, most_elements=8, max_str_len=_MAX_RUNTIME, max_bin_len=_DIGEST_BYTES)
        if type(runtime) is not str or not runtime.isprintable() or type(configuration) is not bytes:
            raise ValueError
    except (ValueError, TypeError):
        raise FrameError("a malformed answer") from None
    return Pong(runtime, configuration, seconds)
