"""The account: exact per player and round, at the user's lines, and pleasant to read."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api.accounting import check_account

import jmpc
from jmpc.api.account import UNKNOWN
from jmpc.api.graph import build
from jmpc.config import Mode
from jmpc.errors import PolicyError
from jmpc.policy import Policy
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.links import RecordingLink
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.simulate import FusedSimulation, ThreadedSimulation, source_feed

X = np.array([[0.5, -1.25, 3.0], [2.0, 0.25, -0.75]], np.float32)
Y = np.array([[1.0, 2.0], [-0.5, 0.25], [0.75, 1.5]], np.float32)
SERVERS = ("server0", "server1", "server2")


def known_loop(x, y):
    def step(carry, row):
        return carry * row, jnp.sum(carry)

    return jax.lax.scan(step, x[0], x)


def unknown_loop(x, y):
    """Five times, which a public number says, computed at run time."""
    total = jnp.int32(0)

    def body(state):
        i, z = state
        return i + 1, (z * x) @ y @ y.T

    return jax.lax.while_loop(lambda state: state[0] < 5 + total, body, (total, x))[1]


FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "matmul": (lambda x, y: x @ y, 0),
    "softmax": (lambda x, y: jax.nn.softmax(x @ y), 0),
    "a loop": (known_loop, 0),
    "a loop of unknown length": (unknown_loop, 5),
}


@pytest.mark.parametrize(("name", "mode"), [*((name, Mode.THREADS) for name in FUNCTIONS), ("a loop", Mode.FUSED)])
def test_rounds_bytes_and_frames_are_exact(name: str, mode: Mode) -> None:
    fn, iterations = FUNCTIONS[name]
    prepared, messages = recorded(fn, mode)
    assert messages
    check_account(prepared, messages, iterations)


def recorded(fn: Callable[..., Any], mode: Mode) -> tuple[Prepared, dict[Any, list[np.ndarray]]]:
    x, y = (jmpc.define_private_input("alice", lambda array=array: array) for array in (X, Y))
    leaves = jax.tree.leaves(jmpc.function(fn)(x, y), is_leaf=lambda v: isinstance(v, jmpc.Value))
    built = build([value.reveal("bob") for value in leaves], SERVERS, "driver", 18)
    link, keys = RecordingLink(), lambda prepared: {k: hashlib.sha256(repr(k).encode()).digest() for k in prepared.keys}
    if mode is Mode.FUSED:
        fused = FusedSimulation(Rep3, keys)
        prepared = fused.prepare(built.computation)
        outputs = fused.run(prepared, source_feed(built.feeds), link=link)
    else:
        threads = ThreadedSimulation(Rep3, keys, recorder=link.record)
        prepared = threads.prepare(built.computation)
        outputs = threads.run(prepared, source_feed(built.feeds))
    with jax.default_matmul_precision("highest"):  # an accelerator's default is less exact than the shares
        expected = jax.tree.leaves(fn(jnp.asarray(X), jnp.asarray(Y)))
    for value, array in zip(outputs["bob"].values(), expected, strict=True):
        np.testing.assert_allclose(value, array, atol=2e-3, rtol=1e-3)
    return prepared, link.messages


def model(w, x):
    hidden = x @ w
    return jnp.where(hidden > 0, hidden, 0.0)


def line() -> str:
    """Of the caller, as accounts write it."""
    caller = sys._getframe(1)
    return f"test_explain.py:{caller.f_lineno} ({caller.f_code.co_name})"


def test_costs_and_openings_are_reported_at_the_users_line() -> None:
    first = model.__code__.co_firstlineno
    w = jmpc.define_private_variable(X.T)
    x, sharing = jmpc.define_private_input("alice", lambda: X, range=(-8, 8)), line()
    y = jmpc.function(model)(w, x)
    opened, opening = y.reveal("bob"), line()
    kept, assigning = w.assign(w * 0.5), line()  # which truncates
    account = jmpc.explain([opened, kept])
    assert set(account.cost.by_line()) == {f"test_explain.py:{first + 2} (model)", sharing, opening, assigning}
    assert {release.line for release in account.releases} == {opening}
    total = jmpc.define_local_computation("alice", jnp.sum, x)
    handed, handing = total.reveal("carol"), line()
    assert [release.line for release in jmpc.explain(handed).releases] == [handing]


def test_the_text() -> None:
    account = jmpc.explain(lambda x, y: unknown_loop(x, y), X, jax.ShapeDtypeStruct(Y.shape, Y.dtype))
    text = str(account)
    assert text.startswith("players   server0, server1, server2, driver\nrounds    ")
    loop = next(times for times in account.cost.rounds() if times)
    assert loop[0].startswith("iterations of the while at test_explain.py:")
    assert f" x {loop[0]}\nmessages" in text and f"\nand, x {loop[0]}\n" in text
    assert "server0, server1, server2 -> driver  reveal to driver [2, 3]  derived from driver  test_explain.py:" in text
    assert f"{account.bytes_sent('server0'):,}" in text and f"{account.frames_sent():,}" in text
    assert text.endswith("headers of frames and encryption come on top.")
    widths = [len(row) for row in text.split("\n\n")[1].splitlines()]
    assert len(set(widths)) == 1, "the table is one block"


def test_what_variables_derive_from_is_unknown() -> None:
    """Whoever takes part in what is explained: alice, whose data it is, does not."""
    x = jmpc.define_private_input("alice", lambda: X, types=jax.ShapeDtypeStruct(X.shape, X.dtype))
    kept, local = jmpc.define_private_variable(x * 2.0), jmpc.define_local_variable("bob", x.reveal("bob"))
    jmpc.run([kept.assign(kept.initial), local.assign(local.initial)])
    mine = jmpc.define_private_input("driver", lambda: X, types=jax.ShapeDtypeStruct(X.shape, X.dtype))
    for value, derived in (
        (kept.reveal("server0"), "unknown, perhaps anyone's"),
        ((kept * 1.0).reveal("carol"), "unknown, perhaps anyone's"),
        ((local.value * kept + mine).reveal("carol"), "driver, unknown, perhaps anyone's"),
        (jmpc.function(lambda x: x * 2)(mine).reveal("carol"), "driver"),
    ):
        account = jmpc.explain(value)
        assert re.search(f"derived from {derived} +test_explain.py", str(account))
        assert ("unknown" in derived) == any(UNKNOWN in release.inputs for release in account.releases)


def test_what_a_sort_opens_derives_from_nobody_and_every_policy_allows_it() -> None:
    """The servers see permutations that nothing depends on; a reveal to one of them is refused as ever."""
    x = jmpc.define_private_input("alice", lambda: np.zeros(2100, np.int8), types=jax.ShapeDtypeStruct((2100,), "int8"))
    ordered = jmpc.function(jnp.sort)(x)
    policy = Policy("server0", frozenset(), {"alice": frozenset()})
    account = jmpc.explain(ordered.reveal("alice"))
    policy.check_release(account.releases)
    opened = [r for r in account.releases if r.dst != "alice"]
    assert {r.dst for r in opened} == set(SERVERS) and {r.why for r in opened} == {"uniformly random permutation"}
    assert not any(r.inputs for r in opened)
    assert "uniformly random permutation [2100]  derived from no private input" in str(account)
    with pytest.raises(PolicyError, match="reveal_to"):
        policy.check_release(jmpc.explain(ordered.reveal("server1")).releases)


def test_explaining_runs_nothing() -> None:
    asked: list[int] = []

    def provide():
        asked.append(0)
        return X

    x = jmpc.define_private_input("alice", provide, types=jax.ShapeDtypeStruct(X.shape, X.dtype))
    account = jmpc.explain({"sum": (x * x).reveal(), "sink": jmpc.define_output("alice", x, print)})
    assert account.players == ("server0", "server1", "server2", "alice", "driver") and not asked
    nothing = jmpc.explain(jmpc.define_output("alice", x, print))
    assert "opened\n  nothing" in str(nothing) and nothing.rounds == 0
    with pytest.raises(TypeError, match="no data"):
        jmpc.simulate(lambda x: x + 1)(jax.ShapeDtypeStruct(X.shape, X.dtype))
