"""Computations as bytes: one msgpack message with a version, every bound of the reader set."""

import hashlib
from typing import Any

import msgpack
from jax.extend.core import ClosedJaxpr

from jmpc import _compat
from jmpc.net import unpacking
from jmpc.net.codec._decode import decode_jaxpr
from jmpc.net.codec._encode import BLOCK, encode_jaxpr
from jmpc.net.codec._limits import CodecError, Limits

VERSION = 1
_MAGIC = "jmpc computation"
_FIELDS = 64  # of a map: no primitive has as many parameters
_TEXT = 1024  # bytes; names and source lines are shorter


def to_bytes(closed: ClosedJaxpr) -> bytes:
    """Encodes a computation; equal computations of one JAX release give equal bytes."""
    return msgpack.packb([_MAGIC, VERSION, _release(), encode_jaxpr(closed)], use_bin_type=True)


def from_bytes(data: bytes, limits: Limits | None = None) -> ClosedJaxpr:
    """Decodes a computation from anyone. Raises CodecError for anything that `to_bytes` has not made."""
    limits = limits or Limits()
    message = unpack(data, limits)
    if type(message) is not list or len(message) != 4 or message[0] != _MAGIC:
        raise CodecError("not a computation")
    _, version, release, body = message
    if version != VERSION or type(version) is not int:
        raise CodecError(f"a computation of another version of the codec than {VERSION}")
    if release != _release():
        raise CodecError(f"a computation of another JAX release than {_release()}")
    return decode_jaxpr(body, limits)


def digest(data: bytes) -> bytes:
    """32 bytes that stand for an encoded computation: what players compare before they run it."""
    return hashlib.sha256(b"jmpc computation\0" + data).digest()


def _release() -> str:
    """Primitives and their parameters differ between minor releases of JAX."""
    major, minor = _compat.JAX_VERSION
    return f"{major}.{minor}"


def unpack(data: bytes, limits: Limits) -> Any:
    """Reads msgpack from anyone: plain data only, within the limits, in the one encoding that a value has.

    A header that announces n elements makes the reader allocate n slots, and headers nest. Short lists bound
    that, and it is why equations come in blocks.
    """
    data = bytes(data)
    limits.check("message_bytes", len(data), "the size of a computation in bytes")
    try:
        message = unpacking.unpack(
            data,
            most_elements=limits.elements,
            max_bin_len=limits.constant_bytes,
            max_str_len=_TEXT,
            max_array_len=max(limits.operands, BLOCK),
            max_map_len=_FIELDS,
        )
        canonical = msgpack.packb(message, use_bin_type=True)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"a computation that is {error}") from None
    if canonical != data:
        raise CodecError("not the canonical encoding")
    return message
