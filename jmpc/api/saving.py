"""Saving variables beyond the life of a session, and loading them again.

What the players save is their own parts; the tree that the variables stand in, and numbers and texts in it, are
public, as a computation is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import msgpack

from jmpc.api.complexes import ComplexValue
from jmpc.api.define import Variable, variable_name
from jmpc.api.run import current_session, initialise
from jmpc.api.values import Value
from jmpc.computation import ArrayType
from jmpc.errors import StorageError
from jmpc.net.unpacking import unpack
from jmpc.runtime.saving import MOST_DESCRIPTOR_BYTES
from jmpc.runtime.storages import Places
from jmpc.storage.saved import MOST_ELEMENTS

_VERSION = 1
_PLAIN = (bool, int, float, str)


def save(name: str, values: Any) -> None:
    """Saves variables: every player writes what it holds of them to its disk, sealed with a key of its own.

    They are there after all players have been restarted, for the same driver alone (`jmpc.load`). What was saved under
    this name before is replaced, at all players or at none.

    Args:
      name: letters, digits, '-', '_' and '.'.
      values: a pytree of variables (`define_private_variable`, `define_local_variable`). Numbers and texts in it, the
        number of a step for example, are saved as they are, for everybody to read.

    Raises:
      TypeError: for a leaf that is neither; a value must be assigned to a variable first.
      StorageError, PolicyError, PeerError, RunAborted: naming the player; what was saved before stays then.
    """
    leaves, _ = jax.tree.flatten(values, is_leaf=_is_leaf)
    variables = {variable.name: variable for leaf in leaves for variable in _variables(leaf)}
    session = current_session()
    initialise(session, variables.values())
    called = {variable: session.called(variable) for variable in variables}
    rows = [[called[v.name], v.player, v.type.dtype, list(v.shape)] for v in variables.values()]
    number = {variable: i for i, variable in enumerate(variables)}
    head = [_VERSION, session.fraction, list(session.servers), rows, _described(values, number)]
    descriptor = msgpack.packb(head)
    try:
        _unpacked(name, descriptor)
    except StorageError:
        raise StorageError(f"{name!r}: numbers and texts of {len(descriptor):,} bytes are too many to save") from None
    session.save(name, descriptor, {called[v.name]: v.player for v in variables.values()})


def load(name: str, like: Any = None) -> Any:
    """Loads what this driver has saved under a name, as new variables.

    Args:
      like: a pytree of the same structure, where it has nodes other than dicts, lists and tuples (an optimiser's
        state, say); its leaves do not matter.

    Returns:
      The pytree that was saved, with dicts, lists and tuples; or with the structure of `like`.

    Raises:
      StorageError: there is nothing, or players have parts that do not belong together; naming them.
      TypeError: `like` is needed, or has another structure.
    """
    session = current_session()
    read = _Descriptor.read(session.load, name, session.fraction, tuple(session.servers))
    return read.tree(like)


@dataclass(frozen=True)
class _Descriptor:
    """What was saved, and the variables that it became."""

    name: str
    variables: list[Variable]
    described: Any

    @classmethod
    def read(cls, load: Callable[..., Any], name: str, fraction: int, servers: tuple[str, ...]) -> _Descriptor:
        def places_of(descriptor: bytes) -> Places:
            saved_fraction, saved_servers, rows, _ = _unpacked(name, descriptor)
            if saved_fraction != fraction:
                raise StorageError(
                    f"{name!r} was saved with {saved_fraction} fractional bits, this session has {fraction}: set the "
                    "precision of its configuration"
                )
            if saved_servers != servers:
                raise StorageError(
                    f"{name!r} was saved by another cluster: shared among {list(saved_servers)}, here {list(servers)}"
                )
            return {variable: player for variable, player, *_ in rows}

        loaded = load(name, places_of, variable_name)
        *_, rows, described = _unpacked(name, loaded.descriptor)
        variables = [
            _variable(loaded.names[variable], ArrayType(tuple(shape), dtype), player, name)
            for variable, player, dtype, shape in rows
        ]
        return cls(name, variables, described)

    def tree(self, like: Any) -> Any:
        if like is None:
            return self._built(self.described)
        leaves = self._leaves(self.described)
        wanted, structure = jax.tree.flatten(like, is_leaf=_is_leaf)
        if len(wanted) != len(leaves):
            raise TypeError(f"load: {self.name!r} has {len(leaves)} leaves, `like` has {len(wanted)}")
        return jax.tree.unflatten(structure, leaves)

    def _built(self, described: Any) -> Any:
        kind, content = described
        match kind:
            case "dict":
                return {key: self._built(item) for key, item in content}
            case "list":
                return [self._built(item) for item in content]
            case "tuple":
                return tuple(self._built(item) for item in content)
            case "other":
                raise TypeError(
                    f"load: there is a {content[0]} in {self.name!r}, which cannot be made from what was saved: pass "
                    "load(..., like=a tree of the same structure)"
                )
        return self._leaf(kind, content)

    def _leaves(self, described: Any) -> list[Any]:
        kind, content = described
        match kind:
            case "dict":
                return [leaf for _, item in content for leaf in self._leaves(item)]
            case "list" | "tuple":
                return [leaf for item in content for leaf in self._leaves(item)]
            case "other":
                return [leaf for item in content[1] for leaf in self._leaves(item)]
            case "none":
                return []
        return [self._leaf(kind, content)]

    def _leaf(self, kind: str, content: Any) -> Any:
        match kind:
            case "variable":
                return self.variables[content]
            case "complex":
                return ComplexValue(*(self.variables[part] for part in content))
        return content  # a number, a text, or None


def _described(tree: Any, number: dict[str, int]) -> list[Any]:
    """A pytree as plain data, in the order in which JAX flattens it."""
    if isinstance(tree, Variable):
        return ["variable", number[tree.name]]
    if isinstance(tree, ComplexValue):
        return ["complex", [number[part.name] for part in (tree.real, tree.imag)]]
    if tree is None:
        return ["none", None]
    if type(tree) in _PLAIN:
        return ["plain", tree]
    if type(tree) is dict and all(type(key) is str for key in tree):
        return ["dict", [[key, _described(tree[key], number)] for key in sorted(tree)]]
    if type(tree) in (list, tuple):
        return [type(tree).__name__, [_described(item, number) for item in tree]]
    inside = jax.tree.leaves(tree, is_leaf=lambda x: x is not tree)
    return ["other", [type(tree).__name__, [_described(item, number) for item in inside]]]


def _variables(leaf: Any) -> list[Variable]:
    parts = [leaf.real, leaf.imag] if isinstance(leaf, ComplexValue) else [leaf]
    if all(isinstance(part, Variable) for part in parts):
        return parts
    if type(leaf) in _PLAIN:
        return []
    what = "a value, not a variable: assign it to one" if isinstance(leaf, Value | ComplexValue) else "no variable"
    raise TypeError(f"save: {type(leaf).__name__} is {what}. Variables, numbers and texts are saved")


def _is_leaf(x: Any) -> bool:
    return isinstance(x, Variable | Value | ComplexValue)


def _variable(name: str, type_: ArrayType, player: str | None, saved: str) -> Variable:
    """A variable that has a generation already, and no other beginning."""
    return Variable(name, type_, None, f"load({saved!r})", player)


def _unpacked(name: str, descriptor: bytes) -> tuple[int, tuple[str, ...], list[Any], Any]:
    try:
        version, fraction, servers, rows, described = unpack(descriptor, most_elements=MOST_ELEMENTS)
        if version != _VERSION or len(descriptor) > MOST_DESCRIPTOR_BYTES:
            raise ValueError
        return fraction, tuple(servers), rows, described
    except (ValueError, TypeError):
        raise StorageError(f"{name!r} was saved by another version of jmpc") from None
