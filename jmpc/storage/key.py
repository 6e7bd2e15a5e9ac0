"""The key that a player's files are sealed with: 32 random bytes, made when a node starts, or when first needed.

    keys/NAME.storage    mode 0600, never leaves the player

It stands beside the player's other keys, not beside the files: who copies or backs up the files has no use for them
alone. It does not change when the keys of links do.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from jmpc.errors import ConfigError, StorageError
from jmpc.private_files import ANY, check_directory, check_protected, make_folder, write_file

KEY_BYTES: Final = 32
_HEADER: Final = "# jmpc storage key of {}, never leaves this player"


def storage_key(folder: Path, player: str) -> bytes:
    """The key of a player, made if there is none; only one is ever made, whoever else makes one meanwhile.

    Raises:
      ConfigError: others could read or replace it, or it cannot be written.
      StorageError: the file is no key of this player.
    """
    path = folder / f"{player}.storage"
    header = _HEADER.format(player)
    check_directory(folder)
    check_protected(path, ANY)
    try:
        if not path.exists():
            make_folder(folder)
            try:
                write_file(path, f"{header}\n{secrets.token_hex(KEY_BYTES)}\n".encode(), 0o600, replace=False)
            except FileExistsError:
                pass
        first, text = path.read_text("ascii").split("\n")[:2]
        key = bytes.fromhex(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read or made ({error.strerror})") from error
    except ValueError:
        first, key = "", b""
    if first != header or len(key) != KEY_BYTES:
        raise StorageError(f"{path} is no storage key of {player}: restore it, or remove it with what was saved")
    return key
