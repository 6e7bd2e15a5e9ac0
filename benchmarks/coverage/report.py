"""`docs/coverage.md`: what passed, by primitive."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import jax

from benchmarks.coverage.functions import INEXACT_REASONS, MODULES, NAMED_REASONS, public_functions
from benchmarks.coverage.score import MORE_ULPS, ROUNDOFFS, ULPS, Outcome

PATH = Path(__file__).parents[2] / "docs" / "coverage.md"

_INTRODUCTION = """# Coverage of JAX

Written by `python -m benchmarks.coverage` with JAX {version}: the test cases that JAX has for its own primitives, and
ours for what these leave out (control flow, custom derivatives, secret indices), each run by the three servers with all
array arguments secret. Only PRNG keys stay public. `benchmarks/coverage/cases.tsv` lists all cases by name.

**{passed} of {total} cases in the domain pass**{failures}. {out} cases are out of it, and end with an error that
names the reason and the line:

{reasons}

No error can come where no server sees the reason ({computed} cases): all results of JAX are NaN or infinite, or above
the largest exponential. Fixed-point numbers are neither, and docs/functions.md says what they are instead.

Integers and booleans equal JAX's exactly. Reals are within {ulps:g} ulp (2^-18 each; more for {more}), relative to
results above 1, and three times what the results move where every input moves by an ulp, which is how precisely
inputs are known: an ill-conditioned case (a power, a quotient near a pole) is held to what its inputs determine.
Where JAX computes with float16 or bfloat16, {roundoffs:g} unit roundoffs of these are added, and inputs move by one;
the table has no errors of these. Elements that are NaN or infinite in JAX are left out. Of eigenvalues, singular
values and QR, the product and the orthogonality are checked, to 6 ulp of the norm, because signs of vectors are free
and factors depend on how near to each other values are. A Cholesky factorisation rounds in each of its n steps, as if
inputs moved by the root of n ulp. Of an approximate top-k, equal numbers may stand at any of their places.

| cases of | pass | of | largest error, ulp | out of the domain |
|---|---|---|---|---|
"""


def write(outcomes: Sequence[Outcome]) -> None:
    """Replaces the page."""
    cases = [o for o in outcomes if o.kind not in MODULES]
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in cases:
        by_kind[outcome.kind].append(outcome)
    rows = [row(kind, found) for kind, found in sorted(by_kind.items())]
    functions = [o for o in outcomes if o.kind in MODULES]
    PATH.write_text(_introduction(cases) + "\n".join(rows) + "\n" + _failures(cases) + _functions(functions))


def _functions(outcomes: Sequence[Outcome]) -> str:
    """Which public functions pass with all arrays secret, and why others do not."""
    text = ["\n## Public functions\n"]
    text.append(
        "Each of these was run on an example; what makes arrays of numbers, or tells of types, is not listed.\n"
    )
    for module in MODULES:
        found = [o for o in outcomes if o.kind == module]
        passed = sorted(o.name.rpartition(".")[2] for o in found if o.status == "passed")
        text.append(f"**{module}**: {len(passed)} pass: " + ", ".join(f"`{name}`" for name in passed) + "\n")
        left_out = {o.name.rpartition(".")[2]: _reason(o) for o in found if o.status != "passed"}
        left_out |= {
            name: NAMED_REASONS[name] for m, name in public_functions() if m == module and name in NAMED_REASONS
        }
        text += [f"- `{name}`: {reason}" for name, reason in sorted(left_out.items())]
        text.append("")
    return "\n".join(text)


def _reason(outcome: Outcome) -> str:
    """Why it is not within the bound, or what jmpc says, without the line and its own advice."""
    name = outcome.name.rpartition(".")[2]
    if outcome.status == "wrong" and name in INEXACT_REASONS:
        return f"{outcome.error:.0f} ulp; {INEXACT_REASONS[name]}"
    if outcome.status == "refused" and "`: " in outcome.detail:
        primitive, _, reason = outcome.detail.partition("`: ")
        return f"`{primitive.rpartition('`')[2]}`: {reason.partition('. ')[0]}"
    return short(outcome.detail)


def _introduction(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(o.status for o in outcomes)
    reasons = Counter(o.detail for o in outcomes if o.status == "out")
    total = sum(o.inside for o in outcomes)
    return _INTRODUCTION.format(
        version=jax.__version__,
        passed=counts["passed"],
        total=total,
        failures="" if counts["passed"] == total else "; the others are at the end of this page",
        out=counts["out"],
        reasons="\n".join(f"- {reason}: {count}" for reason, count in reasons.most_common()),
        computed=counts["computed"],
        ulps=ULPS,
        roundoffs=ROUNDOFFS,
        more=", ".join(f"`{kind}` {ulps:g}" for kind, ulps in MORE_ULPS.items()),
    )


def row(kind: str, found: Sequence[Outcome]) -> str:
    """Of the table."""
    inside = [o for o in found if o.inside]
    passed = [o for o in inside if o.status == "passed"]
    error = f"{max((o.error for o in inside), default=0.0):.2g}" if inside else ""
    return f"| `{kind}` | {len(passed)} | {len(inside)} | {error} | {len(found) - len(inside) or ''} |"


def _failures(outcomes: Sequence[Outcome]) -> str:
    failed = [o for o in outcomes if not o.right]
    if not failed:
        return ""
    lines = (f"- `{o.name}`: {o.status}, {short(o.detail)}" for o in failed)
    return "\n## What does not pass\n\n" + "\n".join(lines) + "\n"


def short(text: str) -> str:
    """One line."""
    line = " ".join(text.split())
    return line if len(line) < 200 else line[:197] + "..."
