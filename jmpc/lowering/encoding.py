"""Arrays of the user's types as ring words, and back.

    float  round(x * 2^f), computed exactly in float64, as a signed 64-bit integer
    int    sign- or zero-extended to 64 bits
    bool   0 or 1

The same code encodes what a player holds at run time and, on numpy arrays, constants while a function is traced:
every step of it is exact, so everybody who encodes one array gets the same words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmpc._compat import user_line
from jmpc.choreography.primitives import guard
from jmpc.errors import TraceError
from jmpc.lowering.interval import RANGE_BITS, Interval, Trust, of_array, of_dtype, symmetric
from jmpc.lowering.values import Precision, is_boolean, is_float

Array = Any
Range = tuple[float, float]

# A float input without a declared range satisfies |x| < 2^(38 - f): about a million, 2^20, at f = 18. That is less than
# the 2^26 that products allow, and leaves room for sums, and for precise constants, without further truncations.
INPUT_BITS = 38


@dataclass(frozen=True)
class Encoding:
    """How to read opened words. Integers of w bits are opened as the top w bits of a word, see `outgoing`."""

    dtype: np.dtype
    fraction: int = 0


def encode(x: Array, precision: Precision, range: Range | None, player: str) -> jax.Array:
    """The uint64 words of a located array, refused at `player` (InputError) if it is out of range.

    Args:
      x: a float, integer or boolean array held by `player`.
      range: the declared (lowest, highest) value; for floats by default |x| < 2^(38 - fraction), 2^20 at 18.

    Raises:
      TraceError: for a range that `input_interval` refuses.
    """
    words = to_words(x, precision.fraction)
    if is_boolean(x.dtype) or (range is None and not is_float(x.dtype)):
        return words
    known = input_interval(x.dtype, precision, range)
    # Reals are compared in float64, where no limit becomes infinite; what is not finite is in no range.
    wide = x.astype(np.float64) if is_float(x.dtype) else x
    low, high = (wide.dtype.type(limit) for limit in (known.low, known.high))
    inside = jnp.all((wide >= low) & (wide <= high)) if range else jnp.all((wide > low) & (wide < high))
    if range:
        limits = f"[{range[0]}, {range[1]}], its declared range: correct the data, or declare a wider one"
    else:
        limits = f"({low:.9g}, {high:.9g}): correct the data, or declare its range if it may be larger"
    message = f"an input of type {x.dtype} and shape {x.shape} has an element that is not finite, or not in {limits}"
    # Whoever runs on past the guard, a program with a mistake, say, still shares nothing of what was refused.
    return guard(jnp.where(inside, words, np.uint64(0)), inside, player, message)


def input_limits(dtype: Any, precision: Precision) -> Range:
    """The range of an input that declares none."""
    if is_float(dtype):
        return -(2.0 ** (INPUT_BITS - precision.fraction)), 2.0 ** (INPUT_BITS - precision.fraction)
    limits = of_dtype(np.dtype(dtype))
    return limits.low, limits.high


def input_interval(dtype: Any, precision: Precision, range: Range | None) -> Interval:
    """What is known of an input, because `encode` checks it.

    Of a declared range: the part that the type can represent, between the numbers of the type that are nearest to
    its ends (so that a float32 of 0.1 is in a range up to 0.1).

    Raises:
      TraceError: at the user's line, if a range of reals goes beyond +-2^(62 - fraction), what words can represent, or
        has no value of the type in it.
    """
    if range is None:
        return Interval(*input_limits(dtype, precision), Trust.CHECKED)
    limit = 2.0 ** (RANGE_BITS - precision.fraction)
    if is_float(dtype) and not -limit <= range[0] <= range[1] <= limit:
        raise TraceError(
            f"{user_line()}: the range [{range[0]}, {range[1]}] of an input goes beyond what {precision.fraction} "
            f"fraction bits can represent, +-2^{RANGE_BITS - precision.fraction} (about {limit:g}). Declare a range "
            "within that, scale the input, or use a lower precision"
        )
    if is_float(dtype):
        info = jnp.finfo(dtype)
        low, high = max(range[0], float(info.min)), min(range[1], float(info.max))
    else:
        every = of_dtype(np.dtype(dtype))
        low, high = max(math.ceil(range[0]), every.low), min(math.floor(range[1]), every.high)
    if low > high:
        raise TraceError(f"{user_line()}: no value of type {dtype} is in the range [{range[0]}, {range[1]}]")
    if is_float(dtype):
        low, high = (float(np.float64(end).astype(dtype)) for end in (low, high))
    return Interval(low, high)


def to_words(x: Array, fraction: int) -> Array:
    """Encodes a numpy array or a tracer, at any fraction for floats."""
    if is_float(x.dtype):
        x = (x.astype(np.float64) * 2.0**fraction).round()
    if x.dtype == np.uint64:
        return x
    return x.astype(np.int64).astype(np.uint64)


def decode(words: Array, encoding: Encoding) -> Array:
    """Opened words (of `outgoing`) as an array of the user's type; a numpy array or a tracer."""
    dtype = np.dtype(encoding.dtype)
    if is_float(dtype):
        return (words.astype(np.int64).astype(np.float64) * 2.0**-encoding.fraction).astype(dtype)
    if is_boolean(dtype):
        return (words & words.dtype.type(1)).astype(np.bool_)
    unused = 64 - 8 * dtype.itemsize
    return (words >> np.uint64(unused)).astype(dtype)


