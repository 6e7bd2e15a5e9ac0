"""What a process of its own does: some cases, named, as one computation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.coverage import listing
from benchmarks.coverage.cases import Case, harnesses
from benchmarks.coverage.functions import examples
from benchmarks.coverage.own import own
from benchmarks.coverage.score import Outcome, judged, run


def every_case() -> Iterator[Case]:
    yield from harnesses()
    yield from own()
    yield from examples()


def batch_outcomes(names: Sequence[str], only_list: bool) -> list[Outcome]:
    """The outcomes of these cases; with `only_list` they are judged by their domain and not run."""
    known = listing.read() if listing.PATH.exists() and not only_list else {}
    outcomes, ready = [], []
    for case in (case for case in every_case() if case.name in set(names)):
        outcome, traced = judged(case, known.get(case.name))
        if outcome is not None:
            outcomes.append(outcome)
        elif only_list:
            outcomes.append(Outcome(case.name, case.kind, "passed"))
        else:
            assert traced is not None
            ready.append((case, traced))
    return outcomes + (run(ready) if ready else [])
