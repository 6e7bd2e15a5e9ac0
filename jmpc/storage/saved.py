"""One player's part of what was saved: its slots of every variable, and what they are, as bytes and back.

    length (8 bytes, little-endian)   msgpack [version, identity, number, descriptor, variables]   arrays, row-major

A variable is [name, run, grants, form, [[slot, dtype, shape], ...]], its arrays follow in this order.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jax
import msgpack
import numpy as np

from jmpc.errors import StorageError
from jmpc.net.unpacking import unpack

VERSION: Final = 1
ID_BYTES: Final = 16
MOST_VARIABLES: Final = 1 << 16
MOST_ELEMENTS: Final = 64 * MOST_VARIABLES  # of all lists in a head, or in a descriptor
MOST_HEAD_BYTES: Final = 1 << 26
_DTYPES: Final = frozenset(
    ["bool", "float16", "float32", "float64", "bfloat16"]
    + [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
)

Grants = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class SavedVariable:
    """What a player holds of a variable, by slot: the types of arrays.

    `run` is the run that wrote it, by the identity that its players agreed on, `grants` who may see it, and `form` its
    type and fraction.
    """

    name: str
    run: bytes
    grants: Grants
    form: str
    slots: Mapping[int, jax.ShapeDtypeStruct]

    @property
    def nbytes(self) -> dict[tuple[str, int], int]:
        """Of each slot."""
        return {(self.name, slot): _size(type_) for slot, type_ in self.slots.items()}


@dataclass(frozen=True)
class Head:
    """One player's part of what was saved at one time, without the arrays.

    Args:
      identity: 16 bytes that are the same for all players, and for nothing else.
      number: larger than those of what was saved before.
      descriptor: what all variables are together; whoever saves it reads it again.
    """

    identity: bytes
    number: int
    descriptor: bytes
    variables: tuple[SavedVariable, ...]

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(sum(variable.nbytes.values()) for variable in self.variables)

    def encode(self) -> bytes:
        """Raises StorageError for what `decode` would not read again."""
        rows = [
            [v.name, v.run, rows_of(v.grants), v.form, [[i, x.dtype.name, list(x.shape)] for i, x in v.slots.items()]]
            for v in self.variables
        ]
        data = msgpack.packb([VERSION, self.identity, self.number, self.descriptor, rows])
        self.decode(data)
        return data

    @classmethod
    def decode(cls, data: bytes) -> Head:
        """Raises StorageError for anything else than `encode` gives."""
        try:
            return cls._decode(data)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise StorageError(f"it is not what this version of jmpc saves ({type(error).__name__})") from None

    @classmethod
    def _decode(cls, data: bytes) -> Head:
        if len(data) > MOST_HEAD_BYTES:
            raise ValueError("a head that is too long")
        version, identity, number, descriptor, rows = unpack(data, most_elements=MOST_ELEMENTS, max_map_len=0)
        if version != VERSION or not is_id(identity) or not is_number(number) or type(descriptor) is not bytes:
            raise ValueError("a head of the wrong form")
        variables = []
        for name, run, grants, form, slots in rows:
            if type(name) is not str or type(form) is not str or not is_id(run):
                raise ValueError("a variable of the wrong form")
            types = {int(slot): _type(dtype, shape) for slot, dtype, shape in slots}
            variables.append(SavedVariable(name, run, grants_of(grants), form, types))
        return cls(identity, number, descriptor, tuple(variables))


@dataclass(frozen=True)
class Saved:
    """One player's part of what was saved at one time: a head, and the arrays of each variable by slot."""

    head: Head
    arrays: Mapping[str, Mapping[int, np.ndarray]] = field(repr=False)

    def encode(self) -> Iterator[bytes | memoryview]:
        """Its bytes, piece by piece. Raises StorageError, before the first, for what would not be read again."""
        head = self.head.encode()
        yield len(head).to_bytes(8, "little")
        yield head
        for variable in self.head.variables:
            for slot in variable.slots:
                array = self.arrays[variable.name][slot]
                yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


class Reader:
    """What `Saved.encode` gave, read from pieces that come one after the other: first `head`, then `arrays`.

    Raises:
      StorageError: for anything else; or what the pieces raise.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def head(self) -> Head:
        length = int.from_bytes(self._take(8), "little")
        if length > MOST_HEAD_BYTES:
            raise StorageError("it is not what this version of jmpc saves: its head is too long")
        return Head.decode(bytes(self._take(length)))

    def arrays(self, head: Head, wanted: Collection[str]) -> Saved:
        """The arrays of these variables; the others are read over."""
        made: dict[str, dict[int, np.ndarray]] = {}
        for variable in head.variables:
            if variable.name in wanted:
                made[variable.name] = {slot: self._array(type_) for slot, type_ in variable.slots.items()}
            else:
                for size in variable.nbytes.values():
                    self._skip(size)
        if len(self._left) or any(len(piece) for piece in self._pieces):
            raise StorageError("it is not what this version of jmpc saves: there is more than its arrays")
        return Saved(head, made)

    def _array(self, type_: jax.ShapeDtypeStruct) -> np.ndarray:
        return self._take(_size(type_)).view(type_.dtype).reshape(type_.shape)

    def _take(self, count: int) -> np.ndarray:
        taken, filled = np.empty(count, np.uint8), 0
        while filled < count:
            part = self._next(count - filled)
            taken[filled : filled + len(part)] = part
            filled += len(part)
        return taken

    def _skip(self, count: int) -> None:
        while count:
            count -= len(self._next(count))

    def _next(self, most: int) -> memoryview:
        """What comes next, at most so many bytes of it."""
        if not len(self._left):
            self._left = memoryview(next(self._pieces, b""))
            if not len(self._left):
                raise StorageError("it is not what this version of jmpc saves: it ends too early")
        part, self._left = self._left[:most], self._left[most:]
        return part


def _size(type_: jax.ShapeDtypeStruct) -> int:
    return math.prod(type_.shape) * type_.dtype.itemsize


def _type(name: Any, shape: Any) -> jax.ShapeDtypeStruct:
    if name not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array of a type that is never saved")
    return jax.ShapeDtypeStruct(tuple(shape), jax.numpy.dtype(name))


def is_id(data: Any) -> bool:
    """Whether it is an identity: of a run, or of what was saved."""
    return type(data) is bytes and len(data) == ID_BYTES


def is_number(data: Any) -> bool:
    """Whether what was saved can have this number."""
    return type(data) is int and 0 <= data < 1 << 63


def rows_of(grants: Grants) -> list[list[Any]]:
    """Grants as plain data."""
    return [[owner, sorted(receivers)] for owner, receivers in sorted(grants.items())]


def grants_of(rows: Any) -> Grants:
    """Grants from plain data. Raises ValueError or TypeError for anything else than `rows_of` gives."""
    if not all(type(receivers) is list for _, receivers in rows):
        raise ValueError("grants of the wrong form")
    grants = {owner: frozenset(receivers) for owner, receivers in rows}
    names = [name for owner, receivers in grants.items() for name in (owner, *receivers)]
    if len(grants) != len(rows) or not all(type(name) is str for name in names):
        raise ValueError("grants of the wrong form")
    return grants
