"""Noise among nodes: each server draws its own, and operators are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from network import inprocess
from network.inprocess import EVERYBODY, SERVERS, Nodes, private, run, works

import jmpc
from jmpc.gaussian import DiscreteGaussian
from jmpc.runtime.remote import RemoteSession


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path)
    made.start(*EVERYBODY, min_owners=2)
    yield made
    made.stop()


@pytest.fixture
def session(nodes: Nodes) -> Iterator[RemoteSession]:
    with nodes.session() as made:
        yield made


def test_a_private_mean_of_nodes_and_noise_is_no_owner(
    nodes: Nodes, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = [private(owner) for owner in ("data-owner", "model-owner")]
    mechanism = jmpc.privacy.Gaussian(clip=3.0, noise_multiplier=1e-3)
    mean = jmpc.privacy.private_mean(vectors, mechanism)
    exact = np.mean([x * 3.0 / np.linalg.norm(x) for x in (np.arange(4.0), np.arange(10.0, 14.0))], axis=0)
    first, second = (run(session, mean.reveal())[0] for _ in range(2))
    for opened in (first, second):
        np.testing.assert_allclose(opened, exact, atol=0.02)
    assert not np.array_equal(first, second)
    # Every server draws once for itself, owners and the driver never; of one owner alone nothing is opened.
    drawn: list[tuple[int, ...]] = []
    sample = DiscreteGaussian.sample

    def counted(self: DiscreteGaussian, shape: tuple[int, ...], progress: Callable[[], None]) -> np.ndarray:
        drawn.append(shape)
        return sample(self, shape, progress)

    monkeypatch.setattr(DiscreteGaussian, "sample", counted)
    run(session, mean.reveal())
    assert drawn == [(4,)] * len(SERVERS)
    with pytest.raises(jmpc.JmpcError, match="rule min_owners"):
        run(session, jmpc.privacy.private_mean(vectors[:1], mechanism).reveal())
    works(session)
