"""A canonical digest of traced code, equal on every player that traces the same computation.

Variables are numbered in order of appearance; literals, constants and parameters enter with their exact
bytes and types. Used twice: segments with equal fingerprints are compiled once, and players compare the
fingerprint of the whole choreography before the first share moves.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var


class Fingerprint:
    """Feeds canonical tokens to SHA-256."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._numbers: dict[Var, int] = {}

    def digest(self) -> bytes:
        return self._hash.digest()

    def token(self, *items: Any) -> None:
        for item in items:
            data = repr(item).encode()
            self._hash.update(len(data).to_bytes(8, "little") + data)

    def array(self, x: Any) -> None:
        x = np.asarray(x)
        self.token("array", x.dtype.name, x.shape, hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest())

    def atoms(self, atoms: Iterable[Var | Literal]) -> None:
        for atom in atoms:
            if isinstance(atom, Literal):
                self.array(atom.val)
            else:
                number = self._numbers.setdefault(atom, len(self._numbers))
                self.token(number, str(atom.aval.dtype), atom.aval.shape)

    def equations(self, eqns: Iterable[JaxprEqn]) -> None:
        for eqn in eqns:
            self.token(eqn.primitive.name)
            self.atoms(eqn.invars)
            for name in sorted(eqn.params):
                self.token(name)
                self.parameter(eqn.params[name])
            self.atoms(eqn.outvars)

    def jaxpr(self, jaxpr: Jaxpr | ClosedJaxpr) -> None:
        if isinstance(jaxpr, ClosedJaxpr):
            for const in jaxpr.consts:
                self.array(const)
            jaxpr = jaxpr.jaxpr
        self.token("jaxpr")
        self.atoms([*jaxpr.constvars, *jaxpr.invars])
        self.equations(jaxpr.eqns)
        self.atoms(jaxpr.outvars)

    def parameter(self, value: Any) -> None:
        """An equation's parameter, or any plain data: tuples, mappings, arrays, enums, records."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            self.token(type(value).__name__)
            for item in dataclasses.fields(value):
                self.parameter(getattr(value, item.name))
            return
        match value:
            case ClosedJaxpr() | Jaxpr():
                self.jaxpr(value)
            case tuple() | list():
                self.token(type(value).__name__, len(value))
                for item in value:
                    self.parameter(item)
            case Mapping():
                for key in sorted(value):
                    self.token(key)
                    self.parameter(value[key])
            case np.ndarray() | np.generic():
                self.array(value)
            case np.dtype():
                self.token("dtype", value.name)
            case enum.Enum():
                self.token(type(value).__name__, value.name)
            case type():
                self.token("type", value.__name__)
            case None | bool() | int() | float() | str() | bytes() | frozenset():
                self.token(sorted(value) if isinstance(value, frozenset) else value)
            case _:
                self.token(type(value).__name__, str(value))
