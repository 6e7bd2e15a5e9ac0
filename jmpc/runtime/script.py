"""A script that is a player itself, as its node sees it: a gate that lets in what the script is at, and its inputs."""

from __future__ import annotations

import dataclasses
import functools
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from jmpc.computation import Computation, Output, Source
from jmpc.errors import AgreementError, InputError, NotStarted, PeerError
from jmpc.net.framing import RUN_BYTES, Header
from jmpc.providers import Provider, Sink
from jmpc.remember import Remembered
from jmpc.runtime.doing import Doing, Running
from jmpc.runtime.gate import Gate, Take
from jmpc.runtime.orders import Order
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.saving import Request
from jmpc.runtime.steps import LOOK_SECONDS, End, Over, Step, decode

_KEPT_ENDS = 1024  # of steps that the lead has given up before this script came to them


class Script(Gate):
    """The steps of the script of player `me`, one after the other, each the same as the lead's.

    Its node takes part in a step while the script is at it, once; at any other time in nothing. The methods of a gate
    are called by the node's threads, the others by the script's.

    Args:
      say: sends a word to the lead, of its session; does not wait long, and does not raise.
    """

    def __init__(self, me: str, lead: str, say: Callable[[bytes, Step | Over | End], None]) -> None:
        self.me, self.lead = me, lead
        self._say = say
        self._id = secrets.token_bytes(RUN_BYTES)
        self._changed = threading.Condition()
        self._session: bytes | None = None  # the lead's
        self._asked: Step | None = None  # what the lead said last
        self._gone = ""  # why the lead takes no more steps with this script
        self._ahead = 0  # the step that the lead is at without having said how an earlier one ended
        self._number = 0
        self._doing = Doing(me)
        self._playing: Doing | None = None  # the step in whose run the node takes part, maybe one given up just now
        self._left = ""  # why it has given up its last step
        self._ends: Remembered[int, Over] = Remembered(_KEPT_ENDS)
        self._names: dict[str, str] = {}  # of variables: what all players call them, by what this script does

    @property
    def joined(self) -> bool:
        """Whether the lead has been heard."""
        return self._session is not None

    def called(self, variable: str) -> str:
        """What all players call a variable of this script."""
        with self._changed:
            return self._names[variable]

    def adopt(self, names: Mapping[str, str]) -> None:
        """Variables that were loaded are called by this script as by all others.

        Raises:
          AgreementError: a name is in use.
        """
        with self._changed:
            if not set(names.values()).isdisjoint({*self._names, *self._names.values()}):
                raise AgreementError(f"{self.lead} names what was loaded like other variables")
            self._names.update((name, name) for name in names.values())

    # -- the script --------------------------------------------------------------------------------------------

    def begin(self, doing: Doing) -> None:
        """The script comes to its next step."""
        with self._changed:
            self._number += 1
            doing.number, doing.what = self._number, f"step {self._number}: {doing.what}"
            self._doing = doing
            self._bind()
            self._answer()

    def wait(self, look: Callable[[], None]) -> Over:
        """Waits until the step is over for all; `look` is called again and again, and raises who is lost.

        Then the script is at its own code again: nothing that comes later is taken for that step.

        Raises:
          PeerError: the lead has gone, or gone on.
        """
        with self._changed:
            while (over := self._ends.get(self._number)) is None or self._doing.busy:
                gone = self._gone
                if self._ahead > self._number:
                    gone = gone or f"the script of {self.lead} is at step {self._ahead} already"
                if gone and not self._doing.busy:
                    raise PeerError(self.lead, f"{gone}, and the script of {self.me} is at {self._doing.what}")
                if not self._changed.wait(LOOK_SECONDS):
                    look()
            self._doing, self._left = Doing(self.me), ""
            return over

    def leave(self, reason: str) -> None:
        """The script gives up its step and goes on with its own code; the lead is told the `reason`."""
        with self._changed:
            self._doing, self._left = Doing(self.me, f"its own code ({reason})"), reason
            self._answer()

    def end(self) -> None:
        """The script takes no more steps."""
        with self._changed:
            if self._session is not None and not self._gone:
                self._say(self._session, End())

    def _answer(self) -> None:
        """Says where the script is, or that it has given up its last step, to a lead that has asked."""
        doing = self._doing
        if self._session is None:
            return
        if doing.number:
            self._say(self._session, Step(self._id, doing.number, doing.digest, doing.what))
        elif self._left:
            self._say(self._session, Over(self._number, self.me, self._left))

    def _bind(self) -> None:
        """What the lead calls the variables of the step that both are at is what all players call them."""
        asked, doing = self._asked, self._doing
        if asked is None or not isinstance(doing, Running):
            return
        if (asked.number, asked.digest) != (doing.number, doing.digest):
            return
        told = {name: asked.names[called] for called, name in doing.built.names.items() if called in asked.names}
        fresh = {name: theirs for name, theirs in told.items() if name not in self._names}
        if set(fresh.values()).isdisjoint(self._names.values()):
            self._names |= fresh  # one that is known keeps its name: the gate refuses an order that says another

    # -- the node ----------------------------------------------------------------------------------------------

    def hear(self, player: str, header: Header) -> Over | None:
        said = decode(header.body)
        with self._changed:
            if self._session is None and isinstance(said, Step):
                self._session, self._asked = header.run, said
                if said.number > 1:
                    self._gone = f"the script of {self.lead} is at step {said.number} already: start all of them again"
                self._bind()
                self._answer()
            elif header.run != self._session:
                if self._session is not None and isinstance(said, Step):
                    self._gone = f"the script of {self.lead} was started again, or its configuration set again"
            elif isinstance(said, Over):
                self._hear_end(said)
            elif isinstance(said, End):
                self._gone = f"the script of {self.lead} has ended"
            else:
                repeated, self._asked = said == self._asked, said
                self._bind()
                if repeated and said.number == self._number:
                    self._answer()  # it may have been lost
                if repeated and self._doing.number:  # twice: the lead says before it how the step before has ended
                    self._ahead = said.number
            self._changed.notify_all()
        return None

    def _hear_end(self, over: Over) -> None:
        """The first word about the end of a step counts. None ends well that this script has not come to."""
        if (over.number == self._number or (over.number > self._number and not over.well)) and (
            self._ends.get(over.number) is None
        ):
            self._ends.put(over.number, over)

    @property
    def _open(self) -> Doing:
        """What others may ask for: nothing of a step that is over, though the script may not have seen that yet."""
        return self._doing if self._ends.get(self._doing.number) is None else Doing(self.me)

    def check(self, computation: Computation) -> None:
        with self._changed:
            self._open.check(computation)

    def refused(self, error: Exception) -> None:
        with self._changed:
            if not isinstance(error, AgreementError):
                self._doing.error = error

    @contextmanager
    def turn(self, prepared: Prepared, order: Order) -> Iterator[Take]:
        with self._changed:
            doing = self._open
            doing.begin(prepared.lowered.computation, order, self._names)
            assert isinstance(doing, Running)
            doing.busy, self._playing = True, doing
        taken: list[Mapping[str, Any]] = []
        try:
            yield taken.append
        except BaseException as error:
            with self._changed:
                doing.error, doing.begun = error, not isinstance(error, NotStarted)
            raise
        finally:
            with self._changed:
                doing.outputs, doing.busy, self._playing = (taken[0] if taken else None), False, None
                self._changed.notify_all()

    @contextmanager
    def request(self, request: Request) -> Iterator[None]:
        with self._changed:
            doing = self._open
            doing.request(request, self._names)
            doing.busy = True
        try:
            yield
            doing.done.add(request.task)
        finally:
            with self._changed:
                doing.busy = False
                self._changed.notify_all()

    def farewell(self, player: str) -> str:
        return f"the script of {player} has ended"

    def feed(self, key: str) -> Callable[[], Any] | None:
        """What the script has brought for an input of the run that it is at."""
        with self._changed:
            doing = self._playing or self._doing
            if not isinstance(doing, Running):
                return None
            owner, feed = doing.built.feeds.get(key, ("", None))
            if feed is None or owner != self.me:
                return None
            return functools.partial(feed, doing.built.iteration)


@dataclass(frozen=True)
class ScriptSupply:
    """What a script brings itself: the functions that it has given for inputs of the run that it is at."""

    script: Script

    def provider(self, me: str, source: Source) -> Provider:
        """As `Supply.provider`."""
        feed = self.script.feed(source.key)
        if feed is None:
            raise InputError(
                me,
                f"{me}: provider {source.provider!r} is only known by name in its script: pass the function that "
                "`jmpc.provider` registered",
            )
        declared = feed.func if isinstance(feed, functools.partial) and isinstance(feed.func, Provider) else None
        # That an input is public is for the script to say, as it does.
        if declared is not None:
            return dataclasses.replace(declared, fn=lambda _: feed(), public=True, by_iteration=False)
        types = [jax.ShapeDtypeStruct(type_.shape, type_.dtype) for type_ in source.types]
        return Provider(source.provider or f"of {source.line}", types, lambda _: feed(), True)

    def sink(self, me: str, output: Output) -> Sink | None:
        """None: the script hands it over itself, where it runs the computation."""
        del me, output
        return None
