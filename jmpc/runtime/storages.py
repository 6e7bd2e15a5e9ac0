"""The storages of all players as one: something is saved by all who hold a part of it, or loaded by all, or not."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from jmpc.errors import StorageError
from jmpc.runtime.saving import Answer, Part, Request, Task
from jmpc.runtime.store import Generation
from jmpc.storage.archive import Version, check_name
from jmpc.storage.saved import ID_BYTES

Places = Mapping[str, str | None]  # variables, each with the player that has it in the clear, or None for secrets
Ask = Callable[[Mapping[str, Request]], Mapping[str, Answer]]


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
      servers: who are asked first: they have a part of everything, be it only its descriptor.
      ask: sends each player its request and returns all answers; raises what a player refuses.
    """

    servers: tuple[str, ...]
    ask: Ask

    def save(self, name: str, descriptor: bytes, places: Places, runs: Mapping[str, bytes]) -> None:
        """Saves variables, of which `runs` says which run has written each.

        What was saved under that name before is removed when all players have written their parts, not earlier.
        """
        check_name(name)
        holders = self._holders(places)
        version = time.time_ns(), secrets.token_bytes(ID_BYTES)
        self.ask(
            {
                player: Request(Task.SAVE, name, version, descriptor, {it: runs[it] for it in variables})
                for player, variables in holders.items()
            }
        )
        self._keep(name, version, holders)

    def load(self, name: str, places_of: Callable[[bytes], Places], fresh: Callable[[], str]) -> Loaded:
        """Loads the newest of what all players have saved under a name.

        Args:
          places_of: reads a descriptor.
          fresh: makes the names that variables get.

        Raises:
          StorageError: no player has it, some do not, or their parts do not belong together.
        """
        check_name(name)
        there = self._versions(name, self.servers)
        common = sorted(set.intersection(*map(set, there.values())), reverse=True)
        for version in common:
            first = self._parts(name, version, self.servers[:1])
            places = places_of(first[self.servers[0]].descriptor)
            holders = self._holders(places)
            there |= self._versions(name, [player for player in holders if player not in there])
            if all(version in there[player] for player in holders):
                break
        else:
            raise StorageError(_nothing_common(name, there))
        part = _joined(name, first | self._parts(name, version, [it for it in holders if it not in first]))
        if places.keys() != part.variables.keys():
            raise StorageError(f"the players have other variables of {name!r} than it says it has")
        names = {variable: fresh() for variable in places}
        self.ask(
            {
                player: Request(Task.LOAD, name, version, variables={it: names[it] for it in variables})
                for player, variables in holders.items()
            }
        )
        self._keep(name, version, holders)
        generations = {names[variable]: generation for variable, generation in part.variables.items()}
        return Loaded(part.descriptor, names, generations)

    def _keep(self, name: str, version: Version, holders: Iterable[str]) -> None:
        self.ask({player: Request(Task.KEEP, name, version) for player in holders})

    def _versions(self, name: str, players: Iterable[str]) -> dict[str, tuple[Version, ...]]:
        requests = {player: Request(Task.LIST, name) for player in players}
        answers = self.ask(requests) if requests else {}
        return {player: answer.versions for player, answer in answers.items()}

    def _parts(self, name: str, version: Version, players: Iterable[str]) -> dict[str, Part]:
        requests = {player: Request(Task.TELL, name, version) for player in players}
        answers = self.ask(requests) if requests else {}
        return {player: answer.part for player, answer in answers.items()}

    def _holders(self, places: Places) -> dict[str, list[str]]:
        """The variables that each player has a part of."""
        holders: dict[str, list[str]] = {server: [] for server in self.servers}
        for variable, player in places.items():
            for holder in self.servers if player is None else [player]:
                holders.setdefault(holder, []).append(variable)
        return holders


def _joined(name: str, parts: Mapping[str, Part]) -> Part:
    """The variables of all players' parts together.

    Raises:
      StorageError: they do not mean the same.
    """
    first, *others = parts
    variables = dict(parts[first].variables)
    for player in others:
        part = parts[player]
        if part.descriptor != parts[first].descriptor:
            raise StorageError(f"{player} does not say the same of {name!r} as {first}: one of them is not honest")
        for variable, generation in part.variables.items():
            if variables.setdefault(variable, generation) != generation:
                raise StorageError(
                    f"{player} saved another generation of a variable of {name!r} than {first}: they do not belong "
                    "together"
                )
    return Part(parts[first].descriptor, variables)


def _nothing_common(name: str, there: Mapping[str, tuple[Version, ...]]) -> str:
    if not any(there.values()):
        return f"{', '.join(there)} have nothing that this driver saved as {name!r}"
    rows = [f"{player} has {[it.hex()[:8] for _, it in versions]}" for player, versions in there.items()]
    return (
        f"{name!r} was saved at different times by different players, or by some not at all, and no part of one goes "
        f"with those of another: {'; '.join(rows)}"
    )
