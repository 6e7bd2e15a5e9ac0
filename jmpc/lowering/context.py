"""What a rule works with: the protocol, the precision, and standard forms made once for each value.

Standard forms are lazy. A product stays unsettled and at the sum of its factors' fractions until something
needs it otherwise; whoever does asks the context, which remembers the answer for the value, so that two uses
pay one truncation.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from jmpc._compat import UNKNOWN_LINE, source_line
from jmpc.choreography.primitives import guard, public, release
from jmpc.errors import TraceError
from jmpc.kernels.bits import word_dtype
from jmpc.lowering import encoding, interval
from jmpc.lowering.interval import RANGE_BITS, Interval
from jmpc.lowering.placement import Placer
from jmpc.lowering.values import (
    Boolean,
    FixedPoint,
    Integer,
    Precision,
    Public,
    RangeWarning,
    Secret,
    Spread,
    Value,
    is_boolean,
    is_float,
    is_integer,
    is_key,
)
from jmpc.protocols.base import Bits, Product, Protocol, Ring

Watch = Callable[[int], None]
T = TypeVar("T")
Number = TypeVar("Number", FixedPoint, Integer)
PUBLIC_VALUE = "public value"  # the account's word for floats that the parties need in the clear


class Context:
    """The state of one lowering; a loop's body or a branch has a child of its own.

    Args:
      protocol: what the secrets are shared with.
      precision: the fraction that results have, and intermediate values where they are used again.
      watch: called for every equation, and for every constant with its bytes; ends the lowering by raising.
    """

    def __init__(
        self,
        protocol: Protocol,
        precision: Precision | None = None,
        *,
        watch: Watch | None = None,
        parent: Context | None = None,
    ) -> None:
        self.protocol = protocol
        self.precision = precision or Precision()
        self.watch = watch or (lambda nbytes: None)
        self.parent = parent
        self.equation: JaxprEqn | None = parent.equation if parent else None  # the one being lowered
        self.call_line: str = parent.call_line if parent else UNKNOWN_LINE
        self._published: Iterator[int] = parent._published if parent else itertools.count(1)
        self._memo: dict[tuple[int, Hashable], tuple[object, Any]] = {}

    @property
    def fraction(self) -> int:
        return self.precision.fraction

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(self.protocol.parties)

    @property
    def first(self) -> str:
        """The party that computes public floats which no player provides."""
        return self.parties[0]

    def child(self) -> Context:
        """The context of a loop body or a branch: it sees this one's standard forms and keeps its own."""
        return Context(self.protocol, self.precision, watch=self.watch, parent=self)

    def placer(self) -> Placer:
        """For code that is to be lowered here."""
        return Placer(self.first, self.watch)

    def once(self, value: object, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned the first time for this value object and `key`."""
        made = self.remembered(value, key)
        if made is None:
            made = make()
            self._memo[id(value), key] = (value, made)  # holding the value keeps its id taken
        return made

    def remembered(self, value: object, key: Hashable) -> Any:
        """What `once` made before, here or around this loop body or branch; or None."""
        context: Context | None = self
        while context is not None:
            if (id(value), key) in context._memo:
                return context._memo[id(value), key][1]
            context = context.parent
        return None

    def lowered(self, eqn: JaxprEqn, operands: Sequence[Value], results: Sequence[Value]) -> None:
        """Called for every equation with a secret operand, once it is lowered; here it does nothing."""

    # -- messages to the user ----------------------------------------------------------------------------

    @property
    def line(self) -> str:
        """Of the equation that is being lowered; of its call, where that is all that is known."""
        line = source_line(self.equation) if self.equation is not None else UNKNOWN_LINE
        return self.call_line if line == UNKNOWN_LINE else line

    def refuse(self, reason: str, instead: str) -> TraceError:
        """The error to raise where the current equation cannot be lowered."""
        name = f"`{self.equation.primitive.name}`: " if self.equation is not None else ""
        return TraceError(f"{self.line}: {name}{reason}. {instead}")

    def warn(self, message: str, category: type[Warning] = RangeWarning) -> None:
        warnings.warn(f"{self.line}: {message}", category, stacklevel=2)

    # -- secrets in standard form --------------------------------------------------------------------------

    def ring(self, value: Value, fraction: int | None = None) -> Ring:
        """A secret in the protocol's standard form, settled and truncated at most once for each value.

        Reals at `fraction` (default: the precision's), booleans as 0 and 1, integers as they are: only the low
        bits count (see `extended`). Public values become constant sharings.
        """
        match value:
            case Public():
                return self.ring(self.secret(value), fraction)
            case FixedPoint():
                return self.at_fraction(value, self.fraction if fraction is None else fraction).ring
            case Integer():
                return self.settled(value).ring
            case Boolean(Bits() as bits):
                return self.once(value, "ring", lambda: self.protocol.to_ring([bits], [[1]])[0])
            case Boolean(Ring() as ring):
                return ring
        raise TypeError(f"not a value: {value!r}")

    def settled(self, value: Number) -> Number:
        """A real or integer as a `Ring` at whatever fraction it has."""
        sharing = value.sharing
        if isinstance(sharing, Ring):
            return value
        return self.once(value, "settled", lambda: dataclasses.replace(value, sharing=self._settle(sharing)))

    def _settle(self, sharing: Product | Bits) -> Ring:
        return self.protocol.words_to_ring(sharing) if isinstance(sharing, Bits) else self.protocol.settle(sharing)

    def at_fraction(self, value: FixedPoint, fraction: int) -> FixedPoint:
        """The value as a `Ring` at exactly this fraction."""
        if isinstance(value.trait, Spread) and (value.fraction > fraction or isinstance(value.sharing, Product)):
            return self.once(value, fraction, lambda: self._spread(value.trait.of, value.shape, fraction))
        if value.fraction == fraction:
            return self.settled(value)
        if value.fraction > fraction:
            return self.once(value, fraction, lambda: self._truncated(value, fraction))
        return self.once(value, fraction, lambda: self.lift(self.settled(value), fraction))

    def at_most(self, value: FixedPoint, fraction: int | None = None) -> FixedPoint:
        """The value as a `Ring`, truncated if it has more than `fraction` (default: the precision's) bits."""
        return self.at_fraction(value, min(value.fraction, self.fraction if fraction is None else fraction))

    def _spread(self, narrow: FixedPoint, shape: tuple[int, ...], fraction: int) -> FixedPoint:
        """What was broadcast, settled and truncated before it was."""
        of = self.at_fraction(narrow, fraction)
        wide = self.protocol.map(lambda slot: jnp.broadcast_to(slot, shape), of.ring)
        return dataclasses.replace(of, sharing=wide, trait=Spread(of))

    def _truncated(self, value: FixedPoint, fraction: int) -> FixedPoint:
        shift = value.fraction - fraction
        limit = interval.representable(value.fraction)
        if value.interval.mignitude > limit.high:
            self.warn(f"a value of at least {value.interval.mignitude:g} leaves the range of {limit.high:g} here")
        source = self.remembered(value, "settled") or value
        known = value.interval.clip(limit.low, limit.high)
        ulp = 2.0**-fraction
        rounded = Interval(known.low - ulp, known.high + ulp, known.trust)
        if known.certain and known.low >= 0:  # rounding is upward or downward to neighbours: never below zero
            rounded = Interval(max(0.0, rounded.low), rounded.high)
        sharing = self.protocol.truncate(source.sharing, shift)
        return dataclasses.replace(value, sharing=sharing, fraction=fraction, interval=rounded)

    def lift(self, value: FixedPoint, fraction: int) -> FixedPoint:
        """The value at a higher fraction; local. The caller knows that the range allows it."""
        factor = 1 << (fraction - value.fraction)
        return dataclasses.replace(value, sharing=self.protocol.scale(value.sharing, factor), fraction=fraction)

    def fits(self, value: FixedPoint, fraction: int) -> bool:
        """Whether the value stays below 2^62 at this fraction."""
        return value.interval.magnitude * 2.0**fraction <= 2.0**RANGE_BITS

    def bits(self, value: Value) -> Bits:
        """A boolean as bits of width 1."""
        match value:
            case Public():
                return self.bits(self.secret(value))
            case Boolean(Bits() as bits):
                return bits
            case Boolean(Ring() as ring):  # the lowest bit is the sign of 2^63 times it
                return self.once(value, "bits", lambda: self.protocol.sign(self.protocol.scale(ring, 1 << 63)))
        raise TypeError(f"not a boolean: {value!r}")

    def words(self, value: Integer) -> Bits:
        """The w bits of an integer of width w."""
        if isinstance(value.sharing, Bits):
            return value.sharing

        def make() -> Bits:
            dtype = word_dtype(value.width)
            every = self.protocol.to_bits(self.settled(value).ring)
            return self.protocol.map_bits(lambda slot: slot.astype(dtype), every, width=value.width)

        return self.once(value, "words", make)

    def extended(self, value: Integer) -> Integer:
        """The integer as a `Ring` whose words are its value: sign- or zero-extended unless known to be."""
        limits = interval.of_dtype(value.dtype)
        if value.interval is not None and value.interval.inside(limits.low, limits.high):
            return self.settled(value)
        if value.width == 64:  # the whole word: nothing to extend
            return self.once(value, "extended", lambda: dataclasses.replace(self.settled(value), interval=limits))
        return self.once(value, "extended", lambda: self._extend(value))

    def _extend(self, value: Integer) -> Integer:
        # The low w bits of x + 2^(w-1), as an unsigned number, minus 2^(w-1) again.
        offset = 1 << (value.width - 1) if value.signed else 0
        if isinstance(value.sharing, Bits):
            low = self.protocol.xor_public(value.sharing, offset) if offset else value.sharing
        else:
            moved = self.protocol.add_public(self.settled(value).ring, offset)
            dtype = word_dtype(value.width)
            every = self.protocol.to_bits(moved)
            low = self.protocol.map_bits(lambda slot: slot.astype(dtype), every, width=value.width)
        ring = self.protocol.add_public(self.protocol.words_to_ring(low), -offset)
        return Integer(ring, value.dtype, interval.of_dtype(value.dtype))

    def secret(self, value: Value) -> Secret:
        """A public value as a secret one, for rules that need both operands alike. No message if everyone knows it."""
        if not isinstance(value, Public):
            return value
        return self.once(value, "secret", lambda: self._constant(value))

    def _constant(self, value: Public) -> Secret:
        dtype = value.dtype
        if is_boolean(dtype):
            words = self.full(self.encoded(value, 0), value.shape).astype(np.uint8)
            return Boolean(self.protocol.constant_bits(words, 1))
        if is_integer(dtype):
            words = self.full(self.encoded(value, 0), value.shape)
            known = interval.of_array(np.asarray(value.array)) if value.known else interval.of_dtype(dtype)
            return Integer(self.protocol.constant(words), np.dtype(dtype), known)
        if not is_float(dtype):
            raise self.refuse(f"a value of type {dtype} cannot be secret", "Use real, integer or boolean arrays")
        fraction = self.fraction
        if value.known:
            self.check_finite(value)
            constant = encoding.encode_factor(value.array, interval.symmetric(1), self.precision)
            fraction = min(fraction, constant.fraction)
        words = self.full(self.encoded(value, fraction), value.shape)
        known = self.interval(value).with_rounded(fraction)
        return FixedPoint(self.protocol.constant(words), fraction, known, np.dtype(dtype))

    # -- public values ---------------------------------------------------------------------------------------

    def interval(self, value: Value) -> Interval:
        """What is known of the size of a value."""
        match value:
            case FixedPoint():
                return value.interval
            case Integer():
                return value.interval or interval.symmetric(2**63)
            case Boolean():
                return Interval(0, 1)
        if value.known:
            return interval.of_array(np.asarray(value.array))
        if is_float(value.dtype):
            return interval.representable(2 * self.fraction)
        return Interval(0, 1) if is_boolean(value.dtype) else interval.of_dtype(np.dtype(value.dtype))

    def check_finite(self, value: Public) -> None:
        if not np.isfinite(np.asarray(value.array, np.float64)).all():
            raise self.refuse(
                "a public constant that is infinite or not a number meets a secret value",
                "Fixed-point numbers are finite: use a large finite constant, such as -1e4, in its place",
            )

    def encoded(self, value: Public, fraction: int) -> Any:
        """The ring words of a public value: everyone's, as a scalar if all are equal.

        A float that one player computed is encoded and checked there and released to the parties.
        """
        return self.once(value, ("encoded", fraction), lambda: self._encoded(value, fraction))

    def _encoded(self, value: Public, fraction: int) -> Any:
        if value.known:
            if is_float(value.dtype):
                self.check_constant(value, fraction)
            return self.constant(encoding.to_words(np.asarray(value.array), fraction))
        if value.at is None or not is_float(value.dtype):
            return encoding.to_words(self.everyone(value).array, fraction)
        limit = 2.0 ** (RANGE_BITS - max(fraction, 2 * self.fraction))
        words = guard(
            encoding.to_words(value.array, fraction),
            jnp.all(jnp.abs(value.array) < limit),
            value.at,
            f"{self.line}: a public value is not a number in (-{limit:g}, {limit:g})",
        )
        return self._release(words, value.at)

    def vanishes(self, value: Public, fraction: int) -> bool:
        """Whether a known constant that is not zero becomes zero at this fraction."""
        array = np.asarray(value.array, np.float64)
        return bool(array.any()) and not np.round(array * 2.0**fraction).any()

    def check_constant(self, value: Public, fraction: int) -> None:
        """Refuses a constant that is not finite or does not fit the ring at this fraction."""
        self.check_finite(value)
        largest = float(np.abs(np.asarray(value.array, np.float64)).max(initial=0.0))
        if largest * 2.0**fraction >= 2.0**RANGE_BITS:
            raise self.refuse(
                f"a public constant of magnitude {largest:g} does not fit {fraction} fraction bits",
                f"Scale the computation so that its constants stay below 2^{RANGE_BITS - 2 * self.fraction}, or use a "
                "lower precision",
            )

    def everyone(self, value: Public) -> Public:
        """The value where all parties know it; released by the player that computed it."""
        if value.at is None:
            return value
        return self.once(value, "everyone", lambda: Public(self._release(value.array, value.at)))

    def _release(self, array: Any, source: str) -> Any:
        others = tuple(party for party in self.parties if party != source)
        return release(array, source, others, self._public_reason()) if others else array

    def _public_reason(self) -> str:
        """Numbered as what is revealed is: a line may have many public values, each of other players' inputs."""
        number = next(self._published)
        return PUBLIC_VALUE + (f" ({number})" if number > 1 else "")

    def at_player(self, value: Public, player: str) -> Any:
        """The tracer of a public value at `player`, who is told if it does not hold it yet."""
        array = self.operand(value)
        if value.at == player or (value.at is None and (value.known or player in self.parties)):
            return array
        source = value.at or self.first
        return self.once(value, ("at", player), lambda: release(array, source, (player,), self._public_reason()))

    def operand(self, value: Public) -> Any:
        """The array of a public value as an operand in the choreography: constants but scalars are declared."""
        if not value.known or (value.array.ndim == 0 and not is_key(value.dtype)):
            return value.array
        return self.once(value, "operand", lambda: self._declare(value.array))

    def constant(self, words: np.ndarray) -> Any:
        """Public words known to all: a scalar if they are all equal, otherwise a declared constant."""
        if words.size and (words == words.flat[0]).all():
            return words.dtype.type(words.flat[0])
        return self.declared(words)

    def declared(self, array: np.ndarray) -> Any:
        """Any public array known to all, such as indices, as it is."""
        self.watch(array.nbytes)
        return public(array)

    def _declare(self, array: Any) -> Any:
        if not is_key(array.dtype):
            return self.declared(np.asarray(array))
        impl = jax.random.key_impl(array)
        with jax.ensure_compile_time_eval():
            data = np.asarray(jax.random.key_data(array))
        return jax.random.wrap_key_data(self.declared(data), impl=impl)

    def full(self, words: Any, shape: tuple[int, ...]) -> Any:
        return jnp.broadcast_to(words, shape)
