"""Every example: fused and threaded players have the same shares and say the same, and `explain` knew."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from api.accounting import check_account
from examples.recording import Recorded, record

from jmpc.choreography.masks import check_masks
from jmpc.choreography.primitives import send_masked_p
from jmpc.config import Mode

CASES = [
    pytest.param("matmul", (), id="matmul"),
    pytest.param("simple_average", (), id="simple_average"),
    pytest.param("federated_learning", ("--iterations", "3", "--quiet"), id="federated_learning"),
    pytest.param("logistic_regression", ("--runs", "1", "--quiet"), id="logistic_regression"),
    pytest.param("private_inference", (), id="private_inference"),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_modes_agree_to_the_bit(
    name: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    options = (*arguments, "--out", str(tmp_path))
    left, fused = record(monkeypatch, name, Mode.FUSED, *options)
    right, threads = record(monkeypatch, name, Mode.THREADS, *options)
    jax.tree.map(np.testing.assert_array_equal, left, right)
    assert len(fused.runs) == len(threads.runs) > 0
    for ours, theirs in zip(fused.runs, threads.runs, strict=True):
        _same_messages(ours, theirs)
        jax.tree.map(np.testing.assert_array_equal, _opened(ours), _opened(theirs))
        check_account(theirs.prepared, theirs.messages)
        _all_masked(theirs)
    stored = threads.shares()
    assert stored.keys() == fused.shares().keys()
    for key, share in fused.shares().items():
        np.testing.assert_array_equal(share, stored[key])


def _same_messages(ours: Recorded, theirs: Recorded) -> None:
    assert ours.messages.keys() == theirs.messages.keys()
    for slot, arrays in ours.messages.items():
        for a, b in zip(arrays, theirs.messages[slot], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(slot))


def _opened(run: Recorded) -> dict[str, list[np.ndarray]]:
    """What each player sees in the end; the names of outputs count up over the process."""
    return {player: list(results.values()) for player, results in run.outputs.items()}


def _all_masked(run: Recorded) -> None:
    traced = run.prepared.lowered.choreography
    pairs = sum(len(eqn.params["dsts"]) for eqn in traced.equations() if eqn.primitive is send_masked_p)
    assert check_masks(traced.closed) == traced.masked_messages == pairs
