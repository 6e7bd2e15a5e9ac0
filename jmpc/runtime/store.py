"""Where a player keeps its variables between runs: immutable generations, committed at the end of a run."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, int]  # variable name and slot
Origins = frozenset[str]

SIMULATED = b"simulated"


@dataclass
class Store:
    """Shares and local arrays of one player. A run reads one generation and writes the next.

    Each variable remembers which run wrote it, and whose inputs it derives from.
    """

    _arrays: dict[Key, Any] = field(default_factory=dict, repr=False)
    _written: dict[str, tuple[bytes, Origins]] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return key in self._arrays

    def knows(self, variable: str) -> bool:
        """Whether this player holds anything of a variable."""
        with self._lock:
            return variable in self._written

    def read(self, key: Key) -> Any:
        """Raises KeyError for a variable that no run has written."""
        with self._lock:
            return self._arrays[key]

    def generation(self, variable: str) -> bytes | None:
        """The run that wrote a variable."""
        with self._lock:
            return self._written.get(variable, (None, frozenset()))[0]

    def origins(self, variable: str, unknown: Origins) -> Origins:
        """The players whose inputs a variable derives from; `unknown` for one that is not here."""
        with self._lock:
            return self._written.get(variable, (None, unknown))[1]

    def commit(
        self, generation: Mapping[Key, Any], run: bytes = SIMULATED, origins: Mapping[str, Origins] | None = None
    ) -> None:
        """Makes what a run has written the current generation, all at once."""
        with self._lock:
            self._arrays.update(generation)
            for name, _ in generation:
                self._written[name] = (run, (origins or {}).get(name, frozenset()))
