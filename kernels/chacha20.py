"""Keystream inside a jitted function: ChaCha20 (RFC 8439) in uint32 lanes, for GPU and TPU.

It gives the bytes that `keystream` gives on the host for the same key and address. The rounds are a
loop, since XLA takes minutes to compile them unrolled. On a CPU the host's is many times faster.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from jmpc.kernels.keystream import BLOCK_BYTES, KEY_BYTES, check_address

_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"
_COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
_UNROLL = 2
"""Double rounds in one turn of the loop, each turn a pass over memory. On an H200, 1, 2 and 5 made 119, 167
and 233 GB/s, and took 0.4, 1.0 and 5.3 s to compile: which each new number of blocks pays."""


def key_words(key: bytes) -> np.ndarray:
    """A key of 32 bytes as the uint32[8] that `blocks` and `keystream` take."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}.")
    return np.frombuffer(key, "<u4").astype(np.uint32)


def blocks(
    key: jax.Array | Sequence[jax.Array],
    counters: jax.Array,
    op_id: jax.Array | int,
    iteration: jax.Array | int,
    stream: int = 0,
) -> jax.Array:
    """The cipher's blocks at an address.

    Arguments:
        key: uint32[8], or eight arrays uint32[n] where each block has a key of its own.
        counters: uint32[n], the block counters.
        op_id: an integer, or a uint32 or uint64 scalar or array [n].
        iteration: an integer, or a uint32 or uint64 scalar; 48 bits of it count.
        stream: an integer.

    Returns:
        uint32[n, 16].
    """
    nonce = _nonce(op_id, iteration, stream)
    words = [*(jnp.uint32(word) for word in _CONSTANTS), *key, counters, *nonce]
    state = tuple(jnp.broadcast_to(word, counters.shape) for word in words)
    mixed = lax.fori_loop(0, 10, lambda _, lanes: _double_round(lanes), state, unroll=_UNROLL)
    return jnp.stack([a + b for a, b in zip(mixed, state, strict=True)], axis=1)


def keystream(
    key: jax.Array,
    op_id: jax.Array | int,
    iteration: jax.Array | int,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    stream: int = 0,
) -> jax.Array:
    """The array that `jmpc.kernels.keystream.generate` gives; arguments are those of `blocks`."""
    dtype = np.dtype(dtype)
    size = math.prod(shape)
    count = -(-size * dtype.itemsize // BLOCK_BYTES)
    if count >= 1 << 32:
        raise ValueError(f"a draw of {count} blocks exceeds the block counter: use several streams.")
    words = blocks(key, jnp.arange(count, dtype=np.uint32), op_id, iteration, stream)
    return _as_dtype(words.reshape(-1), dtype)[:size].reshape(shape)


def gather(
    keys: jax.Array,
    op_ids: jax.Array,
    starts: jax.Array,
    iteration: jax.Array,
    count: int,
    dtype: npt.DTypeLike,
) -> jax.Array:
    """The blocks of many draws in one go, as one flat array: what a whole segment draws.

    Arguments:
        keys: uint32[draws, 8], the key of each draw.
        op_ids: uint32[draws], its operation.
        starts: uint32[draws], where its blocks begin among all; ascending, from 0.
        iteration: a uint64 scalar, of all of them.
        count: all blocks, below 2^32.

    Returns:
        `64 // itemsize` elements of `dtype` for each block, in order.
    """
    if count >= 1 << 32:
        raise ValueError(f"{count} blocks exceed the block counter.")
    block = lax.iota(np.uint32, count)
    # Which draw a block belongs to is found here: the addresses of all blocks would be a fifth of the keystream.
    draw = jnp.searchsorted(starts, block, side="right", method="scan_unrolled").astype(np.uint32) - np.uint32(1)
    lanes = [keys[:, word][draw] for word in range(8)]
    words = blocks(lanes, block - starts[draw], op_ids[draw], iteration)
    return _as_dtype(words.reshape(-1), np.dtype(dtype))


def _nonce(op_id: jax.Array | int, iteration: jax.Array | int, stream: int) -> tuple[jax.Array, ...]:
    """Words 13 to 15 of the state."""
    check_address(
        op_id if isinstance(op_id, int) else 0,
        iteration if isinstance(iteration, int) else 0,
        stream,
    )
    if isinstance(iteration, int):
        low, high = jnp.uint32(iteration & 0xFFFF_FFFF), jnp.uint32(iteration >> 32)
    elif iteration.dtype == np.uint64:
        low = iteration.astype(np.uint32)
        high = (iteration >> np.uint64(32)).astype(np.uint32) & np.uint32(0xFFFF)
    else:
        low, high = _unsigned(iteration), jnp.uint32(0)
    op_id = jnp.uint32(op_id) if isinstance(op_id, int) else _unsigned(op_id)
    return op_id, low, high | np.uint32(stream << 16)


def _unsigned(x: jax.Array) -> jax.Array:
    if x.dtype not in (np.uint32, np.uint64):
        raise TypeError(f"an address is uint32 or uint64, not {x.dtype}.")
    return x.astype(np.uint32)


def _double_round(lanes: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    mixed = list(lanes)
    for indices in _COLUMNS + _DIAGONALS:
        quarter = _quarter_round(*(mixed[index] for index in indices))
        for index, lane in zip(indices, quarter, strict=True):
            mixed[index] = lane
    return tuple(mixed)


def _quarter_round(
    a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    a = a + b
    d = _rotate(d ^ a, 16)
    c = c + d
    b = _rotate(b ^ c, 12)
    a = a + b
    d = _rotate(d ^ a, 8)
    c = c + d
    b = _rotate(b ^ c, 7)
    return a, b, c, d


def _rotate(x: jax.Array, bits: int) -> jax.Array:
    return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))


def _as_dtype(words: jax.Array, dtype: np.dtype) -> jax.Array:
    """A flat uint32 array as the same little-endian bytes in another unsigned dtype."""
    if dtype.kind != "u":
        raise TypeError(f"keystream is unsigned integers, not {dtype}.")
    if dtype.itemsize == 8:
        words = words.reshape(-1, 2)
    result = lax.bitcast_convert_type(words, dtype).reshape(-1)
    if result.dtype != dtype:
        raise TypeError(f"JAX turned {dtype} into {result.dtype}: run under `jax.enable_x64(True)`.")
    return result
