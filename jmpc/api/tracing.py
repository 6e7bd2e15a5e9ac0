"""What JAX says of Python code that needs the numbers of an array, said of private values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jax import errors

from jmpc._compat import UNKNOWN_LINE, innermost_line, user_line
from jmpc.errors import TraceError

# JAX's error, what led to it, and what to do instead; the first that fits.
_ADVICE: tuple[tuple[type[Exception], str, str], ...] = (
    (
        errors.TracerBoolConversionError,
        "Python is to decide by the numbers of an array (if, while, and, or, not, assert, max(), sorted())",
        "Choose with jnp.where or jax.lax.cond, combine conditions with & and |, and loop a fixed number of times with "
        "jax.lax.fori_loop",
    ),
    (
        errors.TracerArrayConversionError,
        "numpy, or a library on it, is to compute with the numbers of an array",
        "Use the function of jax.numpy in its place; jnp.asarray does nothing to what is an array already",
    ),
    (
        errors.TracerIntegerConversionError,
        "Python is to use an array as an integer (in range(), as an index into a list)",
        "Loop a fixed number of times with jax.lax.fori_loop, and index an array: jnp.stack(items)[index]",
    ),
    (
        errors.NonConcreteBooleanIndexError,
        "a mask is to pick elements, and the shape of the result would show how many",
        "Keep all elements and choose with jnp.where(mask, x, 0), or sort",
    ),
    (
        errors.ConcretizationTypeError,
        "Python is to have the number that an array holds (float(), int(), .item(), a shape)",
        "Leave it an array, with which everything can be computed that can with a number; what decides about shapes "
        "must be a public Python number, passed as it is",
    ),
)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """JAX's errors become TraceErrors that name the user's line and what to do; JAX's own is the cause."""
    try:
        yield
    except tuple(kind for kind, _, _ in _ADVICE) as error:
        what, instead = next((what, instead) for kind, what, instead in _ADVICE if isinstance(error, kind))
        found = innermost_line(error.__traceback__)
        line = user_line() if found == UNKNOWN_LINE else found
        raise TraceError(
            f"{line}: {what}; but an array has no numbers while its function is traced, "
            f"and a private one shows them to nobody. {instead}"
        ) from error
