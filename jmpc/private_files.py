"""Files that nobody else on this machine may read, or change: how they are written, and what is refused."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from .errors import ConfigError

WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
ANY: Final = stat.S_IRWXG | stat.S_IRWXO


def write_file(path: Path, data: bytes, mode: int, *, replace: bool = True) -> None:
    """Writes a file at once or not at all; it has its mode from its first byte on, so no secret is ever readable.

    It is on the disk when this returns. Without `replace`, a file that is there raises FileExistsError.
    """
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(fresh, path)
        else:
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder be on the disk, too."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, for this user alone; checks it if it is there.

    Raises:
      ConfigError: others can put files into it.
      OSError: it cannot be made.
    """
    if not folder.parent.exists():
        make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    check_directory(folder)


def check_directory(folder: Path) -> None:
    """Checks that nobody else can put files into a directory. Raises ConfigError, with the remedy."""
    check_protected(folder, WRITE)


def check_protected(path: Path, forbidden: int) -> None:
    """Checks that a file or directory belongs to this user (or to root) and grants others nothing `forbidden`.

    `forbidden` is `WRITE` or `ANY`. Who owns or can write to a public key or its directory can put another key there,
    and so become that player.

    Raises:
      ConfigError: with the remedy. Nothing is said of what does not exist.
    """
    if os.name != "posix" or not path.exists():
        return
    info = path.stat()  # of what is read, if this is a link; the link itself is its directory's business
    if info.st_uid not in (os.getuid(), 0):
        raise ConfigError(
            f"{path} belongs to another user (uid {info.st_uid}), who can replace it: "
            f"`chown {os.getuid()} {path}`, and think who may have changed it"
        )
    if info.st_mode & forbidden:
        private = "chmod 700" if stat.S_ISDIR(info.st_mode) else "chmod 600"
        what, remedy = ("writable", "chmod go-w") if forbidden == WRITE else ("accessible", private)
        raise ConfigError(
            f"{path} is {what} by others (mode {stat.S_IMODE(info.st_mode):03o}): "
            f"`{remedy} {path}`, and think who may have used it"
        )
