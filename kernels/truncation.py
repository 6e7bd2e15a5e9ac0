"""The local part of a truncation by s bits, on uint64 words that two sides hold of one value.

If x = c + v mod 2^64 and 0 <= x < 2^63, then the sum wraps exactly where the top bit of c or that
of v is set. With these bits m_c and m_v, and up to a carry from the low bits,

    floor(x / 2^s) = (c >> s) + (v >> s) - 2^(64-s) (m_c + m_v - m_c m_v)    (mod 2^64),

of which (c >> s) - 2^(64-s) m_c is c's arithmetic shift. What the sides have to compute together is
the product m_c m_v, modulo 2^s.
"""

import jax
import numpy as np

from jmpc.kernels.bits import bit_at, shift_left, word_dtype


@jax.jit(static_argnames=("s",))
def wrap_bit(x: jax.Array, s: int) -> jax.Array:
    """The top bit of each word, m_c or m_v, in a dtype for numbers mod 2^s."""
    return bit_at(x, 63).astype(word_dtype(s))


@jax.jit(static_argnames=("s",))
def add_wrap(x: jax.Array, product: jax.Array, s: int) -> jax.Array:
    """x + 2^(64-s) m_c m_v: of the sum of arithmetic shifts, the floor; linear, so also of shares."""
    return x + shift_left(product.astype(np.uint64), 64 - s)
