"""Lowered functions among three parties: every operation has a holder, every message its mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jmpc.choreography import primitives as prim
from jmpc.choreography.inline import inline_calls
from jmpc.lowering import Boolean, Context, Precision, choosing, reveal
from jmpc.lowering.inputs import share
from jmpc.protocols.rep3 import Rep3

from .evaluation import evaluate
from .helpers import Clear, checked, choreography, plain, released
from .table import COMPARISONS, ELEMENTWISE, LINEAR, REDUCTIONS, SMOOTH, Case
from .table_scatters import GENERIC, SCATTERS
from .table_secret import INDEXING, SORTING
from .table_shapes import CASTS, INTEGERS, LOGIC, SHAPES, WINDOWS

SERVERS = ("server0", "server1", "server2")
ALL = [
    *(ELEMENTWISE + SMOOTH + COMPARISONS + REDUCTIONS + LINEAR),
    *(SHAPES + WINDOWS + CASTS + INTEGERS + LOGIC + INDEXING + SORTING + SCATTERS + GENERIC),
]
CHOSEN = """mul|div|maximum|clip|round half even|remainder|softmax|lt constant|of a product|where constants
|where bool input|select_n integer|argmax|matmul constant|conv|stack of kinds|pad with a constant|scatter add
|gradient of overlapping max pool|int8 to int32|int8 division|logic of both forms|int or mask|shifted words
|secret indices|take fills|update at a secret|scatter max reals at constants|scatter max integers at secret places
|scatter multiply reals at public places|scatter set reals at secret places|window maxima from 1"""
X = np.array([0.5, -1.25, 2.0], np.float32)
W = np.array([1.5, 0.25, -0.75], np.float32)


def agree(f, *args, atol=2e-4):
    got, want = checked(f, *args, protocol=Rep3(SERVERS), players=SERVERS), plain(f, *args)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4)


@pytest.mark.parametrize(
    "case", [c for c in ALL if c.name in CHOSEN.replace("\n", "").split("|")], ids=lambda case: case.name
)
def test_function(case: Case) -> None:
    agree(case.f, *case.args)


def test_a_boolean_is_a_bit_whatever_its_owner_sends() -> None:
    """With another word for it a selection would show both cases: y + b (x - y)."""
    flags = np.array([True, False, True])
    traced, _ = choreography(jnp.where, flags, X, W, protocol=Rep3(SERVERS), players=SERVERS)
    sends = [eqn for eqn in traced.equations() if eqn.primitive is prim.send_masked_p and eqn.params["src"] == "owner"]
    assert [(eqn.params["bits"], eqn.params["group"]) for eqn in sends] == [
        (1, prim.Group.XOR),
        (64, prim.Group.RING),
        (64, prim.Group.RING),
    ]
    # a lying owner: what a word of 8 bits has above the lowest is lost before it travels
    lies = [flags * np.uint8(0x80), flags * np.uint8(0x81)]

    def run(words):
        context = Context(Rep3(SERVERS), Precision())
        with jax.enable_x64(True):
            shared = Boolean(context.protocol.share_bits(words, "owner", 1))
            y = share(context, W, "owner")
            return reveal(context, choosing.select(context, shared, share(context, X, "owner"), y), "owner", "test")

    for lie, expected in zip(lies, (W, np.where(flags, X, W)), strict=True):
        with jax.enable_x64(True):
            (chosen,) = evaluate(inline_calls(jax.make_jaxpr(run)(lie)), [lie])
        np.testing.assert_allclose(chosen, expected, atol=2e-5)


def test_public_floats_meet_secrets_in_a_loop():
    def f(x, w):
        def step(i, state):
            rate, c = state
            return rate * 0.9 + w[i], c - rate * (c - jnp.sum(w)) * x

        return lax.fori_loop(0, 3, step, (jnp.float32(0.5), x))[1]

    agree(f, X, Clear(W))


def test_while_steered_by_a_public_float():
    def f(x, t):
        return lax.while_loop(lambda s: s[0] > 0.3, lambda s: (s[0] * 0.5, jnp.abs(s[1]) + s[0]), (t, x))[1]

    agree(f, X, Clear(np.float32(2.0)))


def test_switch_by_a_public_value():
    def f(i, x):
        return lax.switch(i, [lambda x: (x * x, i), lambda x: (jnp.maximum(x, 0), i + 1)], x)

    agree(f, Clear(np.int32(1)), X)


def test_keys_in_loops_are_integer_code():
    def f(x):
        def step(i, c):
            return c + jax.random.uniform(jax.random.fold_in(jax.random.key(3), i), (3,))

        return lax.fori_loop(0, 2, step, x)

    traced, _ = choreography(f, X, protocol=Rep3(SERVERS), players=SERVERS)
    known = {eqn.primitive.name for eqn in traced.equations()}
    assert "random_fold_in" in known and "local" in known  # the floats made of the random bits


def test_training_step():
    w = np.float32([[0.5, -0.25], [1.0, 0.75], [-1.0, 0.5]])

    def loss(w, x):
        return -jnp.sum(jax.nn.log_softmax(jnp.tanh(x) @ w) * jnp.array([1.0, 0.0]))

    agree(jax.grad(loss), w, X)


def test_public_values_are_released_and_nothing_else_is():
    def f(x, w):
        return jnp.exp(x) * w + jnp.where(x > 0, w, 2.0)

    assert released(f, X, Clear(W), protocol=Rep3(SERVERS), players=SERVERS) == {"public value", "result"}
    assert prim.release_p.name == "release"
