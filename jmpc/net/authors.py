"""Who vouches for a computation: Ed25519 signatures of its identity.

    keys/NAME.author           mode 0600, the author's secret, never leaves them
    keys/NAME.author.public    one line of hexadecimal, which goes into the policies of those who trust them

An author need not be a player. A signature says that this computation is theirs, whoever submits it and whenever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgpack
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import AuthenticationError, ConfigError, FrameError
from ..private_files import ANY, check_directory, check_protected, make_folder, write_file
from .unpacking import unpack

KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_PURPOSE: Final = b"jmpc computation\0"
_HEADER: Final = "# jmpc author key of {}, never leaves them"
_MAX_NAME: Final = 64


@dataclass(frozen=True)
class Signature:
    """What an author says of a computation; of nobody, if `author` is empty."""

    author: str = ""
    data: bytes = b""

    def encode(self) -> bytes:
        return msgpack.packb([self.author, self.data])

    @classmethod
    def decode(cls, body: bytes) -> Signature:
        """Raises FrameError for anything that is no signature."""
        try:
            author, data = unpack(body, most_elements=4, max_str_len=_MAX_NAME, max_bin_len=_SIGNATURE_BYTES)
        except (ValueError, TypeError):
            raise FrameError("a malformed signature") from None
        if type(author) is not str or type(data) is not bytes or len(data) != (_SIGNATURE_BYTES if author else 0):
            raise FrameError("a malformed signature")
        return cls(author, data)

    def is_by(self, authors: Mapping[str, bytes], identity: bytes) -> bool:
        """Whether it is of one of these authors, for the computation of this identity."""
        key = authors.get(self.author)
        if key is None:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(self.data, _PURPOSE + identity)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Author:
    """Somebody who signs."""

    name: str
    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def load(cls, folder: Path, name: str) -> Author:
        """The author whose key is `NAME.author`.

        Raises:
          AuthenticationError: it is missing, or no such key.
          ConfigError: others can read it.
        """
        path = folder / f"{name}.author"
        check_protected(path, ANY)
        try:
            header, text = path.read_text("ascii").split("\n")[:2]
            if header != _HEADER.format(name):
                raise ValueError
            return cls(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text)))
        except FileNotFoundError:
            raise AuthenticationError(f"{path} is missing: make it with `jmpc-admin keygen --author {name}`") from None
        except (OSError, ValueError) as error:
            raise AuthenticationError(f"{path} is no author key of {name} ({type(error).__name__})") from None

    def sign(self, identity: bytes) -> Signature:
        """Of a computation, by its identity."""
        return Signature(self.name, self._key.sign(_PURPOSE + identity))


def generate(folder: Path, name: str, *, force: bool = False) -> str:
    """Makes the key of an author and writes it; the public key in hexadecimal.

    Raises:
      ConfigError: there is one and `force` is not given, or it cannot be written.
    """
    secret, public = folder / f"{name}.author", folder / f"{name}.author.public"
    if secret.exists() and not force:
        raise ConfigError(f"{secret} exists already: keep it, or replace it with --force")
    check_directory(folder)
    key = Ed25519PrivateKey.generate()
    text = key.public_key().public_bytes_raw().hex()
    try:
        make_folder(folder)
        write_file(secret, f"{_HEADER.format(name)}\n{key.private_bytes_raw().hex()}\n".encode(), 0o600)
        write_file(public, f"{text}\n".encode(), 0o644)
    except OSError as error:
        raise ConfigError(f"cannot write keys to {folder}: {error.strerror}") from error
    return text
