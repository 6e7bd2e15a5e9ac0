"""Equal for the same code, on every player; different as soon as anything that matters is."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import A, B, C, traced, words
from jax import lax

from jmpc.choreography.fingerprint import Fingerprint
from jmpc.choreography.inline import inline_calls
from jmpc.choreography.primitives import Group, draw, guard, public, release, send_masked

X = jax.ShapeDtypeStruct((3,), np.float32)


def digest(fn, *avals) -> bytes:
    marks = Fingerprint()
    with jax.enable_x64(True):
        marks.jaxpr(inline_calls(jax.make_jaxpr(fn)(*(avals or (X,)))))
    return marks.digest()


def plain(*values) -> bytes:
    marks = Fingerprint()
    for value in values:
        marks.parameter(value)
    return marks.digest()


def typed(value, dtype):
    return lambda x: x + jnp.asarray(value, dtype).astype(x.dtype)


DIFFERENT = {
    "literal": (lambda x: x * np.float32(2), lambda x: x * np.float32(3)),
    "sign of zero": (lambda x: x + np.float32(0.0), lambda x: x + np.float32(-0.0)),
    "last bit": (lambda x: x + np.float32(1), lambda x: x + np.nextafter(np.float32(1), np.float32(2))),
    "type of a literal": (
        lambda x: lax.dynamic_slice(x, (np.int32(1),), (1,)),
        lambda x: lax.dynamic_slice(x, (np.int64(1),), (1,)),
    ),
    "primitive": (lambda x: x + x, lambda x: x * x),
    "order of operands": (lambda x: x - x[::-1], lambda x: x[::-1] - x),
    "parameter": (lambda x: jnp.sum(x, keepdims=True), lambda x: jnp.max(x, keepdims=True)),
    "axis": (lambda x: jnp.sum(jnp.stack([x, x, x]), 0), lambda x: jnp.sum(jnp.stack([x, x, x]), 1)),
    "precision": (lambda x: jnp.dot(x, x), lambda x: jnp.dot(x, x, precision="highest")),
    "result": (lambda x: (x + x, x * x)[0], lambda x: (x + x, x * x)[1]),
    "order of results": (lambda x: (x + x, x * x), lambda x: (x * x, x + x)),
    "constant": (lambda x: x + np.arange(3, dtype=np.float32), lambda x: x + np.arange(1, 4, dtype=np.float32)),
    "length of a loop": (
        lambda x: lax.fori_loop(0, 2, lambda _, y: y * y, x),
        lambda x: lax.fori_loop(0, 3, lambda _, y: y * y, x),
    ),
    "body of a loop": (
        lambda x: lax.scan(lambda c, _: (c + c, None), x, None, length=2)[0],
        lambda x: lax.scan(lambda c, _: (c * c, None), x, None, length=2)[0],
    ),
    "branches": (
        lambda x: lax.cond(x[0] > 0, lambda: x, lambda: x + x),
        lambda x: lax.cond(x[0] > 0, lambda: x + x, lambda: x),
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_code(name):
    one, two = DIFFERENT[name]
    assert digest(one) == digest(one) != digest(two)


def test_types_of_arguments_and_literals():
    def fn(x):
        return x + x

    kinds = [X, jax.ShapeDtypeStruct((4,), np.float32), jax.ShapeDtypeStruct((3,), np.int32), words(3)]
    assert len({digest(fn, kind) for kind in kinds}) == 4
    scalars = [plain(np.float32(1)), plain(np.float64(1)), plain(np.int32(1)), plain(1), plain(1.0), plain(True)]
    assert len(set(scalars)) == 6


def test_variables_have_no_names():
    """Traced twice, in different scopes, after other traces: the same."""

    def fn(x):
        return jnp.where(x > 0, jnp.exp(x), lax.scan(lambda c, r: (c + r, None), x, jnp.stack([x, x]))[0])

    first = digest(fn)
    jax.make_jaxpr(lambda x: x * x + x)(X)
    assert digest(lambda y: fn(y)) == first
    assert digest(jax.jit(fn)) == first


def test_which_variable_is_used_matters():
    y = jax.ShapeDtypeStruct((3,), np.float32)
    assert digest(lambda a, b: a + a, X, y) != digest(lambda a, b: a + b, X, y) != digest(lambda a, b: b + a, X, y)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (lambda x: release(x, A, B, "why"), lambda x: release(x, A, C, "why")),
        (lambda x: release(x, A, B, "why"), lambda x: release(x, A, B, "because")),
        (lambda x: release(x, A, B, "why"), lambda x: release(x, A, B, "why", bits=7)),
        (lambda x: x + draw((A, B), (3,)), lambda x: x + draw((A, C), (3,))),
        (lambda x: x + draw((A, B), (3,)), lambda x: x + draw((A, B), (3,), bits=63)),
        (
            lambda x: send_masked(x, {B: draw((A, C), (3,))}, A),
            lambda x: send_masked(x, {B: draw((A, C), (3,))}, A, group=Group.XOR),
        ),
        (lambda x: guard(x, x[0] > 1, A, "one"), lambda x: guard(x, x[0] > 1, A, "two")),
        (lambda x: x + public(np.uint64([1, 2, 3])), lambda x: x + public(np.uint64([1, 2, 4]))),
    ],
)
def test_everything_in_a_choreography_matters(one, two):
    def of(fn):
        marks = Fingerprint()
        marks.jaxpr(traced(fn, A).closed)
        return marks.digest()

    assert of(one) == of(one) != of(two)


def test_plain_data_is_unambiguous():
    values = [
        (1, 2),
        [1, 2],
        ((1,), 2),
        (1, (2,)),
        {"a": 1},
        {"a": {"b": 1}},
        {"a": 1, "b": 1},
        frozenset({1, 2}),
        "12",
        b"12",
        None,
        np.arange(2),
        np.arange(2).astype(np.int32),
        np.arange(2).reshape(1, 2),
        np.dtype(np.int32),
        Group.XOR,
        np.int32,
        jnp.sin,
        functools.partial(jnp.sin, 1),
        functools.partial(jnp.sin, 2),
        functools.partial(jnp.sin, x=1),
        0.0,
        -0.0,
        float("nan"),
    ]
    assert len({plain(value) for value in values}) == len(values)
    assert plain("a", "b") != plain("ab")


def test_what_cannot_be_described_is_refused():
    with pytest.raises(TypeError, match="no description that others would share"):
        plain(object())


SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from choreography.test_fingerprint import digest, plain
def fn(x):
    key = jax.random.wrap_key_data(jnp.arange(2, dtype=jnp.uint32))
    noise = jax.random.normal(key, (3,))
    return jnp.sort(x) @ jnp.stack([x, noise, x[jnp.array([2, 0, 1])]])
print(digest(fn).hex(), plain(frozenset("abcdefgh"), {"b": 1, "a": 2}).hex())
"""


def test_other_processes_agree():
    """Independent of the hash seed and of where functions lie in memory; typed random keys included."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "tests")])
    outs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outs[0] == outs[1] and len(outs[0].split()) == 2
