"""Computations that a node's operator has approved by hand, and those that wait for it.

    STATE/approved.json    [{"computation": identity, "time": ..., "account": what the operator was shown}, ...]

An approval is of one computation, by its identity (`Computation.identity`), for good: whoever submits it and however
often. It overrules this player's `reveal_to`, `min_owners` and `inputs`, and nothing else: not the word of other
owners, not limits, not who may submit. What reads variables cannot be approved: its identity does not say of which.
"""

from __future__ import annotations

import datetime
import json
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from jmpc.errors import ConfigError
from jmpc.private_files import ANY, check_directory, check_protected, make_folder, write_file
from jmpc.remember import Remembered

_PENDING = 16  # of one driver
_MOST_CHARACTERS = 1 << 20  # of one account: what is longer nobody reads, so that it is not offered
_IDENTITY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pending:
    """A computation that was refused, as it is shown to the operator."""

    computation: str
    driver: str
    reason: str
    account: str


@dataclass(frozen=True)
class Approved:
    """When a computation was approved, and by which account; empty if there was none any more."""

    time: str
    account: str


class Approvals:
    """Safe to use from any thread.

    Args:
      path: of the file, which is made when something is approved.

    Raises:
      ConfigError: there is a file that is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._approved = _read(path)
        self._pending: dict[str, Remembered[str, Pending]] = {}  # by driver

    def __contains__(self, identity: bytes) -> bool:
        return identity.hex() in self._approved

    def knows(self, driver: str, identity: bytes) -> bool:
        """Whether a refused computation of a driver is kept already."""
        return driver in self._pending and identity.hex() in self._pending[driver]

    def refused(self, pending: Pending) -> bool:
        """Keeps a refused computation for the operator to look at; whether it is one that can be approved."""
        if len(pending.account) > _MOST_CHARACTERS:
            return False
        with self._lock:
            mine = self._pending.setdefault(pending.driver, Remembered(_PENDING))
        mine.put(pending.computation, pending)
        return True

    def pending(self) -> list[dict[str, str]]:
        """Everything that was refused lately, oldest first, without the accounts."""
        rows = [it for mine in list(self._pending.values()) for it in mine.values()]
        rows = [it for it in rows if it.computation not in self._approved]
        return [{"computation": it.computation, "driver": it.driver, "reason": it.reason} for it in rows]

    def account(self, identity: str) -> str:
        """The account of a computation that was refused lately, or approved. Raises ConfigError if there is none."""
        for mine in list(self._pending.values()):
            if (found := mine.get(identity)) is not None:
                return found.account
        if (approved := self._approved.get(identity)) is not None and approved.account:
            return approved.account
        raise ConfigError(f"computation {identity!r} was not refused lately, nor approved while it could be shown")

    @property
    def approved(self) -> dict[str, str]:
        """Identities, each with the time of its approval."""
        return {identity: it.time for identity, it in self._approved.items()}

    def approve(self, identity: str) -> None:
        """Raises ConfigError for what is no identity, or if it cannot be written down."""
        if not _IDENTITY.fullmatch(identity):
            raise ConfigError(f"{identity!r} is no identity of a computation: 64 hexadecimal digits")
        try:
            account = self.account(identity)
        except ConfigError:
            account = ""
        with self._lock:
            time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._write(self._approved | {identity: Approved(time, account)})

    def withdraw(self, identity: str) -> None:
        """Takes an approval back; runs that are going on go on. Raises ConfigError if there is none."""
        with self._lock:
            if identity not in self._approved:
                raise ConfigError(f"computation {identity!r} is not approved; approved are {sorted(self._approved)}")
            self._write({it: approved for it, approved in self._approved.items() if it != identity})

    def _write(self, approved: dict[str, Approved]) -> None:
        rows = [{"computation": identity, "time": it.time, "account": it.account} for identity, it in approved.items()]
        try:
            make_folder(self._path.parent)
            write_file(self._path, json.dumps(rows, indent=4).encode() + b"\n", 0o600)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written ({error.strerror})") from error
        self._approved = approved


def _read(path: Path) -> dict[str, Approved]:
    if not path.exists():
        return {}
    check_directory(path.parent)
    check_protected(path, ANY)
    try:
        rows = json.loads(path.read_text("utf-8"))
        approved = {row["computation"]: Approved(row["time"], row.get("account", "")) for row in rows}
        if not all(_IDENTITY.fullmatch(identity) for identity in approved):
            raise ValueError
        if not all(isinstance(text, str) for it in approved.values() for text in (it.time, it.account)):
            raise TypeError
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} is no list of approved computations ({type(error).__name__})") from None
    return approved
