"""Runs cases with all arrays secret, in the fused simulation, and compares their results with JAX's.

An error is accepted up to some ulp, as the functions' documentation states them, a relative 2^-19 for the rounding of
JAX's own single precision, and what a change of every input by an ulp, the precision of inputs, may change. Where JAX
computes with float16 or bfloat16 it rounds more than fixed point does: a unit roundoff of that type for the result and
for each input is accepted as well. Integers and booleans must be equal. Where JAX has NaN or an infinity there is
nothing to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import jmpc
from benchmarks.coverage.cases import Case, Traced, as_numpy, is_inexact, trace
from benchmarks.coverage.checks import CHECKS
from benchmarks.coverage.domain import why_out
from jmpc.errors import JmpcError

FRACTION = 18
ULP = 2.0**-FRACTION
RELATIVE = 2.0**-19
ULPS = 8.0  # accepted of any primitive that is not below
MORE_ULPS = {"log": 16.0, "pow": 32.0, "rsqrt": 32.0}
_DRAWS = 4  # of perturbed inputs
ROUNDOFFS = 4.0  # of JAX, where it computes with less than single precision
_SAFETY = 3.0  # the largest of so many draws is less than the largest of all
_ROUNDING_STEPS = frozenset(["cholesky"])  # what rounds every element in as many steps as there are rows


@dataclass(frozen=True)
class Outcome:
    """What came of a case. `error` is the largest one in ulp (relative to the result where that is above 1)."""

    name: str
    kind: str
    status: str  # of cases in the domain "passed", "wrong", "refused", "failed"; of others "out" or "computed"
    detail: str = ""
    error: float = 0.0

    @property
    def inside(self) -> bool:
        """Whether the case is in the domain."""
        return self.status not in ("out", "computed")

    @property
    def right(self) -> bool:
        return self.status == "passed" or not self.inside


def judged(case: Case, marked_out: str | None = None) -> tuple[str, Traced]:
    """Why a case is out of the domain, if it is, and its trace."""
    traced = trace(case)
    return why_out(case, traced) if marked_out is None else marked_out, traced


def rejected(case: Case, traced: Traced, reason: str) -> Outcome:
    """What comes of a case that is out of the domain: an error of jmpc, or if nothing can tell, results."""
    try:
        jmpc.run(_fetches(traced))
    except JmpcError:
        return Outcome(case.name, case.kind, "out", reason)
    except Exception as error:
        return Outcome(case.name, case.kind, "failed", f"{type(error).__name__}: {error}")
    return Outcome(case.name, case.kind, "computed", reason)


def run(cases: Sequence[tuple[Case, Traced]]) -> list[Outcome]:
    """Several cases as one computation; each by itself if that is refused."""
    try:
        found = jmpc.run([_fetches(traced) for _, traced in cases])
    except Exception as error:
        if len(cases) == 1:
            ((case, _),) = cases
            status = "refused" if isinstance(error, JmpcError) else "failed"
            return [Outcome(case.name, case.kind, status, f"{type(error).__name__}: {error}")]
        return [outcome for pair in cases for outcome in run([pair])]
    return [compare(case, traced, got) for (case, traced), got in zip(cases, found, strict=True)]


def _fetches(traced: Traced) -> list[Any]:
    consts = [jmpc.define_constant(c) for c in traced.jaxpr.consts]
    pairs = zip(traced.args, traced.public, strict=True)
    values = jmpc.function(traced.call)(consts, *(_input(x, public) for x, public in pairs))
    return [value.reveal() for value in values]


def _input(x: Any, public: bool) -> Any:
    if public:
        return jmpc.define_constant(x)
    types = jax.typeof(x)  # of JAX's default widths, which numpy's are not
    array = np.asarray(x, types.dtype)
    return jmpc.define_private_input("driver", lambda: array, types=jax.ShapeDtypeStruct(types.shape, types.dtype))


def compare(case: Case, traced: Traced, got: Sequence[Any]) -> Outcome:
    """Whether results are within the bound."""
    results = [np.asarray(x) for x in got]
    if problem := _shapes(results, traced.want):
        return Outcome(case.name, case.kind, "wrong", problem)
    if case.kind in CHECKS:  # what has several right answers
        problem, error = CHECKS[case.kind](traced, results)
    else:
        problem, error = _values(case, traced, results)
    return Outcome(case.name, case.kind, "wrong" if problem else "passed", problem, error)


def _shapes(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> str:
    kinds = [[(x.shape, x.dtype) for x in xs] for xs in (got, want)]
    return "" if kinds[0] == kinds[1] else f"results of {kinds[0]}, expected {kinds[1]}"


def _values(case: Case, traced: Traced, got: Sequence[np.ndarray]) -> tuple[str, float]:
    largest, problem = 0.0, ""
    ulps = MORE_ULPS.get(case.kind, ULPS)
    safety = _SAFETY * (max(1, traced.want[0].shape[-1]) ** 0.5 if case.kind in _ROUNDING_STEPS else 1)
    for x, w, moved in zip(got, traced.want, sensitivity(traced), strict=True):
        if not is_inexact(w):
            if not np.array_equal(x, w):
                problem = problem or f"{int(np.sum(x != w))} of {w.size} elements differ"
            continue
        finite = np.isfinite(w)
        x, w = (_exact(a[finite]) for a in (x, w))
        moved = moved[finite]
        error = np.abs(x - w)
        bound = ulps * ULP + (RELATIVE + ulps * ULP + ROUNDOFFS * traced.roundoff) * np.abs(w) + safety * moved
        excess = error - bound
        if excess.size and not excess.max() <= 0:  # and not a number, either
            worst = int(excess.argmax())
            problem = problem or f"{x[worst]!r} instead of {w[worst]!r}, more than {bound[worst]:.3g} away"
        largest = max(largest, float((error / np.maximum(1.0, np.abs(w)) / ULP).max(initial=0.0)))
    return problem, largest


def sensitivity(traced: Traced) -> list[np.ndarray]:
    """How far the results move when every real input moves by an ulp."""
    random = np.random.default_rng(0)
    moved = [np.zeros(w.shape) for w in traced.want]
    for _ in range(_DRAWS):
        args = [_perturbed(random, x, traced.roundoff) for x in traced.args]
        results = traced.plain(args)
        for total, x, w in zip(moved, results, traced.want, strict=True):
            if is_inexact(w):
                with np.errstate(invalid="ignore"):
                    np.fmax(total, np.abs(_exact(x) - _exact(w)), out=total)
    return moved


def _exact(x: np.ndarray) -> np.ndarray:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def _perturbed(random: np.random.Generator, x: Any, roundoff: float) -> Any:
    if not hasattr(x, "dtype") or not is_inexact(x):
        return x
    array = as_numpy(x)
    turn = 1 + 1j if array.dtype.kind == "c" else 1
    step = np.maximum(ULP, roundoff * np.abs(_exact(array)))
    return (array + turn * step * random.choice([-1, 1], array.shape)).astype(array.dtype)
