"""What one player sees, and two tests of it: a statistical one for any width, an exact one for few
bits.

The statistical test is a smoke test against missing, shared and known masks: in a view that can be
simulated each message is uniform, also given everything else that the player knows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from protocols.evaluate import PAIRS, Choreography, Result
from scipy.stats import chi2

from jmpc.protocols.base import Sharing

BITS = 4  # of each word that are counted
CHANCE = 1e-9  # that a uniform word is off by more than LIMIT
LIMIT = 1.0
MOST = 16  # columns of a view that are looked at
Column = tuple[np.ndarray, int]  # one word for each element, and its width


def columns(array: np.ndarray, bits: int, n: int, most: int = 3) -> list[Column]:
    """Some columns of `n` words out of an array that has an axis of elements."""
    axis = array.shape.index(n)
    rows = np.moveaxis(array, axis, -1).reshape(-1, n)
    chosen = np.unique(np.linspace(0, len(rows) - 1, most).astype(int))
    return [(rows[i].astype(np.uint64), bits) for i in chosen]


def worst_deviation(result: Result, player: str, inputs: Sequence[Sharing], n: int, released: bool = False) -> float:
    """The most that any word the player receives, alone or with another, is off from uniform."""
    seen = [
        column
        for m in result.messages
        if m.dst == player and m.released == released
        for column in columns(m.array, m.bits, n)
    ]
    had = [
        column
        for x in inputs
        for slot, holders in zip(x.slots, PAIRS, strict=True)
        if player in holders
        for column in columns(slot, getattr(x, "width", 64), n)
    ]
    had += [
        column
        for draw in result.draws
        if player in draw.key and n in draw.array.shape
        for column in columns(draw.array, draw.bits, n, most=2)
    ]
    seen, had = _some(seen), _some(had)
    worst = 0.0
    for i, (a, width) in enumerate(seen):
        high = a >> np.uint64(width - min(width, BITS))
        worst = max(worst, deviation(a, width), deviation(high, width))
        for b, other in [*seen[i + 1 :], *had]:
            both = min(width, other)
            worst = max(worst, *(deviation(c, both) for c in (a + b, a - b, a ^ b)))
    return worst


def _some(found: list[Column]) -> list[Column]:
    """At most `MOST` of them, from first to last."""
    chosen = np.unique(np.linspace(0, len(found) - 1, min(MOST, len(found))).astype(int))
    return [found[i] for i in chosen]


def deviation(words: np.ndarray, width: int) -> float:
    """How far the low bits are from uniform: the chi-square statistic, in units of its limit."""
    size = 1 << min(width, BITS)
    counts = np.bincount((words & np.uint64(size - 1)).astype(np.int64), minlength=size)
    expected = words.size / size
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(statistic / _limit(size - 1))


@functools.cache
def _limit(freedom: int) -> float:
    return float(chi2.isf(CHANCE, freedom))


def is_exactly_uniform(
    fn: Callable[..., Any],
    arguments: Callable[[int], Sequence[Any]],
    player: str,
    seed: int,
    most: int = 8,
    **where: Any,
) -> bool:
    """Whether what `player` receives is uniform when all words that it cannot make are enumerated.

    Everything the player knows is fixed, and so are the secrets; each value of the words drawn
    under keys that it lacks is one element of the arrays. Words and messages wider than `most` bits
    stay out, fixed at random.
    """
    probe = Choreography(fn, *arguments(1), **where)
    unknown = [
        (i, p["bits"], int(np.prod(p["shape"])))
        for i, p in enumerate(probe.specs)
        if player not in p["key"] and p["bits"] <= most
    ]
    total = sum(bits * rows for _, bits, rows in unknown)
    assert 0 < total <= 20, total
    n = 1 << total
    choreography = Choreography(fn, *arguments(n), **where)
    rng, cases = np.random.default_rng(seed), np.arange(n, dtype=np.uint64)
    draws = {}
    for i, params in enumerate(choreography.specs):
        alone = rng.integers(0, (1 << params["bits"]) - 1, probe.specs[i]["shape"], np.uint64, endpoint=True)
        draws[i] = np.broadcast_to(alone.astype(params["dtype"]), params["shape"])
    shift = 0
    for i, bits, rows in unknown:
        params = choreography.specs[i]
        fields = [cases >> np.uint64(shift + bits * r) & np.uint64((1 << bits) - 1) for r in range(rows)]
        draws[i] = np.stack(fields).astype(params["dtype"]).reshape(params["shape"])
        shift += bits * rows
    result = choreography(*arguments(n), draws=draws)
    code, width = np.zeros(n, np.uint64), 0
    for m in result.messages:
        if m.dst == player and m.bits <= most:
            for row in m.array.reshape(-1, n):
                code |= row.astype(np.uint64) << np.uint64(width)
                width += m.bits
    assert 0 < width <= total
    counts = np.bincount(code.astype(np.int64), minlength=1 << width)
    return bool((counts == n >> width).all())
