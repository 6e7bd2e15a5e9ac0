"""The audit log of a node: every run it took part in, what was opened to whom in it, and how it ended.

    {"after": SHA-256 of the line before, "time": ..., "run": ..., "driver": ..., "opened": [...]}
    {"after": ..., "time": ..., "run": ..., "ended": "well" | why not}

A line is written before the first share of its run moves; if it cannot be, the node takes no part. Each line has the
digest of the one before it, so that none can be changed or taken out unseen, but at the end of the file.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jmpc.choreography.releases import ReleaseAccount
from jmpc.errors import StorageError
from jmpc.private_files import check_directory

_FIRST = "0" * 64


class AuditLog:
    """A file that only grows; made when something is written.

    Raises:
      StorageError: when something cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._last: str | None = None  # the digest of the last line; not read yet

    def begins(self, run: bytes, driver: str, computation: bytes, opened: Iterable[ReleaseAccount]) -> None:
        """A run is about to begin in which all this is opened."""
        rows = [
            {"to": it.dst, "by": it.src, "what": it.why, "shape": it.shape, "of": sorted(it.inputs), "line": it.line}
            for it in opened
        ]
        self._write({"run": run.hex(), "driver": driver, "computation": computation.hex(), "opened": rows})

    def ended(self, run: bytes, how: str) -> None:
        """A run has ended, "well" or for a reason."""
        self._write({"run": run.hex(), "ended": how})

    def _write(self, entry: dict[str, Any]) -> None:
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        with self._lock:
            try:
                if self._last is None:
                    self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    check_directory(self.path.parent)
                    self._last = _last_digest(self.path)
                line = json.dumps({"after": self._last, "time": time, **entry}).encode()
                with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
                    file.write(line + b"\n")
                self._last = hashlib.sha256(line).hexdigest()
            except OSError as error:
                raise StorageError(f"the audit log {self.path} cannot be written ({error.strerror})") from error


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a log, in order.

    Raises:
      StorageError: it was changed; naming the line.
    """
    entries, after = [], _FIRST
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip(b"\n")
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = None
                if not isinstance(entry, dict) or entry.get("after") != after:
                    raise StorageError(f"{path}, line {number}: it, or the line before it, was changed or taken out")
                after = hashlib.sha256(line).hexdigest()
                entries.append(entry)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror})") from error
    return entries


def _last_digest(path: Path) -> str:
    """Of the last line. A line that a dying process left unfinished is closed, and stays to be seen."""
    if not path.exists():
        return _FIRST
    last = b""
    with open(path, "rb+") as file:
        for line in file:
            last = line
        if last and not last.endswith(b"\n"):
            file.write(b"\n")
    return hashlib.sha256(last.rstrip(b"\n")).hexdigest() if last else _FIRST
