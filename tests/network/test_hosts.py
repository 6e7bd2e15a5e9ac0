"""Five hosts with links that are slow, lose packets and break. Each trial ends with a run that must work.

docs/hosts.md is the output of the same trials.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from network import hosts, trials
from network.hosts import Conditions
from network.trials import AFTER, COMPUTATIONS, DRIVER, LINKS, LOSSY, NODES, PARTED, PARTITIONS, TIMEOUT, Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if (obstacle := hosts.obstacle()) is not None:
        pytest.skip(f"no hosts on this machine: {obstacle}")
    with trials.cluster(tmp_path_factory.mktemp("hosts")) as made:
        yield made
        assert made.alive()


@pytest.mark.parametrize("conditions", LINKS, ids=str)
@pytest.mark.parametrize("name", COMPUTATIONS)
def test_a_run_takes_what_explain_says_for_the_link(cluster: Cluster, name: str, conditions: Conditions) -> None:
    found = trials.timing(cluster, name, conditions)
    assert 1 / 1.3 < found.ratio < 1.3, found


@pytest.mark.parametrize("name", [*COMPUTATIONS, "long"])
def test_a_run_on_links_that_lose_packets(cluster: Cluster, name: str) -> None:
    trial = trials.with_loss(cluster, name, LOSSY)
    assert trial.error is None or any(player in trial.error for player in (*NODES, DRIVER))


@pytest.mark.parametrize(("host", "heals"), [(host, heals) for host, heals, _ in PARTITIONS if heals is not None])
def test_a_partition_that_heals_in_time(cluster: Cluster, host: str, heals: float) -> None:
    trial = trials.parted(cluster, host, PARTED, AFTER, heals)
    assert trial.error is None or host == DRIVER or host in trial.error


@pytest.mark.parametrize(("host", "stays"), [(host, stays) for host, heals, stays in PARTITIONS if heals is None])
def test_all_survivors_name_who_is_cut_off(cluster: Cluster, host: str, stays: float) -> None:
    trial = trials.parted(cluster, host, PARTED, AFTER, None, stays)
    assert trial.error is not None and trial.ended < TIMEOUT + 2
    assert host == DRIVER or host in trial.error
    assert set(trial.told) == set(NODES)
    for node in set(NODES) - {host}:
        when, said = trial.told[node]
        assert host in said and when < TIMEOUT + 2, (node, when, said)
