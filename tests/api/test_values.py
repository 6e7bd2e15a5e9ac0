"""Operators, indexing and array methods on values: what JAX gives on plain arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmpc

# One shape for all, so that they share compiled segments; every case is one fetch of one run.
FLOATS = np.array([[0.5, -1.25, 3.0], [-2.0, 4.75, 0.25]], np.float32)
WHOLE = np.array([[7, -3, 0], [2, 5, -8]], np.int32)
TRUTHS = np.array([[True, False, True], [False, False, True]])
OTHER = np.array([[1.5, 0.25, -2.0], [4.0, -0.5, 0.25]], np.float32)

LINEAR: dict[str, Callable[..., Any]] = {
    "value + number": lambda x, n, b: x + 1,
    "number + value": lambda x, n, b: 1.5 + x,
    "numpy + value": lambda x, n, b: OTHER + x,
    "jax + value": lambda x, n, b: jnp.asarray(OTHER) + x,
    "value - numpy": lambda x, n, b: x - OTHER,
    "numpy scalar - value": lambda x, n, b: np.float32(2) - x,
    "value * jax": lambda x, n, b: x * jnp.asarray(OTHER),
    "integer * value": lambda x, n, b: 3 * n,
    "numpy @ value": lambda x, n, b: OTHER.T @ x,
    "jax @ value": lambda x, n, b: jnp.asarray(OTHER).T @ x,
    "value @ numpy": lambda x, n, b: x @ OTHER.T,
    "value / number": lambda x, n, b: x / 4,
    "-value": lambda x, n, b: -x,
    "+value": lambda x, n, b: +x,
    "mixed types": lambda x, n, b: x + n,
    "boolean to integer": lambda x, n, b: b.astype("int32") + n,
    "~boolean": lambda x, n, b: ~b,
    "shift left": lambda x, n, b: n << 2,
    "row": lambda x, n, b: x[1],
    "last column": lambda x, n, b: x[..., -1],
    "slice with step": lambda x, n, b: x[:, ::2],
    "new axis": lambda x, n, b: x[:, None, 1:],
    "rows by numpy": lambda x, n, b: x[np.array([1, 0, 1])],
    "numpy mask": lambda x, n, b: x[:, np.array([True, False, True])],
    "T": lambda x, n, b: x.T,
    "reshape": lambda x, n, b: x.reshape(3, -1),
    "reshape to a tuple": lambda x, n, b: x.reshape((6,)),
    "ravel": lambda x, n, b: x.ravel(),
    "transpose": lambda x, n, b: x.transpose(1, 0),
    "swapaxes": lambda x, n, b: x.swapaxes(0, 1),
    "sum": lambda x, n, b: x.sum(),
    "sum of an axis": lambda x, n, b: x.sum(axis=0, keepdims=True),
    "mean": lambda x, n, b: x.mean(axis=1),
    "cumsum": lambda x, n, b: n.cumsum(axis=1),
    "flatten": lambda x, n, b: x.flatten(),
    "repeat": lambda x, n, b: x.repeat(2, axis=0),
    "diagonal and trace": lambda x, n, b: x.diagonal() + x.trace(),
    "take": lambda x, n, b: x.take(np.array([2, 0]), axis=1),
    "at set": lambda x, n, b: x.at[0, 1:].set(x[1, 0]),
    "at add": lambda x, n, b: x.at[:, np.array([0, 0])].add(2.0),
    "at get": lambda x, n, b: x.at[1, 7].get(mode="fill", fill_value=0.5),
    "sum of booleans": lambda x, n, b: b.sum(),
}

COSTLY: dict[str, Callable[..., Any]] = {
    "value * value": lambda x, n, b: x * x,
    "value @ value": lambda x, n, b: x @ x.T,
    "value ** number": lambda x, n, b: x**2,
    "abs": lambda x, n, b: abs(x),
    "value < number": lambda x, n, b: x < 0.25,
    "numpy < value": lambda x, n, b: OTHER < x,
    "jax >= value": lambda x, n, b: jnp.asarray(OTHER) >= x,
    "value == value": lambda x, n, b: n == n,
    "value == number": lambda x, n, b: n == 2,
    "value != numpy": lambda x, n, b: n != np.array(WHOLE),
    "value % number": lambda x, n, b: n % 3,
    "shift right": lambda x, n, b: n >> 1,
    "and": lambda x, n, b: b & (n > 0),
    "or": lambda x, n, b: True | b,
    "xor": lambda x, n, b: b ^ (n > 0),
    "numpy's exp": lambda x, n, b: np.exp(x) if isinstance(x, jmpc.Value) else jnp.exp(x),
    "max": lambda x, n, b: x.max(axis=0),
    "at set at a private index": lambda x, n, b: x.at[n[0, 0] * 0 + 1].set(9.0),
    "at multiply": lambda x, n, b: x.at[0].multiply(x[1]),
    "at max": lambda x, n, b: x.at[0].max(x[1]),
    "sort": lambda x, n, b: x.sort(axis=1),
    "argsort": lambda x, n, b: x.argsort(axis=1),
    "cumprod": lambda x, n, b: x.cumprod(axis=0),
    "searchsorted": lambda x, n, b: x[0].sort().searchsorted(0.3),
    "any": lambda x, n, b: b.any(axis=1),
    "round": lambda x, n, b: round(x),
}


@pytest.mark.parametrize("table", [LINEAR, COSTLY], ids=["linear", "costly"])
def test_operators_and_methods(table: dict[str, Callable[..., Any]]) -> None:
    plain = (jnp.asarray(FLOATS), jnp.asarray(WHOLE), jnp.asarray(TRUTHS))
    private = [jmpc.define_private_input("alice", lambda array=array: array) for array in plain]
    values = {name: fn(*private) for name, fn in table.items()}
    found = jmpc.run({name: value.reveal() for name, value in values.items()})
    for name, fn in table.items():
        expected = fn(*plain)
        assert (values[name].shape, values[name].dtype) == (expected.shape, expected.dtype), name
        assert found[name].dtype == expected.dtype, name
        np.testing.assert_allclose(found[name], expected, atol=1e-4, err_msg=name)


def test_variables_have_the_operators_of_values() -> None:
    variable = jmpc.define_private_variable(FLOATS)
    assert (variable.shape, variable.dtype, variable.ndim, variable.size, len(variable)) == ((2, 3), "float32", 2, 6, 2)
    found = jmpc.run([(2 * variable - OTHER).reveal(), variable.T[1].reveal(), variable.sum().reveal()])
    for value, expected in zip(found, [2 * FLOATS - OTHER, FLOATS.T[1], FLOATS.sum()], strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)


def test_functions_of_the_namespace() -> None:
    x, n = (jmpc.define_private_input("alice", lambda array=array: array) for array in (FLOATS, WHOLE))
    found = jmpc.run(
        {
            "where": jmpc.where(n > 0, x, 0.0).reveal(),
            "where, public": jmpc.where(TRUTHS, x, OTHER).reveal(),
            "concatenate": jmpc.concatenate([x, OTHER], axis=1).reveal(),
            "stack": jmpc.stack([x, n]).reveal(),
            "keywords": jmpc.sum(x, axis=0, keepdims=True).reveal(),
            "maximum": jmpc.maximum(x, OTHER).reveal(),
            "relu": jmpc.relu(x).reveal(),
        }
    )
    expected = {
        "where": np.where(WHOLE > 0, FLOATS, 0),
        "where, public": np.where(TRUTHS, FLOATS, OTHER),
        "concatenate": np.concatenate([FLOATS, OTHER], axis=1),
        "stack": np.stack([FLOATS, WHOLE]),
        "keywords": FLOATS.sum(axis=0, keepdims=True),
        "maximum": np.maximum(FLOATS, OTHER),
        "relu": np.maximum(FLOATS, 0),
    }
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)


def test_secret_indices_pick_secret_rows() -> None:
    x = jmpc.define_private_input("alice", lambda: FLOATS)
    index = jmpc.define_private_input("bob", lambda: np.array([1, 0], np.int32))
    np.testing.assert_allclose(jmpc.run(x[index].reveal()), FLOATS[[1, 0]], atol=1e-5)


def test_scalars_and_iteration() -> None:
    scalar = jmpc.define_private_input("alice", lambda: 3.5)
    assert scalar.shape == () and scalar.dtype == np.float32
    rows = [row * scalar for row in jmpc.define_private_input("bob", lambda: FLOATS)]
    assert len(rows) == 2
    np.testing.assert_allclose(jmpc.run([row.reveal() for row in rows]), 3.5 * FLOATS, atol=1e-4)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (bool, "no truth value"),
        (float, "not a number or an array"),
        (int, "not a number or an array"),
        (math.exp, "not a number or an array"),
        (np.asarray, "not a number or an array"),
        (np.add.reduce, r"numpy's 'add' cannot be used like this.*@jmpc.function"),
        (lambda x: np.ones(3)[x], "not a number or an array"),
        (lambda x: [0, 1][x], "not a number or an array"),
        (lambda x: x[0][0][0], "indices"),
        (len, "len"),
    ],
)
def test_values_are_not_numbers(use: Callable[[Any], Any], message: str) -> None:
    x = jmpc.define_private_input("alice", lambda: FLOATS)[0, 0]
    with pytest.raises((TypeError, IndexError), match=message):
        use(x)


def test_values_are_themselves_in_dictionaries_and_say_where_they_are() -> None:
    x, y = (jmpc.define_private_input("alice", lambda: FLOATS) for _ in range(2))
    variable = jmpc.define_private_variable(FLOATS)
    assert {x: "x", y: "y", variable: "v"}[y] == "y"
    shown = [repr(value) for value in (x, x + y, x.reveal(), x.reveal("bob"), variable)]
    assert shown == [
        "<float32[2, 3] at 'alice'>",
        "<float32[2, 3] secret>",
        "<float32[2, 3] at the driver>",
        "<float32[2, 3] at 'bob'>",
        "<variable float32[2, 3] secret>",
    ]
    assert "public" in repr(jmpc.define_constant(FLOATS) + 1)


def test_jax_knows_no_values() -> None:
    x = jmpc.define_private_input("alice", lambda: FLOATS)
    with pytest.raises(TypeError):
        jnp.exp(x)
    with pytest.raises(TypeError):
        jax.jit(lambda y: y + 1)(x)
