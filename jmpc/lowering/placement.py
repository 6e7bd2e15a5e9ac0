"""Who computes what: known where the function is traced, by everyone, by one player, or in secret.

    KNOWN     evaluated where the function is traced; a numpy array
    EVERYONE  computed by every party: integer code, and exact moves and comparisons of floats
    PLAYER    computed at one player at run time: floats, and what a player provided
    SECRET    computed on shares

Players' floating point differs between devices, so only code whose result is the same bits everywhere may be
EVERYONE's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import scan_counts
from jmpc.lowering.values import Public, Value


class Where(enum.IntEnum):
    KNOWN = 0
    EVERYONE = 1
    PLAYER = 2
    SECRET = 3


@dataclass(frozen=True)
class Placement:
    where: Where
    player: str | None = None


KNOWN = Placement(Where.KNOWN)
EVERYONE = Placement(Where.EVERYONE)
SECRET = Placement(Where.SECRET)

# Exact on floats, hence the same at every player: moves, comparisons, and roundings to integers.
_EXACT = frozenset(
    "reshape broadcast_in_dim transpose squeeze expand_dims slice dynamic_slice dynamic_update_slice gather"
    " concatenate pad rev select_n copy copy_p split unstack scatter neg abs sign max min clamp floor ceil round"
    " is_finite eq ne lt le gt ge convert_element_type reduce_max reduce_min argmax argmin sort"
    " optimization_barrier".split()
)

_DEVICE_DEPENDENT = frozenset({"rng_bit_generator", "rng_uniform"})  # and what is made of their keys, of type key<rbg>


def of_value(value: Value) -> Placement:
    if not isinstance(value, Public):
        return SECRET
    if value.known:
        return KNOWN
    return EVERYONE if value.at is None else Placement(Where.PLAYER, value.at)


class Placer:
    """Places equations; `first` is the party that computes what has no other place, `watch` may end the search.

    It remembers what it found of loops and branches: those inside others are looked at again and again, and the
    work would double with every level of nesting.
    """

    def __init__(self, first: str, watch: Callable[[int], None]) -> None:
        self.first, self._watch = first, watch
        self._found: dict[tuple[int, tuple[Placement, ...]], tuple[JaxprEqn, list[Placement]]] = {}

    def join(self, *places: Placement) -> Placement:
        """Where something is that needs, or may be, all of these."""
        highest = max(places, key=lambda place: place.where, default=KNOWN)
        if highest.where is not Where.PLAYER:
            return highest
        players = {place.player for place in places if place.where is Where.PLAYER}
        return highest if len(players) == 1 else Placement(Where.PLAYER, self.first)

    def jaxpr(self, jaxpr: Jaxpr, inputs: Sequence[Placement]) -> list[Placement]:
        """The places of a body's results; its constants are known."""
        self._watch(0)
        env: dict[Var, Placement] = {var: KNOWN for var in jaxpr.constvars}
        env.update(zip(jaxpr.invars, inputs, strict=True))
        for eqn in jaxpr.eqns:
            places = self.equation(eqn, [_read(env, atom) for atom in eqn.invars])
            env.update(zip(eqn.outvars, places, strict=True))
        return [_read(env, atom) for atom in jaxpr.outvars]

    def equation(self, eqn: JaxprEqn, inputs: Sequence[Placement]) -> list[Placement]:
        """The places of an equation's results."""
        joined = self.join(*inputs)
        if joined.where is Where.SECRET and eqn.primitive.name in _CONTROL:
            key = (id(eqn), tuple(inputs))
            if key not in self._found:  # with the equation, so that its id stays taken
                self._found[key] = eqn, _CONTROL[eqn.primitive.name](self, eqn, inputs)
            return self._found[key][1]
        if joined.where is Where.EVERYONE and not is_exact(eqn):
            joined = Placement(Where.PLAYER, self.first)
        return [joined] * len(eqn.outvars)

    def scan(self, eqn: JaxprEqn, inputs: Sequence[Placement]) -> list[Placement]:
        num_consts, num_carry = scan_counts(eqn.params)
        consts, init, xs = inputs[:num_consts], inputs[num_consts:][:num_carry], inputs[num_consts + num_carry :]
        body = eqn.params["jaxpr"].jaxpr
        slices = [self.join(x, EVERYONE) for x in xs]
        kept = invariants(body.invars[num_consts:], body.outvars[:num_carry])
        results = self._carry(body, consts, init, slices, kept)
        return [*results[:num_carry], *(self.join(y, EVERYONE) for y in results[num_carry:])]

    def while_(self, eqn: JaxprEqn, inputs: Sequence[Placement]) -> list[Placement]:
        start = eqn.params["cond_nconsts"]
        stop = start + eqn.params["body_nconsts"]
        body = eqn.params["body_jaxpr"].jaxpr
        kept = invariants(body.invars[stop - start :], body.outvars)
        return self._carry(body, inputs[start:stop], inputs[stop:], [], kept)

    def _carry(
        self,
        body: Jaxpr,
        consts: Sequence[Placement],
        init: Sequence[Placement],
        slices: Sequence[Placement],
        kept: Sequence[bool],
    ) -> list[Placement]:
        """The least places that the carries of a loop keep; then those of what else its body gives."""
        carry = [place if keep else self.join(place, EVERYONE) for place, keep in zip(init, kept, strict=True)]
        while True:
            after = self.jaxpr(body, [*consts, *carry, *slices])
            joined = [self.join(a, b) for a, b in zip(carry, after[: len(carry)], strict=True)]
            if joined == carry:
                return [*carry, *after[len(carry) :]]
            carry = joined

    def cond(self, eqn: JaxprEqn, inputs: Sequence[Placement]) -> list[Placement]:
        index, *operands = inputs
        if index.where is Where.SECRET:
            return [SECRET] * len(eqn.outvars)
        outs = [self.jaxpr(branch.jaxpr, operands) for branch in eqn.params["branches"]]
        return [self.join(EVERYONE, *places) for places in zip(*outs, strict=True)]


_CONTROL = {"scan": Placer.scan, "while": Placer.while_, "cond": Placer.cond}


def invariants(carry_in: Sequence[Var], carry_out: Sequence[Var | Literal]) -> list[bool]:
    """Which carries a loop's body hands on as they are."""
    return [before is after for before, after in zip(carry_in, carry_out, strict=False)]


def is_exact(eqn: JaxprEqn) -> bool:
    """Whether an equation gives the same bits on every device."""
    avals = [atom.aval for atom in (*eqn.invars, *eqn.outvars)]
    if eqn.primitive.name in _DEVICE_DEPENDENT or any("rbg" in str(aval) for aval in avals):
        return False
    if eqn.primitive.name in _EXACT:
        return True
    if any(jnp.issubdtype(aval.dtype, np.inexact) for aval in avals if hasattr(aval, "dtype")):
        return False
    return all(is_exact(inner) for body in _bodies(eqn) for inner in body.eqns)


def _bodies(eqn: JaxprEqn) -> list[Jaxpr]:
    found = []
    for value in eqn.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(item, "eqns"):
                found.append(getattr(item, "jaxpr", item))
    return found


def _read(env: dict[Var, Placement], atom: Var | Literal) -> Placement:
    return KNOWN if isinstance(atom, Literal) else env[atom]
