"""The three parties of replicated sharing, their keys, and the roles that gates give them.

A value is x = x_0 + x_1 + x_2 (or the xor of three words). Slot x_i is held by P_{i-1} and P_i, so
that P_i holds (x_i, x_{i+1}) and misses x_{i+2}; key K_i is held by the holders of slot x_i.
(Indices mod 3.)

An asymmetric gate calls the parties A = P_r, B = P_{r+1}, C = P_{r+2}, and names slots and keys by
their holders: AB = x_{r+1}, BC = x_{r+2}, CA = x_r. Its *two-operand view* of a sharing is
x = c + v, with c = x_AB known to A and B, and v = x_BC + x_CA known to C: free, and the start of
every gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jmpc.choreography.primitives import Group
from jmpc.protocols.base import Protocol, Sharing

Array = Any
Key = frozenset[str]
Slots = tuple[Array, Array, Array]


def key(parties: tuple[str, ...], i: int) -> Key:
    """K_i, held by P_{i-1} and P_i."""
    return frozenset((parties[(i - 1) % 3], parties[i % 3]))


def combine(group: Group, *terms: Array) -> Array:
    """The sum of `terms` in `group`."""
    total, *rest = terms
    for term in rest:
        total = total + term if group is Group.RING else total ^ term
    return total


@dataclass(frozen=True)
class Roles:
    """Who is A, B and C in one gate: `rotation` r makes P_r the A."""

    parties: tuple[str, ...]
    rotation: int

    @property
    def names(self) -> tuple[str, str, str]:
        """A, B, C."""
        a, b, c = (self.parties[(self.rotation + i) % 3] for i in range(3))
        return a, b, c

    @property
    def keys(self) -> tuple[Key, Key, Key]:
        """K_AB, K_BC, K_CA."""
        a, b, c = self.names
        return frozenset((a, b)), frozenset((b, c)), frozenset((c, a))

    def split(self, x: Sharing, group: Group = Group.RING) -> tuple[Array, Array]:
        """The two-operand view (c, v) of `x`."""
        ab, bc, ca = self.named(x.slots)
        return ab, combine(group, bc, ca)

    def slots(self, ab: Array, bc: Array, ca: Array) -> Slots:
        """The slots in the order x_0, x_1, x_2."""
        order = (ca, ab, bc)  # from slot x_r on
        first, second, third = (order[(i - self.rotation) % 3] for i in range(3))
        return first, second, third

    def named(self, slots: tuple[Array, ...]) -> Slots:
        """The slots x_0, x_1, x_2 in the order AB, BC, CA."""
        r = self.rotation
        return slots[(r + 1) % 3], slots[(r + 2) % 3], slots[r % 3]


class Parties(Protocol):
    """The state of a `Rep3`: who the parties are, and whose turn it is to be A in the next gate."""

    def __init__(self, parties: tuple[str, ...], rotation: int = 0) -> None:
        if len(parties) != 3 or len(set(parties)) != 3:
            raise ValueError(f"Replicated sharing needs three different parties, not {parties}")
        self.parties = parties
        self._gates = rotation

    @property
    def slot_holders(self) -> tuple[frozenset[str], ...]:
        """Slot x_i is held by P_{i-1} and P_i."""
        return tuple(key(self.parties, i) for i in range(3))

    def _roles(self) -> Roles:
        """Roles for one gate. They rotate, so that the uneven load of gates averages out."""
        roles = Roles(self.parties, self._gates % 3)
        self._gates += 1
        return roles
