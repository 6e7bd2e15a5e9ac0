"""What a driver and a node say to each other about runs, as bytes and back.

    driver -> node  SUBMIT  a computation; the frame's run is the submission's id
    node -> driver  STATUS  ready to run it, or why not
    driver -> node  RUN     run the computation of a submission now, on these generations of variables
    node -> driver  DONE    this part has ended well; nothing is committed yet
    driver -> node  COMMIT  all parts have: keep what was written
    anyone -> all   ABORT   the run is over, and why
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from jmpc.errors import FrameError
from jmpc.net.framing import RUN_BYTES

_MAX_VARIABLES = 1 << 16


@dataclass(frozen=True)
class Order:
    """Body of RUN: the submission to run, and the run that last wrote each variable it touches."""

    submission: bytes
    generations: dict[str, bytes]

    def encode(self) -> bytes:
        return msgpack.packb([self.submission, sorted(self.generations.items())], use_bin_type=True)

    @classmethod
    def decode(cls, body: bytes) -> Order:
        """Raises FrameError for anything that is not an order."""
        fields = _unpack(body)
        if type(fields) is not list or len(fields) != 2 or not _is_id(fields[0]) or type(fields[1]) is not list:
            raise FrameError("a malformed order to run")
        generations: dict[str, bytes] = {}
        for item in fields[1]:
            if type(item) is not list or len(item) != 2 or type(item[0]) is not str or not _is_id(item[1]):
                raise FrameError("a malformed order to run")
            generations[item[0]] = item[1]
        return cls(fields[0], generations)


def encode_status(error: str | None) -> bytes:
    """Body of STATUS: None says ready."""
    return msgpack.packb(error)


def decode_status(body: bytes) -> str | None:
    """Raises FrameError for anything that is not a status."""
    status = _unpack(body)
    if status is not None and type(status) is not str:
        raise FrameError("a malformed status")
    return status


def _is_id(data: Any) -> bool:
    return type(data) is bytes and len(data) == RUN_BYTES


def _unpack(body: bytes) -> Any:
    try:
        return msgpack.unpackb(
            body,
            raw=False,
            max_str_len=4096,
            max_bin_len=RUN_BYTES,
            max_array_len=_MAX_VARIABLES,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise FrameError(f"a malformed control frame ({type(error).__name__})") from None