@dataclass(frozen=True)
class Constant:
    """A public real array as integers `words` (int64) times 2^-fraction; `interval` is around both."""

    words: np.ndarray
    fraction: int
    interval: Interval

    @property
    def ring(self) -> np.ndarray:
        return self.words.astype(np.uint64)


def encode_constant(x: np.ndarray, fraction: int) -> Constant:
    """`x` at the given scale."""
    words = (np.asarray(x, np.float64) * 2.0**fraction).round().astype(np.int64)
    return Constant(words, fraction, of_array(np.asarray(x, np.float64)).with_rounded(fraction))


def encode_factor(x: np.ndarray, factor: Interval, precision: Precision, fraction: int | None = None) -> Constant:
    """`x` at the scale that suits what it is multiplied with, which has `fraction` bits (default: the precision's).

    The scale is fine enough for an error of a quarter of an ulp of the product, as far as the other factor's
    interval lets the product stay below 2^62. If that interval is only a promise, the largest element has at
    least f bits after its leading one, or after the binary point if it is above 1. Constants that need fewer bits
    (integers, halves) get no more.
    """
    x = np.asarray(x, np.float64)
    largest = float(np.abs(x).max(initial=0.0))
    if largest == 0.0:
        return Constant(np.zeros(x.shape, np.int64), 0, symmetric(0))
    f, exponent = precision.fraction, math.frexp(largest)[1]  # |x| < 2^exponent
    bits = math.frexp(factor.magnitude)[1] if factor.magnitude > 0 else 0
    taken = f if fraction is None else min(f, fraction)
    wanted, room = f + 1 + max(bits, 0), RANGE_BITS - 1 - taken - bits - exponent
    scale = max(0, min(wanted, room))
    if not factor.certain:
        scale = max(scale, f + max(0, -exponent))
    scale = max(0, min(scale, RANGE_BITS - 1 - exponent))
    return _without_trailing_zeros(encode_constant(x, scale))


def encode_in_words(
    x: np.ndarray,
    factor: Interval,
    precision: Precision,
    terms: int,
    fraction: int | None = None,
    *,
    relative: bool = False,
) -> list[Constant]:
    """`x` as a sum of constants, each at the scale that suits what it is multiplied with, as in `encode_factor`.

    Where that leaves few bits to one constant, because the other factor may be large, the others have the rest, up to
    a small part of an ulp of a sum of `terms` products with numbers of about 1; `relative` to the result, with any.
    """
    rest = np.asarray(x, np.float64)
    wanted = precision.fraction + 2 + math.frexp(terms)[1] / 2
    if relative:
        wanted = max(wanted, encode_precisely(rest, precision).fraction)
    words: list[Constant] = []
    while not words or (rest.any() and words[-1].fraction < wanted and words[-1].words.any()):
        words.append(encode_factor(rest, factor, precision, fraction))
        rest = rest - words[-1].words * 2.0 ** -words[-1].fraction
    return words


def encode_precisely(x: np.ndarray, precision: Precision) -> Constant:
    """`x` with a bit more than the fraction after the leading one of its largest element, or all it needs."""
    x = np.asarray(x, np.float64)
    exponent = math.frexp(float(np.abs(x).max(initial=0.0)))[1]
    scale = precision.fraction + 1 - exponent
    return _without_trailing_zeros(encode_constant(x, max(0, min(scale, RANGE_BITS - 1 - exponent))))


def _without_trailing_zeros(constant: Constant) -> Constant:
    common = int(np.bitwise_or.reduce(np.abs(constant.words), axis=None))
    spare = (common & -common).bit_length() - 1 if common else constant.fraction
    spare = min(spare, constant.fraction)
    return Constant(constant.words >> spare, constant.fraction - spare, constant.interval)
