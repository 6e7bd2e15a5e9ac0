"""Functions of one secret that have a protocol of their own, recognised by their values however they are written.

A GELU is x times something with erf, or with tanh; SiLU is x times a sigmoid, or x over 1 + e^-x. Lowered as they are
written, they wait for comparisons before the last product, lose accuracy to x times the error of the other factor,
and leave the range where x is large (x^3 does from 400 on). So a product or quotient that depends on a single secret
through elementwise functions alone is evaluated on a few numbers here, and compared with the functions that are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from jmpc.lowering.registry import Rule
from jmpc.lowering.values import Public, Value

F = TypeVar("F", bound=Callable[..., Any])

Exact: TypeAlias = Callable[[np.ndarray], np.ndarray]

_MOST_EQUATIONS = 16
_TOLERANCE = 1e-6  # a float32 constant is off by 6e-8 of it, an ulp at 18 fractional bits is 4e-6
_FAR = [30.0, 100.0, 500.0]
_POINTS = np.concatenate([np.linspace(-9.03, 9.01, 61), _FAR, np.negative(_FAR)])

KNOWN: list[tuple[Exact, Rule]] = []  # filled where jmpc.lowering.rules is imported


def known(exact: Exact) -> Callable[[F], F]:
    """Registers the rule of a function of one real with these exact values."""

    def register(rule: F) -> F:
        KNOWN.append((exact, rule))
        return rule

    return register


@dataclass(frozen=True)
class Recognised:
    """An equation whose result is `rule` of the value of `argument`; without a rule, one that only such a one needs."""

    argument: Var
    rule: Rule | None


def find(equations: Sequence[JaxprEqn], env: Mapping[Var, Value], results: Sequence[Any]) -> dict[int, Recognised]:
    """What is recognised among equations in order, by their ids; `env` has what is known already."""
    search = _Search(equations, env, results)
    every: dict[int, Recognised] = {}
    for eqn in equations:
        if eqn.primitive.name in ("mul", "div"):
            every.update(search.recognise(eqn))
    return every


class _Search:
    def __init__(self, equations: Sequence[JaxprEqn], env: Mapping[Var, Value], results: Sequence[Any]) -> None:
        self.env = env
        self.makers = {var: (place, eqn) for place, eqn in enumerate(equations) for var in eqn.outvars}
        self.uses: dict[Var, int] = {}
        for atom in [*(atom for eqn in equations for atom in eqn.invars), *results]:
            if isinstance(atom, Var):
                self.uses[atom] = self.uses.get(atom, 0) + 1

    def recognise(self, eqn: JaxprEqn) -> dict[int, Recognised]:
        """Looks back from an equation, always through the latest one, for single values that it depends on."""
        members, open_vars = [eqn], self._secrets(eqn)
        while len(members) <= _MOST_EQUATIONS:
            if len(open_vars) == 1 and any(member.primitive.name in _SATURATING for member in members):
                (argument,) = open_vars
                rule = self._matching(members, argument)
                if rule is not None:
                    return {
                        **{id(inner): Recognised(argument, None) for inner in self._inner(members)},
                        id(eqn): Recognised(argument, rule),
                    }
            latest = max(open_vars, key=lambda var: self.makers.get(var, (-1,))[0], default=None)
            maker = self.makers.get(latest) if latest is not None else None
            if latest is None or maker is None or not _elementwise(maker[1]) or not self._inside(maker[1], members):
                return {}
            open_vars = (open_vars - {latest}) | self._secrets(maker[1])
            members.append(maker[1])
        return {}

    def _inner(self, members: Sequence[JaxprEqn]) -> list[JaxprEqn]:
        """Those that only the first of the members needs."""
        needed = [members[0]]
        for eqn in members[1:]:
            (var,) = eqn.outvars
            if sum(atom is var for user in needed for atom in user.invars) == self.uses[var]:
                needed.append(eqn)
        return needed[1:]

    def _inside(self, eqn: JaxprEqn, members: Sequence[JaxprEqn]) -> bool:
        """Whether what is expensive is used by the members alone: otherwise it would be computed twice over."""
        (var,) = eqn.outvars
        used = sum(atom is var for member in members for atom in member.invars)
        return eqn.primitive.name not in _SATURATING or used == self.uses[var]

    def _secrets(self, eqn: JaxprEqn) -> set[Var]:
        return {atom for atom in eqn.invars if isinstance(atom, Var) and self._constant(atom) is None}

    def _constant(self, atom: Any) -> float | None:
        if isinstance(atom, Literal):
            return float(atom.val) if np.ndim(atom.val) == 0 else math.nan  # which no function has as its values
        value = self.env.get(atom)
        if isinstance(value, Public) and value.known and value.array.size == 1 and value.array.dtype.kind in "fiu":
            return float(value.array.reshape(()))
        return None

    def _matching(self, members: Sequence[JaxprEqn], argument: Var) -> Rule | None:
        with np.errstate(all="ignore"):
            values = self._values(members, argument)
            for exact, rule in KNOWN:
                if (np.abs(values - exact(_POINTS)) <= _TOLERANCE * (1 + np.abs(_POINTS))).all():
                    return rule
        return None

    def _values(self, members: Sequence[JaxprEqn], argument: Var) -> np.ndarray:
        env: dict[Var, Any] = {argument: _POINTS}
        for eqn in sorted(members, key=lambda eqn: self.makers[eqn.outvars[0]][0]):
            operands = [env[a] if isinstance(a, Var) and a in env else self._constant(a) for a in eqn.invars]
            env[eqn.outvars[0]] = _NUMPY[eqn.primitive.name](*operands, **eqn.params)
        return env[members[0].outvars[0]]


def _elementwise(eqn: JaxprEqn) -> bool:
    if eqn.primitive.name not in _NUMPY:
        return False
    (out,) = eqn.outvars
    return all(a.aval.dtype == out.aval.dtype and a.aval.shape in ((), out.aval.shape) for a in eqn.invars)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


_erf, _erfc = (np.vectorize(f, otypes=[np.float64]) for f in (math.erf, math.erfc))

_SATURATING = {"tanh": np.tanh, "logistic": _sigmoid, "erf": _erf, "erfc": _erfc, "exp": np.exp}


def _plain(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands, **_: f(*operands)


_NUMPY: dict[str, Callable[..., Any]] = {
    **{name: _plain(f) for name, f in _SATURATING.items()},
    "add": _plain(np.add),
    "add_any": _plain(np.add),
    "sub": _plain(np.subtract),
    "mul": _plain(np.multiply),
    "div": _plain(np.divide),
    "neg": _plain(np.negative),
    "square": _plain(np.square),
    "integer_pow": lambda x, *, y: x**y,
    "copy": _plain(np.asarray),
    "copy_p": _plain(np.asarray),
}
