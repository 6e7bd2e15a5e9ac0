"""What the scripts of players say to each other where all run the same one, about the step that they are at.

    lead -> player  STEP  this script is at this step: a run, a save or a load
    player -> lead  STEP  so is this one, or what else it is at
    lead -> player  STEP  the step is over for all, well or for a reason; of a load, what was loaded
    player -> lead  STEP  the step is over for this one, for a reason
    either          STEP  this script has ended

The frame's run is the id of the lead's session. What a step does is ordered as in driver mode (`jmpc.runtime.orders`);
nobody does anything on the word of these frames alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from jmpc.errors import FrameError
from jmpc.net.computations import is_name
from jmpc.net.framing import RUN_BYTES
from jmpc.net.unpacking import unpack
from jmpc.runtime.orders import MAX_REASON, printable
from jmpc.runtime.saving import MOST_DESCRIPTOR_BYTES

ASK_SECONDS: Final = 1.0  # between questions of the lead to who has not said where its script is
LOOK_SECONDS: Final = 0.1  # between looks whether who is waited for is still there
PATIENCE: Final = 20  # times the configured timeout: for a script that has not been there yet

_DIGEST_BYTES: Final = 32
_MAX_NAMES: Final = 1 << 16
_MAX_NUMBER: Final = 1 << 62


@dataclass(frozen=True)
class Step:
    """A step that a script is at.

    Args:
      script: the id of the process that says so; another one after a restart.
      number: of the step, from 1 on; 0 before the first.
      digest: of all that must be the same in all scripts.
      what: it is, and the line of the script, for people.
      names: the lead's, for what the computation calls its variables.
    """

    script: bytes
    number: int
    digest: bytes
    what: str
    names: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        return msgpack.packb([0, self.script, self.number, self.digest, self.what[:MAX_REASON], _rows(self.names)])


@dataclass(frozen=True)
class Over:
    """The end of a step: a well one, unless a player ended it for a reason.

    `agreed` is false where the scripts are not at the same step. `descriptor` and `names` are of what was loaded.
    """

    number: int
    player: str = ""
    reason: str = ""
    agreed: bool = True
    descriptor: bytes = b""
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        """Whether nobody gave a reason."""
        return not self.reason

    def encode(self) -> bytes:
        fields = [self.number, self.player, self.reason[:MAX_REASON], self.agreed, self.descriptor, _rows(self.names)]
        return msgpack.packb([1, *fields])


@dataclass(frozen=True)
class End:
    """There will be no more steps: the script, or its session, has ended."""

    def encode(self) -> bytes:
        return msgpack.packb([2])


def decode(body: bytes) -> Step | Over | End:
    """Raises FrameError for anything that is none of them."""
    fields = _unpacked(body)
    match fields:
        case [0, bytes(script), int(number), bytes(digest), str(what), list(rows)]:
            if len(script) == RUN_BYTES and len(digest) == _DIGEST_BYTES and _is_number(number):
                return Step(script, number, digest, printable(what), _names(rows))
        case [1, int(number), str(player), str(reason), bool(agreed), bytes(descriptor), list(rows)]:
            if _is_number(number) and (not player or is_name(player)):
                return Over(number, player, printable(reason), agreed, descriptor, _names(rows))
        case [2]:
            return End()
    raise FrameError("a malformed word about a step")


def digest_of(*parts: bytes | str) -> bytes:
    """A digest that says which parts there are."""
    return hashlib.sha256(msgpack.packb(["jmpc step", *parts], use_bin_type=True)).digest()


def _is_number(number: Any) -> bool:
    return type(number) is int and 0 <= number < _MAX_NUMBER


def _rows(names: Mapping[str, str]) -> list[list[str]]:
    return [[called, name] for called, name in sorted(names.items())]


def _names(rows: list[Any]) -> dict[str, str]:
    if not all(type(row) is list and len(row) == 2 and all(map(is_name, row)) for row in rows):
        raise FrameError("a malformed word about a step")
    names = dict(rows)
    if not len(names) == len(set(names.values())) == len(rows):
        raise FrameError("a step in which two names mean one variable, or one name means two")
    return names


def _unpacked(body: bytes) -> Any:
    try:
        return unpack(
            body,
            most_elements=4 * _MAX_NAMES,
            max_str_len=4 * MAX_REASON,
            max_bin_len=MOST_DESCRIPTOR_BYTES,
            max_array_len=_MAX_NAMES,
            max_map_len=0,
        )
    except ValueError as error:
        raise FrameError(f"a word about a step that is {error}") from None
