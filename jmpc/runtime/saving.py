"""Saving variables and loading them again: what is asked of each player that holds a part, and what it does.

    driver -> player  STORAGE  save these variables | all have it, remove what else is there | what is there |
                               load that, under these names; the frame's run is the request's id
    player -> driver  STATUS   done, with what was found; or why not

A loaded variable has a generation of its own, which derives from the run that wrote it and the name that it had then.
So players that load parts of different times, or of different variables, do not agree on what they hold, and every run
that reads it is refused, whatever the driver says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgpack
import numpy as np

from jmpc.errors import FrameError, StorageError
from jmpc.net.unpacking import unpack
from jmpc.runtime.store import Generation, Store
from jmpc.storage.archive import Archive
from jmpc.storage.saved import ID_BYTES, MOST_VARIABLES, Saved, SavedVariable, grants_of, is_id, rows_of

MOST_DESCRIPTOR_BYTES = 1 << 24
_DONE = b"stored: "


class Task(IntEnum):
    """What a player is asked to do."""

    SAVE = 0
    KEEP = 1
    FIND = 2
    LOAD = 3


@dataclass(frozen=True)
class Request:
    """Body of STORAGE.

    `variables` are, of what is to be saved, the runs that wrote them, and of what is to be loaded the names that they
    get.
    """

    session: bytes
    task: Task
    name: str
    identity: bytes = bytes(ID_BYTES)
    number: int = 0
    descriptor: bytes = b""
    variables: Mapping[str, bytes | str] = field(default_factory=dict)

    def encode(self) -> bytes:
        rows = [[name, value] for name, value in sorted(self.variables.items())]
        return msgpack.packb(
            [self.session, int(self.task), self.name, self.identity, self.number, self.descriptor, rows]
        )

    @classmethod
    def decode(cls, body: bytes) -> Request:
        """Raises FrameError for anything that is not a request."""
        try:
            session, task, name, identity, number, descriptor, rows = _unpacked(body)
            request = cls(session, Task(task), name, identity, number, descriptor, dict(rows))
        except (ValueError, TypeError):
            raise FrameError("a malformed request to its storage") from None
        good = (
            is_id(session)
            and is_id(identity)
            and type(name) is str
            and type(number) is int
            and type(descriptor) is bytes
            and len(request.variables) == len(rows)
            and all(type(key) is str for key in request.variables)
            and all(
                is_id(value) if request.task is Task.SAVE else type(value) is str
                for value in request.variables.values()
            )
        )
        if not good:
            raise FrameError("a malformed request to its storage")
        return request


@dataclass(frozen=True)
class Found:
    """What a player has under a name, without the arrays.

    `variables` are the generations that they have when they are loaded.
    """

    identity: bytes
    number: int
    descriptor: bytes
    variables: Mapping[str, Generation]

    @classmethod
    def of(cls, saved: Saved) -> Found:
        return cls(saved.identity, saved.number, saved.descriptor, {v.name: _generation(v) for v in saved.variables})


def done(found: Iterable[Found] = ()) -> bytes:
    """Body of the STATUS that answers a request."""
    rows = [
        [it.identity, it.number, it.descriptor, [[n, g.run, rows_of(g.grants)] for n, g in it.variables.items()]]
        for it in found
    ]
    return _DONE + msgpack.packb(rows)


def what_was_found(body: bytes) -> list[Found] | None:
    """What is in the answer to a request; None if it says something else.

    Raises:
      FrameError: it is malformed.
    """
    if not body.startswith(_DONE):
        return None
    try:
        found = []
        for identity, number, descriptor, rows in _unpacked(body.removeprefix(_DONE)):
            generations = {name: Generation(run, grants_of(grants)) for name, run, grants in rows}
            if not is_id(identity) or type(number) is not int or type(descriptor) is not bytes:
                raise ValueError
            if not all(type(name) is str and is_id(it.run) for name, it in generations.items()):
                raise ValueError
            found.append(Found(identity, number, descriptor, generations))
    except (ValueError, TypeError):
        raise FrameError("a malformed answer of a player's storage") from None
    return found


def perform(
    request: Request, driver: str, store: Store, archive: Archive, check_size: Callable[[int], None] = lambda size: None
) -> list[Found]:
    """Does at one player what its driver asks.

    Args:
      check_size: called with the bytes of all variables before some are loaded; raises if that is too much.

    Raises:
      StorageError: it is not there, was changed, or is of another generation than the driver says.
      PolicyError: it would be too large.
    """
    name = request.name
    match request.task:
        case Task.SAVE:
            held = tuple(_held(store, variable, run, archive.player) for variable, run in request.variables.items())
            archive.write(driver, name, Saved(request.identity, request.number, request.descriptor, held))
        case Task.KEEP:
            archive.keep(driver, name, request.identity)
        case Task.FIND:
            return [Found.of(saved) for saved in archive.find(driver, name)]
        case Task.LOAD:
            saved = archive.read(driver, name, request.identity)
            chosen = _chosen(saved, request.variables, store, archive.player)
            check_size(store.bytes_after({(n, i): x.nbytes for n, v in chosen.items() for i, x in v.slots.items()}))
            for new, variable in chosen.items():
                store.restore(new, variable.slots, _generation(variable))
    return []


def _held(store: Store, variable: str, run: bytes | str, player: str) -> SavedVariable:
    generation = store.generation(variable)
    if generation is None or generation.run != run:
        raise StorageError(
            f"{player} has {'no' if generation is None else 'another'} generation of a variable that it is to save: "
            "assign it again, in this session"
        )
    slots = {slot: np.asarray(array) for slot, array in store.slots(variable).items()}
    return SavedVariable(variable, generation.run, generation.grants, slots)


def _chosen(saved: Saved, names: Mapping[str, Any], store: Store, player: str) -> dict[str, SavedVariable]:
    """What is to be loaded, by its new name."""
    variables = {variable.name: variable for variable in saved.variables}
    if missing := sorted(names.keys() - variables.keys()):
        raise StorageError(f"{player} did not save {missing} with the others")
    if known := sorted(new for new in names.values() if store.knows(new)):
        raise StorageError(f"{player} has the variables {known} already")
    return {new: variables[old] for old, new in names.items()}


def _generation(variable: SavedVariable) -> Generation:
    marks = hashlib.sha256(b"jmpc loaded\0" + variable.run + variable.name.encode())
    return Generation(marks.digest()[:ID_BYTES], variable.grants)


def _unpacked(body: bytes) -> Any:
    return unpack(
        body,
        most_elements=64 * MOST_VARIABLES,
        max_str_len=256,
        max_bin_len=MOST_DESCRIPTOR_BYTES,
        max_array_len=MOST_VARIABLES,
        max_map_len=0,
    )
