"""Costs read off the programs are what a run counts."""

import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import ALL, A, B, C, planned, traced, words
from jax import lax
from runtime.modes import Case, Eager, agree_in_all_modes, random_words

from jmpc.choreography.cost import Cost, cost
from jmpc.choreography.primitives import draw, release, send_masked
from jmpc.protocols.base import Ring
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.compiler import Compiler

ONE = np.uint64(1)


def cost_of(made) -> Cost:
    plan = planned(made)
    return cost([plan.program(player) for player in made.players])


def counted(messages, player=None) -> tuple[int, int, int]:
    """Rounds, frames and bytes of a run, of those sent by `player`."""
    mine = {key: arrays for key, arrays in messages.items() if player in (None, key[1])}
    return len({slot for slot, _, _ in mine}), len(mine), sum(a.nbytes for arrays in mine.values() for a in arrays)


def check_against_run(made, arrays, factors=None, compiler=None) -> Cost:
    """Every figure against a run; `factors` says how often unknown things happened."""
    figures = cost_of(made)
    _, messages = agree_in_all_modes(Case(made, arrays, compiler or Eager()))

    def value(total) -> int:
        amounts = (n * int(np.prod([factors[t] for t in times], dtype=int)) for times, n in total.items())
        return sum(amounts)

    assert counted(messages) == (value(figures.rounds()), value(figures.frames_sent()), value(figures.bytes_sent()))
    for player in made.players:
        sent = value(figures.frames_sent(player)), value(figures.bytes_sent(player))
        assert counted(messages, player)[1:] == sent
    assert sum(value(total) for total in figures.by_line().values()) == value(figures.bytes_sent())
    return figures


def test_straight_code():
    def fn(x, y):
        one = send_masked(x, {B: draw((A, C), (3,), bits=5)}, A, bits=5)
        two = release(y > ONE, A, B, "flags")
        return release(one, B, C, "again"), two

    figures = check_against_run(traced(fn, A, A), [random_words(i, 3) for i in range(2)])
    assert figures.rounds() == {(): 2} and figures.bytes_sent(A) == {(): 2 + 1} and figures.bytes_sent(B) == {(): 24}
    assert figures.bits_sent() == {(): 15 + 3 + 192}
    assert figures.frames_sent(A) == {(): 1}  # two messages, one frame


def test_loops_of_known_length():
    def fn(x, y):
        def inner(c, row):
            return c + release(row, A, B, "why"), None

        def outer(c, _):
            c, _ = lax.scan(inner, c, y)
            return release(c, B, A, "back"), release(c, B, C, "other")

        return lax.scan(outer, x, None, length=3)

    made = traced(fn, B, A, avals=[words(2), words(4, 2)])
    figures = check_against_run(made, [random_words(1, 2), random_words(2, 4, 2)])
    assert figures.rounds() == {(): 3 * (4 + 1)} and figures.bytes_sent(A) == {(): 3 * 4 * 16}


def test_a_protocol():
    def fn(*slots):
        p = Rep3((A, B, C))
        x, y = Ring(slots[:3]), Ring(slots[3:])
        return p.reveal(p.truncate(p.multiply(x, y), 18), A, "product"), p.sign(x)

    made = traced(fn, *[(C, A), (A, B), (B, C)] * 2)
    check_against_run(made, [random_words(i, 3) for i in range(6)], compiler=Compiler())


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_loops_of_unknown_length(turns):
    def fn(n, x):
        def predicate(carry):
            return release(carry[0][0] > 0, A, [B, C], "goes on")

        def body(carry):
            return carry[0] - ONE, carry[1] + ONE, release(carry[1], B, C, "why")

        return lax.while_loop(predicate, body, (n, x, jnp.zeros_like(x)))

    made = traced(fn, A, B, avals=[words(1), words(3)])
    (factor,) = {name for times in cost_of(made).bytes_sent() for name in times}
    assert factor == f"iterations of the while at test_cost.py:{fn.__code__.co_firstlineno + 7} (fn)"
    figures = check_against_run(made, [np.array([turns], np.uint64), random_words(1, 3)], {factor: turns})
    assert figures.rounds() == {(): 1, (factor,): 2}  # the predicate is opened once more than the body runs


@pytest.mark.parametrize("index", [0, 1])
def test_branches(index):
    def fn(i, x):
        def one():
            return release(x, A, B, "one")

        def two():
            return release(release(x, A, C, "two"), C, B, "three")

        return lax.switch(i[0].astype(np.int32), [one, two])

    made = traced(fn, ALL, A, avals=[words(1), words(3)])
    names = sorted({t for key in cost_of(made).bytes_sent() for t in key})
    assert ["branch 0" in names[0], "branch 1" in names[1], len(names)] == [True, True, 2]
    check_against_run(made, [np.array([index], np.uint64), random_words(1, 3)], {names[index]: 1, names[1 - index]: 0})


def test_unknown_factors_of_two_loops_on_one_line_are_two():
    def count(n, x):
        def body(carry):
            return carry[0] - ONE, carry[1] + ONE, release(carry[1], A, B, "why")

        return lax.while_loop(lambda carry: carry[0] > 0, body, (n, x, jnp.zeros_like(x)))[2]

    made = traced(lambda n, m, x: (count(n[0], x), count(m[0], x)), ALL, ALL, A, avals=[words(1), words(1), words(3)])
    names = {t for key in cost_of(made).bytes_sent() for t in key}
    assert len(names) == 2


def test_cost_is_reported_at_the_authors_lines():
    def fn(x):
        one = release(x, A, B, "one")
        return one, release(x[:1], A, B, "two")

    line = fn.__code__.co_firstlineno
    by_line = cost_of(traced(fn, A)).by_line()
    assert by_line == {f"test_cost.py:{line + 1} (fn)": {(): 24}, f"test_cost.py:{line + 2} (fn)": {(): 8}}
