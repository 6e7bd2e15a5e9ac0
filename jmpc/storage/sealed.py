"""Files that only their player can read, and that show any change.

    magic (16 bytes)   salt (32)   sealed piece (16 MiB and a tag of 16 bytes) ...   last sealed piece (at most that)

ChaCha20-Poly1305 under a key of this file alone, HKDF-SHA256 of the player's key, the salt and the place of the file.
The nonce of a piece is its number and whether it is the last, so that pieces cannot be left out, repeated, exchanged
or added at the end (the STREAM construction: Hoang, Reyhanitabar, Rogaway, Vizar, CRYPTO 2015, section 5). A file that
stands in another's place does not open: the place is part of the key.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jmpc.errors import StorageError
from jmpc.private_files import sync_folder

FRESH: Final = ".new"  # how the name of a file ends that is being written
_MAGIC: Final = b"jmpc sealed, v1\n"
_SALT_BYTES: Final = 32
_PIECE_BYTES: Final = 1 << 24
_TAG_BYTES: Final = 16

Buffer = bytes | bytearray | memoryview


def seal(path: Path, key: bytes, place: str, data: Iterable[Buffer]) -> None:
    """Writes `data`, joined, as the file `path`, at once or not at all. The folder must exist.

    Raises:
      OSError: the disk is full, and the like; nothing is left behind.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    cipher = _cipher(key, salt, place)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}{FRESH}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_MAGIC + salt)
            for number, (piece, last) in enumerate(_pieces(data)):
                file.write(cipher.encrypt(_nonce(number, last), piece, None))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def unseal(path: Path, key: bytes, place: str) -> Iterator[bytes]:
    """What `seal` wrote, piece by piece. Each is authentic, and in its place; the last one ends what there is.

    Raises:
      StorageError: what comes next was changed, cut off or moved, or is another player's.
      OSError: it cannot be read.
    """
    damaged = StorageError(
        f"{path.name} was changed or cut off, stands in another file's place, or was written under another key than "
        "the present one: restore it with its player's storage key, or save again"
    )
    with open(path, "rb") as file:
        left = os.fstat(file.fileno()).st_size
        head = file.read(len(_MAGIC) + _SALT_BYTES)
        left -= len(head)
        if left < _TAG_BYTES or head[: len(_MAGIC)] != _MAGIC:
            raise damaged
        cipher, number = _cipher(key, head[len(_MAGIC) :], place), 0
        while left:
            piece = file.read(min(left, _PIECE_BYTES + _TAG_BYTES))
            if not piece:  # somebody cuts it off while it is read
                raise damaged
            left -= len(piece)
            try:
                yield cipher.decrypt(_nonce(number, left == 0), piece, None)
            except InvalidTag:
                raise damaged from None
            number += 1


def _cipher(key: bytes, salt: bytes, place: str) -> ChaCha20Poly1305:
    derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=_MAGIC + place.encode())
    return ChaCha20Poly1305(derived.derive(key))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _pieces(data: Iterable[Buffer]) -> Iterator[tuple[bytearray, bool]]:
    """All of `data` in pieces of one size, the last one shorter, never none; and whether each is the last."""
    piece = bytearray()
    for buffer in data:
        view = memoryview(buffer).cast("B")
        while len(view):
            if len(piece) == _PIECE_BYTES:
                yield piece, False
                piece = bytearray()
            taken = view[: _PIECE_BYTES - len(piece)]
            piece += taken
            view = view[len(taken) :]
    yield piece, True
