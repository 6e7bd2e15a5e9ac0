"""Complex values: two private real ones under one handle.

A `ComplexValue` is a pytree of its two parts. So whatever takes pytrees of values takes it, and the code underneath
meets real values only. Where arrays come in the place of the values, it is a complex array again: as an argument of a
function that is being traced, and as a result of `run`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jmpc.api.operators import Operators
from jmpc.complexes import joined, parts
from jmpc.computation import ArrayType


class ComplexValue(Operators):
    """A private complex array: `real` and `imag` are values, or variables, of one real type."""

    def __init__(self, real: Any, imag: Any) -> None:
        self.real, self.imag = real, imag

    def __repr__(self) -> str:
        return f"<{self.type}: {self.real!r}, {self.imag!r}>"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.real.shape

    @property
    def dtype(self) -> np.dtype:
        return np.result_type(self.real.dtype, np.complex64)

    @property
    def type(self) -> ArrayType:
        return ArrayType(self.shape, self.dtype.name)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def reveal(self, player: str | None = None) -> ComplexValue:
        """Both parts opened to `player` (default: the driver) alone."""
        return ComplexValue(self.real.reveal(player), self.imag.reveal(player))

    def assign(self, value: Any) -> Any:
        """Of a variable: makes `value` its next generation when run."""
        new = in_parts(value)
        if not isinstance(new, ComplexValue):
            raise TypeError(f"assign: the variable is {self.type}, the value is real: convert it with astype")
        return ComplexValue(self.real.assign(new.real), self.imag.assign(new.imag))


def in_parts(tree: Any) -> Any:
    """A pytree with a `ComplexValue` in the place of each complex array, or type, the parts of which are the leaves."""

    def split(leaf: Any) -> Any:
        found = parts(leaf)
        return ComplexValue(*found) if len(found) == 2 else leaf

    return jax.tree.map(split, tree)


def _flatten(x: ComplexValue) -> tuple[Any, None]:
    keys = jax.tree_util.GetAttrKey("real"), jax.tree_util.GetAttrKey("imag")
    return tuple(zip(keys, (x.real, x.imag), strict=True)), None


def _unflatten(_: None, children: Iterable[Any]) -> Any:
    real, imag = children
    if isinstance(real, jax.Array | np.ndarray):
        return joined(real, imag)
    return None if real is None and imag is None else ComplexValue(real, imag)


jax.tree_util.register_pytree_with_keys(ComplexValue, _flatten, _unflatten)
