"""A canonical digest of traced code, equal on every player that traces the same computation.

Variables are numbered in order of appearance; literals, constants and parameters enter with their exact
bytes and types. Used twice: segments with equal fingerprints are compiled once, and players compare the
fingerprint of the whole choreography before the first share moves.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def _is_plain(value: Any) -> bool:
    """Whether `repr` says all there is."""
    return type(value) in _PLAIN or (type(value) is tuple and all(map(_is_plain, value)))


def _described(x: np.ndarray) -> tuple[Any, ...]:
    return "array", x.dtype.name, x.shape, hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


class Fingerprint:
    """Feeds canonical tokens to SHA-256."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._numbers: dict[Var, int] = {}

    def digest(self) -> bytes:
        return self._hash.digest()

    def token(self, *items: Any) -> None:
        data = repr(items).encode()
        self._hash.update(len(data).to_bytes(8, "little") + data)

    def array(self, x: Any) -> None:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            self.token("key", str(x.dtype))
            x = jax.random.key_data(x)
        self.token(*_described(np.asarray(x)))

    def atoms(self, atoms: Iterable[Var | Literal]) -> None:
        """Literals by their values, variables by their numbers: at the first time with their types."""
        self.token(*map(self._mark, atoms))

    def _mark(self, atom: Var | Literal) -> Any:
        if isinstance(atom, Literal):
            return _described(np.asarray(atom.val, atom.aval.dtype))
        if atom in self._numbers:
            return self._numbers[atom]
        number = self._numbers[atom] = len(self._numbers)
        return number, str(atom.aval.dtype), atom.aval.shape

    def equations(self, eqns: Iterable[JaxprEqn]) -> None:
        for eqn in eqns:
            self.equation(eqn, sorted(eqn.params))

    def equation(self, eqn: JaxprEqn, params: Sequence[str]) -> None:
        """One equation; of its parameters those that are named."""
        marks: list[Any] = [eqn.primitive.name, len(eqn.invars), len(params), len(eqn.outvars)]
        marks += map(self._mark, eqn.invars)
        for name in params:
            value = eqn.params[name]
            marks.append(name)
            if _is_plain(value):
                marks.append(value)
            else:
                self.token(*marks)
                self.parameter(value)
                marks = []
        self.token(*marks, *map(self._mark, eqn.outvars))

    def jaxpr(self, jaxpr: Jaxpr | ClosedJaxpr) -> None:
        consts = jaxpr.consts if isinstance(jaxpr, ClosedJaxpr) else ()
        jaxpr = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
        sizes = [len(part) for part in (consts, jaxpr.constvars, jaxpr.invars, jaxpr.eqns, jaxpr.outvars)]
        self.token("jaxpr", sizes)
        for const in consts:
            self.array(const)
        self.atoms([*jaxpr.constvars, *jaxpr.invars])
        self.equations(jaxpr.eqns)
        self.atoms(jaxpr.outvars)

    def parameter(self, value: Any) -> None:
        """An equation's parameter, or any plain data: tuples, mappings, arrays, enums, records.

        Raises:
          TypeError: for an object that can only be described by where it lies in memory.
        """
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = (type(value), *(getattr(value, item.name) for item in dataclasses.fields(value)))
        match value:
            case ClosedJaxpr() | Jaxpr():
                self.jaxpr(value)
            case tuple() | list():
                self.token(type(value).__name__, len(value))
                for item in value:
                    self.parameter(item)
            case Mapping():
                self.token("mapping", len(value))
                for key in sorted(value):
                    self.token(key)
                    self.parameter(value[key])
            case np.ndarray() | np.generic():
                self.array(value)
            case np.dtype():
                self.token("dtype", value.name)
            case enum.Enum():
                self.token("enum", type(value).__name__, value.name)
            case frozenset() | set():
                self.token("set", sorted(value))
            case functools.partial(func=func, args=args, keywords=keywords):
                self.parameter((func, args, keywords))
            case None | bool() | int() | float() | complex() | str() | bytes():
                self.token("plain", value)
            case _ if hasattr(value, "__qualname__"):  # functions and types
                self.token("code", value.__module__, value.__qualname__)
            case _ if re.search(r" at 0x[0-9a-f]+", str(value)):
                raise TypeError(f"{type(value).__name__} {value} has no description that others would share")
            case _:
                self.token("other", type(value).__name__, str(value))
