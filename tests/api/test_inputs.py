"""Inputs: where they come from, and what is refused, with the player's name and before anything is shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmpc
from jmpc.api.graph import build
from jmpc.api.run import current_session
from jmpc.choreography.inline import captured
from jmpc.computation import Compute
from jmpc.errors import ConfigError, InputError, TraceError
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.simulate import ThreadedSimulation

X = np.array([0.5, -1.25, 3.0], np.float32)
TYPE = jax.ShapeDtypeStruct((3,), np.float32)


def opened(value: Any) -> Any:
    return jmpc.run((2 * value).reveal())


def test_functions_are_called_in_every_run_and_once_before() -> None:
    calls = []

    def provide():
        calls.append(0)
        return np.full(3, len(calls), np.float64)  # becomes float32, as everywhere in JAX

    x = jmpc.define_private_input("alice", provide)
    assert len(calls) == 1 and x.dtype == np.float32
    fetch = (2 * x).reveal()
    assert [float(jmpc.run(fetch)[0]) for _ in range(2)] == [4.0, 6.0]
    typed = jmpc.define_private_input("alice", provide, types=TYPE)
    assert len(calls) == 3
    assert float(opened(typed)[0]) == 8.0


def test_pure_functions_run_at_their_player() -> None:
    traced = []

    def provide():
        traced.append(0)
        return {"a": jnp.arange(3.0), "b": (jnp.ones(2, jnp.int32),)}

    x = jmpc.define_private_input("alice", provide)
    np.testing.assert_array_equal(opened(x["a"]), [0, 2, 4])
    np.testing.assert_array_equal(opened(x["b"][0]), [2, 2])
    assert len(traced) == 1


def test_the_drivers_own_function_is_never_part_of_the_computation() -> None:
    secret, servers = 0.625, ("server0", "server1", "server2")
    mine, code = (jmpc.define_private_input(player, lambda: jnp.full(3, secret)) for player in ("driver", "alice"))
    calls = [build([value.reveal("bob")], servers, "driver", 18).computation.calls[0] for value in (mine, code)]
    assert [type(call).__name__ for call in calls] == ["Source", "Compute"]
    np.testing.assert_array_equal(opened(mine), np.full(3, 2 * secret))


DATA = np.array([51234.0, 72000.0], np.float32)
ROWS, KEY = jnp.asarray(DATA), jax.random.key(7)


def branch() -> jax.Array:
    return jax.lax.cond(jnp.zeros(()) > 0, lambda: jax.jit(lambda: ROWS * 2)(), lambda: jnp.ones(2))


CAPTURING: dict[str, Callable[[], Any]] = {
    "itself": lambda: ROWS,
    "in arithmetic": lambda: jnp.asarray(DATA) * 2,
    "in a jitted function": jax.jit(lambda: jnp.asarray(DATA) * 1.0),
    "two calls deep": lambda: jax.jit(lambda x: x + jax.jit(lambda: ROWS)())(jnp.zeros(2)),
    "in the body of a loop": lambda: jax.lax.fori_loop(0, 3, lambda i, c: jax.jit(lambda c: c + ROWS)(c), jnp.zeros(2)),
    "in a predicate": lambda: jax.lax.while_loop(
        lambda c: jax.jit(lambda c: c < ROWS[0])(c), lambda c: c + 1e5, jnp.zeros(())
    ),
    "in a branch": branch,
    "in a derivative": jax.grad(lambda x=1.0: jax.checkpoint(lambda x: x * ROWS[0])(x)),
    "as a scalar array": lambda: jnp.zeros(2) + ROWS[0],
    "as an index": lambda: jnp.arange(1e5)[np.array([51234, 72000])],
    "as a key": lambda: jax.random.normal(KEY, (2,)),
    "as a result that is a number": lambda: jnp.float32(51234.0),
    "as a jitted number": jax.jit(lambda: jnp.float32(51234.0)),
}


@pytest.mark.parametrize("how", CAPTURING)
def test_captured_arrays_never_travel(how: str) -> None:
    fn = CAPTURING[how]
    value = jmpc.define_private_input("alice", (lambda: fn(1.0)) if "derivative" in how else fn)
    (call, *_) = build([value.reveal("bob")], ("server0", "server1", "server2"), "driver", 18).computation.calls
    assert type(call).__name__ == "Source"


def test_code_travels_without_the_arrays_that_its_result_does_not_need() -> None:
    def provide() -> Any:
        unused = jnp.sum(ROWS)
        return (unused, jax.jit(lambda: jnp.full(2, 0.5))() + jnp.arange(2.0))[1]

    value = jmpc.define_private_input("alice", provide)
    (call, *_) = build([value.reveal("bob")], ("server0", "server1", "server2"), "driver", 18).computation.calls
    assert isinstance(call, Compute) and not list(captured(call.jaxpr))
    np.testing.assert_array_equal(opened(value), [1, 3])


def test_registered_providers() -> None:
    asked = []

    @jmpc.provider(types={"x": TYPE})
    def rows(player):
        asked.append(player)
        return {"x": X}

    np.testing.assert_allclose(opened(jmpc.define_private_input("alice", rows)["x"]), 2 * X, atol=1e-5)
    assert asked == ["alice"]
    with pytest.raises(TypeError, match="'rows' is not public"):
        jmpc.define_public_input("alice", rows)
    shown = jmpc.provider(types=TYPE, public=True)(lambda player: X)
    np.testing.assert_array_equal(jmpc.run(jmpc.define_public_input("alice", shown)), X)
    with pytest.raises(TypeError, match="'rows' needs `types`"):
        jmpc.define_private_input("alice", "rows")
    named = jmpc.define_private_input("alice", "rows", types=TYPE)
    with pytest.raises(InputError, match="alice: provider 'rows' is only known by name here"):
        opened(named)
    with pytest.raises(TypeError, match="found 3 in it"):
        jmpc.define_private_input("alice", "rows", types=(3,))
    with pytest.raises(TypeError, match="brought by a function.*lambda: array"):
        jmpc.define_private_input("alice", X)


def test_what_is_brought_is_what_was_declared_by_name() -> None:
    types = {"age": TYPE, "weight": TYPE}
    for given in ({"years": X, "weight": X}, (X, X)):
        x = jmpc.define_private_input("alice", lambda given=given: given, types=types)
        text = r"alice: its input does not give \[\"\['age'\]\", \"\['weight'\]\"\], as declared \(but"
        with pytest.raises(InputError, match=text):
            opened(x["age"])


@pytest.mark.parametrize("wide", ["float64", "int64"])
def test_types_that_jax_does_not_compute_in_are_refused_where_they_are_declared(wide: str) -> None:
    narrow = wide.replace("64", "32")
    with pytest.raises(TypeError, match=rf"{wide}\[3\], but without jax_enable_x64 JAX computes in {narrow}"):
        jmpc.define_private_input("alice", "rows", types={"x": jax.ShapeDtypeStruct((3,), wide)})


GIVES: list[tuple[str, Callable[[], Any], str]] = [
    ("another shape", lambda: X[:2], r"alice: its input does not give float32\[3\].* 0: .*\(but float32\[2\]\)"),
    ("another type", lambda: np.arange(3), r"does not give float32\[3\], as declared, .*\(but int32\[3\]\)"),
    ("more arrays", lambda: (X, X), r"does not give the arrays \['float32\[3\]'\] \(but 2 arrays\)"),
    ("infinity", lambda: X * np.float32("inf"), r"test_inputs.py:\d+ \(refused\): alice"),
    ("not a number", lambda: X * np.float32("nan"), "alice: an input of type float32 and shape"),
    ("too large", lambda: X * 2.0**20, "alice: .*declare its range"),
]


def refused(gives: Callable[[], Any], **options: Any) -> Any:
    x = jmpc.define_private_input("alice", gives, types=TYPE, **options)
    return (2 * x + jmpc.define_private_input("bob", lambda: X)).reveal()


@pytest.mark.parametrize("mode", ["fused", "threads"])
def test_what_is_refused(mode: str) -> None:
    jmpc.set_config(jmpc.LocalConfig(mode=mode))
    for what, gives, message in GIVES:
        with pytest.raises(InputError, match=message) as caught:
            jmpc.run(refused(gives))
        assert caught.value.player == "alice", what
    with pytest.raises(InputError, match=r"alice: .*\[-2, 2\]"):
        jmpc.run(refused(lambda: X, range=(-2, 2)))
    np.testing.assert_allclose(jmpc.run(refused(lambda: X, range=(-2, 3))), 3 * X, atol=1e-5)
    with pytest.raises(ZeroDivisionError):
        jmpc.run(refused(lambda: 1 / 0))


def test_nothing_of_a_refused_input_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    recorded = ThreadedSimulation(Rep3, recorder=lambda src, frame, slot, buffers: sent.append(src))
    jmpc.set_config(jmpc.LocalConfig(mode="threads"))
    monkeypatch.setattr(current_session(), "simulation", recorded)
    with pytest.raises(InputError, match="alice"):
        jmpc.run(refused(lambda: X * np.float32("inf")))
    assert "alice" not in sent


def test_ranges_are_ranges() -> None:
    wrongs: tuple[Any, ...] = ((1, -1), (0, float("inf")), (float("nan"), 1), 8, (1, 2, 3))
    for wrong in wrongs:
        with pytest.raises(ValueError, match="lowest and the highest"):
            jmpc.define_private_input("alice", lambda: X, range=wrong)


def test_ranges_that_cannot_be_shared_are_refused_at_the_users_line() -> None:
    x = jmpc.define_private_input("alice", lambda: X, range=(0, 1e300))
    for use in (jmpc.explain, jmpc.run):
        with pytest.raises(TraceError, match=r"test_inputs.py:\d+ \(test_ranges_that.*beyond what 18 fraction bits"):
            use((2 * x).reveal())


def test_local_computations_see_only_what_their_player_has() -> None:
    x = jmpc.define_private_input("alice", lambda: X)
    shown = jmpc.define_local_computation("alice", lambda x, n, name: {name: x * n}, x, 2, "twice")
    np.testing.assert_allclose(jmpc.run(shown["twice"].reveal()), 2 * X)
    with pytest.raises(TypeError, match=r"'bob' got a value of type float32\[3\] that is at 'alice'.*reveal\('bob'\)"):
        jmpc.define_local_computation("bob", jnp.sin, x)
    with pytest.raises(TypeError, match="sin: .*that is secret"):
        jmpc.define_local_computation("alice", jnp.sin, 2 * x)

    @jmpc.local_computation("bob", range=(-8, 8))
    def shifted(x, *, by):
        return x + by

    np.testing.assert_allclose(opened(shifted(x.reveal("bob"), by=1.0)), 2 * X + 2, atol=1e-5)
    assert float(jmpc.run(jmpc.define_local_computation("driver", jnp.sum, (x * 2).reveal()))) == pytest.approx(4.5)
    late = jmpc.define_local_computation("carol", jnp.sum, (x * 2).reveal())  # who is the driver turns out in the run
    with pytest.raises(jmpc.JmpcError, match="'sum' at 'carol' uses a value of 'driver'"):
        jmpc.run(late.reveal())


def test_names_of_players() -> None:
    x = jmpc.define_private_input("alice", lambda: X)
    for wrong in ("", "two words", "@x"):
        with pytest.raises(ConfigError, match="no name for a player"):
            jmpc.run((2 * x).reveal(wrong))
    config = jmpc.LocalConfig()
    jmpc.set_config(config)
    jmpc.run((2 * x).reveal("carol"))
    assert list(config.players) == ["server0", "server1", "server2", "driver", "alice", "carol"]


def test_integers_that_jax_would_cut_are_refused() -> None:
    x = jmpc.define_private_input("alice", lambda: np.array([2**40, 3]))
    with pytest.raises(InputError, match="an input of alice is int64, and JAX turns it into int32"):
        jmpc.run((x + 1).reveal())
    with pytest.raises(InputError, match="jax_enable_x64"):
        jmpc.simulate(lambda v: v + 1)(np.array([2**40, 3]))
    small = jmpc.define_private_input("alice", lambda: np.array([2**30, 3]))
    assert jmpc.run((small + 1).reveal()).tolist() == [2**30 + 1, 4]


@pytest.mark.parametrize(
    "column",
    [np.array(["a", "b"]), np.array(["2024-02-29"], "M8[D]"), np.array([None, 1.0])],
    ids=["words", "dates", "any"],
)
def test_what_is_no_number_is_refused_with_what_to_bring_instead(column: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"an input of alice is .*Bring dates as integers.*words as.*a boolean mask"):
        jmpc.define_private_input("alice", lambda: {"age": np.int32([3, 4]), "column": column})
