"""Complex arrays outside of functions: everywhere two real arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def parts(x: Any) -> tuple[Any, ...]:
    """A complex array or `jax.ShapeDtypeStruct` as its real and its imaginary part; anything else as it is."""
    known = isinstance(x, np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct)
    if not known or not jnp.issubdtype(x.dtype, jnp.complexfloating):
        return (x,)
    if isinstance(x, jax.ShapeDtypeStruct):
        part = jax.ShapeDtypeStruct(x.shape, np.finfo(x.dtype).dtype)
        return part, part
    return x.real, x.imag


def joined(real: Any, imag: Any) -> Any:
    """The complex array of two real ones."""
    if isinstance(real, jax.Array) or isinstance(imag, jax.Array):
        return jax.lax.complex(real, imag)
    return np.asarray(real + 1j * imag)
