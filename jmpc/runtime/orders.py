"""What a driver and a node say to each other, as bytes and back.

    driver -> node  SUBMIT  a computation; the frame's run is the submission's id
    node -> driver  STATUS  taken; then ready to run it, and who may see the node's data; or why not
    driver -> node  RUN     run the computation of a submission now, on these generations of variables
    node -> driver  DONE    this part of the run of that identity has ended well, without which owners, and why; nothing
                            is committed yet
    driver -> node  COMMIT  all parts have: keep what was written
    anyone -> all   DONE    still at work, see `jmpc.runtime.pulse`
    anyone -> all   ABORT   the run is over, and why
    driver -> node  STATUS  closed: forget my variables; the frame's run is the session's id

A driver's computations and variables belong to its session. Its nodes forget them when it says so, and
when the same driver comes with another session: names of variables are random, so nobody could ask for
them again. A computation has names of its own for the variables that it uses, which are the same in every session; an
order says which variables it means.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from jmpc.errors import FrameError
from jmpc.net.authors import Signature
from jmpc.net.computations import is_name
from jmpc.net.framing import RUN_BYTES
from jmpc.net.unpacking import unpack
from jmpc.runtime.store import Generation, Grants

_MAX_VARIABLES = 1 << 16
_MAX_PLAYERS = 1 << 10
_MAX_ELEMENTS = 16 * _MAX_VARIABLES
_MAX_ITERATION = 1 << 63

# Bodies of frames that say nothing but that. A DONE with the identity of the run is the last.
TAKEN, CLOSED = b"taken", b"closed"
_READY = b"ready: "
_REFUSED = b"refused: "
MAX_REASON = 2000  # characters
_MOST_WHY = 120  # bytes of why an owner is missing
_NONCE_BYTES = RUN_BYTES // 2

# The reason of an abort that the driver answers by submitting again.
UNKNOWN = "it does not know this computation: submit it again"


def new_run(driver: str) -> bytes:
    """A fresh id for a run of this driver; see `is_run_of`."""
    return _run_of(secrets.token_bytes(_NONCE_BYTES), driver)


def is_run_of(run: bytes, driver: str) -> bool:
    """Whether this driver may order a run of this id.

    All who take part in a run know its id. Were it anybody's, one of them that is a driver, too, could order another
    run of that id where the first has not been ordered yet, or have it ended with its own.
    """
    return run == _run_of(run[:_NONCE_BYTES], driver)


def _run_of(nonce: bytes, driver: str) -> bytes:
    digest = hashlib.sha256(b"jmpc.run" + nonce + driver.encode()).digest()
    return nonce + digest[: RUN_BYTES - _NONCE_BYTES]


@dataclass(frozen=True)
class Submission:
    """Body of SUBMIT: a computation for a session, and who vouches for it."""

    session: bytes
    computation: bytes
    signature: Signature = Signature()

    def encode(self) -> bytes:
        signature = self.signature.encode()
        return self.session + bytes([len(signature)]) + signature + self.computation

    @classmethod
    def decode(cls, body: bytes) -> Submission:
        """Raises FrameError for anything that cannot be one."""
        if len(body) <= RUN_BYTES + 1:
            raise FrameError("a malformed submission")
        start = RUN_BYTES + 1
        end = start + body[RUN_BYTES]
        return cls(body[:RUN_BYTES], body[end:], Signature.decode(body[start:end]))


@dataclass(frozen=True)
class Order:
    """Body of RUN: the submission to run, who may see whose inputs, which variables it is about, in which generations.

    `receivers` says of each player that brings an input who may see what derives from it; that player refuses what is
    not in its policy. Of players that the run can do without, only those are expected that are in it: who has not said
    who may see its inputs brings none. `approved` says who else may see it in this very computation, which the player's
    operator has approved; that does not go with what the run stores. A generation comes with the same of the run that
    wrote it; who holds the variable refuses another claim. All players of the run compare a digest of the order, so
    that all judge the same claims.

    `iteration` is told to the providers that ask for it.

    `names` gives, for what the computation calls each of its variables, the name of the variable that is meant;
    `variables` has generations by the former. The names of a run are thereby those that a computation written for it
    alone would have: a driver gains nothing by them that it could not submit. It cannot give two players different
    ones, nor one of them none: before the first share moves all players compare the digest of the whole order, beside
    that of the computation. Two names that mean one variable would have it written twice, or be read as two: that is
    no order. What a variable holds is judged by the generation that its holders have under its name, whatever a
    computation calls it. A server that takes another variable than it was told computes on other shares than it should,
    as any server could that lies.
    """

    session: bytes
    submission: bytes
    receivers: Grants
    variables: dict[str, Generation]
    approved: Grants = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    iteration: int | None = None

    def encode(self) -> bytes:
        rows = [[name, it.run, _rows(it.grants)] for name, it in sorted(self.variables.items())]
        fields = [self.session, self.submission, _rows(self.receivers), rows, _rows(self.approved)]
        fields += [[[called, name] for called, name in sorted(self.names.items())], self.iteration]
        return msgpack.packb(fields, use_bin_type=True)

    @classmethod
    def decode(cls, body: bytes) -> Order:
        """Raises FrameError for anything that is not an order."""
        fields = _unpack(body)
        if type(fields) is not list or len(fields) != 7:
            raise FrameError("a malformed order to run, or one of another version of jmpc: install the same everywhere")
        session, submission, receivers, rows, approved, names, iteration = fields
        if not _is_id(session) or not _is_id(submission) or type(rows) is not list:
            raise FrameError("a malformed order to run")
        variables = dict(_variable(row) for row in rows)
        if len(variables) != len(rows):
            raise FrameError("an order that names a variable twice")
        if not (iteration is None or (type(iteration) is int and 0 <= iteration < _MAX_ITERATION)):
            raise FrameError("an order for an iteration that has no number from 0 to 2^63 - 1")
        return cls(session, submission, _grants(receivers), variables, _grants(approved), _names(names), iteration)


def _variable(row: Any) -> tuple[str, Generation]:
    if type(row) is not list or len(row) != 3 or type(row[0]) is not str or not _is_id(row[1]):
        raise FrameError("a malformed order to run")
    name, run, grants = row
    return name, Generation(run, _grants(grants))


def _names(rows: Any) -> dict[str, str]:
    good = type(rows) is list and all(type(row) is list and len(row) == 2 and all(map(is_name, row)) for row in rows)
    if not good:
        raise FrameError("a malformed order to run")
    names = dict(rows)
    if not len(names) == len(set(names.values())) == len(rows):
        raise FrameError("an order in which two names mean one variable, or one name means two")
    return names


def _rows(grants: Grants) -> list[list[Any]]:
    return [[owner, sorted(receivers)] for owner, receivers in sorted(grants.items())]


def _grants(rows: Any) -> Grants:
    if type(rows) is not list or len(rows) > _MAX_PLAYERS:
        raise FrameError("a malformed order to run")
    if not all(type(row) is list and len(row) == 2 and type(row[0]) is str and _is_names(row[1]) for row in rows):
        raise FrameError("a malformed order to run")
    grants = {owner: frozenset(receivers) for owner, receivers in rows}
    if len(grants) != len(rows):
        raise FrameError("an order that names a player twice")
    return grants


def _is_names(items: Any) -> bool:
    return type(items) is list and len(items) <= _MAX_PLAYERS and all(type(item) is str for item in items)


def order_digest(body: bytes) -> bytes:
    """What stands for an order when players compare what they are about to run."""
    return hashlib.sha256(b"jmpc order\0" + body).digest()


def is_taken(body: bytes) -> bool | None:
    """Whether the body of a STATUS says that a computation was taken; None if it says something else."""
    return True if body == TAKEN else None


_WORKING = b"working"
_COUNT_BYTES = 8


@dataclass(frozen=True)
class Working:
    """Body of a DONE that is not the last: its sender is at work, and has sent this many frames of arrays in the run.

    They are those to the receiver, who knows thereby whether one was lost on the way, as when a link breaks and
    comes back.
    """

    sent: int = 0

    def encode(self) -> bytes:
        return _WORKING + self.sent.to_bytes(_COUNT_BYTES, "big")

    @classmethod
    def decode(cls, body: bytes) -> Working | None:
        """None for a last word, which is longer."""
        if len(body) != len(_WORKING) + _COUNT_BYTES or not body.startswith(_WORKING):
            return None
        return cls(int.from_bytes(body.removeprefix(_WORKING), "big"))


@dataclass(frozen=True)
class Done:
    """Body of the last DONE: the identity of the run, and the owners that it went on without, with the reasons."""

    run: bytes
    missing: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        return self.run + msgpack.packb([[player, _cut(why)] for player, why in sorted(self.missing.items())])

    @classmethod
    def decode(cls, body: bytes) -> Done:
        """Raises FrameError for anything that is none."""
        rows = _unpack(body[RUN_BYTES:]) if len(body) > RUN_BYTES else None
        if type(rows) is not list or not all(_is_names(row) and len(row) == 2 for row in rows):
            raise FrameError("a malformed word that a part of a run has ended")
        return cls(body[:RUN_BYTES], {printable(player): printable(why) for player, why in rows})


@dataclass(frozen=True)
class Ready:
    """Body of a STATUS that is ready to run a computation: who may see what derives from the node's inputs.

    `receivers` may by its policy, `approved` in this computation.
    """

    receivers: frozenset[str]
    approved: frozenset[str] = frozenset()

    def encode(self) -> bytes:
        return _READY + msgpack.packb([sorted(self.receivers), sorted(self.approved)])

    @classmethod
    def decode(cls, body: bytes) -> Ready | None:
        """None if it says something else. Raises FrameError if it is malformed."""
        if not body.startswith(_READY):
            return None
        fields = _unpack(body.removeprefix(_READY))
        if type(fields) is not list or len(fields) != 2 or not all(map(_is_names, fields)):
            raise FrameError("a malformed answer to a submission")
        return cls(*map(frozenset, fields))


def refused(reason: str) -> bytes:
    """Body of a STATUS that refuses a computation."""
    return _REFUSED + reason[:MAX_REASON].encode()


def aborted(reason: str) -> bytes:
    """Body of an ABORT."""
    return reason[:MAX_REASON].encode()


def refusal(body: bytes) -> str | None:
    """The reason in the body of a STATUS; None if it refuses nothing."""
    if not body.startswith(_REFUSED):
        return None
    return printable(body.removeprefix(_REFUSED)[: 4 * MAX_REASON].decode("utf-8", "replace"))


def _cut(text: str) -> str:
    """As much of a text as fits into so many bytes, in whole characters."""
    return text.encode("utf-8", "replace")[:_MOST_WHY].decode("utf-8", "ignore")


def printable(text: str) -> str:
    """Text of somebody else, fit for a log or a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)[:MAX_REASON]


def _is_id(data: Any) -> bool:
    return type(data) is bytes and len(data) == RUN_BYTES


def _unpack(body: bytes) -> Any:
    try:
        return unpack(
            body,
            most_elements=_MAX_ELEMENTS,
            max_str_len=256,
            max_bin_len=RUN_BYTES,
            max_array_len=_MAX_VARIABLES,
            max_map_len=0,
        )
    except ValueError as error:
        raise FrameError(f"an order that is {error}") from None
