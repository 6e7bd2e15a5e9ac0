"""The folder of what a player has saved, for each driver apart.

    FOLDER/DRIVER/NAME/NUMBER-IDENTITY.shares

What is saved anew stands beside what was saved before under that name until all players have it: a player that dies
in between does not leave the others with parts that no longer belong together.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from jmpc.errors import PolicyError, StorageError
from jmpc.private_files import make_folder
from jmpc.storage.saved import Head, Reader, Saved
from jmpc.storage.sealed import FRESH, seal, unseal

_log = logging.getLogger("jmpc.node")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FILE: Final = re.compile(r"([0-9]{19})-([0-9a-f]{32})\.shares")
_MOST_AT_ONCE: Final = 16  # of one name
_MOST_NAMES: Final = 1024  # of one driver
_BLOCK_BYTES: Final = 4096  # that even a small file, or a folder, takes
_SPARE_BYTES: Final = 1 << 28  # of the disk, which others need, too

Version = tuple[int, bytes]  # the number and the identity of what was saved


def check_name(name: str) -> None:
    """Checks that something can be saved under a name. Raises StorageError."""
    if not _NAME.fullmatch(name):
        raise StorageError(
            f"{name!r} is no name to save under: letters, digits, '-', '_' and '.' are, at most 64, a letter or digit "
            "first"
        )


class Archive:
    """What one player has saved. Safe to use from any thread; one file is written or read at a time.

    Args:
      player: whose it is.
      folder: made when something is saved.
      key: gives the key that its files are sealed with.
      most_bytes: that one driver may fill.
    """

    def __init__(self, player: str, folder: Path, key: Callable[[], bytes], most_bytes: int) -> None:
        self.player = player
        self._folder, self._key, self._most_bytes = folder, key, most_bytes
        self._lock = threading.Lock()
        for left_behind in folder.glob(f"*/*/*{FRESH}"):  # by a process that was killed
            left_behind.unlink(missing_ok=True)

    def write(self, driver: str, name: str, saved: Saved) -> None:
        """Saves something beside what is there under that name.

        Raises:
          StorageError: it cannot be written, or would not be read again.
          PolicyError: rule "max_saved_bytes".
        """
        folder = self._place(driver, name)
        head = saved.head
        with self._lock:
            self._check_room(driver, name, head.nbytes + len(head.encode()))
            try:
                make_folder(folder)
                path = folder / _file(head.number, head.identity)
                seal(path, self._key(), self._mark(driver, name, (head.number, head.identity)), saved.encode())
            except OSError as error:
                _log.warning("%s: %s", self.player, error)
                raise StorageError(f"{self.player} cannot save {name!r} ({error.strerror})") from error

    def keep(self, driver: str, name: str, version: Version) -> None:
        """Removes what was saved earlier under that name: all players have this now.

        Raises:
          StorageError: this is not here.
        """
        with self._lock:
            if version not in self.versions(driver, name):
                raise StorageError(f"{self.player} does not have what was saved as {name!r} any more: save it again")
            for number, identity in self.versions(driver, name):
                if number < version[0]:
                    (self._place(driver, name) / _file(number, identity)).unlink(missing_ok=True)

    def versions(self, driver: str, name: str) -> list[Version]:
        """Everything there is under that name, the oldest first, by what its file is called."""
        found = [_FILE.fullmatch(path.name) for path in self._place(driver, name).glob("*")]
        return sorted((int(it[1]), bytes.fromhex(it[2])) for it in found if it is not None)

    def read_head(self, driver: str, name: str, version: Version) -> Head:
        """What one of `versions` is. Raises StorageError if it is gone or was changed."""
        with self._lock:
            return self._read(driver, name, version, None).head

    def read(
        self, driver: str, name: str, version: Version, check: Callable[[Head], None], wanted: Collection[str]
    ) -> Saved:
        """One of `versions`, with the arrays of the variables `wanted`; `check` is called before they are read.

        Raises StorageError if it is gone or was changed, and what `check` raises.
        """

        def chosen(head: Head) -> Collection[str]:
            check(head)
            return wanted

        with self._lock:
            return self._read(driver, name, version, chosen)

    def _read(
        self, driver: str, name: str, version: Version, chosen: Callable[[Head], Collection[str]] | None
    ) -> Saved:
        path = self._place(driver, name) / _file(*version)
        try:
            reader = Reader(unseal(path, self._key(), self._mark(driver, name, version)))
            head = reader.head()
            if (head.number, head.identity) != version:
                raise StorageError("it holds what was saved at another time")
            return Saved(head, {}) if chosen is None else reader.arrays(head, chosen(head))
        except OSError as error:
            raise StorageError(f"{self.player} cannot read what was saved as {name!r} ({error.strerror})") from error
        except StorageError as error:
            raise StorageError(f"{self.player}: {path.name} of {name!r}: {error}") from error

    def _check_room(self, driver: str, name: str, nbytes: int) -> None:
        mine = self._folder / driver
        files = [_size(path) for path in mine.glob("*/*")]
        names = {path.name for path in mine.glob("*")}
        size = _on_disk(nbytes) + sum(map(_on_disk, files)) + _BLOCK_BYTES * len(names)
        if size > self._most_bytes:
            raise PolicyError(
                f"{self.player} would have {size:,} bytes on its disk that {driver} has saved, at most "
                f"{self._most_bytes:,} (rule max_saved_bytes): remove some of {sorted(names)[:20]} from its state, or "
                'let "policy": {"max_saved_bytes": ...} in its configuration allow more'
            )
        if len(names | {name}) > _MOST_NAMES:
            raise StorageError(f"{self.player} keeps {_MOST_NAMES} names of {driver} at most: save under one of them")
        if len(self.versions(driver, name)) >= _MOST_AT_ONCE:
            raise StorageError(
                f"{self.player} has {_MOST_AT_ONCE} files of {name!r} that were never finished by all: load it, which "
                "keeps what all have, or remove it from its state"
            )
        if nbytes > shutil.disk_usage(_existing(self._folder)).free - _SPARE_BYTES:
            raise StorageError(f"{self.player} cannot save {name!r}: its disk is nearly full")

    def _place(self, driver: str, name: str) -> Path:
        check_name(name)
        return self._folder / driver / name

    def _mark(self, driver: str, name: str, version: Version) -> str:
        return f"{self.player}/{driver}/{name}/{_file(*version)}"


def _file(number: int, identity: bytes) -> str:
    return f"{number:019d}-{identity.hex()}.shares"


def _on_disk(nbytes: int) -> int:
    return -(-nbytes // _BLOCK_BYTES) * _BLOCK_BYTES


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.absolute().parent)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # the operator has removed it meanwhile
        return 0
