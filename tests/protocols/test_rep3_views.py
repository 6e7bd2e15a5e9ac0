"""rep3: what each party sees is uniform, whatever the secrets; and mutants that leak are caught."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from protocols import sharings
from protocols.cases import CASES, Case
from protocols.evaluate import Choreography, P
from protocols.sharings import U64, opened
from protocols.views import LIMIT, is_exactly_uniform, worst_deviation

from jmpc.choreography.primitives import Group, agree, draw, release, send_masked
from jmpc.protocols.base import Bits, Product, Ring
from jmpc.protocols.rep3 import Rep3
from jmpc.protocols.rep3.cross_gate import Lanes, cross
from jmpc.protocols.rep3.roles import Roles, key

N = 4096
SECRETS = (0, -(1 << 30), (1 << 30) + 12345)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_views_are_uniform_for_fixed_secrets(case: Case) -> None:
    rng = np.random.default_rng(11)
    for rotation, secret in enumerate(SECRETS):
        inputs = [
            np.full(N, secret) if width is None else np.full(N, secret % (1 << width), U64) for width in case.widths
        ]
        shared = case.share(rng, *inputs)
        choreography = Choreography(functools.partial(case.run, Rep3(P, rotation)), *shared)
        result = choreography(*shared, seed=secret % 97)
        for player in P:
            assert worst_deviation(result, player, shared, N) < LIMIT


@pytest.mark.parametrize("owner", [*P, "owner"])
def test_views_of_inputs(owner: str) -> None:
    x = np.full(N, 12345, U64)
    share = Choreography(lambda x: Rep3(P).share(x, owner), x, holders={0: [owner]}, players=["owner"])
    result = share(x)
    assert {m.dst for m in result.messages} <= set(P) - {owner}
    for player in P:
        assert worst_deviation(result, player, [], N) < LIMIT
    # Every slot of an input is uniform, so every truncation of it rounds without bias.
    assert all(np.unique(slot).size == N for slot in result.out.slots)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("owner", [*P, "owner"])
def test_shared_bits_are_exactly_uniform(owner: str, width: int) -> None:
    """Each receiver sees uniform words of the width for every word of the owner, also one that is too wide."""

    def share(x: np.ndarray) -> Bits:
        return Rep3(P).share_bits(x, owner, width)

    where = dict(holders={0: [owner]}, players=["owner"])
    for value in (0, 1, (1 << width) - 1, 0x80):
        result = Choreography(share, np.full(N, value, np.uint8), **where)(np.full(N, value, np.uint8))
        receivers = {m.dst for m in result.messages}
        assert len(receivers) == (1 if owner in P else 2) and receivers <= set(P) - {owner}
        for player in receivers:
            assert is_exactly_uniform(share, lambda n, v=value: [np.full(n, v, np.uint8)], player, 1, **where)
        assert all((slot >> width == 0).all() for slot in result.out.slots)


def test_pieces_of_a_reveal_to_an_outsider_are_uniform_given_the_value() -> None:
    """Even for a sharing whose slots are not."""
    x = np.full(N, 77, U64)
    reveal = Choreography(lambda x: Rep3(P).reveal(Rep3(P).constant(x), "owner", "test"), x, players=["owner"])
    result = reveal(x)
    first, second, third = (m.array for m in result.messages)
    np.testing.assert_array_equal(first + second + third, x)
    assert np.unique(first).size == np.unique(second).size == np.unique(third).size == N
    result.messages.pop()
    assert worst_deviation(result, "owner", [], N, released=True) < LIMIT


# -- exact views, where all words of the keys that a player lacks can be enumerated ----------------


@pytest.mark.parametrize("player", P)
@pytest.mark.parametrize("width", [1, 2])
def test_and_is_exactly_uniform(player: str, width: int) -> None:
    rng = np.random.default_rng(1)
    for x, y in itertools.product(range(1 << width), repeat=2):
        slots = [_fixed(rng, value, width) for value in (x, y)]
        assert is_exactly_uniform(Rep3(P).and_, lambda n, s=slots: _spread(s, n), player, x)


@pytest.mark.parametrize("rotation", range(3))
@pytest.mark.parametrize("group", Group)
def test_the_cross_gate_is_exactly_uniform(group: Group, rotation: int) -> None:
    """Two bits, all u and v: A and B see uniform words, C sees none, and the result is right."""
    roles = Roles(P, rotation)
    a, b, c = roles.names
    times = operator.mul if group is Group.RING else operator.and_

    def gate(u: Any, v: Any) -> Any:
        return cross(roles, group, [Lanes(v, 2)], functools.partial(times, u), bits=2, constant=u)

    for u, v in itertools.product(range(4), repeat=2):

        def arguments(n: int, u: int = u, v: int = v) -> list[np.ndarray]:
            return [np.full(n, u, np.uint8), np.full(n, v, np.uint8)]

        located = dict(holders={0: [a, b], 1: [c]})
        for player in (a, b):
            assert is_exactly_uniform(gate, arguments, player, seed=4 * u + v, **located)
        result = Choreography(gate, *arguments(64), **located)(*arguments(64))
        assert not [m for m in result.messages if m.dst == c]
        (x, y, z), [shared] = result.out
        if group is Group.RING:
            assert ((x + y + z) % 4 == (u + u * v) % 4).all() and (sum(shared) % 4 == v).all()
        else:
            assert (x ^ y ^ z == u ^ (u & v)).all()
            assert (shared[0] ^ shared[1] ^ shared[2] == v).all()


@pytest.mark.parametrize("rotation", range(2))
def test_a_whole_sign_is_exactly_uniform(rotation: int) -> None:
    """One nibble: 15 lanes, G, P and the top bit, 18 bits that a party does not know."""
    rng = np.random.default_rng(rotation)
    a, b, _ = Roles(P, rotation).names
    for value, player in itertools.product((-8, 0, 5), (a, b)):
        x = sharings.ring(rng, np.array([value]))
        assert is_exactly_uniform(lambda x: Rep3(P, rotation).sign(x, 5), lambda n, x=x: _spread([x], n), player, 3)


@pytest.mark.parametrize("rotation", range(3))
@pytest.mark.parametrize("shift", [1, 3])
def test_the_lanes_of_truncations_are_exactly_uniform(shift: int, rotation: int) -> None:
    rng = np.random.default_rng(rotation)
    a, b, c = Roles(P, rotation).names

    def alone(x: Ring) -> Ring:
        return Rep3(P, rotation).truncate(x, shift)

    def product(x: Ring) -> Ring:
        p = Rep3(P, rotation)
        return p.truncate(p.as_product(x), shift)

    for value in (0, -1, 1 << 61, -(1 << 61)):
        copies = functools.partial(_spread, [sharings.ring(rng, np.array([value]))])
        for player in (a, b):
            assert is_exactly_uniform(alone, copies, player, 1)
        for player in (b, c):
            assert is_exactly_uniform(product, copies, player, 2)


def _fixed(rng: np.random.Generator, value: int, width: int) -> Bits:
    return sharings.bits(rng, np.array([value]), width)


def _spread(shared: Sequence[Ring | Bits], n: int) -> list[Ring | Bits]:
    """`n` copies of one sharing."""
    copies = []
    for x in shared:
        slots = tuple(np.broadcast_to(slot, n) for slot in x.slots)
        copies.append(Bits(slots, x.width) if isinstance(x, Bits) else Ring(slots))
    return copies


# -- mutants: each leaks, computes the right result, and must be seen to leak ----------------------


class WithoutZeroShares(Rep3):
    """Product shares travel as they are."""

    def settle(self, x: Product) -> Ring:
        p = self.parties
        return Ring(tuple(release(x.slots[i], p[i], p[i - 1], "mutant") for i in range(3)))


class OneMaskForTwoPlayers(Rep3):
    """P_{i-1} and P_{i+1} both get P_i's product share, under one word of K_{i+1}."""

    def settle(self, x: Product) -> Ring:
        p = self.parties
        f = [draw(key(p, i), x.shape) for i in range(3)]
        slots = []
        for i in range(3):
            mask, left, right = f[(i + 1) % 3], p[i - 1], p[(i + 1) % 3]
            slots.append(send_masked(x.slots[i] + f[i], {left: mask}, p[i]))
            send_masked(x.slots[i], {right: mask}, p[i])
        return Ring(tuple(slots))


