"""Where a player keeps its variables between runs: immutable generations, committed at the end of a run."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, int]  # variable name and slot
Origins = frozenset[str]

SIMULATED = b"simulated"
_OVERHEAD = 1024  # bytes that even an empty array takes, with its name


@dataclass(frozen=True)
class Generation:
    """Which run wrote a variable, and the players whose inputs it derives from."""

    run: bytes
    origins: Origins = frozenset()


@dataclass
class Store:
    """Shares and local arrays of one player. A run reads one generation and writes the next."""

    _arrays: dict[Key, Any] = field(default_factory=dict, repr=False)
    _generations: dict[str, Generation] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return key in self._arrays

    def knows(self, variable: str) -> bool:
        """Whether this player holds anything of a variable."""
        return self.generation(variable) is not None

    def read(self, key: Key) -> Any:
        """Raises KeyError for a variable that no run has written."""
        with self._lock:
            return self._arrays[key]

    def generation(self, variable: str) -> Generation | None:
        """What is known of the current generation of a variable; None if it has none here."""
        with self._lock:
            return self._generations.get(variable)

    def bytes_after(self, sizes: Mapping[Key, int]) -> int:
        """How many bytes all variables will take once these are written."""
        with self._lock:
            after = {key: array.nbytes for key, array in self._arrays.items()} | dict(sizes)
            return sum(after.values()) + _OVERHEAD * len(after)

    def commit(
        self, arrays: Mapping[Key, Any], run: bytes = SIMULATED, origins: Mapping[str, Origins] | None = None
    ) -> None:
        """Makes what a run has written the current generation, all at once."""
        known = origins or {}
        with self._lock:
            self._arrays.update(arrays)
            self._generations.update((name, Generation(run, known.get(name, frozenset()))) for name, _ in arrays)
