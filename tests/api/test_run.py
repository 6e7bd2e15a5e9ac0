"""`run` and `simulate`: what is built, prepared and compiled once, and what is refused."""

from __future__ import annotations

import gc
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmpc
from jmpc.api import run as run_module
from jmpc.api import session as session_module
from jmpc.api.run import current_session
from jmpc.runtime import simulate as simulate_module

X = np.array([0.5, -1.25, 3.0], np.float32)


def private(array: Any = X) -> jmpc.Value:
    return jmpc.define_private_input("alice", lambda: array)


def test_secrets_do_not_open_unasked() -> None:
    secret, variable = 2 * private(), jmpc.define_private_variable(X)
    with pytest.raises(TypeError, match=r"fetch 1 of type float32\[3\] is secret.*value.reveal\(\)"):
        jmpc.run([secret.reveal(), secret])
    with pytest.raises(TypeError, match="is secret"):
        jmpc.run({"v": variable})
    with pytest.raises(TypeError, match="run: ndarray is not a private value"):
        jmpc.run(X)
    with pytest.raises(TypeError, match="run: int is not"):
        jmpc.run([secret.reveal(), 3])


def test_fetches_are_pytrees() -> None:
    opened = (2 * private()).reveal()
    v = jmpc.define_private_variable(X)
    elsewhere = (3 * private()).reveal("bob")
    result = jmpc.run({"a": opened, "b": (opened, v.assign(2 * v)), "c": [elsewhere], "d": None})
    assert result["b"][1] is None and result["c"] == [None] and result["d"] is None
    np.testing.assert_allclose(result["a"], 2 * X, atol=1e-5)
    np.testing.assert_array_equal(result["a"], result["b"][0])
    assert jmpc.run([]) == []


def test_sinks_take_what_is_opened_to_them() -> None:
    taken: list[Any] = []
    x = private()
    both = {"twice": 2 * x, "sum": x.sum()}
    outputs = jmpc.define_output("bob", both, lambda *arrays: taken.append(("bob", *arrays)))
    registered = jmpc.sink(lambda array: taken.append(("alice", array)))
    jmpc.run([outputs, jmpc.define_output("alice", x, registered)])
    (_, total, twice), (_, own) = sorted(taken, key=lambda item: item[0], reverse=True)
    np.testing.assert_allclose(twice, 2 * X, atol=1e-5)
    np.testing.assert_allclose(total, X.sum(), atol=1e-5)
    np.testing.assert_array_equal(own, X)
    assert jmpc.explain(outputs).bytes_sent() > 0


class Counted:
    """How often something is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.times, done = 0, getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.times += 1
            return done(*args, **kwargs)

        monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize("mode", ["fused", "threads"])
def test_equal_graphs_are_prepared_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jmpc.set_config(jmpc.LocalConfig(mode=mode))
    built, prepared = Counted(monkeypatch, run_module, "build"), Counted(monkeypatch, simulate_module, "prepare")
    compiler = current_session().simulation.compiler  # type: ignore[attr-defined]
    fetch, sizes = (private() * private()).reveal(), set()
    for _ in range(3):
        jmpc.run([fetch])
    assert (built.times, prepared.times) == (1, 1)
    for factor in (1, 2, 3):
        x, y = private(factor * X), private(X)
        sink = jmpc.define_output("bob", x, lambda array: None)
        found, *_ = jmpc.run([(x * y).reveal(), sink])
        np.testing.assert_allclose(found, factor * X * X, atol=1e-4)
        sizes.add(compiler.size)
    assert (built.times, prepared.times) == (4, 2)
    assert len(sizes) == 1


def test_graphs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "KEPT_GRAPHS", 4)
    jmpc.set_config(jmpc.LocalConfig())
    often = (2 * private()).reveal()
    for number in range(8):
        jmpc.run(often)
        jmpc.run((2 * private(np.float32(number) * X)).reveal())
    kept = current_session().built
    assert len(kept) == 4 and (often,) in kept


def test_simulate_takes_and_gives_plain_arrays() -> None:
    def fn(x, weights, *, scale, squared=False):
        y = x @ weights["w"]
        return {"y": y * y if squared else y, "n": (x[0] > 0, scale)}

    arguments = jnp.asarray(X), {"w": np.stack([X, X], axis=1)}
    for squared in (False, True):
        found = jmpc.simulate(fn)(*arguments, scale=3, squared=squared)
        expected = fn(*arguments, scale=3, squared=squared)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), found, expected)
    coarse = jmpc.simulate(lambda x: x / 3, precision=8)(X)
    assert 1e-4 < np.abs(coarse - X / 3).max() < 2**-7
    with pytest.raises(TypeError, match="simulate takes arrays"):
        jmpc.simulate(fn)(private())


def test_simulations_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Counted(monkeypatch, simulate_module, "prepare")
    for number in range(3):
        jmpc.simulate(lambda x: x * x + 0.125)(number * X)
    assert prepared.times == 1


def test_who_takes_part_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    jmpc.set_config(jmpc.LocalConfig())
    with caplog.at_level(logging.INFO, logger="jmpc"):
        fetch = private().reveal("bob")
        jmpc.run(fetch)
        jmpc.run(fetch)
    assert [record.getMessage() for record in caplog.records] == [
        "Players: ['server0', 'server1', 'server2', 'alice', 'bob']"
    ]


def test_long_python_loops_are_no_problem() -> None:
    x = private()
    for _ in range(1500):  # deeper than Python's stack
        x = x + 0.0
    assert jmpc.explain(x.reveal()).rounds > 0


def test_computations_and_their_programs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "KEPT_GRAPHS", 2)
    monkeypatch.setattr(simulate_module, "KEPT_COMPUTATIONS", 2)
    jmpc.set_config(jmpc.LocalConfig())
    simulation = current_session().simulation  # type: ignore[attr-defined]
    steps = []
    for number in range(5):
        jmpc.run((private() + (number + 1) * X).reveal())  # the array is part of the computation
        gc.collect()
        steps.append(len(simulation.compiler._of_step))
    assert len(simulation._prepared) == 2
    assert simulation.compiler.size == 2 and steps == [2, 4, 4, 4, 4]
