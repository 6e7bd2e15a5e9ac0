"""Gathers, simulated: means over those that are there, dropouts, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmpc
from jmpc.api.run import current_session
from jmpc.config import Mode
from jmpc.errors import ChoreographyError, OwnersMissing, TraceError

OWNERS = tuple(f"owner-{i}" for i in range(5))
ULP = 2.0**-18


@pytest.fixture(params=[Mode.FUSED, Mode.THREADS])
def mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    jmpc.set_config(jmpc.LocalConfig(mode=request.param))
    yield request.param
    jmpc.set_config(jmpc.LocalConfig())


class Owners:
    """Bring random numbers, but for those that are `away`."""

    def __init__(self, shape: tuple[int, ...] = (50,), limit: float = 8.0) -> None:
        random = np.random.default_rng(0)
        self.arrays = {owner: random.uniform(-limit, limit, shape).astype(np.float32) for owner in OWNERS}
        self.away: set[str] = set()
        self.range = (-limit, limit)

    def input(self, owner: str) -> Any:
        def provide() -> np.ndarray:
            if owner in self.away:
                raise RuntimeError("away")
            return self.arrays[owner]

        array = self.arrays[owner]
        types = jax.ShapeDtypeStruct(array.shape, array.dtype)
        return jmpc.define_private_input(owner, provide, types=types, range=self.range)

    @property
    def inputs(self) -> dict[str, Any]:
        return {owner: self.input(owner) for owner in OWNERS}

    def mean(self) -> np.ndarray:
        return np.mean([np.float64(a) for owner, a in self.arrays.items() if owner not in self.away], axis=0)


def test_means_over_those_that_are_there(mode: Mode, caplog: pytest.LogCaptureFixture) -> None:
    owners = Owners()
    values, present = jmpc.gather(owners.inputs, min_owners=2)
    wanted = [jmpc.average(values, present).reveal(), values["owner-1"].reveal("owner-1"), present]
    for away in ((), ("owner-1",), ("owner-0", "owner-2", "owner-4")):
        owners.away = set(away)
        with caplog.at_level(logging.WARNING, logger="jmpc"):
            mean, _, there = jmpc.run(wanted)
        assert [owner for owner, is_there in zip(OWNERS, there, strict=True) if not is_there] == list(away)
        assert np.abs(mean - owners.mean()).max() <= 1.5 * ULP, "rounded once by each owner, and once more"
    told = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(told) == 2 and "owner-1" in told[0] and "owner-4" in told[1]
    owners.away = set(OWNERS[:4])
    with pytest.raises(
        OwnersMissing, match=r"1 of 5 owners delivered, at least 2 must; missing are owner-0 \("
    ) as caught:
        jmpc.run(wanted)
    assert caught.value.players == OWNERS[:4]


def test_an_input_that_is_refused_is_as_one_that_is_missing(mode: Mode) -> None:
    owners = Owners()
    owners.arrays["owner-3"][7] = 8.5  # out of its range
    mean, present = jmpc.run([jmpc.average(*(g := jmpc.gather(owners.inputs, min_owners=2))).reveal(), g[1]])
    owners.away = {"owner-3"}
    assert present.tolist() == [True, True, True, False, True]
    assert np.abs(mean - owners.mean()).max() <= 1.5 * ULP


def test_missing_owners_are_zero_and_public_code_knows_who_is_there(mode: Mode) -> None:
    owners = Owners((3,))
    owners.away = {"owner-0"}
    values, present = jmpc.gather(list(owners.inputs.values()), min_owners=1)

    @jmpc.function
    def largest(values, present):
        return jnp.max(jnp.where(present[:, None], jnp.stack(values), -100.0), axis=0), present.sum()

    high, count = largest(values, present)
    high, zero, count = jmpc.run([high.reveal(), values[0].reveal(), count.reveal()])
    others = [array for owner, array in owners.arrays.items() if owner != "owner-0"]
    np.testing.assert_allclose(high, np.max(others, axis=0), atol=ULP)
    assert count == 4 and not zero.any()


def test_trees_integers_and_booleans() -> None:
    def inputs(i: int) -> Any:
        return {"n": np.int32(7 * i - 9), "b": np.array([i > 1, True]), "z": np.complex64(i + 1j)}

    trees = [jmpc.define_private_input(owner, lambda i=i: inputs(i)) for i, owner in enumerate(OWNERS)]
    means = jmpc.run(jax.tree.map(lambda x: x.reveal(), jmpc.aggregate(trees, min_owners=5)))
    np.testing.assert_allclose(means["n"], np.mean([inputs(i)["n"] for i in range(5)]), atol=2 * ULP)
    np.testing.assert_allclose(means["b"], [3 / 5, 1], atol=2 * ULP)
    np.testing.assert_allclose(means["z"], 2 + 1j, atol=3 * ULP)


def test_large_numbers_of_which_no_range_is_known() -> None:
    large = [np.float32(1e5 + i) for i in range(3)]
    trees = [jmpc.define_private_input(o, lambda i=i: large[i]) for i, o in enumerate(OWNERS[:3])]
    mean = jmpc.run(jmpc.aggregate(trees, min_owners=1).reveal())
    np.testing.assert_allclose(mean, np.mean(large, dtype=np.float64), rtol=2**-20)


def test_means_of_what_was_computed_of_contributions() -> None:
    owners = Owners()
    owners.away = {"owner-2"}
    values, present = jmpc.gather(owners.inputs, min_owners=3)
    squares = {owner: value * value for owner, value in values.items()}
    mean = jmpc.run(jmpc.average(squares, present).reveal())
    expected = np.mean([np.float64(a) ** 2 for owner, a in owners.arrays.items() if owner != "owner-2"], axis=0)
    np.testing.assert_allclose(mean, expected, atol=16 * ULP)


def test_explain_says_what_is_opened() -> None:
    account = jmpc.explain(jmpc.aggregate(Owners().inputs, min_owners=2).reveal("analyst"))
    assert account.rounds == 5
    whose = {(r.why, r.dst): r.inputs for r in account.releases if r.inputs}
    assert whose == {("reveal to analyst", "analyst"): frozenset(OWNERS)}
    assert "who took part [5]" in str(account)
    assert "gather    from at least 2 of owner-0, owner-1, owner-2, owner-3, owner-4" in str(account)


@pytest.mark.parametrize("mode", [Mode.FUSED], indirect=True)
def test_what_is_refused(mode: Mode) -> None:
    inputs = Owners().inputs
    values, present = jmpc.gather(inputs, min_owners=3)
    mean = jmpc.average(values, present)
    line = r"test_gathering\.py:\d+ \(test_what_is_refused\): "
    with pytest.raises(ChoreographyError, match=r"\(input\): 'owner-0' would send something that others"):
        jmpc.explain([mean.reveal(), (inputs["owner-0"] * 2).reveal()])
    with pytest.raises(ChoreographyError, match=line + "'owner-1' would send something"):
        jmpc.explain([mean.reveal(), inputs["owner-1"].reveal("analyst")])
    kept = jmpc.define_local_variable("owner-2", jnp.zeros(50))
    with pytest.raises(ChoreographyError, match=line + "owner-2 would keep a variable"):
        jmpc.explain([mean.reveal(), kept.assign(inputs["owner-2"])])
    fewer, _ = jmpc.gather({owner: inputs[owner] for owner in OWNERS[:4]}, min_owners=3)
    with pytest.raises(ChoreographyError, match=line + r"this gather and that at .* differ in owner-4 alone"):
        jmpc.explain([mean.reveal(), fewer["owner-0"].reveal()])
    servers = [jmpc.define_private_input(name, lambda: jnp.ones(3)) for name in ("owner-0", "server1")]
    with pytest.raises(TraceError, match=line + "server1 cannot contribute"):
        jmpc.explain(jmpc.aggregate(servers, min_owners=1).reveal())
    driver = [jmpc.define_private_input(name, lambda: jnp.ones(3)) for name in ("owner-0", current_session().driver)]
    with pytest.raises(TypeError, match="is the driver"):
        jmpc.explain(jmpc.aggregate(driver, min_owners=1).reveal())


def test_arguments() -> None:
    inputs = Owners().inputs
    first = inputs["owner-0"]
    with pytest.raises(TypeError, match="one pytree of values for each owner"):
        jmpc.gather([], min_owners=1)
    with pytest.raises(TypeError, match="all of one structure"):
        jmpc.gather([first, (inputs["owner-1"], inputs["owner-1"])], min_owners=1)
    with pytest.raises(TypeError, match=r"at 'owner-0', not at 'owner-1'"):
        jmpc.gather({"owner-1": first}, min_owners=1)
    with pytest.raises(TypeError, match="is secret, not in the clear at an owner"):
        jmpc.gather([first * 2], min_owners=1)
    with pytest.raises(TypeError, match=r"contributes once, .*owner-0"):
        jmpc.gather([first, first], min_owners=1)
    for wrong in (0, 6, 2.0, True):
        with pytest.raises(ValueError, match="min_owners is a number from 1 to 5"):
            jmpc.gather(inputs, min_owners=wrong)
    for wrong in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a deadline is a number of seconds"):
            jmpc.gather(inputs, min_owners=1, deadline=wrong)
    values, present = jmpc.gather(inputs, min_owners=1)
    with pytest.raises(TypeError, match="does not say which of 4 owners"):
        jmpc.average(list(values.values())[:4], present)


def test_noise_on_a_mean_over_all_owners_of_whom_some_are_missing() -> None:
    """Clipped one by one; who is missing counts as zero, so that the noise is the same whoever is there."""
    owners = Owners((400,), limit=1.0)
    owners.away = {"owner-1", "owner-4"}
    values, _ = jmpc.gather(list(owners.inputs.values()), min_owners=3)
    mechanism = jmpc.privacy.Gaussian(clip=2.0, noise_multiplier=0.5)
    mean = jmpc.run(jmpc.privacy.private_mean(values, mechanism).reveal())
    there = [np.float64(array) for owner, array in owners.arrays.items() if owner not in owners.away]
    exact = sum(x * min(1, 2.0 / np.linalg.norm(x)) for x in there) / len(OWNERS)
    noise = (mean - exact) * len(OWNERS) / (2.0 * 0.5)
    assert 0.8 < np.std(noise) / np.sqrt(1.5) < 1.2
