"""`docs/derivatives.md`: which first derivatives are right, by primitive."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import jax

from benchmarks.coverage.derivatives import PREFIX
from benchmarks.coverage.report import row, short
from benchmarks.coverage.score import ULPS, Outcome

PATH = Path(__file__).parents[2] / "docs" / "derivatives.md"

_INTRODUCTION = """# First derivatives

Written by `python -m benchmarks.coverage --derivatives` with JAX {version}: the vector-Jacobian products of the cases
in `benchmarks/coverage/cases.tsv`, for all real inputs at once, with fixed cotangents of all real results in [-1, 1].
Inputs and cotangents are secret; the three servers compute. `benchmarks/coverage/derivatives.tsv` lists the cases.

**{passed} of {total} cases pass, {share:.1f} %.** The other {out} cases have no such derivative:

{reasons}

Derivatives are within {ulps:g} ulp (2^-18 each) of JAX's, relative to results above 1, and three times what they move
where every input and every cotangent moves by an ulp. At kinks they are JAX's: those of `abs` and `relu` at 0 are 0,
ties of maxima share. Singular vectors and eigenvectors have free signs: their squares are differentiated.

| derivatives of | pass | of | largest error, ulp | without |
|---|---|---|---|---|
"""

# Beginnings of names, and why these derivatives are not within the bound.
REASONS: dict[str, str] = {
    "digamma_": "JAX's own value: below -8 its trigamma is not that of the mathematical function",
    "qr_": "a QR decomposition is exact to 4 ulp of the norm, and this shows in its derivative",
    "cholesky_shape": "a factor of 200 rows rounds in each step, and JAX's derivative solves with it twice",
    "cumprod_": "JAX sums products of up to eight numbers, of which each multiplication rounds",
    "jax.nn.squareplus": "JAX multiplies the inverse of a root by x, 7.5 here, and with it an error of an ulp or two",
    "jax.nn.standardize": "JAX multiplies by 2 x, 15 here, what is right to an ulp",
    "jax.numpy.linalg.svd": "singular vectors are right to 6 ulp, and JAX divides by differences of squares of values",
    "jax.nn.gelu": "JAX multiplies 1 - tanh^2, and its error of 3 ulp, by up to 15",
    "jax.scipy.special.boxcox": "JAX subtracts terms of size 1 / lambda^2, 400 here, of which each is right to an ulp",
    "jax.scipy.special.dawsn": "JAX's polynomials have coefficients below an ulp",
    "jax.scipy.special.log_ndtr": "the logarithm of a probability of 0.01, which is right to an ulp",
    "jax.scipy.special.ndtri": "JAX differentiates x / y as x y^-2, and for a y of 2000 that power is less than an ulp",
    "svd_": "singular vectors are right to 6 ulp, and JAX divides by differences of squares of singular values",
    "jax.scipy.special.exp": "the function is refused: its loop ends when a secret says so",
    "jax.scipy.special.hyp": "the function is refused: its loop ends when a secret says so",
    "jax.numpy.frexp": "the function is refused: it reads the bits of a floating-point number",
    "jax.numpy.ldexp": "the function is refused: it reads the bits of a floating-point number",
} | {
    f"{name}_shape_{half}": "JAX's own value: it rounds the function's value to half precision, and subtracts with it"
    for name in ("bessel_i1e", "expm1", "logistic", "tanh")
    for half in ("bfloat16", "float16")
}


def write(outcomes: Sequence[Outcome]) -> None:
    """Replaces the page."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.kind.removeprefix(PREFIX)].append(outcome)
    rows = [row(kind, found) for kind, found in sorted(by_kind.items()) if any(o.inside for o in found)]
    PATH.write_text(_introduction(outcomes) + "\n".join(rows) + "\n" + _failures(outcomes))


def _introduction(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(o.status for o in outcomes)
    total = len(outcomes) - counts["out"]
    reasons = Counter(o.detail for o in outcomes if o.status == "out")
    return _INTRODUCTION.format(
        version=jax.__version__,
        passed=counts["passed"],
        total=total,
        share=100 * counts["passed"] / max(1, total),
        out=counts["out"],
        reasons="\n".join(f"- {reason}: {count}" for reason, count in reasons.most_common()),
        ulps=ULPS,
    )


def _failures(outcomes: Sequence[Outcome]) -> str:
    failed = sorted((o for o in outcomes if not o.right), key=lambda o: o.name)
    if not failed:
        return ""
    return "\n## What does not pass\n\n" + "\n".join(map(_failure, failed)) + "\n"


def _failure(outcome: Outcome) -> str:
    reason = next((why for name, why in REASONS.items() if outcome.name.startswith(name)), "")
    if outcome.status != "wrong":
        return f"- `{outcome.name}`: {reason or f'{outcome.status}, {short(outcome.detail)}'}"
    return f"- `{outcome.name}`: {short(outcome.detail)}{': ' if reason else ''}{reason}"
