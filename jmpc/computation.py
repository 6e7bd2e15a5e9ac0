"""A computation as plain data: what the API builds, what travels to nodes, what is lowered.

A computation is a list of calls over numbered values. A value is in the clear at one player, public, or
secret; which of these is decided by the call that makes it. Nothing here is code except jaxprs, which
travel through `jmpc.net.codec`.

Each call has the user's line that made it, as "file.py:12 (function)": what it costs and what it opens is reported
there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr

from jmpc.choreography.fingerprint import Fingerprint

DRIVER_INPUT = ""  # `Source.provider` of what the player's own process hands in at run time


@dataclass(frozen=True)
class ArrayType:
    """Shape and dtype name of an array."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, x: Any) -> ArrayType:
        return cls(tuple(int(n) for n in x.shape), np.dtype(x.dtype).name)

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class Source:
    """Data that `player` brings, by a registered provider or, if `provider` is empty, by its own process.

    Makes one value in the clear at `player` for each type. `names` are those of the arrays in the pytree that whoever
    uses them declares, columns of a table for instance; empty if nobody says.
    """

    player: str
    provider: str
    types: tuple[ArrayType, ...]
    key: str  # names the input within the computation
    line: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Constant:
    """A public array that is part of the computation."""

    value: np.ndarray
    line: str = ""


@dataclass(frozen=True)
class Read:
    """The current generation of a variable: secret, or in the clear at `player` if that is set."""

    variable: str
    type: ArrayType
    player: str | None = None
    line: str = ""


@dataclass(frozen=True)
class Compute:
    """Ordinary JAX code that `player` runs on what it holds in the clear; makes values at `player`."""

    player: str
    jaxpr: ClosedJaxpr
    args: tuple[int, ...]
    name: str
    line: str = ""


@dataclass(frozen=True)
class Share:
    """Secret-shares a value that one player has in the clear, within `range` (None: the default)."""

    arg: int
    range: tuple[float, float] | None = None
    line: str = ""


@dataclass(frozen=True)
class Secure:
    """Ordinary JAX code on secrets; values in the clear are shared first. Makes secrets (or public values)."""

    jaxpr: ClosedJaxpr
    args: tuple[int, ...]
    name: str
    line: str = ""


@dataclass(frozen=True)
class Gather:
    """Contributions of owners of whom some may be missing: secret-shares what each of them has in the clear.

    `args` are the values of one owner after the other, as many of each; `ranges` as in `Share`. Makes as many secrets,
    which are zero where their owner has not delivered within `deadline` seconds, and then a public vector: who has.
    With fewer than `min_owners` the run ends.
    """

    args: tuple[int, ...]
    owners: tuple[str, ...]
    ranges: tuple[tuple[float, float] | None, ...]
    min_owners: int
    deadline: float | None = None
    line: str = ""


@dataclass(frozen=True)
class Average:
    """The mean of those of the secrets `args` whose element of the public vector `arg` is true; a secret."""

    args: tuple[int, ...]
    arg: int
    line: str = ""


@dataclass(frozen=True)
class Noise:
    """A secret real with discrete Gaussian noise that each of the servers draws by itself and shares.

    `deviation`, in the unit of the value, is the standard deviation of the noise of any two of them together, exactly;
    that of all three has sqrt(1.5) times that.
    """

    arg: int
    deviation: float
    line: str = ""


@dataclass(frozen=True)
class Reveal:
    """Opens a secret, or hands over a value in the clear, to `player` alone; makes a value at `player`."""

    arg: int
    player: str
    line: str = ""


@dataclass(frozen=True)
class Publish:
    """A value that its player lets everyone know."""

    arg: int
    line: str = ""


@dataclass(frozen=True)
class Assign:
    """The next generation of a variable. Makes no value."""

    variable: str
    arg: int
    player: str | None = None
    line: str = ""


@dataclass(frozen=True)
class Output:
    """Hands a value at `player` to the user there: to the caller of `run`, or to a registered `sink`."""

    arg: int
    player: str
    sink: str
    key: str
    line: str = ""


