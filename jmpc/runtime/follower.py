"""The session of a script that follows the lead's, where every player runs the same one: a node in its background."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jmpc._compat import user_line
from jmpc.api.graph import Built
from jmpc.api.session import KEPT_GRAPHS, announce
from jmpc.computation import Computation, Output
from jmpc.config import RemoteConfig
from jmpc.errors import AgreementError, JmpcError, LinkTimeout, PeerError, RunAborted
from jmpc.net.framing import Header, Kind
from jmpc.policy import Policy
from jmpc.precision import Precision
from jmpc.protocols.families import FAMILIES
from jmpc.remember import Remembered
from jmpc.runtime.closing import Closing
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.doing import Doing, Loading, Running, Saving, Travelled
from jmpc.runtime.host import archive_of
from jmpc.runtime.inputs import deliver
from jmpc.runtime.node import Node
from jmpc.runtime.party import lost_player, reason_of
from jmpc.runtime.prepare import Prepared, prepare
from jmpc.runtime.saving import Task
from jmpc.runtime.script import Script, ScriptSupply
from jmpc.runtime.steps import PATIENCE, End, Over, Step
from jmpc.runtime.storages import Loaded, Places
from jmpc.storage.archive import check_name

_log = logging.getLogger("jmpc")

_SOON = 0.1  # seconds that a word to the lead may take
_GRACE_SECONDS = 5.0  # for the node to end


class FollowerSession(Closing):
    """A player's own script beside the lead's: its node plays this player's part in what the script is at.

    The script is what its operator agrees to: the node takes orders of the lead alone, and refuses what the script does
    not ask for at that moment. What it does take is judged by the configuration's policy as by any node.
    """

    def __init__(self, config: RemoteConfig) -> None:
        assert config.me is not None and config.driver is not None
        self.servers = config.servers[:3]
        self.driver, self.me = config.driver, config.me
        self.fraction = Precision.of(config.precision).fraction
        self.built: Remembered[tuple[Any, ...], Built] = Remembered(KEPT_GRAPHS)
        self._config = config
        self._compiler = Compiler()
        self._travelled = Travelled()
        self._known: set[str] = set()  # variables that some run has assigned
        self._players: frozenset[str] = frozenset()
        self._stepping = threading.Lock()
        self.script = Script(self.me, self.driver, self._say)
        rules = {name: rule for name, rule in config.policy.items() if name != "drivers"}
        self._policy = Policy.default(config, self.me, [self.driver], rules)  # whose only driver that is
        supply, protocol = ScriptSupply(self.script), FAMILIES[config.protocol]
        self._node = Node(config, self.me, supply, protocol, self._policy, gate=self.script)
        self._archive = archive_of(config, self.me, self._policy.max_saved_bytes)
        self.transport = self._node.transport
        self._thread = threading.Thread(target=self._node.serve, name=f"jmpc-node-{self.me}", daemon=True)
        self._thread.start()
        self._seen = time.monotonic()  # when the link to the lead stood last
        self.transport.reach(self.driver)
        self.close_at_exit()

    def knows(self, variable: str) -> bool:
        return variable in self._known

    def called(self, variable: str) -> str:
        """What all players call a variable: what the lead does."""
        return self.script.called(variable)

    def announce(self, built: Built) -> None:
        """Logs who takes part, whenever someone new does."""
        self._players = announce(built.computation.players, self._players, self.driver)

    def prepare(self, computation: Computation) -> Prepared:
        """The computation as this player lowers it; nothing is sent."""
        return prepare(self._travelled(computation), FAMILIES[self._config.protocol], self._compiler)

    def run(self, built: Built) -> Mapping[str, Any]:
        """Takes part when the lead's script is at the same; what was opened here.

        Raises what made it fail, naming the player; then nothing is committed anywhere, and the next run can start.
        """
        doing = Running.of(self.me, built, self._travelled(built.computation))
        self._do(doing, lambda over: self._check_part(doing))
        self._known |= {built.names[called] for called in doing.computation.written}
        outputs = doing.outputs or {}
        deliver(outputs, {group: sink for group, (owner, sink) in built.sinks.items() if owner == self.me})
        return outputs

    def save(self, name: str, descriptor: bytes, places: Places) -> None:
        """Has this player save its part when the lead's script is at the same."""
        check_name(name)
        mine = frozenset(self._held(places))
        doing = Saving(self.me, f"save({name!r}) ({user_line()})", name=name, descriptor=descriptor, variables=mine)

        def check(over: Over) -> None:
            if mine or self.me in self.servers:
                self._check_kept(doing)
                if self._archive.versions(self.driver, name)[-1:] != [doing.version]:
                    raise AgreementError(
                        f"{self.me} has something that was saved as {name!r} later than what {self.driver} had it save "
                        f"now: the clock of {self.driver} was set back, or it is not honest"
                    )

        self._do(doing, check)

    def load(self, name: str, places_of: Callable[[bytes], Places], fresh: Callable[[], str]) -> Loaded:
        """Has this player load its part when the lead's script is at the same; what it was, by the lead's word.

        Who holds a part compares that with its own.
        """
        check_name(name)
        doing = Loading(self.me, f"load({name!r}) ({user_line()})", name=name)
        over = self._do(doing, lambda over: self._check_loaded(doing, over, places_of))
        self.script.adopt(over.names)
        self._known |= set(over.names.values())
        return Loaded(over.descriptor, over.names, {})

    def close(self) -> None:
        """Ends the node; who waits for this script is told."""
        if not self.transport.closed:
            if self.transport.is_up(self.driver):
                self.script.end()
            self._node.stop()
            self._thread.join(_GRACE_SECONDS)

    # -- steps -------------------------------------------------------------------------------------------------

    def _do(self, doing: Doing, check: Callable[[Over], None]) -> Over:
        """One step of the script, until it is over for all; `check` raises if it cannot have ended as it is said."""
        with self._stepping:
            try:
                self.script.begin(doing)
                over = self.script.wait(self._look)
            except BaseException as error:
                reason = reason_of(error)
                self.script.leave(reason)
                self._node.interrupt(reason)
                raise
            if not over.well:
                raise self._error(doing, over)
            check(over)
            return over

    def _look(self) -> None:
        """Raises PeerError if the lead cannot be waited for any longer."""
        lead, now, most = self.driver, time.monotonic(), PATIENCE * self._config.timeout
        if self.script.joined:
            self.transport.check_peer(lead)
        if self.transport.is_up(lead):
            self._seen = now
        elif now - self._seen > most:
            hint = self.transport.hint(lead)
            raise LinkTimeout(lead, f"{lead}, which leads this script, has not begun it within {most:g} s: {hint}")

    def _error(self, doing: Doing, over: Over) -> BaseException:
        """What a step that has not ended well raises: what has gone wrong here, or what is told of another player."""
        error = doing.error
        if error is not None and not isinstance(error, RunAborted):
            return error
        if not over.agreed:
            return AgreementError(over.reason)
        told = error or RunAborted(over.player or self.driver, over.reason)
        lost = lost_player(told.reason)
        return told if lost is None else PeerError(lost, told.reason.removeprefix(f"lost {lost}: "))

    def _check_part(self, doing: Running) -> None:
        """The others may have gone on without this player, which matters here if something was to be opened to it."""
        if doing.outputs is not None or self.me not in doing.computation.players:
            return
        if doing.needs_me:
            raise self._untrue(doing)
        left_out = f"{self.me} was left out of {doing.what}"
        if any(isinstance(call, Output) and call.player == self.me for call in doing.computation.calls):
            raise doing.error or RunAborted(self.driver, left_out)
        _log.warning("%s%s", left_out, f": {reason_of(doing.error)}" if doing.error else "")

    def _check_loaded(self, doing: Loading, over: Over, places_of: Callable[[bytes], Places]) -> None:
        places = places_of(over.descriptor)
        mine = self._held(places)
        if mine or self.me in self.servers:
            self._check_kept(doing)
        if over.names.keys() != places.keys() or any(doing.names.get(it) != over.names[it] for it in mine):
            raise self._untrue(doing)
        if mine and self._archive.read_head(self.driver, doing.name, doing.version).descriptor != over.descriptor:
            raise self._untrue(doing)

    def _check_kept(self, doing: Saving | Loading) -> None:
        """Of who holds a part, or is a server: the last that is asked of it has been done."""
        if Task.KEEP not in doing.done:
            raise self._untrue(doing)

    def _held(self, places: Places) -> list[str]:
        """The variables that this player has a part of."""
        return [name for name, at in places.items() if at == self.me or (at is None and self.me in self.servers)]

    def _untrue(self, doing: Doing) -> JmpcError:
        return AgreementError(
            f"{self.driver} says that {doing.what} has ended well, but {self.me} has not done its part"
        )

    def _say(self, session: bytes, word: Step | Over | End) -> None:
        try:
            self.transport.send(self.driver, Header(Kind.STEP, session, body=word.encode()), timeout=_SOON)
        except JmpcError:  # that the lead is lost shows when it is waited for
            return
