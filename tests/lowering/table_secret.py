"""More of the table: secret positions and orders."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .table import B, Case, I, V, X
from .table_shapes import BYTES

AT = np.array([2, 0, 1, 1], np.int32)
TIES = np.array([[1.0, 0.5, 1.0, -2.0, 0.5, 1.0]], np.float32)

INDEXING = [
    Case("secret index", lambda x, i: x[i], (X, np.int32(1)), 0),
    Case("secret negative index", lambda x, i: x[i], (X, np.int32(-1)), 0),
    Case("secret indices", lambda x, i: x[i], (X, AT), 0),
    Case("secret index of columns", lambda x, i: x[:, i], (X, AT), 0),
    Case("secret index of products", lambda x, i: (x * x)[i], (X, AT)),
    Case("secret index of constants", lambda i: jnp.asarray(X)[i], (AT,), 0),
    Case("secret index of booleans", lambda b, i: b[i], (B, AT)),
    Case("secret index of integers", lambda x, i: x[i] + 1, (I, AT)),
    Case("secret pairs of indices", lambda x, i: x[i, i + 1], (X, AT), 0),
    Case("take clips", lambda x, i: jnp.take(x, i * 3 - 1, axis=0, mode="clip"), (X, AT), 0),
    Case("take fills with", lambda x, i: jnp.take(x, i * 3 - 1, axis=0, mode="fill", fill_value=-5.25), (X, AT), 0),
    Case("take fills bytes", lambda x, i: jnp.take(x, i * 3 - 1, mode="fill", fill_value=200), (BYTES, AT), 0),
    Case("take fills", lambda x, i: jnp.take(x, i * 3 - 1, axis=0, mode="fill", fill_value=0), (X, AT), 0),
    Case("take_along_axis", lambda x, i: jnp.take_along_axis(x, i[None, :], axis=0), (X, AT), 0),
    Case("take_along_axis of logits", lambda x, i: jnp.take_along_axis(x, i[:3, None], axis=1), (X, AT), 0),
    Case("dynamic_slice at a secret", lambda x, i: lax.dynamic_slice(x, (i, i + 1), (1, 2)), (X, np.int32(1)), 0),
    Case("update at a secret", lambda x, i: x.at[i].set(7.5), (X[0], np.int32(2)), 0),
    Case(
        "slice update at a secret",
        lambda x, i: lax.dynamic_update_slice(x, x[:1, :2] * 2, (i, 1)),
        (X, np.int32(2)),
        0,
    ),
    Case("add at secrets", lambda x, i, v: x.at[i].add(v[:4]), (V, AT, V), 0),
    Case("histogram", lambda i: jnp.zeros(4, np.int32).at[i].add(1), (AT,)),
    Case("segment_max of secret segments", lambda v, i: jax.ops.segment_max(v[:4], i, 3), (V, AT), 0),
    Case("segment_min of secret segments", lambda v, i: jax.ops.segment_min(v[:4], i, 3), (V, AT), 0),
    Case("segment_max", lambda v: jax.ops.segment_max(v, np.array([0, 2, 0, 1, 2]), 3), (V,), 0),
    Case("argmax then index", lambda x: x[0, jnp.argmax(x[0])], (X,), 0),
    Case(
        "gradient of cross entropy by index",
        jax.grad(lambda x, i: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), i[:3, None], axis=1))),
        (X, AT),
    ),
]

SORTING = [
    Case("sort", lambda x: jnp.sort(x, axis=1), (X,), 0),
    Case("sort integers", lambda i: jnp.sort(i.ravel()), (I,)),
    Case("sort booleans", lambda b: jnp.sort(b, axis=1), (B,)),
    Case("argsort", lambda x: jnp.argsort(x, axis=1), (X,)),
    Case("stable argsort", lambda x: jnp.argsort(x, axis=1), (TIES,)),
    Case("descending argsort", lambda x: jnp.argsort(x, axis=1, descending=True), (TIES,)),
    Case("sort with payload", lambda v: lax.sort((v, v * 2, jnp.arange(5)), num_keys=1), (V,)),
    Case("sort by two keys", lambda i, v: lax.sort((i[0] % 2, v[:4], v[1:]), num_keys=2), (I, V)),
    Case("top_k", lambda x: lax.top_k(x, 2), (X,), 0),
    Case("top_k with ties", lambda x: lax.top_k(x, 4), (TIES,), 0),
    Case("median", lambda x: jnp.median(x, axis=1), (X,)),
    Case("quantile", lambda v: jnp.quantile(v, 0.3), (V,)),
]
