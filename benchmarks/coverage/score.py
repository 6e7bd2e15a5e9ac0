"""Runs cases with all arrays secret, in the fused simulation, and compares their results with JAX's.

An error is accepted up to some ulp, as the functions' documentation states them, a relative 2^-19 for the rounding of
JAX's own single precision, and what a change of every input by an ulp, the precision of inputs, may change. Integers
and booleans must be equal. Where JAX has NaN or an infinity there is nothing to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import jmpc
from benchmarks.coverage.cases import Case, Traced, trace
from benchmarks.coverage.decompositions import CHECKS
from benchmarks.coverage.domain import why_out
from jmpc.errors import JmpcError

FRACTION = 18
ULP = 2.0**-FRACTION
RELATIVE = 2.0**-19
ULPS = 8.0  # accepted of any primitive that is not below
MORE_ULPS = {"log": 16.0, "pow": 32.0, "rsqrt": 32.0}
_DRAWS = 4  # of perturbed inputs
_SAFETY = 3.0  # the largest of so many draws is less than the largest of all


@dataclass(frozen=True)
class Outcome:
    """What came of a case. `error` is the largest one in ulp (relative to the result where that is above 1)."""

    name: str
    kind: str
    status: str  # "passed", "wrong", "refused", "failed", or "out"
    detail: str = ""
    error: float = 0.0


def judged(case: Case, marked_out: str | None = None) -> tuple[Outcome | None, Traced | None]:
    """The outcome of a case that is out of the domain, or its trace if it is to be run."""
    traced = trace(case)
    reason = why_out(case, traced) if marked_out is None else marked_out
    return (Outcome(case.name, case.kind, "out", reason), None) if reason else (None, traced)


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
    for x, w, moved in zip(got, traced.want, sensitivity(traced), strict=True):
        if w.dtype.kind not in "fc":
            if not np.array_equal(x, w):
                problem = problem or f"{int(np.sum(x != w))} of {w.size} elements differ"
            continue
        finite = np.isfinite(w)
        x, w = (a[finite].astype(np.complex128 if w.dtype.kind == "c" else np.float64) for a in (x, w))
        moved = moved[finite]
        error = np.abs(x - w)
        bound = ulps * ULP + (RELATIVE + ulps * ULP) * np.abs(w) + _SAFETY * moved
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
        args = [_perturbed(random, x) for x in traced.args]
        results = traced.plain(args)
        for total, x, w in zip(moved, results, traced.want, strict=True):
            if w.dtype.kind in "fc":
                with np.errstate(invalid="ignore"):
                    np.fmax(total, np.abs(np.subtract(x, w, dtype=np.result_type(w, np.float64))), out=total)
    return moved


def _perturbed(random: np.random.Generator, x: Any) -> Any:
    if not hasattr(x, "dtype") or np.result_type(x).kind not in "fc":
        return x
    turn = 1 if np.result_type(x).kind == "f" else 1 + 1j
    return (np.asarray(x) + turn * random.choice([-ULP, ULP], np.shape(x))).astype(x.dtype)
