"""Cases of what JAX has no harness for: control flow, custom derivatives, and primitives that came later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.coverage.cases import Case

X = np.array([[-1.5, 0.25, 3.0, -0.125], [2.0, -0.5, 1.25, 4.0], [0.0, 7.5, -6.25, 0.75]], np.float32)
V = np.array([0.5, -1.25, 2.0, 3.5, -0.75], np.float32)
I = np.array([[-7, 3, 0, 12], [5, -1, 100, -100], [2**20, -(2**20), 9, 6]], np.int32)
BYTES = np.array([0, 1, 2, 5, 127, 128, 200, 255], np.uint8)
BOOLEANS = I % 3 == 0
AT = np.int32(2)


@jax.custom_jvp
def _cubed(x):
    return x * x * x


_cubed.defjvp(lambda primals, tangents: (_cubed(*primals), 3 * primals[0] ** 2 * tangents[0]))


@jax.custom_vjp
def _clipped(x):
    return jnp.tanh(x)


_clipped.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (jnp.clip(g, -1, 1),))


def _rnn(w, xs):
    return lax.scan(lambda h, x: (jnp.tanh(h * w + x), h), jnp.zeros(4), xs)


def _newton(x):
    return lax.fori_loop(0, 6, lambda i, y: 0.5 * (y + x / y), jnp.ones_like(x))


def _halved(x):
    return lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, c[1] * 0.5), (0, x))[1]


def _pool(x):
    pooled = lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (1, 2), "VALID")
    return jnp.sum(pooled * pooled)


_CASES: dict[str, list[tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    "scan": [
        (_rnn, (V[:4], X)),
        (jax.grad(lambda w, xs: _rnn(w, xs)[0].sum()), (V[:4], X)),
        (lambda xs: lax.scan(lambda c, x: (c + x, c * x), jnp.float32(1), xs, reverse=True), (V,)),
        (lambda i: lax.scan(lambda c, x: (c ^ x, c & x), jnp.int32(5), i.ravel()), (I,)),
    ],
    "while": [
        (_halved, (X,)),
        (_newton, (np.abs(X) + np.float32(0.5),)),
        (lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sort(c[1])), (0, x))[1], (V,)),
    ],
    "cond": [
        (lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x), (np.True_, X)),
        (lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.square], x), (AT, X)),
        (lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.square], x), (np.int32(-9), X)),
        (lambda x: lax.cond(x[0, 0] > 0, lambda v: v + 1, lambda v: v * 2, x), (X,)),
        (lambda x: lax.cond(x.ndim == 2, lambda v: v + 1, lambda v: v * 2, x), (X,)),
        (jax.grad(lambda x: lax.cond(x[0] > 0, jnp.sum, lambda v: jnp.sum(v * v), x)), (V,)),
    ],
    "custom_jvp_call": [
        (_cubed, (X,)),
        (jax.grad(lambda x: _cubed(x).sum()), (X,)),
        (jax.nn.relu, (X,)),
        (jax.grad(lambda x: jax.nn.silu(x).sum()), (X,)),
    ],
    "custom_vjp_call": [(_clipped, (X,)), (jax.grad(lambda x: (_clipped(x) * 3).sum()), (X,))],
    "remat": [
        (jax.checkpoint(lambda x: jnp.sin(x) * x), (X,)),
        (jax.grad(jax.checkpoint(lambda x: jnp.sum(jnp.tanh(x) * x))), (X,)),
    ],
    "optimization_barrier": [(lambda x: lax.optimization_barrier((x, x * 2)), (X,))],
    "exp2": [(jnp.exp2, (X,)), (jnp.exp2, (V * 3,))],
    "square": [(lax.square, (X,)), (lax.square, (I,))],
    "not": [(jnp.invert, (I,)), (jnp.invert, (BYTES,)), (jnp.logical_not, (BOOLEANS,))],
    "clz": [(lax.clz, (I,)), (lax.clz, (BYTES,)), (lax.clz, (I.astype(np.int8),))],
    "reduce_xor": [
        (lambda i: lax.reduce_xor(i, (0,)), (I,)),
        (lambda i: lax.reduce_xor(i, (0,)), (BYTES,)),
        (lambda b: lax.reduce_xor(b, (0, 1)), (BOOLEANS,)),
    ],
    "reduce_and": [(lambda i: lax.reduce_and(i, (1,)), (I,))],
    "reduce_or": [(lambda i: lax.reduce_or(i, (1,)), (I,))],
    "select_and_scatter": [(jax.grad(_pool), (X,)), (jax.grad(lambda x: _pool(-x)), (X,))],
    "split": [(lambda x: lax.split(x, (1, 3), 1), (X,))],
    "top_k": [(lambda x: lax.top_k(x, 2), (X,)), (lambda i: lax.top_k(i, 3), (I,))],
    "tile": [(lambda v: jnp.tile(v, (2, 2)), (V,))],
    "copy": [(lambda x: jnp.copy(x), (X,))],
    "polygamma": [(lambda x: lax.polygamma(jnp.float32(1), x), (np.abs(V) + 1,))],
    "zeta": [(lambda x: lax.zeta(x, jnp.float32(2)), (np.abs(V) + 1.5,))],
    "secret index": [
        (lambda x, i: x[i], (X, AT)),
        (lambda x, i: x.at[i].set(9.0), (X, AT)),
        (lambda x, i: x.at[:, i].add(x[:, 0]), (X, AT)),
        (lambda x, i: x.at[i].max(1.0), (X, np.array([0, 2, 0], np.int32))),
        (lambda x, i: x.at[i].multiply(2.0), (X, np.array([0, 2, 0], np.int32))),
        (lambda x, i: x.at[i].set(x[::-1]), (X, np.array([1, 2, 1], np.int32))),
        (lambda x, i: lax.dynamic_slice(x, (i, i), (1, 2)), (X, AT)),
        (lambda x, i: lax.dynamic_update_slice(x, x[:1, :2], (i, 1)), (X, AT)),
        (lambda x, i: jnp.take(x, i, axis=1), (X, np.array([3, 0, 1, 1], np.int32))),
    ],
    "associative_scan": [(lambda x: lax.associative_scan(jnp.multiply, x), (X,))],
    "vmap": [
        (jax.vmap(lambda x, i: x[i], (0, 0)), (X, np.array([3, 0, 1], np.int32))),
        (jax.vmap(jnp.dot), (X, X)),
        (jax.vmap(lambda x: jnp.sort(x)), (X,)),
    ],
    "linearize": [
        (lambda x, t: jax.jvp(lambda v: jax.nn.softmax(v), (x,), (t,)), (X, X / 8)),
        (lambda x: jax.jacfwd(jnp.tanh)(x[0]), (X,)),
        (lambda x: jax.hessian(lambda v: jnp.sum(v**3))(x[0]), (X,)),
    ],
}


def own() -> Iterator[Case]:
    """Our cases, named by what they are cases of."""
    for kind, rows in _CASES.items():
        for number, row in enumerate(rows):
            yield Case(f"own_{kind.replace(' ', '_')}_{number}", kind, lambda row=row: row)
