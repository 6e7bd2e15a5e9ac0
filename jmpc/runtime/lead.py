"""The session of the script that leads the others, where every player runs the same one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from jmpc._compat import user_line
from jmpc.api.graph import Built
from jmpc.config import RemoteConfig
from jmpc.errors import AgreementError, JmpcError, LinkTimeout, PeerError, RunAborted
from jmpc.net.framing import Header, Kind
from jmpc.runtime.doing import Doing, Loading, Running, Saving, Travelled
from jmpc.runtime.inputs import Results
from jmpc.runtime.party import reason_of
from jmpc.runtime.remote import RemoteSession
from jmpc.runtime.steps import ASK_SECONDS, LOOK_SECONDS, PATIENCE, End, Over, Step, decode
from jmpc.runtime.storages import Loaded, Places

_SOON = 0.1  # seconds that a word to others may take


class LeadSession(RemoteSession):
    """A driver's session with nodes that take part in what their own scripts are at, and in nothing else.

    Every run, save and load is a step: it begins when all scripts are there, and all are told how it ended. Who is at
    its own Python code is waited for as long as its link stands; a script that has not been there yet, `PATIENCE` times
    the configured timeout.
    """

    def __init__(self, config: RemoteConfig) -> None:
        super().__init__(config)
        self._others = tuple(player for player in config.players if player != self.me)
        self._joined: dict[str, bytes] = {}  # the scripts that have been heard, by their players
        self._travelled = Travelled()
        self._number = 0
        self._last: Over | None = None  # how the last step has ended
        self._stepping = threading.Lock()
        self._say(Step(self._id, 0, bytes(32), "its own code"), self._others)

    def save(self, name: str, descriptor: bytes, places: Places) -> None:
        what, mine = f"save({name!r}) ({user_line()})", frozenset[str]()
        with self._step(Saving(self.me, what, name=name, descriptor=descriptor, variables=mine)):
            super().save(name, descriptor, places)

    def load(self, name: str, places_of: Callable[[bytes], Places], fresh: Callable[[], str]) -> Loaded:
        with self._step(Loading(self.me, f"load({name!r}) ({user_line()})", name=name)) as tell:
            loaded = super().load(name, places_of, fresh)
            tell(loaded)
        return loaded

    def close(self) -> None:
        if not self.transport.closed:
            there = {player for player in self._others if self.transport.is_up(player)}
            self._say_on(End(), there)
            self._told &= there  # nobody else is listening
        super().close()

    def _perform(self, built: Built) -> Results:
        with self._step(Running.of(self.me, built, self._travelled(built.computation)), built.names):
            known = self._variables.keys() | set()
            try:
                return super()._perform(built)
            except BaseException:  # maybe when all were done, and one could not be told: no other script knows them
                for name in self._variables.keys() - known:
                    del self._variables[name]
                raise

    def _check_functions(self, built: Built) -> None:
        """Every player has its own, in its own script."""

    # -- steps -------------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, doing: Doing, names: Mapping[str, str] | None = None) -> Iterator[Callable[[Loaded], None]]:
        with self._stepping:
            self._number += 1
            what = f"step {self._number}: {doing.what}"
            step = Step(self._id, self._number, doing.digest, what, names or {})
            loaded: list[Loaded] = []
            try:
                self._gather(step)
                yield loaded.append
            except BaseException as error:
                player = error.player if isinstance(error, RunAborted | PeerError) else self.me
                self._end(Over(step.number, player, reason_of(error), not isinstance(error, AgreementError)))
                raise
            of_load = (loaded[0].descriptor, loaded[0].names) if loaded else (b"", {})
            self._end(Over(step.number, "", "", True, *of_load))

    def _end(self, over: Over) -> None:
        self._last = over
        self._say(over, self._others)

    def _gather(self, step: Step) -> None:
        """Waits until all scripts are at a step.

        Raises:
          AgreementError: one is at another.
          PeerError: one has ended, or is not there in time.
          RunAborted: one has given the step up.
        """
        missing, asked, seen = set(self._others), 0.0, dict.fromkeys(self._others, time.monotonic())
        while missing:
            now = time.monotonic()
            if now - asked > ASK_SECONDS:
                self._say_on(step, missing)
                asked = now
            found = self.transport.control({Kind.STEP}, timeout=LOOK_SECONDS)
            if found is not None and found[1].run == self._id and self._is_at(step, *found):
                missing.discard(found[0])
            for player in self._others:
                if player in self._joined:
                    self.transport.check_peer(player)
                if player in missing:
                    seen[player] = self._last_seen(player, seen[player])

    def _is_at(self, step: Step, player: str, header: Header) -> bool:
        """Whether the script of a player says that it is at a step; False if it speaks of an earlier one."""
        match decode(header.body):
            case End():
                raise PeerError(player, f"the script of {player} has ended, that of {self.me} is at {step.what}")
            case Over(number=number, reason=reason) if number == step.number and reason:
                raise RunAborted(player, reason)
            case Step(script=script, number=number, digest=digest, what=what):
                if self._joined.setdefault(player, script) != script:
                    raise PeerError(player, f"the script of {player} was started again: start all of them again")
                if number < step.number:
                    return False
                if (number, digest) != (step.number, step.digest):
                    raise AgreementError(
                        f"the scripts of {self.me} and {player} are not at the same: {self.me} is at {step.what}, "
                        f"{player} at {what}"
                    )
                return True
        return False

    def _last_seen(self, player: str, before: float) -> float:
        now, most = time.monotonic(), PATIENCE * self._config.timeout
        if self.transport.is_up(player):
            return now
        if now - before > most:
            raise LinkTimeout(
                player,
                f"{player} has not begun its script within {most:g} s: all players of the configuration run it, each "
                f"with its own JMPC_PLAYER; {self.transport.hint(player)}",
            )
        return before

    def _say_on(self, word: Step | End, players: Iterable[str]) -> None:
        """What comes after a step: also, to who may have missed that, how it has ended."""
        for player in players:
            if self._last is None or self._say(self._last, [player]):
                self._say(word, [player])

    def _say(self, word: Step | Over | End, players: Iterable[str]) -> bool:
        """Whether all could be sent it, as far as this player knows."""
        header, all_sent = Header(Kind.STEP, self._id, body=word.encode()), True
        for player in players:
            try:
                self.transport.send(player, header, timeout=_SOON)
            except JmpcError:  # who is lost is named by who waits for it
                all_sent = False
        return all_sent
