"""What a value of the user's function is while it is lowered: public, or secret with a static type."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.lowering.interval import Interval, symmetric
from jmpc.precision import Precision as Precision
from jmpc.protocols.base import Bits, Product, Ring


class RangeWarning(UserWarning):
    """A value leaves the range in which fixed-point arithmetic is correct: certainly, or by declared ranges."""


class PrecisionWarning(UserWarning):
    """A constant is smaller than the steps of fixed-point numbers, and counts as 0."""


@dataclass(frozen=True)
class Peak:
    """The value is the maximum of `of` over `axes`; `dims[i]` is the dimension of `of` that dimension i is."""

    of: FixedPoint
    axes: tuple[int, ...]
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class Attains:
    """Along `axes`, some element is exactly `value` (in exact arithmetic; within rounding here)."""

    axes: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class Spread:
    """The value is `of`, which has size 1 in some dimensions, broadcast: expensive functions go there."""

    of: FixedPoint


Trait: TypeAlias = Peak | Attains | Spread


@functools.partial(jax.tree_util.register_dataclass, data_fields=["array"], meta_fields=["at"])
@dataclass(frozen=True)
class Public:
    """A value in the clear.

    `at is None`: everyone knows it, as a numpy array (a constant, known where the function is traced) or as
    a tracer (integers that everyone computes, parts of constants). Otherwise it is known at run time to
    the player `at` alone, or at least is computed there: floats, and what a player provides.
    """

    array: Any
    at: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def known(self) -> bool:
        """Known where the function is traced."""
        return not isinstance(self.array, jax.core.Tracer)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["sharing"], meta_fields=["fraction", "interval", "dtype", "trait"]
)
@dataclass(frozen=True)
class FixedPoint:
    """A secret real array: the shared integers times 2^-fraction.

    `fraction` may be anything: products stay at the sum of their operands' fractions, and a `Product` stays
    unsettled, until something needs a standard form (`Context.ring`).
    """

    sharing: Ring | Product
    fraction: int
    interval: Interval
    dtype: np.dtype
    trait: Trait | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sharing.shape

    @property
    def ring(self) -> Ring:
        """The sharing of a value that was settled."""
        return _settled(self.sharing)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["sharing"], meta_fields=["dtype", "interval"])
@dataclass(frozen=True)
class Integer:
    """A secret array of `dtype`, an integer type of w bits: the low w bits of the shared words.

    The words read as signed numbers lie in `interval`, or are anything if it is None; where that is not within
    the type's own range, they are extended from w bits wherever the high bits matter. `Bits`: exactly w.
    """

    sharing: Ring | Product | Bits
    dtype: np.dtype
    interval: Interval | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sharing.shape

    @property
    def ring(self) -> Ring:
        """The sharing of a value that was settled."""
        return _settled(self.sharing)

    @property
    def known(self) -> Interval:
        """What holds of the words in any case."""
        return self.interval or symmetric(2**63)

    @property
    def width(self) -> int:
        return 8 * np.dtype(self.dtype).itemsize

    @property
    def signed(self) -> bool:
        return bool(np.issubdtype(self.dtype, np.signedinteger))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["sharing"], meta_fields=["trait"])
@dataclass(frozen=True)
class Boolean:
    """A secret boolean array: bits, or 0 and 1 in the ring (what a look-up at a secret position gives)."""

    sharing: Bits | Ring
    trait: Trait | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sharing.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.bool_)


# FixedPoint | Integer | Boolean, and with Public. Which of them a rule meets follows from JAX's typing of its primitive
# (both operands of `add` have one dtype, and so on), which a static checker cannot know: to it they are anything.
Secret: TypeAlias = Any
Value: TypeAlias = Any


def _settled(sharing: Any) -> Ring:
    if not isinstance(sharing, Ring):
        raise TypeError(f"a {type(sharing).__name__} was not settled before it was used")
    return sharing


def is_float(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


def is_integer(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.integer))


def is_boolean(dtype: Any) -> bool:
    return dtype == np.bool_


def is_complex(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.complexfloating))


def is_key(dtype: Any) -> bool:
    """A typed PRNG key."""
    return bool(jnp.issubdtype(dtype, jax.dtypes.prng_key))


def secrets(values: Sequence[Value]) -> list[Secret]:
    return [value for value in values if not isinstance(value, Public)]
