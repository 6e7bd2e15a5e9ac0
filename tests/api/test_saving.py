"""`jmpc.save` and `jmpc.load` in simulation: trees, types, what is refused."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jmpc
from jmpc.errors import StorageError

Moments = namedtuple("Moments", ["mean", "count"])


def begin(folder: Path, mode: str = "fused", **options) -> None:
    jmpc.set_config(jmpc.LocalConfig(mode=mode, state=folder, **options))


@pytest.fixture(autouse=True)
def usual_configuration() -> Iterator[None]:
    yield
    jmpc.set_config(jmpc.LocalConfig())


@pytest.mark.parametrize("mode", ["fused", "threads"])
def test_variables_come_back_in_another_session_and_go_on(tmp_path: Path, mode: str) -> None:
    begin(tmp_path, mode)
    weights = jmpc.define_private_variable(np.arange(6.0).reshape(2, 3))
    labels = jmpc.define_private_variable(np.array([3, -1 << 30], np.int32))
    flags = jmpc.define_private_variable(np.array([True, False]))
    phasor = jmpc.define_private_variable(np.array([1 + 2j]))
    local = jmpc.define_local_variable("model-owner", lambda: jnp.ones(3))
    jmpc.run(weights.assign(weights * 2))
    jmpc.save("model", {"weights": weights, "rest": [labels, (flags, phasor)], "local": local, "step": 7, "none": None})
    begin(tmp_path, mode)
    loaded = jmpc.load("model")
    assert loaded["step"] == 7 and loaded["none"] is None and type(loaded["rest"][1]) is tuple
    labels, (flags, phasor) = loaded["rest"]
    fetches = [loaded["weights"], labels, flags, phasor, loaded["local"]]
    values = jmpc.run([fetch.reveal() for fetch in fetches])
    for value, expected in zip(
        values,
        [2 * np.arange(6.0).reshape(2, 3), [3, -1 << 30], [True, False], [1 + 2j], np.ones(3)],
        strict=True,
    ):
        np.testing.assert_array_equal(value, expected)
    jmpc.run(loaded["weights"].assign(loaded["weights"] + 1))
    jmpc.save("model", loaded)
    begin(tmp_path, mode)
    again = jmpc.load("model")
    np.testing.assert_array_equal(jmpc.run(again["weights"].reveal()), 2 * np.arange(6.0).reshape(2, 3) + 1)


def test_a_variable_that_no_run_has_touched_is_saved_with_its_initial_value(tmp_path: Path) -> None:
    begin(tmp_path)
    jmpc.save("start", jmpc.define_private_variable(np.array([1.5])))
    begin(tmp_path)
    np.testing.assert_array_equal(jmpc.run(jmpc.load("start").reveal()), [1.5])


def test_what_was_loaded_under_another_configuration_is_loaded_again(tmp_path: Path) -> None:
    begin(tmp_path)
    jmpc.save("model", jmpc.define_private_variable(np.ones(2)))
    loaded = jmpc.load("model")
    begin(tmp_path)
    with pytest.raises(StorageError, match=r"a variable of load\('model'\) is not known here: .* load it again"):
        jmpc.run(loaded.reveal())
    np.testing.assert_array_equal(jmpc.run(jmpc.load("model").reveal()), [1, 1])


def test_loading_twice_makes_variables_of_their_own(tmp_path: Path) -> None:
    begin(tmp_path)
    variable = jmpc.define_private_variable(np.array([1.0]))
    jmpc.save("one", variable)
    first, second = jmpc.load("one"), jmpc.load("one")
    jmpc.run(first.assign(first + 1))
    assert [float(x[0]) for x in jmpc.run([variable.reveal(), first.reveal(), second.reveal()])] == [1.0, 2.0, 1.0]


def test_other_trees_need_one_like_them(tmp_path: Path) -> None:
    begin(tmp_path)
    state = {5: "text", 6: Moments(jmpc.define_private_variable(np.array([1.0])), 3)}
    jmpc.save("state", state)
    begin(tmp_path)
    with pytest.raises(TypeError, match="there is a dict in 'state'.*like="):
        jmpc.load("state")
    loaded = jmpc.load("state", like={5: "", 6: Moments(0, 0)})
    assert type(loaded[6]) is Moments and loaded[6].count == 3 and loaded[5] == "text"
    np.testing.assert_array_equal(jmpc.run(loaded[6].mean.reveal()), [1.0])
    with pytest.raises(TypeError, match="has 3 leaves, `like` has 1"):
        jmpc.load("state", like=[0])


def test_what_is_no_variable_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    variable = jmpc.define_private_variable(np.array([1.0]))
    for wrong, message in (
        (variable + 1, "a value, not a variable: assign it"),
        ([np.zeros(3)], "ndarray is no variable"),
        ({"a": object()}, "object is no variable"),
    ):
        with pytest.raises(TypeError, match=message):
            jmpc.save("wrong", wrong)
    with pytest.raises(StorageError, match="no name to save under"):
        jmpc.save("../wrong", variable)
    assert not tmp_path.exists() or not list(tmp_path.rglob("*.shares"))


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    begin(tmp_path)
    variable = jmpc.define_private_variable(np.array([1.0]))
    with pytest.raises(StorageError, match="all-players have nothing that this driver saved as 'model'"):
        jmpc.load("model")
    jmpc.save("model", variable)
    with pytest.raises(StorageError, match="saved as 'models'"):
        jmpc.load("models")
    begin(tmp_path, precision=20)
    with pytest.raises(StorageError, match="18 fractional bits, this session has 20"):
        jmpc.load("model")
    begin(tmp_path, servers=("a", "b", "c"))
    with pytest.raises(StorageError, match=r"another cluster: shared among \['server0'"):
        jmpc.load("model")
    begin(tmp_path)
    (file,) = tmp_path.rglob("*.shares")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StorageError, match="was changed or cut off"):
        jmpc.load("model")
