"""Saving variables and loading them again: what is asked of each player that holds a part, and what it does.

    driver -> player  STORAGE  save these variables | all have it, remove what is older | which are there | what is
                               that one | load that one, under these names; the frame's run is the request's id
    player -> driver  STATUS   done, with what was asked for; or why not

A loaded variable has a generation of its own, which derives from the run that wrote it, the name that it had then, and
who may see it. So players that load parts of different times, or of different variables, do not agree on what they
hold, and every run that reads it is refused, whatever the driver says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import jax
import msgpack
import numpy as np

from jmpc.errors import FrameError, StorageError
from jmpc.net.framing import RUN_BYTES
from jmpc.net.unpacking import unpack
from jmpc.runtime.store import Generation, Store
from jmpc.storage.archive import Archive, Version
from jmpc.storage.saved import (
    ID_BYTES,
    MOST_ELEMENTS,
    MOST_VARIABLES,
    Head,
    Saved,
    SavedVariable,
    grants_of,
    is_id,
    is_number,
    rows_of,
)

MOST_DESCRIPTOR_BYTES = 1 << 24
NO_VERSION: Version = (0, bytes(ID_BYTES))
_DONE = b"stored: "


class Task(IntEnum):
    """What a player is asked to do."""

    SAVE = 0
    KEEP = 1
    LIST = 2
    TELL = 3
    LOAD = 4


@dataclass(frozen=True)
class Request:
    """Body of STORAGE, after the session's id: what is to be done with one version of what is saved under a name.

    `variables` are, of what is to be saved, the runs that wrote them, and of what is to be loaded the names that they
    get.
    """

    task: Task
    name: str
    version: Version = NO_VERSION
    descriptor: bytes = b""
    variables: Mapping[str, bytes | str] = field(default_factory=dict)

    def encode(self, session: bytes) -> bytes:
        rows = [[name, value] for name, value in sorted(self.variables.items())]
        return session + msgpack.packb([int(self.task), self.name, *self.version, self.descriptor, rows])

    @classmethod
    def decode(cls, body: bytes) -> Request:
        """The request in what follows the session's id. Raises FrameError for anything that is none."""
        try:
            task, name, number, identity, descriptor, rows = _unpacked(body, 4 * MOST_VARIABLES)
            request = cls(Task(task), name, (number, identity), descriptor, dict(rows))
        except (ValueError, TypeError):
            raise FrameError("a malformed request to its storage") from None
        values = request.variables.values()
        good = (
            type(name) is str
            and is_number(number)
            and is_id(identity)
            and type(descriptor) is bytes
            and len(request.variables) == len(rows)
            and all(type(key) is str for key in request.variables)
            and all(is_id(value) if request.task is Task.SAVE else type(value) is str for value in values)
        )
        if not good:
            raise FrameError("a malformed request to its storage")
        return request


def session_of(body: bytes) -> bytes:
    """The session of a request. Raises FrameError if there is none."""
    if len(body) <= RUN_BYTES:
        raise FrameError("a malformed request to its storage")
    return body[:RUN_BYTES]


@dataclass(frozen=True)
class Part:
    """What a player has of one version, without the arrays: `variables` are the generations they have when loaded."""

    descriptor: bytes
    variables: Mapping[str, Generation]

    @classmethod
    def of(cls, head: Head) -> Part:
        return cls(head.descriptor, {variable.name: _generation(variable) for variable in head.variables})


