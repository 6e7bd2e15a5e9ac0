"""What a script that is a player itself is at, and what others may therefore ask of its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jmpc._compat import user_line
from jmpc.api.graph import Built
from jmpc.api.session import KEPT_GRAPHS
from jmpc.computation import Computation
from jmpc.errors import AgreementError
from jmpc.net.computations import decode_computation, encode_computation
from jmpc.remember import Remembered
from jmpc.runtime.orders import Order
from jmpc.runtime.saving import NO_VERSION, Request, Task
from jmpc.runtime.steps import digest_of
from jmpc.storage.archive import Version


@dataclass
class Doing:
    """What the script of player `me` is at, `what` with its line: nothing that others take part in.

    Attributes:
      number: of the step.
      busy: whether the node is at work for it.
      error: what ended that, or kept it from beginning.
      done: what its storage has done of it, without an error.
    """

    me: str
    what: str = "its own code"
    number: int = 0
    busy: bool = False
    error: BaseException | None = None
    done: set[Task] = field(default_factory=set)

    @property
    def digest(self) -> bytes:
        """Of all that must be the same in all scripts: nothing, in a script's own code."""
        return bytes(32)

    def check(self, computation: Computation) -> None:
        """Raises AgreementError for a computation that the script is not at."""
        raise self._other(run_of(computation.identity, computation.calls[-1].line))

    def begin(self, computation: Computation, order: Order, names: Mapping[str, str]) -> None:
        """A run begins, the only one of this step; `names` is what all call the variables of the script.

        Raises:
          AgreementError: the script asks for no such run, or not for another one.
        """
        self.check(computation)

    def request(self, request: Request, names: Mapping[str, str]) -> None:
        """Raises AgreementError for what the script does not ask of the storage."""
        raise self._other(f"{request.task.name.lower()} {request.name!r} in its storage")

    def _other(self, ordered: str) -> AgreementError:
        return AgreementError(
            f"{self.me} does what its script asks for, which is at {self.what}; it was told something else: {ordered}"
        )


@dataclass
class Running(Doing):
    """A run of `computation`, as it travels; `built` is what the script has built.

    Attributes:
      begun: whether it was ordered.
      outputs: what was opened here, once it has ended well.
    """

    built: Built = field(kw_only=True)
    computation: Computation = field(kw_only=True)
    begun: bool = False
    outputs: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, me: str, built: Built, computation: Computation) -> Running:
        """A run of what this script has built; `computation` is that as it travels."""
        return cls(me, run_of(computation.identity, user_line(), built.iteration), built=built, computation=computation)

    @property
    def digest(self) -> bytes:
        iteration = f"iteration {self.built.iteration}"
        return digest_of("run", self.computation.identity, iteration, *self.computation.variables)

    @property
    def needs_me(self) -> bool:
        """Whether it cannot end well without this player's part."""
        return self.me in set(self.computation.players) - self.computation.optional

    def check(self, computation: Computation) -> None:
        if computation.identity != self.computation.identity:
            super().check(computation)
        if computation.variables != self.computation.variables:  # identity is the same whatever they are called
            raise self._others()

    def begin(self, computation: Computation, order: Order, names: Mapping[str, str]) -> None:
        self.check(computation)
        if self.begun:
            raise AgreementError(f"{self.me} has begun {self.what} already, and does so once")
        if order.names != {called: names.get(name) for called, name in self.built.names.items()}:
            raise self._others()
        if order.iteration != self.built.iteration:
            raise AgreementError(
                f"{self.me} is told to do iteration {order.iteration} where its script does {self.built.iteration}, at "
                f"{self.what}"
            )
        self.begun = True

    def _others(self) -> AgreementError:
        return AgreementError(f"{self.me} is told to use other variables than its script does at {self.what}")


@dataclass
class Saving(Doing):
    """Saving under `name` what a descriptor describes, and `variables` of it here: it is kept once it was saved."""

    name: str = field(kw_only=True)
    descriptor: bytes = field(kw_only=True)
    variables: frozenset[str] = field(kw_only=True)
    version: Version = NO_VERSION

    @property
    def digest(self) -> bytes:
        return digest_of("save", self.name, self.descriptor)

    def request(self, request: Request, names: Mapping[str, str]) -> None:
        if request.name == self.name:
            match request.task:
                case Task.SAVE if self.version == NO_VERSION and request.descriptor == self.descriptor:
                    if request.variables.keys() == self.variables:
                        self.version = request.version
                        return
                case Task.KEEP if request.version == self.version and Task.SAVE in self.done:
                    return
        super().request(request, names)


@dataclass
class Loading(Doing):
    """Loading what was saved under `name`: what was asked for first, and the names that its variables got here.

    It is kept once it was loaded.
    """

    name: str = field(kw_only=True)
    version: Version = NO_VERSION
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        return digest_of("load", self.name)

    def request(self, request: Request, names: Mapping[str, str]) -> None:
        if request.name == self.name:
            match request.task:
                case Task.LIST | Task.TELL:
                    return
                case Task.LOAD if self.version == NO_VERSION:
                    new = {str(name) for name in request.variables.values()}
                    if new.isdisjoint(names) and new.isdisjoint(names.values()):
                        self.version, self.names = request.version, {k: str(v) for k, v in request.variables.items()}
                        return
                case Task.KEEP if request.version == self.version and Task.LOAD in self.done:
                    return
        super().request(request, names)


def run_of(identity: bytes, line: str, iteration: int | None = None) -> str:
    """A run, for people."""
    number = "" if iteration is None else f", iteration {iteration}"
    return f"run {identity.hex()[:8]} ({line}{number})"


class Travelled:
    """Computations as others read them, which is how scripts compare theirs; as many as a session remembers."""

    def __init__(self) -> None:
        self._known: Remembered[bytes, Computation] = Remembered(KEPT_GRAPHS)

    def __call__(self, computation: Computation) -> Computation:
        found = self._known.get(computation.structure)
        if found is None:
            found = decode_computation(encode_computation(computation))
            self._known.put(computation.structure, found)
        return found
