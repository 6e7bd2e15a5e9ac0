"""Two minutes of what `python -m network.soak` does for an hour."""

from __future__ import annotations

from pathlib import Path

import pytest
from network import soak
from network.conftest import PLAYERS, make_cluster

import jmpc


@pytest.mark.timeout(400)
def test_two_minutes(tmp_path: Path) -> None:
    cluster = make_cluster(tmp_path, PLAYERS, policy={"reveal_to": soak.REVEAL_TO})
    try:
        cluster.start(*PLAYERS)
        said = list(soak.soak(cluster, minutes=2.0, seed=1, growth=0.1, settle=25.0))
    finally:
        cluster.stop()
        jmpc.set_config(jmpc.LocalConfig())
    assert sum("started again" in line for line in said) >= 2 and "none failed" in said[-1], said
