"""The account of releases: who shows whom what, and whose inputs it derives from."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from choreography.programs_check import ALL, A, B, C, traced, words
from jax import lax

from jmpc.choreography.primitives import draw, local, release, send_masked
from jmpc.choreography.releases import list_releases, result_origins

ONE = np.uint64(1)


def account(made, *origins: str) -> list[tuple[str, str, str, str]]:
    """(src, dst, why, origins), where every argument derives from the players in one word."""
    rows = list_releases(made, [frozenset(o) for o in origins])
    return [(r.src, r.dst, r.why, "".join(sorted(r.inputs))) for r in rows]


def test_every_receiver_is_listed_with_what_it_learns_from():
    def fn(x, y):
        return release(x, A, [B, C], "one"), release(x + y, A, B, "sum"), release(draw((A,), (3,)), A, B, "coin")

    made = traced(fn, A, A)
    assert account(made, "A", "B") == [(A, B, "one", "A"), (A, C, "one", "A"), (A, B, "sum", "AB"), (A, B, "coin", "")]
    assert [r.shape for r in list_releases(made, [frozenset()] * 2)] == [(3,)] * 4


def test_what_is_independent_of_all_inputs_derives_from_none_and_launders_nothing():
    def fn(x):
        seen = release(x, A, B, "shuffled", independent=True)
        return release(seen, B, C, "passed on")

    assert account(traced(fn, A), "A") == [(A, B, "shuffled", ""), (B, C, "passed on", "A")]


def test_masks_do_not_launder():
    def fn(x):
        return release(send_masked(x, {B: draw((A, C), (3,))}, A), B, C, "masked")

    assert account(traced(fn, A), "A") == [(B, C, "masked", "A")]


def test_local_code_passes_everything_on():
    def fn(x, y):
        unit = jax.make_jaxpr(lambda a, b: (a, b))(words(3), words(3))
        return release(local(unit, [x, y], A, "both")[0], A, B, "one")

    assert account(traced(fn, A, A), "A", "C") == [(A, B, "one", "AC")]


def test_loops_mix_until_nothing_new_comes():
    def fn(x, y, z):
        def body(carry, _):
            a, b, c = carry
            return (a + b, b + c, c), release(a, A, B, "first")

        return lax.scan(body, (x, y, z), None, length=3)[1]

    assert account(traced(fn, A, A, A), "A", "B", "C") == [(A, B, "first", "ABC")]


def test_origins_pass_through_loops_in_loops():
    """One step further in every turn of every loop; and the work does not double with every level."""

    def turn(state, level):
        if level:
            state = lax.scan(lambda c, _: (turn(c, level - 1), None), state, length=2)[0]
        return (state[0], *(x + y for x, y in itertools.pairwise(state)))

    for levels in (2, 14):
        made = traced(lambda *xs, levels=levels: turn(xs, levels), *[A] * 5)
        found = result_origins(made, [frozenset(player) for player in (A, B, C, "", "")])
        assert ["".join(sorted(players)) for players in found] == ["A", "AB", "ABC", "ABC", "ABC"]


def test_predicates_and_indices_count():
    def fn(n, x, y):
        x = lax.while_loop(lambda c: c[0][0] > 0, lambda c: (c[0] - ONE, c[1] + ONE), (n, x))[1]
        y = lax.cond(n[0] > 0, lambda: y + ONE, lambda: y)
        return release(x, A, B, "count"), release(y, A, B, "choice")

    assert account(traced(fn, ALL, A, A), "C", "A", "B") == [(A, B, "count", "AC"), (A, B, "choice", "BC")]


def test_releases_in_loops_and_branches_are_listed_once():
    def fn(n, x):
        def predicate(carry):
            return release(jnp.all(carry[0] > 0), A, [B, C], "goes on")

        def body(carry):
            seen = lax.cond(carry[0][0] > 1, lambda: release(carry[1], A, B, "now"), lambda: carry[1])
            return carry[0] - ONE, carry[1] + ONE, seen

        return lax.while_loop(predicate, body, (n, x, x))[2]

    made = traced(fn, (A, B), A)
    assert account(made, "A", "B") == [(A, B, "goes on", "A"), (A, C, "goes on", "A"), (A, B, "now", "AB")]


def test_results_know_their_origins():
    made = traced(lambda x, y: (x, x + y, jnp.zeros(2), draw((A,), (3,))), A, A)
    assert result_origins(made, [frozenset(A), frozenset(B)]) == [{A}, {A, B}, frozenset(), frozenset()]


def test_accounts_can_be_read():
    (row,) = list_releases(traced(lambda x: release(x, A, B, "the result"), A), [frozenset({A})])
    assert str(row).startswith("A -> B: the result [3], from A  test_releases.py:")
