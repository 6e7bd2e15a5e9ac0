"""Keystream on the host: ChaCha20 (RFC 8439) by OpenSSL, straight into numpy arrays.

A block of 64 bytes is addressed by the four last words of the cipher's state:

    word 12  block counter within the draw, from 0
    word 13  op id
    word 14  iteration, low 32 bits
    word 15  iteration, high 16 bits, and stream << 16

and element e of a draw of uint64 is bytes 8e to 8e + 7 of the blocks, little-endian. `chacha20`
draws the same bytes inside a jitted function. Nothing here can tell whether an address is used
twice: that is up to the caller.
"""

import math
import struct
import sys
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

KEY_BYTES = 32
BLOCK_BYTES = 64

# The cipher's input, encrypted chunk by chunk: small enough to stay in cache.
_ZEROS = memoryview(bytes(1 << 18))


class Keystream:
    """The keystream of one key, with the cipher set up once: cheaper than `fill` for small draws.

    Threads may share one, and then take turns.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}.")
        self._cipher = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
        # Between setting an address and drawing, another thread must not set its own.
        self._turn = threading.Lock()

    def fill(self, op_id: int, iteration: int, out: np.ndarray, stream: int = 0) -> None:
        """Writes the keystream at an address over `out`, a contiguous unsigned array."""
        nonce = _initial_words(op_id, iteration, stream)
        target = _as_bytes(out)
        size = len(target)
        with self._turn:
            self._cipher.reset_nonce(nonce)
            if size <= len(_ZEROS):
                self._cipher.update_into(_ZEROS[:size], target)
                return
            for start in range(0, size, len(_ZEROS)):
                chunk = target[start : start + len(_ZEROS)]
                self._cipher.update_into(_ZEROS[: len(chunk)], chunk)

    def generate(
        self,
        op_id: int,
        iteration: int,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        stream: int = 0,
    ) -> np.ndarray:
        """The keystream at an address, as a new array."""
        _check_size(math.prod(shape) * np.dtype(dtype).itemsize)
        out = np.empty(shape, dtype)
        self.fill(op_id, iteration, out, stream)
        return out


def fill(key: bytes, op_id: int, iteration: int, out: np.ndarray, stream: int = 0) -> None:
    """Writes the keystream at an address over `out`, a contiguous array of unsigned integers.

    Arguments:
        key: 32 bytes.
        op_id: below 2^32.
        iteration: below 2^48.
        out: the array to fill, of fewer than 2^32 blocks of 64 bytes.
        stream: below 2^16.
    """
    Keystream(key).fill(op_id, iteration, out, stream)


def generate(
    key: bytes,
    op_id: int,
    iteration: int,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    stream: int = 0,
) -> np.ndarray:
    """The keystream at an address as a new array; see `fill`."""
    return Keystream(key).generate(op_id, iteration, shape, dtype, stream)


def check_address(op_id: int, iteration: int, stream: int) -> None:
    """A ValueError where a part of an address does not fit its bits, and would meet another one."""
    for name, value, bits in (
        ("op_id", op_id, 32),
        ("iteration", iteration, 48),
        ("stream", stream, 16),
    ):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"`{name}` must be at least 0 and below 2^{bits}, not {value}.")


def _initial_words(op_id: int, iteration: int, stream: int) -> bytes:
    check_address(op_id, iteration, stream)
    return struct.pack("<IIIHH", 0, op_id, iteration & 0xFFFF_FFFF, iteration >> 32, stream)


def _as_bytes(out: np.ndarray) -> memoryview:
    dtype = out.dtype
    if dtype.kind != "u" or not dtype.isnative or sys.byteorder != "little":
        raise ValueError(f"keystream fills little-endian unsigned integers, not {dtype}.")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("keystream fills arrays that are C-contiguous and writeable.")
    _check_size(out.nbytes)
    return out.reshape(-1).view(np.uint8).data


def _check_size(size: int) -> None:
    if -(-size // BLOCK_BYTES) >= 1 << 32:
        raise ValueError(f"a draw of {size} bytes needs 2^32 blocks or more: use several streams.")
