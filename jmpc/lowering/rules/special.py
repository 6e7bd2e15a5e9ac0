"""Special functions, written in JAX; errors are those at 18 fraction bits, see `docs/functions.md`."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from jmpc.lowering.composite import composite

_LARGE = 2.0**16  # whose square is larger than any fraction is fine


@composite("cumlogsumexp")
def cumlogsumexp(x: Any, *, axis: int, reverse: bool) -> Any:
    """Relative to the running maximum: log of the sums of exp(x - max up to there), all of them at most the length."""
    return lax.associative_scan(jnp.logaddexp, x, reverse=reverse, axis=axis)


@composite("asinh")
def asinh(x: Any) -> Any:
    """Of a = |x| with m = max(a, 1) and n = min(a, 1): log(m) + log(n + sqrt(1 + (n / m)^2)), without large squares."""
    size = jnp.abs(x)
    large, small = jnp.maximum(size, 1), jnp.minimum(size, 1)
    slope = jnp.minimum(small / large, 1)
    return jnp.sign(x) * (jnp.log(large) + jnp.log(small + jnp.sqrt(1 + slope * slope)))


@composite("acosh")
def acosh(x: Any) -> Any:
    """2 log(sqrt(x + 1) + sqrt(x - 1)) - log(2) up to 2^16, and from there on as log(x) grows."""
    near = jnp.clip(x, 1, _LARGE)
    return 2 * jnp.log(jnp.sqrt(near + 1) + jnp.sqrt(near - 1)) - math.log(2) + _growth(x)


def _growth(x: Any) -> Any:
    """log(x / 2^16), or 0 for a smaller x."""
    return jnp.log(jnp.maximum(x, _LARGE)) - math.log(_LARGE)
