"""rep3: results, rounds, bits, and that the players' copies agree, in all rotations of roles."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from protocols import sharings
from protocols.cases import CASES, Case, rounded
from protocols.evaluate import PAIRS, Choreography, P
from protocols.sharings import U64, numbers, opened, opened_bits, words

from jmpc.choreography.trace import trace
from jmpc.protocols.base import Ring, word_dtype
from jmpc.protocols.rep3 import Rep3

N = 4096
OWNERS = (*P, "owner")


@pytest.mark.parametrize("rotation", range(3))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_result_and_cost(case: Case, rotation: int) -> None:
    rng = np.random.default_rng(rotation)
    inputs = case.inputs(rng, N)
    shared = case.share(rng, *inputs)
    choreography = Choreography(functools.partial(case.run, Rep3(P, rotation)), *shared)
    result = choreography(*shared, seed=rotation)
    case.check(result.out, *inputs)
    assert (result.rounds, result.bits / N) == (case.rounds, case.bits)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_passes_the_static_checks(case: Case) -> None:
    shared = case.share(np.random.default_rng(0), *case.inputs(np.random.default_rng(0), 16))
    flat = [slot for x in shared for slot in x.slots]

    def fn(*slots):
        xs = [type(x) for x in shared]
        groups = [slots[3 * i : 3 * i + 3] for i in range(len(xs))]
        rebuilt = [
            Ring(tuple(group)) if isinstance(x, Ring) else type(x)(tuple(group), x.width)
            for x, group in zip(shared, groups, strict=True)
        ]
        out = case.run(Rep3(P), *rebuilt)
        many = out if isinstance(out, (list, tuple)) else [out]
        return [slot for y in many for slot in y.slots]

    checked = trace(fn, flat, list(PAIRS) * len(shared), P)
    assert checked.masked_messages > 0
    assert not any(eqn.primitive.name == "release" for eqn in checked.equations())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_traces_under_a_users_strict_flags(case: Case) -> None:
    shared = case.share(np.random.default_rng(0), *case.inputs(np.random.default_rng(0), 16))
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        Choreography(functools.partial(case.run, Rep3(P)), *shared)


@pytest.mark.parametrize("owner", OWNERS)
def test_share(owner: str) -> None:
    x = numbers(np.random.default_rng(1), N, 63).view(U64)
    share = Choreography(lambda x: Rep3(P).share(x, owner), x, holders={0: [owner]}, players=["owner"])
    result = share(x)
    np.testing.assert_array_equal(opened(result.out).view(U64), x)
    assert (result.rounds, result.bits / N) == (1, 64 if owner in P else 128)


@pytest.mark.parametrize("width", [1, 8, 13])
@pytest.mark.parametrize("owner", OWNERS)
def test_share_bits(owner: str, width: int) -> None:
    x = words(np.random.default_rng(1), N, 16)  # what is above the width is dropped
    share = Choreography(lambda x: Rep3(P).share_bits(x, owner, width), x, holders={0: [owner]}, players=["owner"])
    result = share(x)
    assert result.out.slots[0].dtype == word_dtype(width) and result.out.width == width
    np.testing.assert_array_equal(opened_bits(result.out), x & ((1 << width) - 1))
    assert (result.rounds, result.bits / N) == (1, width if owner in P else 2 * width)
    trace(
        lambda x: list(Rep3(P).share_bits(x, owner, width).slots), [x], [[owner]], (*P, "owner")
    )  # passes the static checks


@pytest.mark.parametrize("to", OWNERS)
def test_reveal(to: str) -> None:
    rng = np.random.default_rng(2)
    x, w = numbers(rng, N, 63), words(rng, N, 13)
    shared = sharings.ring(rng, x), sharings.bits(rng, w, 13)
    reveal = Choreography(
        lambda x, w: (Rep3(P).reveal(x, to, "test"), Rep3(P).reveal_bits(w, to, "test")),
        *shared,
        players=["owner"],
    )
    result = reveal(*shared)
    np.testing.assert_array_equal(result.out[0].view(np.int64), x)
    np.testing.assert_array_equal(result.out[1], w)
    assert result.rounds == 1 and {m.dst for m in result.messages} == {to}
    assert result.bits / N == (64 + 13) * (1 if to in P else 3)


def test_constants_and_linear_maps_cost_nothing() -> None:
    rng = np.random.default_rng(3)
    x, y, k = numbers(rng, 12, 63), numbers(rng, 12, 63), words(rng, 12)
    shared = sharings.ring(rng, x), sharings.ring(rng, y)

    def fn(x: Ring, y: Ring, k):
        p = Rep3(P)
        z = p.subtract(p.scale(x, -3), p.negate(p.add(y, p.constant(k))))
        flags = p.xor_public(p.invert(p.constant_bits(k, 13)), 5)
        return p.map(lambda s: s.reshape(3, 4).T, p.add_public(z, 1 << 63)), flags

    result = Choreography(fn, *shared, k)(*shared, k)
    expected = (x * -3 + y + k.view(np.int64) + np.int64(-(1 << 63))).reshape(3, 4).T
    np.testing.assert_array_equal(opened(result.out[0]), expected)
    np.testing.assert_array_equal(opened_bits(result.out[1]), (k & U64(0x1FFF)) ^ U64(0x1FFF ^ 5))
    assert result.messages == []


def test_a_contraction_is_charged_for_its_outputs() -> None:
    rng = np.random.default_rng(4)
    x, y = words(rng, (7, 50)), words(rng, (50, 9))
    shared = sharings.ring(rng, x), sharings.ring(rng, y)
    choreography = Choreography(lambda x, y: _matmul(Rep3(P), x, y), *shared)
    result = choreography(*shared)
    np.testing.assert_array_equal(opened(result.out).view(U64), x @ y)
    assert (result.rounds, result.bits) == (1, 192 * 63)


def test_a_truncated_contraction_takes_two_rounds() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.integers(-(2**30), 2**30, (5, 8)), rng.integers(-(2**27), 2**27, (8, 6))
    shared = sharings.ring(rng, x), sharings.ring(rng, y)

    def fn(x: Ring, y: Ring) -> Ring:
        p = Rep3(P)
        return p.truncate(p.multiply(x, y, jnp.matmul), 18)

    result = Choreography(fn, *shared)(*shared)
    rounded(result.out, x @ y, 18)
    assert (result.rounds, result.bits) == (2, 246 * 30)


def _matmul(p: Rep3, x: Ring, y: Ring) -> Ring:
    return p.settle(p.multiply(x, y, jnp.matmul))


def test_bits_broadcast_over_values() -> None:
    rng = np.random.default_rng(6)
    b, x = words(rng, (5, 1), 1), words(rng, (5, 3))
    shared = sharings.bits(rng, b, 1), sharings.ring(rng, x)
    result = Choreography(lambda b, x: Rep3(P).inject(b, x), *shared)(*shared)
    np.testing.assert_array_equal(opened(result.out).view(U64), b * x)
    assert result.bits == 320 * 15 + 128 * 5


@pytest.mark.parametrize("range_bits", [2, 3, 5, 6, 9, 10, 16, 40, 63])
def test_sign_of_small_numbers(range_bits: int) -> None:
    rng = np.random.default_rng(range_bits)
    x = numbers(rng, N, range_bits - 1) if range_bits > 5 else _all_numbers(range_bits)
    shared = sharings.ring(rng, x)
    result = Choreography(lambda x: Rep3(P).sign(x, range_bits), shared)(shared)
    np.testing.assert_array_equal(opened_bits(result.out), x < 0)
    n = 1 << (-(-(range_bits - 1) // 4) - 1).bit_length()
    tree = 3 * (2 * n - 3) if n > 1 else 0
    assert (result.rounds, result.bits / x.size) == (n.bit_length(), 34 * n + 1 + tree)


def _all_numbers(bits: int) -> np.ndarray:
    return np.tile(np.arange(-(1 << (bits - 1)), 1 << (bits - 1)), 16)


@pytest.mark.parametrize("shift", [1, 3, 4, 5, 33, 61])
def test_truncate_exact_at_every_width(shift: int) -> None:
    rng = np.random.default_rng(shift)
    x = numbers(rng, N, 62)
    shared = sharings.ring(rng, x)
    result = Choreography(lambda x: Rep3(P).truncate_exact(x, shift), shared)(shared)
    np.testing.assert_array_equal(opened(result.out), x >> shift)


def test_a_shift_of_zero_is_free() -> None:
    rng = np.random.default_rng(7)
    x = sharings.ring(rng, numbers(rng, N, 63))
    result = Choreography(lambda x: (Rep3(P).truncate(x, 0), Rep3(P).truncate_exact(x, 0)), x)(x)
    assert result.messages == []
    settled = Choreography(lambda x: Rep3(P).truncate(Rep3(P).square(x), 0), x)(x)
    assert (settled.rounds, settled.bits / N) == (1, 192)


def test_bad_arguments_are_refused() -> None:
    x = sharings.ring(np.random.default_rng(0), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="0 to 62"):
        Rep3(P).truncate(x, 63)
    with pytest.raises(ValueError, match="0 to 62"):
        Rep3(P).truncate_exact(x, -1)
    with pytest.raises(ValueError, match="power of two"):
        Rep3(P).one_hot(x, 12)
    with pytest.raises(ValueError, match="three different"):
        Rep3(("a", "a", "b"))
