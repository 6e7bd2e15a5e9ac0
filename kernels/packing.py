"""Packed bits: an array whose elements have `bits` significant bits as that many bits on the wire.

The packed form is a stream of bits in little-endian order: bit b of element i is bit i * bits + b
of the stream, and bit j of the stream is bit j % 8 of byte j // 8. The rest of the last byte is
zero.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from jmpc.kernels.bits import low_mask
from jmpc.kernels.blocks import pad_axis


def packed_size(size: int, bits: int) -> int:
    """Bytes that `size` elements of `bits` bits take."""
    return -(-size * bits // 8)


def pack(x: jax.Array, bits: int) -> jax.Array:
    """The low `bits` bits of each element of `x` (unsigned or bool), as uint8[packed_size].

    Higher bits of `x` are dropped: what they hold does not reach the wire.
    """
    _check(x.dtype, bits)
    x = x.reshape(-1)
    if x.dtype == np.bool_:
        x = x.astype(np.uint8)
    if bits == 8 * x.dtype.itemsize:
        return lax.bitcast_convert_type(x, np.uint8).reshape(-1)
    packed = _regroup(x & low_mask(bits, x.dtype), bits, 8, np.dtype(np.uint8))
    return packed[: packed_size(x.size, bits)]


def unpack(buffer: jax.Array, bits: int, shape: Sequence[int], dtype: npt.DTypeLike) -> jax.Array:
    """The array of `shape` and `dtype` (unsigned or bool) that `pack` made `buffer` of."""
    dtype = np.dtype(dtype)
    _check(dtype, bits)
    size = math.prod(shape)
    if buffer.shape != (packed_size(size, bits),) or buffer.dtype != np.uint8:
        raise ValueError(
            f"{size} elements of {bits} bits are packed in uint8[{packed_size(size, bits)}], "
            f"not in {buffer.dtype}{list(buffer.shape)}."
        )
    word = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    if bits == 8 * word.itemsize:
        octets = buffer if word.itemsize == 1 else buffer.reshape(size, word.itemsize)
        words = lax.bitcast_convert_type(octets, word)
    else:
        words = _regroup(buffer, 8, bits, word)[:size]
    if words.dtype != word:
        raise TypeError(f"JAX turned {word} into {words.dtype}: run under `jax.enable_x64(True)`.")
    return words.reshape(shape).astype(dtype)


def _check(dtype: np.dtype, bits: int) -> None:
    width = 1 if dtype == np.bool_ else 8 * dtype.itemsize
    if dtype.kind not in "ub" or not 1 <= bits <= width:
        raise ValueError(f"{bits} bits of {dtype} cannot be packed: 1 to {width} bits of an unsigned type can.")


def _regroup(words: jax.Array, old: int, new: int, dtype: np.dtype) -> jax.Array:
    """The stream of bits in `words` of `old` bits, cut into words of `new` bits."""
    group = math.lcm(old, new)
    old_words, new_words = group // old, group // new
    # Each new word of a group has up to `pieces` parts: of which old words, shifted by how much?
    starts = np.arange(new_words) * new
    pieces = int(max((starts + new - 1) // old - starts // old)) + 1
    wide = np.promote_types(words.dtype, dtype)
    words = pad_axis(words, 0, -(-words.size // old_words) * old_words).reshape(-1, old_words)
    words = words.astype(wide)
    result = jnp.zeros((), wide)
    for piece in range(pieces):
        source = starts // old + piece
        shift = source * old - starts
        mask = np.where(shift < new, low_mask(new, wide), 0).astype(wide)
        part = jnp.take(words, np.minimum(source, old_words - 1), axis=1, mode="clip")
        part = part >> np.clip(-shift, 0, old - 1).astype(wide)
        part = part << np.clip(shift, 0, new - 1).astype(wide)
        result = result | (part & mask)
    return result.astype(dtype).reshape(-1)
