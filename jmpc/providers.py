"""Python of a player's own: where its data comes from, and where its results go.

A node runs the functions that its operator registered, by name; computations refer to those names. Nothing
else of Python ever travels.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jmpc.errors import ConfigError


@dataclass(frozen=True)
class Provider:
    """A registered source of data: called with the player's name, in every run that names it."""

    name: str
    types: Any  # a pytree of jax.ShapeDtypeStruct
    fn: Callable[[str], Any]

    def __call__(self, player: str) -> Any:
        return self.fn(player)


@dataclass(frozen=True)
class Sink:
    """A registered receiver of results: called with the arrays of one output."""

    name: str
    fn: Callable[..., None]

    def __call__(self, *arrays: Any) -> None:
        self.fn(*arrays)


def provider(*, types: Any, name: str | None = None) -> Callable[[Callable[[str], Any]], Provider]:
    """Decorator that registers a source of a player's data under `name` (default: the function's).

    The function takes the player's name and returns a pytree of arrays.

    Args:
      types: the pytree of `jax.ShapeDtypeStruct` that it returns; what it returns is checked against it.
    """
    tree = jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape, t.dtype), types)
    return lambda fn: Provider(name or fn.__name__, tree, fn)


def sink(fn: Callable[..., None]) -> Sink:
    """Decorator that registers a receiver of results under the function's name."""
    return Sink(fn.__name__, fn)


@dataclass(frozen=True)
class Registry:
    """What the operator of a node lets computations use."""

    providers: dict[str, Provider]
    sinks: dict[str, Sink]

    @classmethod
    def load(cls, paths: Iterable[str | Path]) -> Registry:
        """Runs the operator's own Python files and collects the providers and sinks they define.

        Raises:
          ConfigError: if a file is missing, or two entries have one name.
        """
        found: dict[type, dict[str, Any]] = {Provider: {}, Sink: {}}
        for number, path in enumerate(map(Path, paths)):
            if not path.is_file():
                raise ConfigError(f"providers file {path} does not exist")
            spec = importlib.util.spec_from_file_location(f"jmpc_providers_{number}", path)
            module = importlib.util.module_from_spec(spec)
            sys.path.insert(0, str(path.parent.resolve()))  # it may import its neighbours, as a script may
            spec.loader.exec_module(module)
            for value in vars(module).values():
                known = found.get(type(value))
                if known is None:
                    continue
                if known.setdefault(value.name, value) is not value:
                    raise ConfigError(f"{path}: a second {type(value).__name__.lower()} is called {value.name!r}")
        return cls(found[Provider], found[Sink])