class OneMaskTowardsAandB(Rep3):
    """A bit's conversion in which C hides its lane from A and from B by the same word."""

    def to_ring(self, bits: Sequence[Bits], weights: Sequence[Sequence[int]]) -> list[Ring]:
        roles = self._roles()
        (a, b, c), (_, bc, ca) = roles.names, roles.keys
        u, w = (half.astype(U64) for half in roles.split(bits[0], Group.XOR))
        k, s, s_ = draw(ca, w.shape), draw(ca, w.shape), draw(bc, w.shape)
        h = send_masked(w, {b: k}, c)
        send_masked(w, {a: k}, c)
        f = U64(1) - u - u
        e, e_ = send_masked(f * k, {b: s}, a), send_masked(f * h, {a: s_}, b)
        y = agree(u + e_ + f * k - s, u + e + f * h - s_)
        return [Ring(roles.slots(ab=y, bc=s_, ca=s))]


@pytest.mark.parametrize("mutant", [WithoutZeroShares, OneMaskForTwoPlayers])
def test_leaking_products_are_caught(mutant: type[Rep3]) -> None:
    rng = np.random.default_rng(1)
    x = sharings.ring(rng, np.full(N, 5))

    def fn(x: Ring) -> Ring:
        p = mutant(P)
        return p.settle(p.square(x))

    result = Choreography(fn, x, strict=False)(x)
    assert (opened(result.out) == 25).all()
    released = mutant is WithoutZeroShares
    worst = max(worst_deviation(result, player, [x], N, released) for player in P)
    assert worst > LIMIT
    if not released:
        with pytest.raises(AssertionError, match="can make the mask"):
            Choreography(fn, x)(x)


def test_a_leaking_gate_is_caught() -> None:
    rng = np.random.default_rng(2)
    bit = sharings.bits(rng, np.ones(N, np.uint8), 1)

    def fn(bit: Bits) -> Ring:
        return OneMaskTowardsAandB(P).to_ring([bit], [[1]])[0]

    result = Choreography(fn, bit, strict=False)(bit)
    assert (opened(result.out) == 1).all()
    assert worst_deviation(result, P[0], [bit], N) > LIMIT
    with pytest.raises(AssertionError, match="can make the mask"):
        Choreography(fn, bit)(bit)


def test_mutants_fail_the_exact_check_too() -> None:
    """One bit of an and, its zero share forgotten, is not uniform given the slots that are
    known.
    """

    class Mutant(Rep3):
        def _reshare(self, terms: Any, group: Group, bits: int) -> Any:
            p = self.parties
            for i in range(3):  # the masks of the others are drawn, and not used
                draw(key(p, i), terms[i].shape, terms[i].dtype, bits=bits)
            return tuple(release(terms[i], p[i], p[i - 1], "mutant", bits=bits) for i in range(3))

    rng = np.random.default_rng(3)
    slots = [_fixed(rng, 1, 1), _fixed(rng, 1, 1)]
    for player in P:
        assert not is_exactly_uniform(Mutant(P).and_, lambda n: _spread(slots, n), player, 1)
