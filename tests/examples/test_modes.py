"""Every example: fused, in threads and on nodes players have the same shares and say the same; `explain` knew."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api.accounting import check_account
from examples.recording import Recorded, Recording, on_nodes, record, record_nodes, simulated

import jmpc
from jmpc.choreography.masks import check_masks
from jmpc.choreography.primitives import send_masked_p
from jmpc.config import Mode

CASES = [
    pytest.param(("matmul",), id="matmul"),
    pytest.param(("simple_average",), id="simple_average"),
    pytest.param(("federated_learning", "--iterations", "3", "--quiet"), id="federated_learning"),
    pytest.param(("logistic_regression", "--runs", "1", "--quiet"), id="logistic_regression"),
    pytest.param(("private_inference",), id="private_inference"),
]


@pytest.fixture(scope="module", params=CASES)
def example(request, tmp_path_factory) -> tuple[str, ...]:
    """An example and its arguments."""
    return (*request.param, "--out", str(tmp_path_factory.mktemp(request.param[0])))


@pytest.fixture(scope="module")
def fused(example) -> Recording:
    return record(example[0], Mode.FUSED, *example[1:])


@pytest.fixture(scope="module")
def threads(example) -> Recording:
    return record(example[0], Mode.THREADS, *example[1:])


def test_threads_agree_to_the_bit(fused: Recording, threads: Recording) -> None:
    check_agreement(fused, threads)


def test_nodes_agree_to_the_bit(example, fused: Recording, threads: Recording, tmp_path) -> None:
    nodes = record_nodes(example[0], tmp_path, *example[1:])
    check_agreement(fused, nodes)
    assert [run.values for run in nodes.runs] == [run.values for run in threads.runs]


def test_a_sort_of_many_elements(tmp_path) -> None:
    """Loops of secret permutations, of which the parties release shuffled places."""
    keys = np.random.default_rng(0).integers(-128, 127, 2100).astype(np.int8)

    def main(config: jmpc.LocalConfig | jmpc.RemoteConfig) -> np.ndarray:
        jmpc.set_config(config)
        x = jmpc.define_private_variable(keys)
        places = jmpc.define_private_variable(np.zeros(keys.shape, np.int32))
        jmpc.run(places.assign(jmpc.function(jnp.argsort)(x)))
        return jmpc.run(places.reveal())

    def here() -> np.ndarray:
        return main(jmpc.LocalConfig())

    fused = simulated(here, Mode.FUSED)
    np.testing.assert_array_equal(fused.result, np.argsort(keys, kind="stable"))
    check_agreement(fused, simulated(here, Mode.THREADS))
    check_agreement(fused, on_nodes(lambda path: main(jmpc.RemoteConfig.load(path)), tmp_path))


def check_agreement(fused: Recording, apart: Recording) -> None:
    jax.tree.map(np.testing.assert_array_equal, fused.result, apart.result)
    assert len(fused.runs) == len(apart.runs) > 0
    for ours, theirs in zip(fused.runs, apart.runs, strict=True):
        _same_messages(ours, theirs)
        _same_values(ours, theirs)
        jax.tree.map(np.testing.assert_array_equal, _opened(ours), _opened(theirs))
        check_account(theirs.prepared, theirs.messages)
        _all_masked(theirs)
    assert any(len(copies) > 1 for run in apart.runs for copies in run.values.values())
    _same_slots(fused, apart)


def _same_messages(ours: Recorded, theirs: Recorded) -> None:
    assert ours.messages.keys() == theirs.messages.keys()
    for slot, arrays in ours.messages.items():
        for a, b in zip(arrays, theirs.messages[slot], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(slot))


def _same_values(ours: Recorded, theirs: Recorded) -> None:
    """At every depth: all copies of a value are equal, and equal to that of the fused run where it has it apart."""
    for place, copies in theirs.values.items():
        assert len({*copies.values(), *ours.values.get(place, {}).values()}) == 1, (place, copies.keys())
    assert ours.values.keys() & theirs.values.keys()


def _same_slots(fused: Recording, apart: Recording) -> None:
    """All holders of a stored slot have it, alike."""
    assert apart.slots.keys() == fused.slots.keys() == apart.holders.keys()
    for place, copies in apart.slots.items():
        assert copies.keys() == apart.holders[place]
        (reference,) = fused.slots[place].values()
        for player, copy in copies.items():
            np.testing.assert_array_equal(copy, reference, err_msg=f"{place} at {player}")


def _opened(run: Recorded) -> dict[str, list[np.ndarray]]:
    """What each player sees in the end; the names of outputs count up over the process."""
    return {player: list(results.values()) for player, results in run.outputs.items()}


def _all_masked(run: Recorded) -> None:
    traced = run.prepared.lowered.choreography
    pairs = sum(len(eqn.params["dsts"]) for eqn in traced.equations() if eqn.primitive is send_masked_p)
    assert check_masks(traced.closed) == traced.masked_messages == pairs
