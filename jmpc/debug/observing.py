"""A lowering whose values can be looked at: every equation of the user's is followed by an observation.

An observation reads the words of operands and results as they are, lazy products at their own scale included, and
nothing that is computed depends on it. It is a primitive that no player can run: only `Evaluator` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Primitive

from jmpc.choreography.holders import all_equations
from jmpc.debug.double import CONTROL, double
from jmpc.lowering.context import Context
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Precision, PrecisionWarning, Public, RangeWarning, Value
from jmpc.protocols.plain import Plain


@dataclass(frozen=True)
class Seen:
    """A value as it was when it was observed; `fraction` of a secret real."""

    array: np.ndarray
    fraction: int | None = None
    public: bool = False


@dataclass(frozen=True)
class Observation:
    """An equation's operands and results in one of its evaluations; `rounding`: of what a loop or branch hands on."""

    equation: JaxprEqn
    line: str
    operands: list[Seen]
    results: list[Seen]
    rounding: bool = False


Observer = Callable[[Observation], None]


class ObservedContext(Context):
    """A context that shows `observer` each evaluation of the equations of `body`.

    Args:
      body: the user's jaxpr without calls; what rules are made of are other equations.
    """

    def __init__(
        self,
        protocol: Plain,
        precision: Precision,
        body: ClosedJaxpr,
        observer: Observer,
        *,
        parent: Context | None = None,
    ) -> None:
        super().__init__(protocol, precision, parent=parent)
        self._plain, self._observer = protocol, observer
        self._body = body  # so that the ids of its equations stay taken
        # an id stays taken as long as the body is there
        self._theirs = (
            parent._theirs if isinstance(parent, ObservedContext) else frozenset(map(id, all_equations(body.jaxpr)))
        )

    def warn(self, message: str, category: type[Warning] = RangeWarning) -> None:
        """Constants that count as 0 have a place in the report."""
        if category is not PrecisionWarning:
            super().warn(message, category)

    def child(self) -> ObservedContext:
        return ObservedContext(self._plain, self.precision, self._body, self._observer, parent=self)

    def lowered(self, eqn: JaxprEqn, operands: Sequence[Value], results: Sequence[Value]) -> None:
        if id(eqn) in self._theirs:
            looked_at = [] if eqn.primitive.name in CONTROL else operands
            self._observe(eqn, looked_at, results, rounding=False)

    def _truncated(self, value: FixedPoint, fraction: int) -> FixedPoint:
        """What a loop or branch hands on is rounded by no equation of the user's."""
        result = super()._truncated(value, fraction)
        eqn = self.equation
        if eqn is not None and eqn.primitive.name in CONTROL and id(eqn) in self._theirs:
            self._observe(eqn, [value], [result], rounding=True)
        return result

    def _observe(self, eqn: JaxprEqn, operands: Sequence[Value], results: Sequence[Value], *, rounding: bool) -> None:
        line, split = self.line, len(operands)

        def see(seen: list[Seen]) -> None:
            self._observer(Observation(eqn, line, seen[:split], seen[split:], rounding))

        look([*operands, *results], see)


def look(values: Sequence[Value], see: Callable[[list[Seen]], None]) -> None:
    """Calls `see` with the values, whenever this point of the choreography is evaluated."""
    reads = [_reading(value) for value in values]

    def show(*arrays: Any) -> None:
        found = iter(arrays)
        see([read(next(found)) if isinstance(given, jax.core.Tracer) else read(given) for given, read in reads])

    observe_p.bind(*(given for given, _ in reads if isinstance(given, jax.core.Tracer)), show=show)


observe_p = Primitive("observe")
observe_p.multiple_results = True


@observe_p.def_abstract_eval
def _(*arrays: Any, show: Callable[..., None]) -> list[Any]:
    del arrays, show
    return []


@observe_p.def_impl
def _(*arrays: Any, show: Callable[..., None]) -> list[Any]:
    show(*arrays)
    return []


def _reading(value: Value) -> tuple[Any, Callable[[Any], Seen]]:
    """The array in which a value is held, and how to read it."""
    match value:
        case FixedPoint(fraction=fraction):
            return value.sharing.slots[0], lambda words: Seen(real(words, fraction), fraction)
        case Integer(dtype=dtype):
            return value.sharing.slots[0], lambda words: Seen(np.asarray(words).astype(dtype))
        case Boolean():
            return value.sharing.slots[0], lambda words: Seen((np.asarray(words) & 1).astype(np.bool_))
        case Public(array=array):
            return array, lambda array: Seen(double(array), public=True)
    raise TypeError(f"not a value: {value!r}")


def real(words: Any, fraction: int) -> np.ndarray:
    """The reals that words stand for."""
    return np.asarray(words).astype(np.int64).astype(np.float64) * 2.0**-fraction
