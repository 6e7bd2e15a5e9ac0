"""What a process of its own does: some cases, named, as one computation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.coverage import listing
from benchmarks.coverage.cases import Case, harnesses
from benchmarks.coverage.derivatives import derivative, judged_derivative
from benchmarks.coverage.functions import examples
from benchmarks.coverage.own import own
from benchmarks.coverage.score import Outcome, judged, rejected, run


@dataclass(frozen=True)
class Task:
    """What is done with cases: `only_list`: they are judged by their domain and not run."""

    only_list: bool
    derivatives: bool


def every_case() -> Iterator[Case]:
    yield from harnesses()
    yield from own()
    yield from examples()


def batch_outcomes(names: Sequence[str], task: Task) -> list[Outcome]:
    """The outcomes of these cases, or of their derivatives."""
    path = listing.DERIVATIVES if task.derivatives else listing.PATH
    known = listing.read(path) if path.exists() and not task.only_list else {}
    outcomes, ready = [], []
    for case in (case for case in every_case() if case.name in set(names)):
        of = derivative(case) if task.derivatives else case
        reason, traced = (judged_derivative if task.derivatives else judged)(case, known.get(case.name))
        if reason and (task.only_list or traced is None):
            outcomes.append(Outcome(of.name, of.kind, "out", reason))
        elif reason:
            outcomes.append(rejected(of, traced, reason))
        elif task.only_list:
            outcomes.append(Outcome(of.name, of.kind, "passed"))
        else:
            ready.append((of, traced))
    return outcomes + (run(ready) if ready else [])
