"""Python of a player's own: where its data comes from, and where its results go.

A node runs the functions that its operator registered, by name; computations refer to those names. Nothing
else of Python ever travels.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import jax

from jmpc.computation import ArrayType, Output, Source
from jmpc.errors import ConfigError, InputError
from jmpc.leaves import named_parts, names_of


@dataclass(frozen=True)
class Provider:
    """A registered source of data: called with the player's name, in every run that names it.

    One that is `by_iteration` is called with the number of the run's iteration as well.
    """

    name: str
    types: Any  # a pytree of jax.ShapeDtypeStruct
    fn: Callable[..., Any]
    public: bool = False
    range: tuple[float, float] | None = None
    by_iteration: bool = False

    @property
    def array_types(self) -> tuple[ArrayType, ...]:
        """The types of the arrays, leaf by leaf; a complex leaf is two arrays."""
        return tuple(ArrayType.of(part) for _, part in named_parts(self.types))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of these arrays in the pytree, columns of a table for instance."""
        return names_of(self.types)

    def __call__(self, player: str, iteration: int | None = None) -> Any:
        """What it brings.

        Raises:
          InputError: it needs an iteration, and the run has none.
        """
        if not self.by_iteration:
            return self.fn(player)
        if iteration is None:
            raise InputError(
                player,
                f"{player}: provider {self.name!r} brings what belongs to an iteration, and this run has none: say "
                "which, jmpc.run(..., iteration=i)",
            )
        return self.fn(player, iteration=iteration)


@dataclass(frozen=True)
class Sink:
    """A registered receiver of results: called with the arrays of one output."""

    name: str
    fn: Callable[..., None]

    def __call__(self, *arrays: Any) -> None:
        self.fn(*arrays)


def provider(
    *, types: Any, name: str | None = None, public: bool = False, range: tuple[float, float] | None = None
) -> Callable[[Callable[..., Any]], Provider]:
    """Decorator that registers a source of a player's data under `name` (default: the function's).

    The function takes the player's name and returns a pytree of arrays. A node calls one provider at a time.

    If it has a parameter called `iteration`, it is also given the number that whoever runs the computation says with
    `jmpc.run(..., iteration=i)`, the same to all players. Batches that depend on that number alone are the same when a
    run that has failed is repeated, and when training goes on from a checkpoint. Any number may come, in any order.

    Args:
      types: the pytree of `jax.ShapeDtypeStruct` that it returns; what it returns is checked against it.
      public: everybody may know what it gives. Without this a node refuses computations that use it as a
        public input (`define_public_input`), whoever submits them.
      range: lowest and highest value of what it gives. Everybody may learn whether that holds: a run whose input
        is outside ends with an error. Whether it lies in another range, a driver learns only if it may see the data.

    Raises:
      TypeError: the function cannot be called like that, or gives `iteration` a default, which would never be used.
    """
    tree = jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape, t.dtype), types)
    return lambda fn: Provider(name or fn.__name__, tree, fn, public, range, _takes_iteration(fn))


def _takes_iteration(fn: Callable[..., Any]) -> bool:
    try:
        said = signature(fn)
    except ValueError:  # some of those written in C do not say
        return False
    asked = said.parameters.get("iteration")
    try:
        said.bind("player", **({"iteration": 0} if asked is not None else {}))
    except TypeError as error:
        raise TypeError(f"a provider is a function (player) or (player, iteration), not {said}: {error}") from None
    if asked is not None and asked.default is not asked.empty:
        raise TypeError(f"a provider's iteration is always given, so its default in {said} would never be used")
    return asked is not None


def sink(fn: Callable[..., None]) -> Sink:
    """Decorator that registers a receiver of results under the function's name."""
    return Sink(fn.__name__, fn)


class Supply(Protocol):
    """What computations may use of a player's own."""

    def provider(self, me: str, source: Source) -> Provider:
        """What brings an input of player `me`. Raises InputError if there is nothing."""
        ...

    def sink(self, me: str, output: Output) -> Sink | None:
        """Where an output at player `me` goes, if it names something. Raises InputError if that is not there."""
        ...


@dataclass(frozen=True)
class Registry:
    """What the operator of a node lets computations use."""

    providers: dict[str, Provider]
    sinks: dict[str, Sink]

    def provider(self, me: str, source: Source) -> Provider:
        """As `Supply.provider`."""
        if not source.provider:
            raise InputError(
                me,
                f"{me} was asked for an input that only a script of its own could give: register what brings it with "
                f"@jmpc.provider, and pass that to define_private_input",
            )
        if source.provider not in self.providers:
            raise InputError(me, f"{me} has no provider {source.provider!r}; {_registered(me, self.providers)}")
        return self.providers[source.provider]

    def sink(self, me: str, output: Output) -> Sink | None:
        """As `Supply.sink`."""
        if output.sink and output.sink not in self.sinks:
            raise InputError(me, f"{me} has no sink {output.sink!r}; {_registered(me, self.sinks)}")
        return self.sinks[output.sink] if output.sink else None

    @classmethod
    def load(cls, paths: Iterable[str | Path], more: Iterable[Provider] = ()) -> Registry:
        """Runs the operator's own Python files and collects the providers and sinks they define.

        Args:
          more: providers that are in no file.

        Raises:
          ConfigError: if a file is missing, or two entries have one name.
        """
        found: dict[type, dict[str, Any]] = {Provider: {}, Sink: {}}
        for provider in more:
            if found[Provider].setdefault(provider.name, provider) is not provider:
                raise ConfigError(f"two data files are called {provider.name!r}: name one of them, NAME=FILE")
        for number, path in enumerate(map(Path, paths)):
            for value in vars(_executed(path, f"jmpc_providers_{number}")).values():
                known = found.get(type(value))
                if known is not None and known.setdefault(value.name, value) is not value:
                    raise ConfigError(f"{path}: a second {type(value).__name__.lower()} is called {value.name!r}")
        return cls(found[Provider], found[Sink])


def _registered(me: str, names: Iterable[str]) -> str:
    return f"registered are {sorted(names)}. Start it with: jmpc-node {me} --providers FILE.py"


def _executed(path: Path, name: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"providers file {path} does not exist")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"providers file {path} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import would: dataclasses and the like look their module up
    sys.path.insert(0, str(path.parent.resolve()))  # it may import its neighbours, as a script may
    spec.loader.exec_module(module)
    return module
