"""Where a player keeps its variables between runs: immutable generations, committed at the end of a run.

A generation is all that one run wrote of a variable: what an earlier run wrote of it is gone, and slots of two runs
never meet. A variable in the clear has the one slot `CLEAR`, which no sharing has.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, int]  # variable name and slot
Origins = frozenset[str]
Grants = Mapping[str, Origins]  # for each player whose inputs something derives from: who may see it, by its own word

SIMULATED = b"a simulated run."
_OVERHEAD = 1024  # bytes that even an empty array takes, with its name


@dataclass(frozen=True)
class Generation:
    """Which run wrote a variable, whose inputs it derives from, each with those who may see it, and what it is.

    `run` is the identity that the players of the run agreed on, not the id that its driver gave it. `form` is the type
    and the fraction that it was written with: read as another type, shares would show more than the value.
    """

    run: bytes
    grants: Grants = field(default_factory=dict)
    form: str = ""

    @property
    def origins(self) -> Origins:
        """The players whose inputs the variable derives from."""
        return frozenset(self.grants)


@dataclass
class Store:
    """Shares and local arrays of one player. A run reads one generation and writes the next."""

    _arrays: dict[Key, Any] = field(default_factory=dict, repr=False)
    _generations: dict[str, Generation] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return key in self._arrays

    def named(self, names: Mapping[str, str]) -> Named:
        """This store for a computation; `names` gives for what it calls each of its variables the name here."""
        return Named(self, names)

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

    def slots(self, variables: Collection[str]) -> dict[str, dict[int, Any]]:
        """Everything that is held here of the current generations of variables, by slot."""
        found: dict[str, dict[int, Any]] = {variable: {} for variable in variables}
        with self._lock:
            for (name, slot), array in self._arrays.items():
                if name in found:
                    found[name][slot] = array
        return found

    def restore(self, variables: Mapping[str, tuple[Mapping[int, Any], Generation]]) -> None:
        """Makes what was saved the current generations of variables."""
        with self._lock:
            kept = {key: array for key, array in self._arrays.items() if key[0] not in variables}
            restored = {(name, i): array for name, (slots, _) in variables.items() for i, array in slots.items()}
            self._arrays = kept | restored
            self._generations.update((name, generation) for name, (_, generation) in variables.items())

    def bytes_after(self, sizes: Mapping[Key, int]) -> int:
        """How many bytes all variables will take once these are written."""
        with self._lock:
            written = {name for name, _ in sizes}
            kept = {key: array.nbytes for key, array in self._arrays.items() if key[0] not in written}
            after = kept | dict(sizes)
            return sum(after.values()) + _OVERHEAD * len(after)

    def commit(self, arrays: Mapping[Key, Any], generations: Mapping[str, Generation] | None = None) -> None:
        """Makes what a run has written the current generations of these variables, all at once.

        Without `generations`, as in a simulation, they are all of the same run.
        """
        known, written = generations or {}, {name for name, _ in arrays}
        with self._lock:
            kept = {key: array for key, array in self._arrays.items() if key[0] not in written}
            self._arrays = kept | dict(arrays)
            self._generations.update((name, known.get(name, Generation(SIMULATED))) for name in written)


@dataclass(frozen=True)
class Named:
    """A store by the names that a computation has for its variables; no other variable can be reached by it."""

    store: Store
    names: Mapping[str, str]

    def _key(self, key: Key) -> Key:
        return self.names[key[0]], key[1]

    def __contains__(self, key: Key) -> bool:
        return self._key(key) in self.store

    def read(self, key: Key) -> Any:
        """As `Store.read`."""
        return self.store.read(self._key(key))

    def generation(self, variable: str) -> Generation | None:
        """As `Store.generation`."""
        return self.store.generation(self.names[variable])

    def bytes_after(self, sizes: Mapping[Key, int]) -> int:
        """As `Store.bytes_after`."""
        return self.store.bytes_after({self._key(key): size for key, size in sizes.items()})

    def commit(self, arrays: Mapping[Key, Any], generations: Mapping[str, Generation] | None = None) -> None:
        """As `Store.commit`."""
        known = {self.names[variable]: generation for variable, generation in (generations or {}).items()}
        self.store.commit({self._key(key): array for key, array in arrays.items()}, known)
