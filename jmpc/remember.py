"""What is made once and used often, kept in bounds: what was not used for longest goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Remembered(Generic[_K, _V]):
    """A table with room for so many entries of so much weight together; the latest one always fits.

    Safe to use from any thread. What is dropped lives on for as long as somebody uses it.

    Args:
      most: entries.
      heaviest: their weights together; None if only their number counts.
    """

    def __init__(self, most: int, heaviest: int | None = None) -> None:
        self.most, self.heaviest = most, heaviest
        self._entries: OrderedDict[_K, tuple[_V, int]] = OrderedDict()  # the last used at the end
        self._weight = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: _K) -> bool:
        return key in self._entries

    @property
    def weight(self) -> int:
        """Of all entries together."""
        return self._weight

    def get(self, key: _K) -> _V | None:
        """The entry of a key, which is now the last used; None if there is none."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def keys(self) -> list[_K]:
        """Of all entries, the last used at the end."""
        with self._lock:
            return list(self._entries)

    def values(self) -> list[_V]:
        """All entries, the last used at the end."""
        with self._lock:
            return [value for value, _ in self._entries.values()]

    def put(self, key: _K, value: _V, weight: int = 0) -> None:
        """Keeps an entry, instead of another of this key; drops others if it must."""
        with self._lock:
            self._remove(key)
            self._entries[key] = value, weight
            self._weight += weight
            while len(self._entries) > 1 and self._is_full():
                self._remove(next(iter(self._entries)))

    def drop(self, key: _K) -> None:
        """Forgets an entry, if there is one."""
        with self._lock:
            self._remove(key)

    def _is_full(self) -> bool:
        return len(self._entries) > self.most or (self.heaviest is not None and self._weight > self.heaviest)

    def _remove(self, key: _K) -> None:
        _, weight = self._entries.pop(key, (None, 0))
        self._weight -= weight
