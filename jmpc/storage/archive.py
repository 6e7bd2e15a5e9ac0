"""The folder of what a player has saved, for each driver apart.

    FOLDER/DRIVER/NAME/IDENTITY.shares

What is saved anew stands beside what was saved before under that name until all players have it: a player that dies
in between does not leave the others with parts that no longer belong together.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from jmpc.errors import PolicyError, StorageError
from jmpc.private_files import check_directory
from jmpc.storage.saved import Saved
from jmpc.storage.sealed import seal, unseal

_log = logging.getLogger("jmpc.node")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SUFFIX: Final = ".shares"
_MOST_AT_ONCE: Final = 16  # of one name
_BLOCK_BYTES: Final = 4096  # that even a small file takes


def check_name(name: str) -> None:
    """Checks that something can be saved under a name. Raises StorageError."""
    if not _NAME.fullmatch(name):
        raise StorageError(
            f"{name!r} is no name to save under: letters, digits, '-', '_' and '.' are, at most 64, a letter or digit "
            "first"
        )


class Archive:
    """What one player has saved.

    Args:
      player: whose it is.
      folder: made when something is saved.
      key: gives the key that its files are sealed with.
      most_bytes: that one driver may fill.
    """

    def __init__(self, player: str, folder: Path, key: Callable[[], bytes], most_bytes: int) -> None:
        self.player = player
        self._folder, self._key, self._most_bytes = folder, key, most_bytes

    def write(self, driver: str, name: str, saved: Saved) -> None:
        """Saves something beside what is there under that name.

        Raises:
          StorageError: it cannot be written.
          PolicyError: rule "max_saved_bytes".
        """
        folder = self._place(driver, name)
        size = _on_disk(len(saved.descriptor) + saved.nbytes)
        size += sum(_on_disk(path.stat().st_size) for path in folder.parent.glob(f"*/*{_SUFFIX}"))
        if size > self._most_bytes:
            raise PolicyError(
                f"{self.player} would have {size:,} bytes on its disk that {driver} has saved, at most "
                f"{self._most_bytes:,} (rule max_saved_bytes): remove folders in {folder.parent}, or let "
                '"policy": {"max_saved_bytes": ...} in its configuration allow more'
            )
        if len(self._paths(driver, name)) >= _MOST_AT_ONCE:
            raise StorageError(
                f"{self.player} has {_MOST_AT_ONCE} files of {name!r} that were never finished by all: load it, which "
                f"keeps what all have, or remove {folder}"
            )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_directory(folder)
            path = folder / (saved.identity.hex() + _SUFFIX)
            seal(path, self._key(), self._mark(driver, name, saved.identity), saved.encode())
        except OSError as error:
            raise StorageError(f"{self.player} cannot save {name!r} ({error.strerror})") from error

    def keep(self, driver: str, name: str, identity: bytes) -> None:
        """Removes what else is there under that name, if this is there: all players have it now."""
        paths = self._paths(driver, name)
        if identity in paths:
            for path in (path for other, path in paths.items() if other != identity):
                path.unlink(missing_ok=True)

    def find(self, driver: str, name: str) -> Iterator[Saved]:
        """Everything there is under that name that can be read, one after the other.

        Raises:
          StorageError: there is something, and nothing of it can be read; or nothing.
        """
        count, failed = 0, None
        for identity in self._paths(driver, name):
            try:
                yield self.read(driver, name, identity)
                count += 1
            except StorageError as error:
                _log.warning("%s", error)
                failed = error
        if failed is not None and not count:
            raise failed
        if not count:
            others = sorted(path.name for path in self._place(driver, name).parent.glob("*") if any(path.iterdir()))
            raise StorageError(f"{self.player} has nothing that {driver} saved as {name!r}; there is {others}")

    def read(self, driver: str, name: str, identity: bytes) -> Saved:
        """One of those that `find` gives. Raises StorageError if it is gone or was changed."""
        path = self._place(driver, name) / (identity.hex() + _SUFFIX)
        try:
            data = unseal(path, self._key(), self._mark(driver, name, identity), 2 * self._most_bytes)
        except OSError as error:
            raise StorageError(f"{self.player} cannot read what was saved as {name!r} ({error.strerror})") from error
        saved = Saved.decode(data, str(path))
        if saved.identity != identity:
            raise StorageError(f"{path} holds what was saved at another time: it was renamed")
        return saved

    def _paths(self, driver: str, name: str) -> dict[bytes, Path]:
        found = {}
        for path in self._place(driver, name).glob(f"*{_SUFFIX}"):
            try:
                found[bytes.fromhex(path.name.removesuffix(_SUFFIX))] = path
            except ValueError:
                _log.warning("%s is no file of jmpc", path)
        return found

    def _place(self, driver: str, name: str) -> Path:
        check_name(name)
        return self._folder / driver / name

    def _mark(self, driver: str, name: str, identity: bytes) -> str:
        return f"{self.player}/{driver}/{name}/{identity.hex()}"


def _on_disk(nbytes: int) -> int:
    return -(-nbytes // _BLOCK_BYTES) * _BLOCK_BYTES
