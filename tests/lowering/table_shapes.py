"""More of the table: moves, windows, conversions, integers and booleans. All exact but sums of reals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives

from .table import IMAGES, KERNEL, POSITIVE, B, C, Case, I, J, V, X, Y

INDEX = np.array([2, 0, 2], np.int32)
SMALL = np.array([[-128, 127, 5], [-1, 0, 77]], np.int8)
BYTES = np.array([[255, 127, 5], [128, 0, 77]], np.uint8)

SHAPES = [
    Case("reshape", lambda x: x.reshape(2, 6), (X,), 0),
    Case("ravel of a product", lambda x, y: (x * y).ravel(), (X, Y)),
    Case("transpose", lambda x: x.transpose(2, 0, 3, 1), (IMAGES,)),
    Case("broadcast", lambda v: jnp.broadcast_to(v, (3, 5)), (V,), 0),
    Case("broadcast both", lambda x, y: x[:, None, :] * y[None], (X, Y)),
    Case("squeeze", lambda x: jnp.squeeze(x[:, :1], 1), (X,), 0),
    Case("expand_dims", lambda x: jnp.expand_dims(x, (0, 3)), (X,), 0),
    Case("concatenate nothing", lambda x, y: jnp.concatenate([x[:0], y[:0]], axis=1), (X, Y), 0),
    Case("concatenate", lambda x, y: jnp.concatenate([x, y * 0.5, jnp.ones((1, 4))]), (X, Y)),
    Case("stack of kinds", lambda x, y: jnp.stack([x, x * y, x > 0, jnp.zeros((3, 4))]), (X, Y)),
    Case("pad", lambda x: jnp.pad(x, ((1, 2), (0, 1))), (X,), 0),
    Case("pad with a constant", lambda x: jnp.pad(x, 1, constant_values=-2.5), (X,), 0),
    Case("pad inside", lambda x: lax.pad(x, jnp.float32(0), ((0, -1, 1), (1, 0, 2))), (X,), 0),
    Case("pad reflect", lambda v: jnp.pad(v, 2, mode="reflect"), (V,), 0),
    Case("flip", lambda x: jnp.flip(x, 1), (X,), 0),
    Case("mean over a mapped axis", jax.vmap(lambda v: v - lax.pmean(v, "i"), axis_name="i"), (X,)),
    Case("ragged product", lambda x, y, n: lax.ragged_dot(x, jnp.stack([y.T, -y.T]), n), (X, Y, INDEX[:2] // 2 + 1)),
    Case("roll", lambda x: jnp.roll(x, 2, axis=1), (X,), 0),
    Case("slice", lambda x: x[1:, ::2], (X,), 0),
    Case("negative index", lambda x: x[-1], (X,), 0),
    Case("take", lambda x: x[INDEX], (X,), 0),
    Case("fancy index", lambda x: x[INDEX, np.array([0, 3, 1])], (X,), 0),
    Case("index outside is filled", lambda v: jnp.take(v, np.array([1, 9]), mode="fill", fill_value=2.5), (V,), 0),
    Case("boolean index outside", lambda b: jnp.take(b, np.array([1, 99]), mode="fill", fill_value=True), (B,), 0),
    Case("index outside is zero", lambda v: jnp.take(v, np.array([1, 9]), mode="fill", fill_value=0), (V,), 0),
    Case("dynamic_slice", lambda x: lax.dynamic_slice(x, (1, 2), (2, 2)), (X,), 0),
    Case("dynamic_update_slice", lambda x, y: lax.dynamic_update_slice(x, y[:2, :2], (1, 2)), (X, Y), 0),
    Case("set", lambda x, v: x.at[1].set(v[:4]), (X, V), 0),
    Case("set of secrets in constants", lambda v: jnp.ones((3, 5)).at[1].set(v), (V,), 0),
    Case("set twice", lambda v: jnp.zeros(3).at[np.array([0, 0, 1])].set(v[:3]), (V,), 0),
    Case("scatter add", lambda x, v: x.at[INDEX, 1].add(v[:3]), (X, V), 0),
    Case("scatter add of products", lambda v: jnp.zeros(3).at[INDEX].add(v[:3] * v[:3]), (V,)),
    Case("scatter subtract", lambda x, v: x.at[0, INDEX].subtract(v[:3]), (X, V), 0),
    Case("segment_sum", lambda v: jax.ops.segment_sum(v, np.array([0, 2, 0, 1, 2]), 3), (V,), 0),
    Case("split", lambda x: jnp.split(x, [1, 3], axis=1), (X,), 0),
    Case("tile", lambda v: jnp.tile(v, (2, 2)), (V,), 0),
    Case("repeat", lambda v: jnp.repeat(v, 2), (V,), 0),
    Case("tril", jnp.tril, (X,), 0),
    Case("diag", jnp.diag, (V,), 0),
    Case("swapaxes of integers", lambda i: jnp.swapaxes(i, 0, 1), (I,)),
    Case("bool moves", lambda b, c: jnp.concatenate([b[:, :2], c[:, ::-1]], axis=1).T, (B, C)),
    Case("vmap", jax.vmap(lambda x, y: jnp.dot(x, y)), (X, Y)),
    Case("meshgrid", lambda v: jnp.meshgrid(v, jnp.arange(2.0)), (V,), 0),
    Case("one_hot", lambda i: jax.nn.one_hot(i, 13), (I,), 0),
    Case("optimization_barrier", lambda x: lax.optimization_barrier(x), (X,), 0),
    Case("checkpoint", jax.checkpoint(lambda x: jnp.sin(x) * x), (X,)),
]

POOL = dict(window_dimensions=(1, 2, 2, 1), window_strides=(1, 2, 2, 1), padding="VALID")
OVERLAP = dict(window_dimensions=(1, 3, 3, 1), window_strides=(1, 2, 2, 1), padding="SAME")


def max_pool(x, **window):
    return lax.reduce_window(x, -jnp.inf, lax.max, **window)


def weighted(x, f, **window):
    pooled = f(x, **window)
    return jnp.sum(pooled * jnp.cos(jnp.arange(pooled.size, dtype=np.float32)).reshape(pooled.shape))


def sum_pool(x, **window):
    return lax.reduce_window(x, 0.0, lax.add, **window)


TIES = np.maximum(np.round(IMAGES * 2), 0)


def _derivative_of_padded(x, t):
    window = dict(window_dimensions=(1, 2), window_strides=(1, 1), padding=((0, 0), (3, 0)), base_dilation=(1, 3))
    return primitives.select_and_gather_add_p.bind(t, x, select_prim=lax.ge_p, **window, window_dilation=(1, 1))


def _selected_booleans(x, source):
    window = dict(window_dimensions=(1, 2), window_strides=(1, 1), padding=((0, 0), (0, 0)))
    return primitives.select_and_scatter_add_p.bind(source, x, select_prim=lax.ge_p, **window)


WINDOWS = [
    Case("max pool", lambda x: max_pool(x, **POOL), (IMAGES,)),
    Case("overlapping max pool", lambda x: max_pool(x, **OVERLAP), (IMAGES,)),
    Case("min pool", lambda x: lax.reduce_window(x, jnp.inf, lax.min, **POOL), (IMAGES,)),
    Case("min pool of bytes", lambda x: lax.reduce_window(x, np.uint8(255), lax.min, (2, 2), (1, 1), "SAME"), (BYTES,)),
    Case("max pool of booleans", lambda b: lax.reduce_window(b, False, lax.max, (2, 2), (1, 1), "VALID"), (B,)),
    Case("dilated max pool", lambda x: max_pool(x, **dict(POOL, window_dilation=(1, 3, 2, 1))), (IMAGES,)),
    Case("mean pool", lambda x: sum_pool(x, **POOL) / 4, (IMAGES,)),
    Case("overlapping sum pool", lambda x: sum_pool(x, **OVERLAP), (IMAGES,)),
    Case("gradient of max pool", jax.grad(lambda x: weighted(x, max_pool, **POOL)), (IMAGES,)),
    Case("gradient of overlapping max pool", jax.grad(lambda x: weighted(x, max_pool, **OVERLAP)), (IMAGES,), 8),
    Case("gradient of max pool with ties", jax.grad(lambda x: weighted(x, max_pool, **OVERLAP)), (TIES,), 8),
    Case("gradient of sum pool", jax.grad(lambda x: weighted(x, sum_pool, **OVERLAP)), (IMAGES,), 8),
    Case("derivative of max pool with empty windows", _derivative_of_padded, (X, X)),
    Case("gradient of a window selection among booleans", _selected_booleans, (X > 0, X[:, 1:] > 0.5)),
    Case("derivative of max pool", lambda x, t: jax.jvp(lambda x: max_pool(x, **POOL), (x,), (t,)), (IMAGES, IMAGES)),
    Case("gradient of max", jax.grad(jnp.max), (X,)),
    Case(
        "gradient of conv",
        jax.grad(
            lambda k: lax.conv_general_dilated(
                IMAGES, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ).sum()
        ),
        (KERNEL,),
        64,
    ),
]

CASTS = [
    Case("float to int", lambda x: (x * 1.5).astype(np.int32), (X,)),
    Case("float to bool", lambda x: x.astype(bool), (X,)),
    Case("float to uint8", lambda x: x.astype(np.uint8), (POSITIVE,)),
    Case("int to float", lambda i: i.astype(np.float32) / 8, (I,)),
    Case("int to bool", lambda i: i.astype(bool), (I,)),
    Case("int to int8", lambda i: i.astype(np.int8), (I,)),
    Case("int8 to int32", lambda i: i.astype(np.int32) * 1000, (SMALL,)),
    Case("int8 to uint8", lambda i: i.astype(np.uint8), (SMALL,)),
    Case("uint8 to int32", lambda i: i.astype(np.int32) - 300, (BYTES,)),
    Case("uint8 to int8 to float", lambda i: i.astype(np.int8).astype(np.float32), (BYTES,), 0),
    Case("bool to float", lambda b: b.astype(np.float32) * 0.5, (B,), 0),
    Case("bool to int", lambda b: b.astype(np.int32).sum(axis=0), (B,)),
    Case("half", lambda x: x.astype(jnp.bfloat16).astype(np.float32) * 2, (X,), 0),
    Case("reduce_precision", lambda x: lax.reduce_precision(x, 8, 23), (X,), 0),
]

INTEGERS = [
    Case("int add and multiply", lambda i, j: i * j + i - 3 * j, (I, J)),
    Case("int wraps", lambda i, j: (i * 40000 * j) // 1, (I, J)),
    Case("int comparison after wrapping", lambda i: i * 2**12 + 2**30 > i, (I,)),
    Case("int8 wraps", lambda i: (i * i + i).astype(np.int32), (SMALL,)),
    Case("uint8 wraps", lambda i: jnp.maximum(i + 100, i * 3), (BYTES,)),
    Case("int abs and sign", lambda i: jnp.abs(i) * jnp.sign(i), (I,)),
    Case("uint sign", jnp.sign, (BYTES,)),
    Case("int8 abs", jnp.abs, (SMALL,)),
    Case("int max of int8", lambda i: jnp.max(i, axis=0), (SMALL,)),
    Case("int power", lambda i: i**3, (I,)),
    Case("int division by constants", lambda i: lax.div(i, jnp.tile(jnp.array([3, -7, 1, 100]), (3, 1))), (I,)),
    Case("int floor division", lambda i: i // 7, (I,)),
    Case("int division by a power of two", lambda i: lax.div(i, jnp.int32(8)), (I,)),
    Case("int remainder", lambda i: lax.rem(i, jnp.int32(13)), (I,)),
    Case("int modulo", lambda i: i % 13, (I,)),
    Case("int8 division", lambda i, j: lax.div(i, j), (SMALL, np.array([[3, -7, 2], [5, 1, -9]], np.int8))),
    Case("int8 remainder", lambda i, j: lax.rem(i, j), (SMALL, np.array([[3, -7, 2], [5, 1, -9]], np.int8))),
    Case("uint8 division", lambda i, j: i // j, (BYTES, np.array([[3, 7, 2], [5, 1, 200]], np.uint8))),
    Case("int sum and prod", lambda i: (jnp.sum(i), jnp.prod(i[:2, 1:3])), (I,)),
    Case("int clip", lambda i: jnp.clip(i, -5, 50), (I,)),
    Case("int cumsum", lambda i: jnp.cumsum(i, axis=1), (I,)),
]

LOGIC = [
    Case("and", lambda b, c: b & c, (B, C)),
    Case("or", lambda b, c: b | c, (B, C)),
    Case("xor", lambda b, c: b ^ c, (B, C)),
    Case("not", lambda b: ~b, (B,)),
    Case("logic with constants", lambda b: (b & C) | (b ^ True), (B,)),
    Case("logic of comparisons", lambda x, y: (x > 0) & (y < 1) | ~(x > y), (X, Y)),
    Case("logic of both forms", lambda b, x: (b & (x > 0)) ^ (b | (x < -1)), (B, X)),
    Case("int and", lambda i, j: i & j, (I, J)),
    Case("int and mask", lambda i: (i & 255) + 1, (I,)),
    Case("int or", lambda i, j: i | j, (I, J)),
    Case("int or mask", lambda i: (i | 3) < 0, (I,)),
    Case("int xor", lambda i, j: (i ^ j) ^ 21, (I, J)),
    Case("int not", lambda i: ~i + 1, (I,)),
    Case("shift left", lambda i: i << 5, (I,)),
    Case("shift left by constants", lambda i: i << np.array([1, 31, 0, 7], np.int32), (I,)),
    Case("shift right", lambda i: i >> 3, (I,)),
    Case("shift right by constants", lambda i: i >> np.array([1, 31, 0, 7], np.int32), (I,)),
    Case("shift right logical", lambda i: lax.shift_right_logical(i, jnp.int32(3)), (I,)),
    Case("shifted words", lambda i: ((i ^ 5) << 2) ^ ((i ^ 9) >> 1), (I,)),
    Case("shift uint8", lambda i: (i >> 1) | (i << 7), (BYTES,)),
    Case("shifts by secrets", lambda i, j: (i << (j & 31), i >> j, lax.shift_right_logical(i, j)), (I, J)),
    Case("shifts of bytes by secrets", lambda i: (i << (i >> 5), i >> (i & 15)), (BYTES,)),
    Case("bitcast of integers", lambda i: lax.bitcast_convert_type(i, np.uint32) >> 3, (I,)),
    Case("population_count", lax.population_count, (I,)),
    Case("upper halves of products", lax.mulhi, (I, J)),
    Case("upper halves of products of bytes", lax.mulhi, (SMALL, SMALL[::-1])),
    Case("upper halves of products of unsigned bytes", lax.mulhi, (BYTES, BYTES[::-1])),
    Case("reduce and, or", lambda i: (lax.reduce_and(i, (0,)), lax.reduce_or(i, (1,))), (I,)),
    Case("reduce xor", lambda b: lax.reduce_xor(b, (0,)), (B,)),
]
