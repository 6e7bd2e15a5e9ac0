"""The storages of all players as one: something is saved by all who hold a part of it, or loaded by all, or not."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from jmpc.errors import StorageError
from jmpc.runtime.saving import Found, Request, Task
from jmpc.runtime.store import Generation
from jmpc.storage.archive import check_name
from jmpc.storage.saved import ID_BYTES

Places = Mapping[str, str | None]  # variables, each with the player that has it in the clear, or None for secrets
Ask = Callable[[Mapping[str, Request]], Mapping[str, list[Found]]]


@dataclass(frozen=True)
class Loaded:
    """What was loaded: its descriptor, and for each variable as it was saved its present name and generation."""

    descriptor: bytes
    names: Mapping[str, str]
    generations: Mapping[str, Generation]  # by present name


@dataclass(frozen=True)
class Storages:
    """What a session asks of the storages of its players.

    Args:
      session: its id.
      servers: who are asked first: they have a part of everything, be it only its descriptor.
      ask: sends each player its request and returns all answers; raises what a player refuses.
    """

    session: bytes
    servers: tuple[str, ...]
    ask: Ask

    def save(self, name: str, descriptor: bytes, places: Places, runs: Mapping[str, bytes]) -> None:
        """Saves variables, of which `runs` says which run has written each.

        What was saved under that name before is removed when all players have written their parts, not earlier.
        """
        check_name(name)
        identity, number, holders = secrets.token_bytes(ID_BYTES), time.time_ns(), self._holders(places)
        self.ask(
            {
                player: Request(
                    self.session, Task.SAVE, name, identity, number, descriptor, {it: runs[it] for it in variables}
                )
                for player, variables in holders.items()
            }
        )
        self.ask({player: Request(self.session, Task.KEEP, name, identity) for player in holders})

    def load(self, name: str, places_of: Callable[[bytes], Places], fresh: Callable[[], str]) -> Loaded:
        """Loads the newest of what all players have saved under a name.

        Args:
          places_of: reads a descriptor.
          fresh: makes the names that variables get.

        Raises:
          StorageError: no player has it, some do not, or their parts do not belong together.
        """
        check_name(name)
        found = dict(self._find(name, self.servers))
        others = self._holders(places_of(newest_of_all(name, found).descriptor)).keys() - found.keys()
        found |= self._find(name, sorted(others))
        newest = newest_of_all(name, found)
        places = places_of(newest.descriptor)
        if places.keys() != newest.variables.keys():
            raise StorageError(f"the players have other variables of {name!r} than it says it has")
        names = {variable: fresh() for variable in places}
        holders = self._holders(places)
        self.ask(
            {
                player: Request(
                    self.session, Task.LOAD, name, newest.identity, variables={it: names[it] for it in variables}
                )
                for player, variables in holders.items()
            }
        )
        self.ask({player: Request(self.session, Task.KEEP, name, newest.identity) for player in holders})
        generations = {names[variable]: generation for variable, generation in newest.variables.items()}
        return Loaded(newest.descriptor, names, generations)

    def _find(self, name: str, players: Iterable[str]) -> Mapping[str, list[Found]]:
        requests = {player: Request(self.session, Task.FIND, name) for player in players}
        return self.ask(requests) if requests else {}

    def _holders(self, places: Places) -> dict[str, list[str]]:
        """The variables that each player has a part of."""
        holders: dict[str, list[str]] = {server: [] for server in self.servers}
        for variable, player in places.items():
            for holder in self.servers if player is None else [player]:
                holders.setdefault(holder, []).append(variable)
        return holders


def newest_of_all(name: str, found: Mapping[str, list[Found]]) -> Found:
    """The newest of what all these players have, with the variables of all of them.

    Raises:
      StorageError: there is none, or they do not mean the same; naming who has what.
    """
    common = set.intersection(*({it.identity for it in parts} for parts in found.values()))
    if not common:
        rows = [f"{player} has {sorted(it.identity.hex()[:8] for it in parts)}" for player, parts in found.items()]
        raise StorageError(
            f"{name!r} was saved at different times by different players, and no part of one goes with those of "
            f"another: {'; '.join(rows)}"
        )
    parts = {player: {it.identity: it for it in its} for player, its in found.items()}
    first, others = next(iter(parts)), list(parts)[1:]
    newest = max((parts[first][identity] for identity in common), key=lambda it: it.number)
    variables = dict(newest.variables)
    for player in others:
        part = parts[player][newest.identity]
        if (part.number, part.descriptor) != (newest.number, newest.descriptor):
            raise StorageError(f"{player} does not say the same of {name!r} as {first}: one of them is not honest")
        for variable, generation in part.variables.items():
            if variables.setdefault(variable, generation) != generation:
                raise StorageError(
                    f"{player} saved another generation of a variable of {name!r} than {first}: they do not belong "
                    "together"
                )
    return Found(newest.identity, newest.number, newest.descriptor, variables)
