"""What a protocol family offers: sharings, linear maps, products, bits, smooth functions.

`jmpc.functions` and `jmpc.lowering` are written against this interface alone, so everything here
must be something that every family can do securely. The ring is Z_{2^64}; values are `uint64` words
read as two's complement. A sharing is a tuple of *slots*: arrays whose holders are the
choreography's business, such that a linear map of the value is the same map of every slot.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.kernels.bits import parity, word_dtype

Array = Any  # a located array: a JAX tracer inside a choreography

RING_BITS = 64


@functools.partial(jax.tree_util.register_dataclass, data_fields=["slots"], meta_fields=[])
@dataclass(frozen=True)
class Sharing:
    """Slots of one secret array; their meaning (sum, xor, who holds which) is the protocol's."""

    slots: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.slots[0].shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["slots"], meta_fields=[])
@dataclass(frozen=True)
class Ring(Sharing):
    """A secret array over Z_{2^64} in the protocol's standard form: ready for every operation."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["slots"], meta_fields=[])
@dataclass(frozen=True)
class Product(Sharing):
    """A sum of products before its one message round.

    Linear maps and sums only, until `settle` or `truncate`. Sums of products cost one round however
    many terms they have, and a product that is truncated at once is cheaper than a product and a
    truncation; this type is what makes both happen by themselves.
    """


@functools.partial(jax.tree_util.register_dataclass, data_fields=["slots"], meta_fields=["width"])
@dataclass(frozen=True)
class Bits(Sharing):
    """XOR sharing of words of `width` bits in their narrowest dtype; a secret boolean has width 1.

    The slots are zero above `width` bits.
    """

    width: int

    @property
    def dtype(self) -> np.dtype:
        return word_dtype(self.width)


S = TypeVar("S", bound=Sharing)


@dataclass(frozen=True)
class Series:
    """A real function of a turn as a Fourier series.

    a0 + sum_k a_k cos(2 pi k t) + b_k sin(2 pi k t): `harmonics` are the k; `cosines` and `sines`
    are the coefficients in units of 2^-30, all below 2 in magnitude; `constant` is a0 as a float
    (encoded once, where the program is traced).
    """

    harmonics: tuple[int, ...]
    cosines: tuple[int, ...]
    sines: tuple[int, ...]
    constant: float = 0.0


class Protocol(abc.ABC):
    """A family of secret-sharing protocols over Z_{2^64}, as seen by functions and lowering.

    Every method only *traces*: it may be called under a choreography's trace, with located arrays.
    A method's docstring gives rounds and total bits per element; implementations repeat theirs and
    add the simulation argument. "Public" arrays are uint64 and held by all parties.
    """

    parties: tuple[str, ...]

    @property
    @abc.abstractmethod
    def slot_holders(self) -> tuple[frozenset[str], ...]:
        """Who holds each slot of a `Ring` or of `Bits`."""

    # -- into and out of shares --------------------------------------------------------------------

    @abc.abstractmethod
    def share(self, x: Array, owner: str) -> Ring:
        """Shares the uint64 array `x`, held by `owner` (a party or any other player). 1 round."""

    @abc.abstractmethod
    def share_bits(self, x: Array, owner: str, width: int) -> Bits:
        """Shares the low `width` bits of the unsigned array `x`, held by `owner`, as words of that width. 1 round.

        Whatever an owner sends is a sharing of some words of that width: a boolean is shared like this, with width 1,
        so that nobody can make it anything but 0 or 1.
        """

    @abc.abstractmethod
    def arrivals(self, x: Sharing) -> dict[str, list[Array]]:
        """Of what `share` or `share_bits` gave for a player that is no party: what each party got of it by message."""

    @abc.abstractmethod
    def constant(self, x: Array) -> Ring:
        """The public uint64 array `x` as a sharing. No message."""

    @abc.abstractmethod
    def constant_bits(self, x: Array, width: int) -> Bits:
        """The public words `x` as an XOR sharing. No message."""

    @abc.abstractmethod
    def reveal(self, x: Ring, to: str, why: str) -> Array:
        """Opens `x` to the player `to` alone (party or not), in the account as `why`. 1 round."""

    @abc.abstractmethod
    def reveal_bits(self, x: Bits, to: str, why: str) -> Array:
        """As `reveal`, for words of bits."""

    # -- linear, all local -------------------------------------------------------------------------

    def map(self, f: Callable[..., Array], *xs: S) -> S:
        """Applies the linear map `f` (of one or several sharings of one type) slot by slot.

        For `Bits` the map must be linear over xor and keep words within `width`; use `map_bits` to
        change the width.
        """
        mapped = tuple(f(*slots) for slots in zip(*(x.slots for x in xs), strict=True))
        return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(xs[0]), mapped)

    def map_bits(self, f: Callable[..., Array], *xs: Bits, width: int) -> Bits:
        """As `map`, for a xor-linear `f` that gives words of `width` bits in their dtype."""
        return Bits(tuple(f(*slots) for slots in zip(*(x.slots for x in xs), strict=True)), width)

    def add(self, x: S, y: S) -> S:
        """x + y, broadcasting; Ring with Ring, Product with Product (see `as_product`)."""
        return self.map(jnp.add, x, y)

    def subtract(self, x: S, y: S) -> S:
        return self.map(jnp.subtract, x, y)

    def negate(self, x: S) -> S:
        return self.map(jnp.negative, x)

    def scale(self, x: S, k: Array | int) -> S:
        """k * x for a public ring element or array `k`, exact mod 2^64."""
        return self.map(lambda slot: slot * as_word(k), x)

    @abc.abstractmethod
    def add_public(self, x: S, k: Array | int) -> S:
        """x + k for a public `k` (Ring or Product)."""

    @abc.abstractmethod
    def as_product(self, x: Ring) -> Product:
        """`x` as a summand of products. No message."""

    # -- products and truncation -------------------------------------------------------------------

    @abc.abstractmethod
    def multiply(self, x: Ring, y: Ring, bilinear: Callable[[Array, Array], Array] = jnp.multiply) -> Product:
        """Any bilinear map of two secrets (product, dot, convolution), exact mod 2^64."""

    @abc.abstractmethod
    def square(self, x: Ring) -> Product:
        """x * x elementwise, cheaper than `multiply(x, x)`."""

    @abc.abstractmethod
    def settle(self, x: Product) -> Ring:
        """The product in standard form, not truncated. 1 round."""

    @abc.abstractmethod
    def truncate(self, x: Ring | Product, shift: int, *, signed: bool = True) -> Ring:
        """floor or floor + 1 of x / 2^shift: stochastic rounding with a public, uniform coin.

        Unbiased. Correct for every -2^62 <= x < 2^62 - 2^shift (unsigned: 0 <= x < 2^63 - 2^shift):
        there are no rare large errors. `shift == 0` is the identity (settling a product). Ring: 1
        round, Product: 2.
        """

    @abc.abstractmethod
    def truncate_exact(self, x: Ring, shift: int) -> Ring:
        """floor(x / 2^shift), deterministic, for |x| < 2^62."""

    # -- bits --------------------------------------------------------------------------------------

    @abc.abstractmethod
    def sign(self, x: Ring, range_bits: int = RING_BITS) -> Bits:
        """[x < 0], width 1. With a known |x| < 2^(range_bits - 1) it is cheaper."""

    @abc.abstractmethod
    def less_than_each(self, x: Ring, thresholds: Sequence[int], range_bits: int = RING_BITS) -> list[Bits]:
        """[x < t] for each public signed integer t; cheaper than one `sign` for each.

        With known |x - t| < 2^(range_bits - 1) it is cheaper still.
        """

    @abc.abstractmethod
    def words_less_than_each(self, x: Ring | Bits, thresholds: Sequence[int], width: int) -> list[Bits]:
        """[x mod 2^width < t] for each public 0 < t < 2^width: the low bits as an unsigned number. 2 rounds.

        In fewer rounds than `less_than_each`, and with more bytes.
        """

    @abc.abstractmethod
    def is_zero(self, x: Ring) -> Bits:
        """[x == 0], width 1."""

    @abc.abstractmethod
    def to_bits(self, x: Ring) -> Bits:
        """All 64 bits of x, width 64."""

    def xor(self, x: Bits, y: Bits) -> Bits:
        """x ^ y of equal widths, local."""
        return self.map(jnp.bitwise_xor, x, y)

    @abc.abstractmethod
    def xor_public(self, x: Bits, k: Array | int) -> Bits:
        """x ^ k for public words `k`."""

    def invert(self, x: Bits) -> Bits:
        """Flips all `width` bits, local."""
        return self.xor_public(x, (1 << x.width) - 1)

    @abc.abstractmethod
    def and_(self, x: Bits, y: Bits) -> Bits:
        """x & y of equal widths, broadcasting. 1 round."""

    def or_(self, x: Bits, y: Bits) -> Bits:
        """x | y = x ^ y ^ (x & y). 1 round."""
        return self.xor(self.xor(x, y), self.and_(x, y))

    def parity(self, x: Bits, mask: int) -> Bits:
        """Xor of the bits of `x` selected by `mask`, width 1, local."""
        return self.map_bits(lambda slot: parity(slot, mask), x, width=1)

    @abc.abstractmethod
    def to_ring(self, bits: Sequence[Bits], weights: Sequence[Sequence[int]]) -> list[Ring]:
        """For each row w of `weights`: sum_i w_i * bits_i, all bits of width 1. 1 round."""

    @abc.abstractmethod
    def words_to_ring(self, x: Bits) -> Ring:
        """The unsigned integer that the words of `x` spell, in the ring."""

    @abc.abstractmethod
    def inject(self, bit: Bits, x: Ring) -> Ring:
        """bit * x for a secret bit and a secret x, broadcasting. 1 round."""

    def select(self, bit: Bits, x: Ring, y: Ring) -> Ring:
        """x where the secret bit is 1, otherwise y. 1 round."""
        return self.add(y, self.inject(bit, self.subtract(x, y)))

    # -- smooth functions and look-ups -------------------------------------------------------------

    @abc.abstractmethod
    def fourier(self, turn: Ring, series: Sequence[Series], scales: tuple[int, int] = (30, 30)) -> list[Ring]:
        """Each series at the angle turn / 2^64, at scale 2^(sum of scales). 1 round.

        The pair of scales is the precision of the coefficients' side and of the angle's side; every
        value of a series must stay below 2^(62 - sum(scales)). Noise below 2^-24 at (30, 30).
        """

    @abc.abstractmethod
    def exp2_blocks(self, y: Ring, fraction: int) -> tuple[Ring, Ring]:
        """2^(y / 2^fraction) taken apart in blocks of eight octaves. 1 round.

        Returns (mantissa, blocks): mantissa in [1, 2^16] at scale 2^46, and the one-hot of the
        block number q mod 8 on a new last axis of length 8: 2^(y / 2^fraction) is the mantissa
        times 2^(8 q). The caller knows the range of y; q is in -4 .. 3 for exponents in [-20, 25).
        """

    @abc.abstractmethod
    def one_hot(self, index: Ring | Bits, n: int) -> Ring:
        """The unit vectors of length n = 2^k of `index mod n`, on a new last axis. 1 round."""

    # -- secret order ------------------------------------------------------------------------------

    @abc.abstractmethod
    def permute(self, places: Bits, columns: Sequence[Sharing]) -> list[Any]:
        """Element i of each column at `places[..., i]` of the last axis. 2 rounds.

        The places of every row must be a permutation of 0 .. n - 1, in words of at least log2 n bits; the columns have
        their shape, or more axes in front of it, along which all elements move alike.
        """

    @abc.abstractmethod
    def sort_by_digit(self, digits: Bits, columns: Sequence[Sharing]) -> list[Any]:
        """Each column in the ascending order of the words `digits` along the last axis, equal ones as they are.

        For words of few bits: the costs grow with 2^width. 4 rounds.
        """


def check_thresholds(thresholds: Sequence[int], width: int) -> None:
    """Raises ValueError for one that no protocol compares words of `width` bits with."""
    if not all(0 < t < 1 << width for t in thresholds):
        raise ValueError(f"thresholds of words of {width} bits lie between 0 and 2^{width}, not {list(thresholds)}")


def as_word(k: Array | int) -> Array:
    """A Python integer of any sign as the ring element it names; arrays pass through."""
    return np.uint64(k % (1 << RING_BITS)) if isinstance(k, int) else k
