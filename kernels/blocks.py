"""Working through an array a block at a time, which bounds the memory that a function needs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax


def map_blocks(f: Callable[[jax.Array], jax.Array], x: jax.Array, length: int) -> jax.Array:
    """`f(x)`, where `f` treats rows independently, on equal blocks of at most `length` rows."""
    rows = x.shape[0]
    blocks = -(-rows // length)
    if blocks <= 1:
        return f(x)
    length = -(-rows // blocks)
    x = pad_axis(x, 0, blocks * length)
    results = lax.map(f, x.reshape(blocks, length, *x.shape[1:]))
    return results.reshape(blocks * length, *results.shape[2:])[:rows]


def sum_blocks(f: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, y: jax.Array, length: int) -> jax.Array:
    """`f(x[..., m, k], y[..., k, n])` for a product `f` that is exact for k up to `length` only."""
    inner = x.shape[-1]
    blocks = -(-inner // length)
    if blocks <= 1:
        return f(x, y)
    length = -(-inner // blocks)
    x = pad_axis(x, -1, blocks * length)
    y = pad_axis(y, -2, blocks * length)

    def step(block: jax.Array, total: jax.Array) -> jax.Array:
        start = block * length
        left = lax.dynamic_slice_in_dim(x, start, length, x.ndim - 1)
        right = lax.dynamic_slice_in_dim(y, start, length, y.ndim - 2)
        return total + f(left, right)

    zeros = jnp.zeros((*x.shape[:-1], y.shape[-1]), x.dtype)
    return lax.fori_loop(0, blocks, step, zeros)


def pad_axis(x: jax.Array, axis: int, size: int) -> jax.Array:
    """`x` with zeros behind it, so that it is `size` long along `axis`."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, size - x.shape[axis])
    return jnp.pad(x, widths)
