"""Special functions, written in JAX; errors are those at 18 fraction bits, see `docs/functions.md`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from jmpc.lowering.composite import composite


@composite("cumlogsumexp")
def cumlogsumexp(x: Any, *, axis: int, reverse: bool) -> Any:
    """Relative to the running maximum: log of the sums of exp(x - max up to there), all of them at most the length."""
    return lax.associative_scan(jnp.logaddexp, x, reverse=reverse, axis=axis)


@composite("acosh")
def acosh(x: Any) -> Any:
    """2 log(sqrt((x + 1) / 2) + sqrt((x - 1) / 2)): nothing is squared, so that x may be as large as any number."""
    return 2 * jnp.log(jnp.sqrt((x + 1) / 2) + jnp.sqrt((x - 1) / 2))
