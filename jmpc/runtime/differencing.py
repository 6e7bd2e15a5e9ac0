"""Sets of owners whose sums were opened, so that the difference of two sums is never about a few of them.

    STATE/sets.json    [[owner, ...], ...]    the last used at the end

A server whose policy has `min_set_difference` compares every set of owners that delivered to a gather with all that it
has seen before, of whatever computation and driver: data cannot be told apart by what a program calls it. What it
refuses is refused before anything is computed of the contributions. It compares who delivered, two sets at a time, and
so guards against differences that come about by accident. A driver that is out for them gets around it: it sums up a
part of those that delivered, takes inputs without a gather, or puts three sets together. What such a driver may run,
the rules `inputs` and signatures say. A set counts from then on, also if the run fails
later: what was opened by then, nobody knows for sure.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from jmpc.errors import ConfigError, PolicyError, StorageError
from jmpc.private_files import ANY, check_directory, check_protected, make_folder, write_file
from jmpc.remember import Remembered
from jmpc.runtime.attendance import Judge, Owners

_MOST = 1 << 14  # sets; the one that was not seen for longest is forgotten


class Sets:
    """Of one player; read when first needed. Safe to use from any thread.

    Args:
      path: of the file, which is made when a set is first remembered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: Remembered[Owners, None] | None = None

    def check(self, me: str, present: Owners, least: int) -> None:
        """Remembers a set of owners, unless it differs too little from one that was there before.

        Raises:
          PolicyError: rule "min_set_difference".
          StorageError: it cannot be written down.
        """
        with self._lock:
            seen = self._seen = _read(self._path) if self._seen is None else self._seen
            if present in seen:
                seen.get(present)  # it is now the last used
                return
            for before in seen.keys():
                # Sums over sets that have nobody in common say no more together than each alone.
                if before & present and len(apart := before ^ present) < least:
                    raise PolicyError(
                        f"{me} refuses a sum over owners that differ from those of an earlier one in "
                        f"{', '.join(sorted(apart))} alone (rule min_set_difference): what is not equal must differ in "
                        f"at least {least}"
                    )
            self._write([*seen.keys(), present][-seen.most :])  # first: what is not written down, nobody may rely on
            seen.put(present, None)

    def judge(self, me: str, least: int) -> Judge:
        """How a player judges the sets of owners of its runs by the rule of its policy; 0 is no such rule."""

        def judge(owners: Owners, present: Owners) -> None:
            del owners
            if least:
                self.check(me, present, least)

        return judge

    def _write(self, seen: list[Owners]) -> None:
        try:
            make_folder(self._path.parent)
            write_file(self._path, json.dumps([sorted(owners) for owners in seen]).encode() + b"\n", 0o600)
        except OSError as error:
            raise StorageError(f"{self._path.name} cannot be written ({error.strerror})") from error


def _read(path: Path) -> Remembered[Owners, None]:
    seen: Remembered[Owners, None] = Remembered(_MOST)
    if not path.exists():
        return seen
    try:
        check_directory(path.parent)
        check_protected(path, ANY)
        for row in json.loads(path.read_text("utf-8")):
            if not isinstance(row, list) or not all(isinstance(name, str) for name in row):
                raise ValueError
            seen.put(frozenset(row), None)
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise StorageError(f"{path.name} is no list of sets of owners ({type(error).__name__})") from None
    return seen
