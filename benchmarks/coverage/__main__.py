"""`python -m benchmarks.coverage`: runs all cases and writes docs/coverage.md.

`--only NAME` and `--every N` run some of them, and print what is not right instead. With `--derivatives` it does the
same for the first derivatives of the cases, and writes docs/derivatives.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from benchmarks.coverage import derivatives_report, listing, report
from benchmarks.coverage.batch import Task, batch_outcomes, every_case
from benchmarks.coverage.score import Outcome

_BATCH = 16
_BATCHES_OF_A_PROCESS = 12  # compiled programs take memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases with this in their name: print, write nothing")
    parser.add_argument("--every", type=int, default=1, help="only each so manieth case: print, write nothing")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--list", action="store_true", help="write the list of cases anew; runs nothing")
    parser.add_argument("--derivatives", action="store_true", help="first derivatives of the cases, in reverse mode")
    options = parser.parse_args()
    names = [case.name for case in every_case() if options.only in case.name][:: options.every]
    outcomes = []
    for outcome in _outcomes(names, options.jobs, Task(options.list, options.derivatives)):
        outcomes.append(outcome)
        if options.only or not outcome.right:
            tqdm.write(f"{outcome.status:8s} {outcome.name}  {outcome.detail}  {outcome.error:.3g} ulp")
    if options.list:
        listing.write(outcomes, listing.DERIVATIVES if options.derivatives else listing.PATH)
    elif not options.only and options.every == 1:
        (derivatives_report if options.derivatives else report).write(outcomes)
    print(dict(Counter(outcome.status for outcome in outcomes)))


def _outcomes(names: Sequence[str], jobs: int, task: Task) -> Iterator[Outcome]:
    batches = [tuple(names[i : i + _BATCH]) for i in range(0, len(names), _BATCH)]
    with tqdm(total=len(names), unit="case") as bar:
        while batches:
            ended: set[tuple[str, ...]] = set()
            for batch, outcomes in _round(batches[: jobs * _BATCHES_OF_A_PROCESS], jobs, task):
                ended.add(batch)
                bar.update(len(batch))
                yield from outcomes
            batches = [batch for batch in batches if batch not in ended]


def _round(
    batches: Sequence[tuple[str, ...]], jobs: int, task: Task
) -> Iterator[tuple[tuple[str, ...], list[Outcome]]]:
    """Batches in new processes; a batch that ends its process is run case by case, and names the one."""
    pending: list[tuple[str, ...]] = []
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: dict[Future[list[Outcome]], tuple[str, ...]] = {
            pool.submit(batch_outcomes, batch, task): batch for batch in batches
        }
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                pending.append(futures[future])
    for batch in pending:
        yield batch, [outcome for name in batch for outcome in _alone(name, task)]


def _alone(name: str, task: Task) -> list[Outcome]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(batch_outcomes, (name,), task).result()
        except BrokenProcessPool:
            return [Outcome(name, name, "failed", "it ends the process")]


if __name__ == "__main__":
    main()
