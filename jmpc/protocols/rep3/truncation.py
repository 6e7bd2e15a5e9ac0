"""Division by 2^s with one-bit rounding, and never a large error.

Let z' = c + v mod 2^64 with 0 <= z' < 2^63 (c known to A and B, v to C; signed values are lifted by
2^62). The sum wraps at most once, and it does iff one of the top bits m_c, m_v is set, so that

    z' = c + v - 2^64 (m_c + m_v - m_c m_v)
    floor(z' / 2^s) = (c >> s) + (v >> s) + 2^(64-s) m_c m_v + carry       (>> arithmetic)

because an arithmetic shift of c takes 2^(64-s) m_c off by itself. Only kappa = m_c m_v is joint,
and it is needed mod 2^s only. Dropping the carry of the low parts, and adding 2^s - 1 to c
beforehand, gives floor((z + rho) / 2^s) with rho = 2^s - 1 - (v mod 2^s): unbiased stochastic
rounding.

What is realised is the functionality F_dither: rho is uniform, independent of z, and *public*: a
corrupted C knows it, and a corrupted A or B knows rho' = 2^s - 1 - (c mod 2^s), which rounds z to
the same result. (The sharing must be uniform given the value. All are, except public constants,
which round to one side.) One sharing that is truncated twice in one rotation meets one coin twice.
"""

from __future__ import annotations

import jax
import numpy as np

from jmpc.choreography.primitives import Group, draw, send_masked
from jmpc.kernels.bits import arithmetic_shift_right
from jmpc.kernels.truncation import add_wrap, wrap_bit
from jmpc.protocols.base import RING_BITS, Array, Product, Ring
from jmpc.protocols.rep3.cross_gate import Lanes, cross, solo
from jmpc.protocols.rep3.products import ProductsMixin
from jmpc.protocols.rep3.roles import Roles, Slots

LIFT_BITS = RING_BITS - 2  # signed values in [-2^62, 2^62) are lifted by 2^62


class TruncationMixin(ProductsMixin):
    """Truncation with a dithered rounding."""

    def truncate(self, x: Ring | Product, shift: int, *, signed: bool = True) -> Ring:
        """floor((x + rho) / 2^shift), rho a uniform public coin; see the module.

        A `Ring`: 1 round, 64 + 4s bits. C receives nothing; A and B receive the messages of a cross
        gate, and B one more element masked under K_CA, which it lacks.

        A `Product`: 2 rounds, 192 + 3s bits, against 256 + 4s for `settle` and `truncate`. A and B
        open c = z_A + z_B - F(K_CA) - F(K_BC) to each other: A sees z_B under K_BC, B sees z_A
        under K_CA, while v = z_C + F(K_CA) + F(K_BC) is C's. B sees C's pieces of v under further
        words of K_CA, and C sees what A and B make of kappa under K_AB: each time a key that the
        receiver lacks.
        """
        if not 0 <= shift <= LIFT_BITS:
            raise ValueError(f"A truncation shifts by 0 to {LIFT_BITS} bits, not by {shift}")
        if shift == 0:
            return self.settle(x) if isinstance(x, Product) else x
        lift = (1 << LIFT_BITS) if signed else 0
        function = truncate_product if isinstance(x, Product) else truncate_ring
        return Ring(function(self._roles(), x, shift, lift, (1 << shift) - 1))


@jax.jit(static_argnames=("roles", "shift", "lift", "rounding"))
def truncate_ring(roles: Roles, x: Ring, shift: int, lift: int, rounding: int) -> Slots:
    """The arithmetic of the module without the carry, for x + lift + rounding in [0, 2^63)."""
    c, v = roles.split(x)
    c = c + np.uint64(lift + rounding)
    m_c, m_v = wrap_bit(c, shift), wrap_bit(v, shift)
    kappa, _ = cross(roles, Group.RING, [Lanes(m_v, shift)], lambda m: m_c * m, bits=shift)
    lane = Lanes(arithmetic_shift_right(v, shift), RING_BITS)
    halves = solo(roles, Group.RING, lane, ab=_without_lift(c, shift, lift))
    return _add_wrap(halves, kappa, shift)


@jax.jit(static_argnames=("roles", "shift", "lift", "rounding"))
def truncate_product(roles: Roles, x: Product, shift: int, lift: int, rounding: int) -> Slots:
    """The same for a product: round 1 makes c and v and shares v's part, round 2 shares kappa."""
    a, b, c = roles.names
    ab, bc, ca = roles.keys
    z_a, z_b, z_c = (x.slots[(roles.rotation + i) % 3] for i in range(3))
    to_b, to_a = draw(ca, x.shape), draw(bc, x.shape)
    opened = send_masked(z_a, {b: to_b}, a) + send_masked(z_b, {a: to_a}, b) + np.uint64(lift + rounding)
    v = z_c + to_b + to_a
    m_c, m_v = wrap_bit(opened, shift), wrap_bit(v, shift)
    lane = Lanes(arithmetic_shift_right(v, shift), RING_BITS)
    halves = solo(roles, Group.RING, lane, ab=_without_lift(opened, shift, lift))
    _, mu_bc, mu_ca = roles.named(solo(roles, Group.RING, Lanes(m_v, shift)))
    rho_a, rho_b = (draw(ab, x.shape, m_c.dtype, bits=shift) for _ in range(2))
    kappa = roles.slots(
        ab=rho_a + rho_b,
        bc=send_masked(m_c * mu_bc, {c: rho_b}, b, bits=shift),
        ca=send_masked(m_c * mu_ca, {c: rho_a}, a, bits=shift),
    )
    return _add_wrap(halves, kappa, shift)


def _without_lift(c: Array, shift: int, lift: int) -> Array:
    """c >> shift, with the lift, shifted as well, taken off again."""
    shifted = arithmetic_shift_right(c, shift)
    return shifted - np.uint64(lift >> shift) if lift else shifted


def _add_wrap(halves: Slots, kappa: Slots, shift: int) -> Slots:
    """halves + 2^(64-s) kappa, kappa mod 2^s."""
    first, second, third = (add_wrap(h, k, shift) for h, k in zip(halves, kappa, strict=True))
    return first, second, third