@dataclass(frozen=True)
class Answer:
    """Body of the STATUS that answers a request: the versions there are, or a part."""

    versions: tuple[Version, ...] = ()
    part: Part = Part(b"", {})

    def encode(self) -> bytes:
        rows = [[name, it.run, rows_of(it.grants), it.form] for name, it in self.part.variables.items()]
        return _DONE + msgpack.packb([[list(version) for version in self.versions], self.part.descriptor, rows])

    @classmethod
    def decode(cls, body: bytes) -> Answer | None:
        """None if it says something else. Raises FrameError if it is malformed."""
        if not body.startswith(_DONE):
            return None
        try:
            versions, descriptor, rows = _unpacked(body.removeprefix(_DONE), MOST_ELEMENTS)
            variables = {name: Generation(run, grants_of(grants), form) for name, run, grants, form in rows}
            good = type(descriptor) is bytes and all(is_number(number) and is_id(it) for number, it in versions)
            known = all(type(n) is type(it.form) is str and is_id(it.run) for n, it in variables.items())
            if not good or not known:
                raise ValueError
        except (ValueError, TypeError):
            raise FrameError("a malformed answer of a player's storage") from None
        return cls(tuple((number, it) for number, it in versions), Part(descriptor, variables))


def perform(
    request: Request, driver: str, store: Store, archive: Archive, check_size: Callable[[int], None] = lambda size: None
) -> Answer:
    """Does at one player what its driver asks.

    Args:
      check_size: called with the bytes of all variables before some are loaded; raises if that is too much.

    Raises:
      StorageError: it is not there, was changed, or is of another generation than the driver says.
      PolicyError: it would be too large.
    """
    name, version = request.name, request.version
    match request.task:
        case Task.SAVE:
            archive.write(driver, name, _held(store, request, archive.player))
        case Task.KEEP:
            archive.keep(driver, name, version)
        case Task.LIST:
            return Answer(tuple(archive.versions(driver, name)))
        case Task.TELL:
            return Answer(part=Part.of(archive.read_head(driver, name, version)))
        case Task.LOAD:
            names: Mapping[str, Any] = request.variables

            def check(head: Head) -> None:
                _check_names(head, names, store, archive.player)
                wanted = [variable for variable in head.variables if variable.name in names]
                check_size(store.bytes_after({slot: size for it in wanted for slot, size in it.nbytes.items()}))

            saved = archive.read(driver, name, version, check, names)
            generations = {it.name: _generation(it) for it in saved.head.variables if it.name in names}
            store.restore({new: (saved.arrays[old], generations[old]) for old, new in names.items()})
    return Answer()


def _held(store: Store, request: Request, player: str) -> Saved:
    rows, arrays = [], store.slots(request.variables)
    for name, run in request.variables.items():
        generation = store.generation(name)
        if generation is None or generation.run != run:
            raise StorageError(
                f"{player} has {'no' if generation is None else 'another'} generation of a variable that it is to "
                "save: assign it again, in this session"
            )
        arrays[name] = {slot: np.asarray(array) for slot, array in arrays[name].items()}
        types = {slot: jax.ShapeDtypeStruct(array.shape, array.dtype) for slot, array in arrays[name].items()}
        rows.append(SavedVariable(name, generation.run, generation.grants, generation.form, types))
    number, identity = request.version
    return Saved(Head(identity, number, request.descriptor, tuple(rows)), arrays)


def _check_names(head: Head, names: Mapping[str, Any], store: Store, player: str) -> None:
    if missing := sorted(names.keys() - {variable.name for variable in head.variables}):
        raise StorageError(f"{player} did not save {missing} with the others")
    if len(set(names.values())) != len(names) or any(store.knows(new) for new in names.values()):
        raise StorageError(f"{player} has variables of these names already")


def _generation(variable: SavedVariable) -> Generation:
    what = msgpack.packb([variable.run, rows_of(variable.grants), variable.form, variable.name])
    marks = hashlib.sha256(b"jmpc loaded\0" + what)
    return Generation(marks.digest()[:ID_BYTES], variable.grants, variable.form)


def _unpacked(body: bytes, most_elements: int) -> Any:
    return unpack(
        body,
        most_elements=most_elements,
        max_str_len=256,
        max_bin_len=MOST_DESCRIPTOR_BYTES,
        max_array_len=MOST_VARIABLES,
        max_map_len=0,
    )
