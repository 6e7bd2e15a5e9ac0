"""A complex array as its real and its imaginary part."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.lowering.values import is_complex


@functools.partial(jax.tree_util.register_dataclass, data_fields=["real", "imag"], meta_fields=[])
@dataclass(frozen=True)
class Pair:
    """The parts of a complex array, of one real type. A part that is 0 everywhere may be None, but not both."""

    real: Any
    imag: Any = None

    @property
    def filled(self) -> tuple[Any, Any]:
        """Both parts as arrays."""
        given = self.real if self.real is not None else self.imag
        real, imag = (jnp.zeros_like(given) if part is None else part for part in (self.real, self.imag))
        return real, imag

    def __add__(self, other: Any) -> Pair:
        other = as_pair(other)
        return Pair(_sum(self.real, other.real), _sum(self.imag, other.imag))

    __radd__ = __add__

    def __neg__(self) -> Pair:
        return Pair(_negative(self.real), _negative(self.imag))

    def __sub__(self, other: Any) -> Pair:
        return self + -as_pair(other)

    def __rsub__(self, other: Any) -> Pair:
        return as_pair(other) - self

    def __mul__(self, other: Any) -> Pair:
        return bilinear(jnp.multiply, self, as_pair(other))

    __rmul__ = __mul__

    def conj(self) -> Pair:
        return Pair(self.real, _negative(self.imag))

    def times_i(self) -> Pair:
        return Pair(_negative(self.imag), self.real)

    def over_i(self) -> Pair:
        return Pair(self.imag, _negative(self.real))


def as_pair(x: Any) -> Pair:
    """A real array, or a number, as a pair."""
    return x if isinstance(x, Pair) else Pair(x)


def bilinear(f: Callable[[Any, Any], Any], x: Pair, y: Pair) -> Pair:
    """A bilinear map of two pairs, by four real products.

    Three would do (Gauss), but a sum of products is settled and truncated once however many there are: both ways send
    as much, and the sums of parts that three products need cost range and precision.
    """
    real = _sum(_product(f, x.real, y.real), _negative(_product(f, x.imag, y.imag)))
    return Pair(real, _sum(_product(f, x.real, y.imag), _product(f, x.imag, y.real)))


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return a if b is None else b
    return a + b


def _negative(a: Any) -> Any:
    return None if a is None else -a


def _product(f: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    return None if a is None or b is None else f(a, b)


def part_dtype(dtype: Any) -> np.dtype:
    """The type of the parts of a complex type; any other type itself."""
    return np.finfo(dtype).dtype if is_complex(dtype) else np.dtype(dtype)
