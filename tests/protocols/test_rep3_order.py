"""rep3: secret permutations and sorts by digits; what is opened on the way, and mutants that leak."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from protocols import sharings
from protocols.evaluate import PAIRS, Choreography, P, Result
from protocols.sharings import opened, opened_bits
from protocols.views import LIMIT, deviation, worst_deviation
from scipy.stats import chi2

from jmpc.choreography.masks import check_masks
from jmpc.choreography.primitives import Group, draw, low_bits, release
from jmpc.choreography.trace import trace
from jmpc.protocols.base import Array, Bits, Ring
from jmpc.protocols.rep3 import Rep3, shuffling
from jmpc.protocols.rep3.roles import Roles, combine

Shared = Ring | Bits


def permute(p: Rep3, places: Bits, *columns: Shared) -> list[Any]:
    return p.permute(places, columns)


def sort(p: Rep3, digits: Bits, *columns: Shared) -> list[Any]:
    return p.sort_by_digit(digits, columns)


def shared(rng: np.random.Generator, rows: int, n: int) -> tuple[list[np.ndarray], list[Shared]]:
    """A column of numbers and one of words of 5 bits."""
    x, w = rng.integers(-(2**63), 2**63 - 1, (rows, n)), sharings.words(rng, (rows, n), 5)
    return [x, w], [sharings.ring(rng, x), sharings.bits(rng, w, 5)]


@pytest.mark.parametrize("rotation", range(3))
def test_permute(rotation: int) -> None:
    rng, n = np.random.default_rng(rotation), 37
    places = np.stack([rng.permutation(n) for _ in range(4)])
    columns, secret = shared(rng, 4, n)
    secret = [sharings.bits(rng, places, 6), *secret]
    result = Choreography(lambda *xs: permute(Rep3(P, rotation), *xs), *secret)(*secret)
    for got, column in zip((opened(result.out[0]), opened_bits(result.out[1])), columns, strict=True):
        np.testing.assert_array_equal(np.take_along_axis(got, places, axis=1), column)
    assert (result.rounds, result.bits / places.size) == (2, 6 * 6 + 4 * 64 + 4 * 5)


def test_what_has_more_axes_moves_alike_in_all_of_them() -> None:
    """Each element under masks of its own: see `test_messages_are_uniform`, where a row is one."""
    rng, n = np.random.default_rng(5), 9
    places, x = rng.permutation(n), rng.integers(-(2**63), 2**63 - 1, (2, 3, n))
    secret = [sharings.bits(rng, places, 4), sharings.ring(rng, x)]
    result = Choreography(lambda *xs: permute(Rep3(P), *xs), *secret)(*secret)
    np.testing.assert_array_equal(opened(result.out[0])[..., places], x)
    assert (result.rounds, result.bits / n) == (2, 6 * 4 + 6 * 4 * 64)


@pytest.mark.parametrize("width", [1, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 16, 17, 300])
def test_sort_by_digit(n: int, width: int) -> None:
    """Stable in every row, whatever the number of elements."""
    rng = np.random.default_rng(n)
    digits = sharings.words(rng, (3, n), width)
    digits[0] = 1
    columns, secret = shared(rng, 3, n)
    secret = [sharings.bits(rng, digits, width), *secret]
    result = Choreography(lambda *xs: sort(Rep3(P, n), *xs), *secret)(*secret)
    order = np.argsort(digits, axis=1, kind="stable")
    for got, column in zip((opened(result.out[0]), opened_bits(result.out[1])), columns, strict=True):
        np.testing.assert_array_equal(got, np.take_along_axis(column, order, axis=1))
    bits = max(1, (n - 1).bit_length())
    assert (result.rounds, result.bits / digits.size) == (4, bits * (4 * 2**width + 3 + 6) + 4 * 64 + 4 * 5)


@pytest.mark.parametrize("fn", [permute, sort])
def test_passes_the_static_checks(fn: Callable[..., list[Any]]) -> None:
    rng = np.random.default_rng(0)
    words, (x, _) = sharings.bits(rng, np.arange(8)[None], 3), shared(rng, 1, 8)[1]

    def flat(*slots: Array) -> list[Array]:
        (out,) = fn(Rep3(P), Bits(slots[:3], 3), Ring(slots[3:]))
        return list(out.slots)

    checked = trace(flat, [*words.slots, *x.slots], list(PAIRS) * 2, P)
    assert check_masks(checked.closed) == checked.masked_messages > 0
    releases = [eqn.params for eqn in checked.equations() if eqn.primitive.name == "release"]
    assert len(releases) == 2 and all(p["independent"] for p in releases)


# -- views ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", [permute, sort])
def test_messages_are_uniform(fn: Callable[..., list[Any]]) -> None:
    """Masked ones statistically, alone and in pairs; what is released is uniform to whom it tells nothing."""
    rng, rows = np.random.default_rng(3), 4096
    for rotation in range(3):
        words = np.broadcast_to(np.array([2, 0, 1, 3]), (rows, 4))
        x = np.broadcast_to(np.array([5, -7, 0, 1 << 40]), (rows, 4))
        secret = [sharings.bits(rng, words, 2), sharings.ring(rng, np.ascontiguousarray(x))]
        result = Choreography(lambda *xs, r=rotation: fn(Rep3(P, r), *xs), *secret)(*secret, seed=rotation)
        for player in P:
            assert worst_deviation(result, player, secret, rows) < LIMIT
        for message in result.messages:
            if message.released:
                assert all(deviation(column, message.bits) < LIMIT for column in message.array.astype(np.uint64).T)


@pytest.mark.parametrize("fn", [permute, sort])
def test_what_is_opened_is_a_uniform_permutation(fn: Callable[..., list[Any]]) -> None:
    """All permutations of four elements are equally likely; also of equal digits."""
    rng, rows = np.random.default_rng(4), 24 * 300
    for words in ([3, 1, 0, 2], [0, 1, 2, 3]) if fn is permute else ([1, 1, 1, 1], [3, 1, 0, 1]):
        secret = [sharings.bits(rng, np.broadcast_to(np.array(words), (rows, 4)), 2)]
        result = Choreography(lambda x: fn(Rep3(P), x, x), *secret)(*secret, seed=words[0])
        seen = together(result, fn)
        assert (np.sort(seen, axis=1) == np.arange(4)).all()
        counts = np.array(list(Counter(map(tuple, seen.tolist())).values()))
        assert len(counts) == 24
        assert ((counts - 300) ** 2 / 300).sum() < chi2.isf(1e-9, 23)


def together(result: Result, fn: Callable[..., Any]) -> np.ndarray:
    """What everyone makes of the released parts."""
    p_b, p_c = list({(m.depth, m.src): m for m in result.messages if m.released}.values())
    words = p_b.array ^ p_c.array if fn is permute else p_b.array + p_c.array
    return words & words.dtype.type(3)


SECRETS = list(itertools.product((0, 1), repeat=2))


@pytest.mark.parametrize("rotation", range(3))
@pytest.mark.parametrize("player", P)
def test_the_whole_view_is_the_same_for_all_places(player: str, rotation: int) -> None:
    """Two elements, places of one bit and a column of one bit: every word that a player cannot make."""
    cases = [((0, 1), column) for column in SECRETS] + [((1, 0), column) for column in SECRETS]
    views = [whole_view(permute, player, rotation, case) for case in cases]
    assert sum(views[0].values()) > 4 and all(view == views[0] for view in views)


@pytest.mark.parametrize("player", P)
def test_the_whole_view_of_a_sort_is_the_same_for_all_digits(player: str) -> None:
    views = [whole_view(sort, player, 0, [digits]) for digits in SECRETS]
    assert sum(views[0].values()) > 4 and all(view == views[0] for view in views)


def whole_view(
    fn: Callable[..., list[Any]], player: str, rotation: int, words: Sequence[Sequence[int]], seed: int = 7
) -> Counter:
    """How often the player receives what, over all words of the keys that it lacks; what it knows is fixed.

    The player's slots are the same for all secrets: only the third makes the difference.
    """
    missing = next(i for i, pair in enumerate(PAIRS) if player not in pair)

    def arguments(rows: int) -> list[Bits]:
        made = []
        for word in words:
            slots = [np.array([[1, 0]], np.uint8), np.array([[0, 0]], np.uint8), np.array([[1, 1]], np.uint8)]
            slots[missing] = np.array([word], np.uint8) ^ slots[missing - 1] ^ slots[missing - 2]
            made.append(Bits(tuple(np.broadcast_to(slot, (rows, 2)) for slot in slots), 1))
        return made

    def run(*xs: Bits) -> list[Any]:
        return fn(Rep3(P, rotation), *xs, *([] if len(xs) > 1 else xs))

    specs = Choreography(run, *arguments(1), strict=False).specs
    unknown = [1 if p["bits"] == 64 else p["bits"] * int(np.prod(p["shape"])) for p in specs if player not in p["key"]]
    rows = 1 << sum(unknown)
    assert rows <= 1 << 18
    choreography, rng, case, draws = (
        Choreography(run, *arguments(rows), strict=False),
        np.random.default_rng(seed),
        np.arange(rows),
        {},
    )
    shift = 0
    for number, (one, spec) in enumerate(zip(specs, choreography.specs, strict=True)):
        size = int(np.prod(one["shape"]))
        if player in one["key"]:
            fixed = rng.integers(0, (1 << one["bits"]) - 1, one["shape"], np.uint64, endpoint=True)
            draws[number] = np.broadcast_to(fixed, spec["shape"]).astype(spec["dtype"])
        elif one["bits"] == 64:  # words that are sorted: both orders
            draws[number] = np.stack([case >> shift & 1, 1 - (case >> shift & 1)], axis=1).astype(np.uint64)
            shift += 1
        else:
            assert one["bits"] == 1
            bits = np.stack([case >> (shift + i) & 1 for i in range(size)], axis=1)
            draws[number] = bits.reshape(spec["shape"]).astype(spec["dtype"])
            shift += size
    result = choreography(*arguments(rows), draws=draws)
    seen = [m.array.reshape(rows, -1) for m in result.messages if m.dst == player]
    return Counter(map(bytes, np.concatenate(seen, axis=1).astype(np.uint8)))


# -- mutants: each leaks, computes the right result, and must be seen to leak --------------------------


def opened_without_zeta(roles: Roles, group: Group, at_b: Array, at_c: Array, bits: int) -> Array:
    a, b, c = roles.names
    draw(roles.keys[1], at_b.shape, at_b.dtype, bits=bits)  # and not used
    p_b = release(low_bits(at_b, bits), b, (a, c), "mutant", bits=bits)
    p_c = release(low_bits(at_c, bits), c, (a, b), "mutant", bits=bits)
    return low_bits(combine(group, p_b, p_c), bits)


def one_permutation(roles: Roles, shape: tuple[int, ...]) -> list[Array]:
    """Of A and B; the others leave everything where it is."""
    same = jnp.broadcast_to(jnp.arange(shape[-1], dtype=np.int32), shape)
    return [shuffling._order(draw(roles.keys[0], shape)), same, same]


def test_a_shuffle_without_zeta_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A knows what it sent to B; where that differs, it reads B's and C's permutation off what comes back."""
    assert not shows_the_places(P[0])
    monkeypatch.setattr(shuffling, "opened", opened_without_zeta)
    assert shows_the_places(P[0])


def test_a_permutation_that_two_know_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A and B read the places off what is opened."""
    monkeypatch.setattr(shuffling, "permutations", one_permutation)
    assert [shows_the_places(player) for player in P] == [True, True, False]


def shows_the_places(player: str) -> bool:
    """Whether some of what the player may know makes a difference between its views of two permutations."""
    both = ((0, 1), (1, 0))
    views = [[whole_view(permute, player, 0, (places, (0, 0)), seed) for seed in range(8)] for places in both]
    return views[0] != views[1]