Call = (
    Source | Constant | Read | Compute | Share | Gather | Secure | Average | Noise | Reveal | Publish | Assign | Output
)


def result_count(call: Call) -> int:
    """How many values a call makes."""
    match call:
        case Source(types=types):
            return len(types)
        case Compute(jaxpr=jaxpr) | Secure(jaxpr=jaxpr):
            return len(jaxpr.out_avals)
        case Gather(args=args):
            return len(args) + 1
        case Assign() | Output():
            return 0
    return 1


@dataclass(frozen=True)
class Computation:
    """What all players run together."""

    servers: tuple[str, ...]
    calls: tuple[Call, ...]
    fraction: int = 18

    def numbered(self) -> Iterator[tuple[range, Call]]:
        """Each call with the numbers of the values it makes."""
        start = 0
        for call in self.calls:
            stop = start + result_count(call)
            yield range(start, stop), call
            start = stop

    @functools.cached_property
    def types(self) -> tuple[ArrayType, ...]:
        """Of each value, by its number."""
        made: list[ArrayType] = []
        for call in self.calls:
            match call:
                case Source(types=types):
                    made += types
                case Constant(value=value):
                    made.append(ArrayType.of(value))
                case Read(type=type_):
                    made.append(type_)
                case Compute(jaxpr=jaxpr) | Secure(jaxpr=jaxpr):
                    made += map(ArrayType.of, jaxpr.out_avals)
                case Gather(args=args, owners=owners):
                    made += [*(made[arg] for arg in args), ArrayType((len(owners),), "bool")]
                case Average(args=args):
                    made.append(made[args[0]])
                case Share(arg=arg) | Noise(arg=arg) | Reveal(arg=arg) | Publish(arg=arg):
                    made.append(made[arg])
        return tuple(made)

    @functools.cached_property
    def written(self) -> dict[str, tuple[ArrayType, str | None]]:
        """The variables that are assigned: what is in them, and the player that has it in the clear, if one does."""
        return {call.variable: (self.types[call.arg], call.player) for call in self.calls if isinstance(call, Assign)}

    @functools.cached_property
    def variables(self) -> tuple[str, ...]:
        """What it calls the variables that it reads or assigns; which ones these are, every run says."""
        return tuple(dict.fromkeys(call.variable for call in self.calls if isinstance(call, Read | Assign)))

    @property
    def gathers(self) -> tuple[Gather, ...]:
        """All gathers, in order."""
        return tuple(call for call in self.calls if isinstance(call, Gather))

    @functools.cached_property
    def optional(self) -> frozenset[str]:
        """The players that a run can do without: those that contribute to a gather."""
        return frozenset(owner for call in self.gathers for owner in call.owners)

    @property
    def players(self) -> tuple[str, ...]:
        """Everyone who takes part: the servers, then every player in the order in which calls name them."""
        named = [getattr(call, "player", None) for call in self.calls]
        return tuple(dict.fromkeys([*self.servers, *(player for player in named if player is not None)]))

    @functools.cached_property
    def identity(self) -> bytes:
        """A digest of what it does, whatever its variables and functions are called and where it was written.

        It is what operators approve and authors sign: the same in every session and on every machine.
        """
        marks, names = Fingerprint(), dict[str, str]()
        marks.token("jmpc computation", self.servers, self.fraction)
        for call in self.calls:
            marks.token(type(call).__name__)
            for field in dataclasses.fields(call):
                value = getattr(call, field.name)
                if field.name == "variable":
                    value = names.setdefault(value, f"variable {len(names)}")
                if field.name not in ("line", "name"):
                    marks.parameter(value)
        return marks.digest()

    @functools.cached_property
    def structure(self) -> bytes:
        """A digest of the computation as it was written, to find its prepared form again."""
        marks = Fingerprint()
        marks.token(self.servers, self.fraction)
        for call in self.calls:
            marks.parameter(call)
        return marks.digest()
