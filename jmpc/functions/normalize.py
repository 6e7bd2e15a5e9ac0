"""Secret floating point: x = mantissa * 2^exponent with the mantissa in [1/2, 1] and a secret exponent.

The leading one of |x| is found as secret bits; public tables turn them into any function of the exponent e,
among them 2^(64 - e), and the product x * 2^(64 - e) mod 2^64 is the mantissa, exactly, without a
truncation, and already is the angle of a Fourier gate of period 1. For negative x the sign goes onto the
tables, so that table(e) * g(mantissa) is the odd function of x.

Two ways to the bits:

* `Method.WORD`: all bits of x (6 rounds), prefix-or (6), and the two octal digits of the exponent, 16 bits
  that are parities of the one-hot word, hence free. A table is a product or a sum over digits.
* `Method.THRESHOLDS`: comparisons of x with all the powers of two it may lie between (5 rounds), whose
  results, weighted by the table's increments, sum to the table's entry: 8 rounds less, at some 280 bits
  for each possible exponent.

x = 0 has no leading one: every table gives 0 and the mantissa reads 0, which as an angle is the same as 1.
"""

from __future__ import annotations

import abc
import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jmpc.functions.series import TURN_BITS, Bounds
from jmpc.functions.words import leading_one
from jmpc.protocols.base import RING_BITS, Array, Bits, Protocol, Ring

_DIGITS = range(8)
_LARGEST_EXPONENT = 62
_LARGEST_WORD = (1 << _LARGEST_EXPONENT) - 1
_SIGN = RING_BITS - 1
# Up to here the thresholds cost fewer bits as well: for a reciprocal about 740 + 280 n against 4850.
_FEW_EXPONENTS = 15


class Method(enum.Enum):
    """How the leading one is found."""

    WORD = "word"
    THRESHOLDS = "thresholds"


@dataclass(frozen=True)
class Exponents:
    """What is known about x, as a word: 2^(low - 1) <= |x| < 2^high, or, where `zero`, x = 0.

    Where `zero`, an x that is smaller counts as 0; otherwise it counts as one of exponent `low`, which
    is right by continuity for an x that misses the bound by rounding errors. A `signed` x may be 0.
    """

    low: int = 1
    high: int = _LARGEST_EXPONENT
    signed: bool = False
    zero: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high <= _LARGEST_EXPONENT:
            raise ValueError(f"exponents {self.low} to {self.high} do not lie in 1 to {_LARGEST_EXPONENT}")

    @property
    def count(self) -> int:
        return self.high - self.low + 1

    @property
    def comparisons(self) -> int:
        """How many thresholds tell them apart."""
        return 2 * self.count if self.signed else self.count - 1 + self.zero

    @property
    def few(self) -> bool:
        """Whether thresholds are the cheaper method."""
        return self.comparisons <= _FEW_EXPONENTS


def known_exponents(bounds: Bounds | None, fraction: int) -> Exponents:
    """What the promise bounds[0] <= x <= bounds[1], in real units, says about the words of x."""
    if bounds is None:
        return Exponents(signed=True)
    low, high = bounds
    if not low <= high:
        raise ValueError(f"the bounds {bounds} are empty")
    least, most = (
        math.ceil(min(max(end * 2.0**fraction, 1), _LARGEST_WORD))
        for end in (max(low, -high), max(abs(low), abs(high)))
    )
    return Exponents(least.bit_length(), max(least, most).bit_length(), signed=low < 0, zero=low <= 0)


class Table(abc.ABC):
    """A public function of the exponent e, evaluated at the secret exponent."""

    @abc.abstractmethod
    def entry(self, e: int) -> int:
        """The value at e, a ring element."""

    @abc.abstractmethod
    def digit_weights(self, exponents: Exponents) -> tuple[list[list[int]], list[list[int]]]:
        """Weights of the one-hot high and low octal digits of e (several sets of eight each)."""

    @abc.abstractmethod
    def join(self, protocol: Protocol, high: list[Ring], low: list[Ring]) -> Ring:
        """The entry from the weighted digits."""


