"""The audit log of a node: every run it took part in, what was opened to whom in it, and how it ended.

    {"after": MAC, "time": T, "opens": DIGEST, "opened": [{"to": ..., "by": ..., "what": ..., "of": [...]}, ...],
                                               "used": [the player's own registered inputs], "mac": ...}
    {"after": MAC, "time": T, "run": ID, "driver": NAME, "computation": DIGEST, "opens": DIGEST, ...}
    {"after": MAC, "time": T, "run": ID, "driver": NAME, "ended": "well" or why not, "mac": ...}
                                                      and "missing": [...], the owners that it went on without
    {"after": MAC, "time": T, "computation": DIGEST, "judged": "approved" or "withdrawn", "mac": ...}
    {"after": MAC, "time": T, "driver": NAME, "stored": "save" or "load", "name": ..., "variables": ..., "mac": ...}

A line is written before the first share of its run moves; if it cannot be, the node takes no part. What runs open is
written once and referred to by its digest, with the inputs of this player that it takes. "mac" is the HMAC-SHA256 of
all before it in its line, and "after" that of the line before, under a key that derives from the player's storage key:
who can write the file, but does not have the key, can take lines off its end, but not change, add or take out others
unseen.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jmpc.choreography.releases import ReleaseAccount, opened_values
from jmpc.errors import PolicyError, StorageError
from jmpc.private_files import make_folder
from jmpc.remember import Remembered
from jmpc.runtime.lately import LastHour

_FIRST: Final = "0" * 64
_REMEMBERED: Final = 4096  # digests of what was written already
_REASON: Final = 200  # characters of why a run ended
_SPARE: Final = 600  # bytes of the line that says how it ended
_MAC: Final = ', "mac": "'  # and 64 digits, a quotation mark and a brace end every line


class AuditLog:
    """A file that only grows; made when something is written. Safe to use from any thread.

    Args:
      key: gives the player's storage key.
      most_bytes: that one driver may have written in an hour.

    Raises:
      StorageError: when something cannot be written.
      PolicyError: rule "max_audit_bytes".
    """

    def __init__(self, path: Path, key: Callable[[], bytes], most_bytes: int) -> None:
        self.path, self._storage_key, self._most_bytes = path, key, most_bytes
        self._lock = threading.Lock()
        self._last: str | None = None  # the MAC of the last line; not read yet
        self._known: Remembered[str, None] = Remembered(_REMEMBERED)
        self._written: dict[str, LastHour] = {}  # bytes, by driver

    def begins(
        self,
        run: bytes,
        driver: str,
        computation: bytes,
        opened: Iterable[ReleaseAccount],
        *,
        used: Sequence[str] = (),
        approved: bool = False,
        author: str = "",
        iteration: int | None = None,
    ) -> None:
        """A run of a computation of this identity is about to begin in which all this is opened.

        `used` are the inputs of this player that it takes, by the names that they are registered by. `approved` says
        whether the operator had to let it through, `author` who is said to have signed it, `iteration` what providers
        are told.
        """
        rows = [
            {"to": it.dst, "by": it.src, "what": it.why, "shape": it.shape, "of": sorted(it.inputs), "line": it.line}
            for it in opened_values(opened)
        ]
        digest = hashlib.sha256(json.dumps([rows, list(used)]).encode()).hexdigest()
        with self._lock:
            if digest not in self._known:
                self._write({"opens": digest, "opened": rows, "used": list(used)}, driver)
                self._known.put(digest, None)
            entry = {"run": run.hex(), "driver": driver, "computation": computation.hex(), "opens": digest}
            if iteration is not None:
                entry["iteration"] = str(iteration)  # which may be more than a number of JSON holds exactly
            self._write(entry | {"approved": approved, "author": author}, driver)

    def ended(self, run: bytes, driver: str, how: str, missing: Iterable[str] = ()) -> None:
        """A run has ended, "well" or for a reason; without which owners."""
        entry: dict[str, Any] = {"run": run.hex(), "driver": driver}
        entry["ended"] = how.encode("ascii", "replace").decode()[:_REASON]
        if without := sorted(missing):
            entry["missing"] = without
        with self._lock:
            self._write(entry)

    def judged(self, identity: str, how: str) -> None:
        """The operator has approved a computation, or has withdrawn that."""
        with self._lock:
            self._write({"computation": identity, "judged": how})

    def stored(self, driver: str, how: str, name: str, variables: int) -> None:
        """Variables of a driver are saved or loaded."""
        with self._lock:
            self._write({"driver": driver, "stored": how, "name": name, "variables": variables}, driver)

    def _write(self, entry: dict[str, Any], driver: str | None = None) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        try:
            if self._last is None:
                make_folder(self.path.parent)
                self._last = _last_mac(self.path)
            text = json.dumps({"after": self._last, "time": now, **entry})[:-1]
            if driver is not None:
                self._check_room(driver, len(text) + _SPARE)
            mac = _mac(_key(self._storage_key()), text)
            _append(self.path, f'{text}{_MAC}{mac}"}}\n'.encode())
            self._last = mac
        except OSError as error:
            self._last = None
            raise StorageError(f"the audit log cannot be written ({error.strerror}): see {self.path.name}") from error

    def _check_room(self, driver: str, nbytes: int) -> None:
        written = self._written.setdefault(driver, LastHour())
        if (total := nbytes + written.total) > self._most_bytes:
            raise PolicyError(
                f"the runs of {driver} would fill {total:,} bytes of the audit log within an hour, at most "
                f"{self._most_bytes:,} (rule max_audit_bytes): open less, or in fewer runs"
            )
        written.add(nbytes)


def read(path: Path, key: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries of a log, in order, each run with all that it "opened"; and what is wrong with it, line by line.

    Raises:
      StorageError: it cannot be read.
    """
    entries, problems, known, after = [], [], {}, _FIRST
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror})") from error
    derived = _key(key)
    for number, line in enumerate(lines, 1):
        entry = _entry(line, derived)
        if entry is None:
            problems.append(f"line {number} was changed, or cut off when the node died")
            continue
        if entry["after"] != after:
            problems.append(f"line {number}: lines before it were taken out, or put in")
        after = entry["mac"]
        if "run" not in entry and "opened" in entry:
            known[entry["opens"]] = {"opened": entry["opened"], "used": entry.get("used", [])}
            continue
        if "opens" in entry:
            entry |= known.get(entry["opens"], {"opened": [], "used": []})
            if entry["opens"] not in known:
                problems.append(f"line {number}: what it opened is not there")
        entries.append(entry)
    return entries, problems


def _entry(line: bytes, key: bytes) -> dict[str, Any] | None:
    text, _, rest = line.decode("utf-8", "replace").rpartition(_MAC)
    if not text or not hmac.compare_digest(rest.encode(), f'{_mac(key, text)}"}}'.encode()):
        return None
    return json.loads(line)


def _key(storage_key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"jmpc audit").derive(storage_key)


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def _append(path: Path, data: bytes) -> None:
    """All of it, or nothing."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) != len(data):
                raise OSError(0, "the disk is full")
        except OSError:
            file.truncate(size)
            raise


def _last_mac(path: Path) -> str:
    """Of the last line that is whole. One that a dying process left unfinished is closed, and stays to be seen."""
    if not path.exists():
        return _FIRST
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        _append(path, b"\n")
    for line in reversed(data.splitlines()):
        _, found, rest = line.rpartition(_MAC.encode())
        if found and len(rest) == 66:
            return rest[:64].decode("ascii", "replace")
    return _FIRST
