"""One player's part of what was saved: its slots of every variable, and what they are, as bytes and back.

    length (8 bytes, little-endian)   msgpack [version, identity, number, descriptor, variables]   arrays, row-major

A variable is [name, run, grants, [[slot, dtype, shape], ...]], its arrays follow in this order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
_DTYPES: Final = frozenset(
    ["bool", "float16", "float32", "float64", "bfloat16"]
    + [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
)

Grants = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class SavedVariable:
    """What a player holds of a variable.

    `run` is the run that wrote it, by the identity that its players agreed on, and `grants` who may see it.
    """

    name: str
    run: bytes
    grants: Grants
    slots: Mapping[int, np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class Saved:
    """One player's part of what was saved at one time.

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
        return sum(array.nbytes for variable in self.variables for array in variable.slots.values())

    def encode(self) -> Iterator[bytes | memoryview]:
        """Its bytes, piece by piece."""
        rows = [
            [v.name, v.run, rows_of(v.grants), [[i, x.dtype.name, list(x.shape)] for i, x in v.slots.items()]]
            for v in self.variables
        ]
        head = msgpack.packb([VERSION, self.identity, self.number, self.descriptor, rows])
        yield len(head).to_bytes(8, "little")
        yield head
        for variable in self.variables:
            for array in variable.slots.values():
                yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview, where: str) -> Saved:
        """Raises StorageError, naming the file `where`, for anything else than `encode` gives."""
        try:
            return cls._decode(memoryview(data))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise StorageError(f"{where} is not what this version of jmpc saves ({type(error).__name__})") from None

    @classmethod
    def _decode(cls, data: memoryview) -> Saved:
        length = int.from_bytes(data[:8], "little")
        head = unpack(data[8 : 8 + length], most_elements=64 * MOST_VARIABLES, max_map_len=0)
        version, identity, number, descriptor, rows = head
        if (version, type(number)) != (VERSION, int) or not is_id(identity) or type(descriptor) is not bytes:
            raise ValueError("a head of the wrong form")
        rest, variables = data[8 + length :], []
        for name, run, grants, slots in rows:
            if type(name) is not str or not is_id(run):
                raise ValueError("a variable of the wrong form")
            arrays = {}
            for slot, dtype, shape in slots:
                arrays[int(slot)], rest = _array(rest, dtype, shape)
            variables.append(SavedVariable(name, run, grants_of(grants), arrays))
        if len(rest):
            raise ValueError("bytes that belong to no array")
        return cls(identity, number, descriptor, tuple(variables))


def _array(data: memoryview, name: Any, shape: Any) -> tuple[np.ndarray, memoryview]:
    if name not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array of a type that is never saved")
    dtype = jax.numpy.dtype(name)
    size = math.prod(shape) * dtype.itemsize
    if size > len(data):
        raise ValueError("fewer bytes than its arrays take")
    return np.frombuffer(data[:size], np.uint8).copy().view(dtype).reshape(shape), data[size:]


def is_id(data: Any) -> bool:
    """Whether it is an identity: of a run, or of what was saved."""
    return type(data) is bytes and len(data) == ID_BYTES


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
