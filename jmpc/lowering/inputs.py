"""Arrays into values, and values out of shares: the two ends of a lowered function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jmpc.choreography.primitives import release
from jmpc.errors import TraceError
from jmpc.lowering import encoding
from jmpc.lowering.context import Context
from jmpc.lowering.encoding import Encoding, Range
from jmpc.lowering.values import Boolean, FixedPoint, Integer, Public, Secret, Value, is_boolean, is_float, is_integer
from jmpc.protocols.base import Bits, Ring


def share(context: Context, x: Any, owner: str, range: Range | None = None) -> Secret:
    """A located array of `owner` as a secret: encoded and checked there, then shared.

    The owner alone checks its reals and integers, and other players count on no more of them than that a
    false input may give false results. A boolean must be one whatever its owner sends, because selections multiply by
    it: with any other word for it they would show both of their cases. Hence it is shared as a bit.

    Raises:
      TraceError: for a type that has no secret form, or a range that the type or the words cannot represent.
    """
    dtype, protocol = np.dtype(x.dtype), context.protocol
    if not (is_boolean(dtype) or is_integer(dtype) or is_float(dtype)):
        raise TraceError(
            f"{context.line}: an input of type {dtype} cannot be secret; real, integer and boolean arrays can. Bring "
            "the real and the imaginary part of complex numbers as two real arrays"
        )
    if is_boolean(dtype):
        return Boolean(protocol.share_bits(x.astype(np.uint8), owner, 1))
    ring = protocol.share(encoding.encode(x, context.precision, range, owner), owner)
    known = encoding.input_interval(dtype, context.precision, range)
    if is_float(dtype):
        return FixedPoint(ring, context.fraction, known.with_rounded(context.fraction), dtype)
    return Integer(ring, dtype, known)


@dataclass(frozen=True)
class Outgoing:
    """A result in the form in which it may be opened, and how to read the opened words."""

    sharing: Ring | Bits
    encoding: Encoding


def outgoing(context: Context, value: Secret) -> Outgoing:
    """A secret brought to the form that shows its value and nothing more.

    Reals at the precision's fraction (an untruncated product would show low-order bits), integers without the
    bits above their width, which tell how they came about.
    """
    if isinstance(value, Boolean):
        return Outgoing(value.sharing, Encoding(value.dtype))
    if isinstance(value, FixedPoint):
        ring = context.ring(value)
        return Outgoing(ring, Encoding(value.dtype, context.fraction))
    ring = context.protocol.scale(context.ring(value), 1 << (64 - value.width))
    return Outgoing(ring, Encoding(value.dtype))


def reveal(context: Context, value: Value, to: str, why: str) -> jax.Array:
    """The array of a value, of the user's type, opened to the player `to` alone."""
    with jax.enable_x64(True):
        if isinstance(value, Public):
            return _told(context, value, to, why)
        result = outgoing(context, value)
        if isinstance(result.sharing, Bits):
            words = context.protocol.reveal_bits(result.sharing, to, why)
        else:
            words = context.protocol.reveal(result.sharing, to, why)
        return encoding.decode(words, result.encoding)


def _told(context: Context, value: Public, to: str, why: str) -> Any:
    array = context.operand(value)
    if value.known or value.at == to or (value.at is None and to in context.parties):
        return jax.numpy.asarray(array, value.dtype)
    return release(array, value.at or context.first, (to,), why)
