"""The local part of a truncation by s bits, on uint64 words that two sides hold of one value.

If x = c + v mod 2^64 and 0 <= x < 2^63, then the sum wraps exactly where the top bit of c or that
of v is set. With these bits m_c and m_v, and up to a carry from the low bits,

    floor(x / 2^s) = (c >> s) + (v >> s) - 2^(64-s) (m_c + m_v - m_c m_v)    (mod 2^64),

of which (c >> s) - 2^(64-s) m_c is c's arithmetic shift. What the sides have to compute together is
the product m_c m_v, modulo 2^s.
"""

import jax

from jmpc.kernels.bits import arithmetic_shift_right, low_mask, shift_left, shift_right


def floor_shift_signed(x: jax.Array, s: int) -> jax.Array:
    """floor(x / 2^s) of a word in two's complement: (x >> s) - 2^(64-s) wrap_bit(x)."""
    return arithmetic_shift_right(x, s)


def wrap_bit(x: jax.Array) -> jax.Array:
    """The top bit of a word, as 0 or 1: the sum of two such sides wraps if one of these is set."""
    return shift_right(x, 8 * x.dtype.itemsize - 1)


def wrap_weight(x: jax.Array, s: int) -> jax.Array:
    """2^(64-s) x: what a wrap counts for after a truncation by `s`, nothing for s = 0."""
    return shift_left(x, 8 * x.dtype.itemsize - s)


def fraction(x: jax.Array, s: int) -> jax.Array:
    """The `s` bits that a truncation takes away."""
    return x & low_mask(s, x.dtype)
