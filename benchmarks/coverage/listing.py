"""The committed lists: of each case, and of each derivative, its name, and why it is out of the domain if it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.coverage.score import Outcome

PATH = Path(__file__).parent / "cases.tsv"
DERIVATIVES = Path(__file__).parent / "derivatives.tsv"


def read(path: Path = PATH) -> dict[str, str]:
    """Name to the reason for being out, empty if it is in the domain."""
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return {name: reason for name, reason in rows}


def write(outcomes: Iterable[Outcome], path: Path = PATH) -> None:
    """Replaces the list."""
    rows = sorted((o.name, "" if o.inside else o.detail) for o in outcomes)
    path.write_text("".join(f"{name}\t{reason}\n" for name, reason in rows))