@dataclass(frozen=True)
class PowerOfTwo(Table):
    """2^(top - e) for e <= top, 0 above, exactly. One or two products, 1 round."""

    top: int

    def entry(self, e: int) -> int:
        return 1 << (self.top - e) if e <= self.top else 0

    def digit_weights(self, exponents: Exponents) -> tuple[list[list[int]], list[list[int]]]:
        """2^(top - 8m - n) = 2^(top - 8m - 7) * 2^(7 - n) while 8m + 7 <= top.

        The digit m0 = top div 8, where the entries end in the middle, needs a product of its own.
        """
        low = [[1 << (7 - n) for n in _DIGITS]]
        if self.top >= 8 * (exponents.high // 8) + 7:
            return [[_power(self.top - 8 * m - 7) for m in _DIGITS]], low
        last = self.top // 8
        high = [[_power(self.top - 8 * m - 7) if m < last else 0 for m in _DIGITS]]
        high.append([int(m == last) for m in _DIGITS])
        low.append([_power(self.top - 8 * last - n) for n in _DIGITS])
        return high, low

    def join(self, protocol: Protocol, high: list[Ring], low: list[Ring]) -> Ring:
        terms = [protocol.multiply(h, l) for h, l in zip(high, low, strict=True)]
        total = terms[0] if len(terms) == 1 else protocol.add(*terms)
        return protocol.settle(total)


@dataclass(frozen=True)
class Linear(Table):
    """slope * e, rounded: the digits just add up. No message."""

    slope: float

    def entry(self, e: int) -> int:
        return round(self.slope * e)

    def digit_weights(self, exponents: Exponents) -> tuple[list[list[int]], list[list[int]]]:
        del exponents
        return [[self.entry(8 * m) for m in _DIGITS]], [[self.entry(n) for n in _DIGITS]]

    def join(self, protocol: Protocol, high: list[Ring], low: list[Ring]) -> Ring:
        return protocol.add(high[0], low[0])


@dataclass(frozen=True)
class HalfPower(Table):
    """2^(scale + slope * e) for a slope of +-1/2, rounded; needs no case for odd exponents.

    Digits: 2^(4m) (from either end) is an integer, the factor of the low digit is rounded at as many
    more bits as fit, which one truncated product takes off again, in 2 rounds.
    """

    scale: float
    slope: float
    exponents: Exponents

    def entry(self, e: int) -> int:
        return round(2.0 ** (self.scale + self.slope * e))

    @property
    def _shift(self) -> int:
        ends = (self.exponents.low, self.exponents.high)
        return min(22, math.floor(61 - max(self.scale + self.slope * e for e in ends)))

    def digit_weights(self, exponents: Exponents) -> tuple[list[list[int]], list[list[int]]]:
        digits = range(exponents.low // 8, exponents.high // 8 + 1)
        base = min(round(self.slope * 8 * m) for m in digits)
        high = [1 << (round(self.slope * 8 * m) - base) if m in digits else 0 for m in _DIGITS]
        start = self.scale + base + self._shift
        return [high], [[round(2.0 ** (start + self.slope * n)) for n in _DIGITS]]

    def join(self, protocol: Protocol, high: list[Ring], low: list[Ring]) -> Ring:
        return protocol.truncate(protocol.multiply(high[0], low[0]), self._shift)


def normalize(
    protocol: Protocol,
    x: Ring,
    exponents: Exponents,
    tables: Sequence[Table],
    method: Method | None = None,
) -> tuple[Ring, list[Ring]]:
    """(mantissa of |x| as a turn, each table at x's exponent times x's sign where x is signed).

    Rounds: 15 by words (tables 13 or 14, with a sign 15), 7 by thresholds (tables 6). Without a `method`, the
    cheaper one for the number of possible exponents.
    """
    if method is None:
        method = Method.THRESHOLDS if exponents.few else Method.WORD
    find = _by_thresholds if method is Method.THRESHOLDS else _by_word
    return find(protocol, x, exponents, tables)


def _by_word(protocol: Protocol, x: Ring, exponents: Exponents, tables: Sequence[Table]) -> tuple[Ring, list[Ring]]:
    word = protocol.to_bits(x)
    one_hot = leading_one(protocol, _exponent_word(protocol, word, exponents))
    tables = [PowerOfTwo(TURN_BITS), *tables]
    scale, *entries = _from_digits(protocol, one_hot, exponents, tables)
    if exponents.signed:
        negative = protocol.parity(word, 1 << _SIGN)
        (sign,) = protocol.to_ring([negative], [[-2]])
        sign = protocol.add_public(sign, 1)
        x = protocol.settle(protocol.multiply(x, sign))
        entries = [protocol.settle(protocol.multiply(entry, sign)) for entry in entries]
    return protocol.settle(protocol.multiply(x, scale)), entries


def _exponent_word(protocol: Protocol, word: Bits, exponents: Exponents) -> Bits:
    """Words whose leading one stands at position e, for the words of x. No message.

    x >= 0: 2x. x < 0: 2|x| - 1 = 2 ~x + 1, whose leading one is that of 2|x| except at |x| = 2^k, where
    it stands one lower; the mantissa then reads 1 instead of 1/2, which is as good. Both are linear
    over xor. What lies outside the known exponents is cleared.
    """
    low = exponents.low - 1 if exponents.signed else exponents.low
    mask = (1 << (exponents.high + 1)) - (1 << low)
    floor = 0 if exponents.zero or exponents.signed else 1 << low

    def align(slot: Array) -> Array:
        if not exponents.signed:
            return (slot << np.uint64(1)) & np.uint64(mask ^ floor)
        sign = slot >> np.uint64(_SIGN)
        folded = slot ^ (np.uint64(0) - sign)
        return ((folded << np.uint64(1)) ^ sign) & np.uint64(mask)

    aligned = protocol.map(align, word)
    return protocol.xor_public(aligned, floor) if floor else aligned


def _from_digits(protocol: Protocol, one_hot: Bits, exponents: Exponents, tables: Sequence[Table]) -> list[Ring]:
    """The tables' entries at the exponent e = 8m + n whose bit is set."""
    weights = [table.digit_weights(exponents) for table in tables]
    high = _weigh(protocol, one_hot, lambda m: 0xFF << (8 * m), [w for w, _ in weights])
    low = _weigh(protocol, one_hot, lambda n: 0x0101010101010101 << n, [w for _, w in weights])
    return [table.join(protocol, h, l) for table, h, l in zip(tables, high, low, strict=True)]


def _weigh(
    protocol: Protocol,
    one_hot: Bits,
    mask: Callable[[int], int],
    weights: Sequence[list[list[int]]],
) -> list[list[Ring]]:
    """All sets of weights on the eight digits in one conversion, grouped as they came. 1 round."""
    digits = [protocol.parity(one_hot, mask(i)) for i in _DIGITS]
    sums = iter(protocol.to_ring(digits, [row for rows in weights for row in rows]))
    return [[next(sums) for _ in rows] for rows in weights]


def _by_thresholds(
    protocol: Protocol, x: Ring, exponents: Exponents, tables: Sequence[Table]
) -> tuple[Ring, list[Ring]]:
    """table(e) = sum of the increments at all powers of two that x has reached."""
    least = exponents.low if exponents.zero or exponents.signed else exponents.low + 1
    steps = range(least, exponents.high + 1)
    powers = [1 << (e - 1) for e in steps]
    below = [1 - power for power in powers] if exponents.signed else []
    # [x >= p] = 1 - [x < p], and -[x <= -p] = -[x < 1 - p]: all bits have the weight -increment.
    bits = protocol.less_than_each(x, [*powers, *below]) if powers else []
    tables = [PowerOfTwo(TURN_BITS), *tables]
    rows, constants = [], []
    for table in tables:
        before = [table.entry(e - 1) if e > exponents.low else 0 for e in steps]
        increments = [table.entry(e) - b for e, b in zip(steps, before, strict=True)]
        rows.append([-step for step in increments] * (2 if exponents.signed else 1))
        base = 0 if least == exponents.low else table.entry(exponents.low)
        constants.append(base + sum(increments))
    nothing = protocol.constant(jnp.zeros(x.shape, np.uint64))
    sums = protocol.to_ring(bits, rows) if bits else [nothing for _ in rows]
    scale, *entries = [protocol.add_public(s, constant) for s, constant in zip(sums, constants, strict=True)]
    return protocol.settle(protocol.multiply(x, scale)), entries


def _power(exponent: int) -> int:
    return 1 << exponent if exponent >= 0 else 0
