"""Nothing but its own error comes out of a decoder, and no code is run, whatever is sent."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from net.decoders import decoders, mutant, mutants, refused_or_read

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(decoders()))
def test_honest_samples_are_read(name: str) -> None:
    decoder = decoders()[name]
    assert all(refused_or_read(decoder, sample) for sample in decoder.samples)
    assert not any(refused_or_read(decoder, sample) for sample in (b"", b"\xc1", b"\xdd\xff\xff\xff\xff"))


def test_hostile_messages_are_refused_by_name_or_read() -> None:
    """`python -m net.fuzz` does it for as long as you like."""
    read = sum(refused_or_read(decoder, data) for decoder, data in mutants(2, 6000))
    assert 0 < read < 3000


def test_mutants_are_many() -> None:
    source = random.Random(0)
    assert len({mutant(source, bytes(50), bytes(range(100))) for _ in range(100)}) > 80


def test_no_message_imports_runs_or_opens_anything() -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "net.hostile"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2400 messages, 0 events" in done.stdout
