"""Two minutes of what `network.soak` does for an hour."""

from __future__ import annotations

from pathlib import Path

from network.soak import Plan, soaked

# What is compiled soon: on a slow machine the others would still be at it when memory is compared.
KINDS = ("add", "train", "train_federated", "be_refused", "bring_bad_inputs", "save")


def test_nodes_stay_as_large_as_they_are(tmp_path: Path) -> None:
    """Two drivers side by side, sessions that come and go, a node that is started again, and errors of all kinds."""
    plan = Plan(minutes=1.25, restart=50.0, settle=20.0, window=8.0, kinds=KINDS)
    with soaked(tmp_path, plan) as soak:
        for line in (*soak.events(), *soak.account()):
            print(line)
        assert not soak.faults
