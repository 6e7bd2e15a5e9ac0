"""Arrays that are stacked on a leading axis, so that one operation does them all."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from jmpc.choreography.primitives import public
from jmpc.protocols.base import Array


def column(values: np.ndarray, ndim: int) -> Array:
    """A public array with `ndim` axes of length one after its own."""
    return public(values.reshape(values.shape + (1,) * ndim))


def unstack(slots: Sequence[Array], n: int) -> list[tuple[Array, ...]]:
    """The slots of each of the `n` stacked sharings."""
    return [tuple(jax.lax.index_in_dim(s, o, keepdims=False) for s in slots) for o in range(n)]
