"""Who holds what, and every choreography that is refused: with the line that wrote it."""

import inspect
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import ALL, PLAYERS, A, B, C, traced, words
from jax import lax

from jmpc._compat import scan_counts
from jmpc.choreography.primitives import agree, draw, guard, local, public, release, send_masked
from jmpc.choreography.trace import trace
from jmpc.errors import ChoreographyError

HERE = Path(__file__).name


def held(fn, *inputs, **options) -> list[str]:
    """The holders of each result, as one word."""
    made = traced(fn, *inputs, **options)
    return ["".join(sorted(made.holders[atom])) for atom in made.closed.jaxpr.outvars]


def here(fn, offset: int) -> str:
    """A line of this file: `offset` lines below the first of `fn`."""
    return f"{HERE}:{inspect.getsourcelines(fn)[1] + offset} ("


def refused(fn, *inputs, line: int | None, match: str, **options) -> None:
    """`fn` is no choreography; the message says why, and on which line (counted from `def`)."""
    with pytest.raises(ChoreographyError, match=match) as caught:
        traced(fn, *inputs, **options)
    if line is not None:
        assert str(caught.value).startswith(here(fn, line)), str(caught.value)


# -- straight code ---------------------------------------------------------------------------------------------


def test_operations_are_held_by_those_who_hold_all_operands():
    assert held(lambda x, y: (x, x + y, x * np.uint64(3), jnp.zeros(2)), (A, B), (B, C)) == ["AB", "B", "AB", "ABC"]


def test_draws_are_held_by_the_holders_of_the_key():
    assert held(lambda x: (draw((C, A), (3,)), x + draw((A, B), (3,)), draw(PLAYERS, ())), A) == ["AC", "A", "ABC"]


def test_sends_add_the_receivers_and_keep_those_who_can_compute():
    def fn(x):
        r, s = draw((A, C), (3,)), draw((A, B), (3,))
        return send_masked(x, {B: r}, A), send_masked(x, {B: r, C: s}, A)

    assert held(lambda x: fn(x)[0], A) == ["AB"]
    assert held(lambda x: fn(x)[0], (A, C)) == ["ABC"]  # C has x and the mask
    assert held(lambda x: fn(x)[1], A) == ["ABC"]


def test_releases():
    assert held(lambda x: release(x, A, B, "why"), A) == ["AB"]
    assert held(lambda x: release(x, A, [B, C], "why"), A) == ["ABC"]


def test_agree_is_held_by_the_holders_of_all_copies():
    assert held(lambda x, y: agree(x, y), A, (B, C)) == ["ABC"]


def test_public_constants_are_everyones():
    table = np.arange(3, dtype=np.uint64)
    assert held(lambda x: (public(table), x + public(table)), A) == ["ABC", "A"]


def test_local_code_and_guards_belong_to_one_player():
    def fn(x):
        unit = jax.make_jaxpr(lambda v: (v.astype(np.float32), v + v))(words(3))
        return (*local(unit, [x], B, "twice"), guard(x, jnp.all(x < np.uint64(4)), A, "too large"))

    assert held(fn, (A, B)) == ["B", "B", "A"]


def test_calls_are_entered():
    assert held(jax.jit(lambda x: jax.checkpoint(lambda v: release(v + v, A, B, "why"))(x)), A) == ["AB"]


# -- loops and branches ----------------------------------------------------------------------------------------


def test_scan_carries_are_the_greatest_fixpoint():
    def fn(x, y, z):
        def body(carry, row):
            a, b, c = carry
            return (a + row, a + b, c), (a, c, b + c)

        (a, b, c), (r, s, t) = lax.scan(body, (x, y, z), jnp.ones((4, 3), np.uint64))
        return a, b, c, r, s, t

    assert held(fn, (A, B), ALL, (B, C)) == ["AB", "AB", "BC", "AB", "BC", "B"]


def test_scan_carries_lose_holders_through_others():
    """Each round of the fixpoint moves the loss one carry further."""

    def fn(x, y, z, row):
        def body(carry, row):
            a, b, c = carry
            return (a + row, b + a, c + b), c

        return lax.scan(body, (x, y, z), jnp.broadcast_to(row, (2, 3)))

    assert held(fn, ALL, ALL, ALL, (A, C)) == ["AC", "AC", "AC", "AC"]


def test_scan_bodies_may_send():
    def fn(x):
        def body(carry, _):
            seen = send_masked(carry, {B: draw((A, C), (3,))}, A)
            return carry + np.uint64(1), seen

        return lax.scan(body, x, None, length=2)

    assert held(fn, A) == ["A", "AB"]


def test_nested_scans():
    def fn(x, y):
        def inner(carry, _):
            return carry + y, release(carry + y, B, C, "why")

        def outer(carry, _):
            return lax.scan(inner, carry, None, length=2)

        return lax.scan(outer, x, None, length=2)

    assert held(fn, (A, B), B) == ["B", "BC"]


def nested(levels: int, width: int):
    """Loops in loops whose carries lose holders one after the other, a step further in every turn of every loop."""

    def turn(state, level):
        if level:
            state = lax.scan(lambda c, _: (turn(c, level - 1), None), state, length=2)[0]
        return (state[0], *(x + y for x, y in itertools.pairwise(state)))

    return lambda *xs: turn(xs, levels), [ALL if i else (A, B) for i in range(width)]


def test_loops_in_loops_come_to_the_greatest_fixpoint():
    """As if every loop were looked at from the start, whenever one around it has shrunk."""

    def naive(jaxpr, inputs, found):
        env = dict(zip(jaxpr.invars, inputs, strict=True))
        for eqn in jaxpr.eqns:
            who = [env[atom] for atom in eqn.invars]
            if eqn.primitive.name == "scan":
                body, (consts, _) = eqn.params["jaxpr"].jaxpr, scan_counts(eqn.params)
                fixed, who = who[:consts], who[consts:]
                while (after := [a & b for a, b in zip(who, naive(body, fixed + who, found), strict=True)]) != who:
                    who = after
                env.update(zip(eqn.outvars, who, strict=True))
            else:
                env[eqn.outvars[0]] = frozenset.intersection(*who)
        found.update(env)
        return [env[atom] for atom in jaxpr.outvars]

    for levels in (1, 2, 3):
        fn, inputs = nested(levels, 5)
        made, found = traced(fn, *inputs), {}
        naive(made.closed.jaxpr, [frozenset(who) for who in inputs], found)
        assert {var: made.holders[var] for var in found} == found


def test_deep_nesting_costs_no_more_than_its_size():
    fn, inputs = nested(14, 6)
    assert held(fn, *inputs) == ["AB"] * 6


def test_while_carries_need_the_predicate():
    def fn(n, x, y):
        def body(carry):
            n, x, y = carry
            return n - np.uint64(1), x + x, y + y

        return lax.while_loop(lambda carry: carry[0][0] > 0, body, (n, x, y))

    assert held(fn, (A, B), ALL, (B, C)) == ["AB", "AB", "B"]


def test_while_predicates_may_be_released():
    def fn(x, y):
        def predicate(carry):
            return release(jnp.all(carry[0] > 0), A, [B, C], "goes on")

        return lax.while_loop(predicate, lambda c: (c[0] - np.uint64(1), c[1] + c[1]), (x, y))

    assert held(fn, A, (B, C)) == ["A", "BC"]


def test_cond_results_need_the_index_and_all_branches():
    def fn(i, x, y):
        return lax.cond(i[0] > 0, lambda: (x + x, x), lambda: (x + y, np.uint64(1) * x))

    assert held(fn, ALL, (A, B), B) == ["B", "AB"]
    assert held(fn, (B, C), (A, B), B) == ["B", "B"]


def test_public_constants_in_bodies_of_calls_and_loops():
    table = np.arange(3, dtype=np.uint64)

    @jax.jit
    def shifted(x):
        return x + public(table)

    assert held(lambda x: lax.scan(lambda c, _: (shifted(c), public(table)), x, None, length=2), A) == ["A", "ABC"]


# -- what is refused -------------------------------------------------------------------------------------------


def test_an_operation_that_nobody_can_do():
    def fn(x, y):
        z = x + x
        return z * y

    refused(fn, A, (B, C), line=2, match="no player holds all operands of `mul`.*{A}, {B, C}.*send_masked")


def test_a_send_by_a_player_that_does_not_hold_the_value():
    def fn(x):
        return send_masked(x, {B: draw((A, C), (3,))}, C)

    refused(fn, A, line=1, match="send_masked by 'C', who does not hold the value.*{A}, {A, C}")


def test_a_send_by_a_player_that_does_not_hold_the_mask():
    def fn(x):
        return send_masked(x, {B: draw((C,), (3,))}, A)

    refused(fn, (A, C), line=1, match="send_masked by 'A', who does not hold the value")


def test_a_release_by_a_player_that_does_not_hold_the_value():
    def fn(x):
        return release(x, B, C, "why")

    refused(fn, A, line=1, match="release by 'B', who does not hold the value")


def test_messages_to_strangers():
    def fn(x):
        return release(x, A, [B, "D"], "why")

    refused(fn, A, line=1, match="release to {D}, not a player of this computation {A, B, C}")

    def masked(x):
        return send_masked(x, {"D": draw((A, C), (3,))}, A)

    refused(masked, A, line=1, match="send_masked to {D}")


def test_draws_of_strangers_and_of_nobody():
    def fn(x):
        return x + draw((A, "D"), (3,))

    refused(fn, A, line=1, match="draw names unknown players {D}")
    refused(lambda x: x + draw((), (3,)), A, line=None, match="a key that nobody holds")


@pytest.mark.parametrize("use", [lambda x, k: x + k, lambda x, k: agree(k, x), lambda x, k: release(k, A, B, "why")])
def test_captured_arrays_that_nobody_declared(use):
    table = np.arange(3, dtype=np.uint64)

    def fn(x):
        return use(x, jnp.asarray(table))

    refused(fn, A, line=None, match=rf"{HERE}.*uses an array captured from outside that nobody declared")


def test_captured_arrays_in_loops_and_results():
    table = jnp.arange(3, dtype=np.uint32)

    def carried(x):
        return lax.scan(lambda c, _: (c + np.uint32(1), None), table, None, length=2)[0]

    refused(carried, A, line=1, match="`scan` uses an array captured from outside")

    def inside(x):
        return lax.scan(lambda c, _: (c + table, None), x.astype(np.uint32), None, length=2)[0]

    refused(inside, A, line=1, match="`add` uses an array captured from outside")
    refused(lambda x: (x, table), A, line=None, match="result 1 of the choreography: an array captured from outside")


def test_public_is_no_release():
    def fn(x):
        return public(x)

    refused(fn, A, line=1, match="`public` on a value held only by {A}.*use `release`")


def test_a_carry_that_nobody_keeps():
    def fn(x, y):
        def body(carry, _):
            a, b = carry
            return (b, a), None

        return lax.scan(body, (x, y), None, length=3)

    refused(fn, A, B, line=5, match="carry 0 of this scan is held by {A} before an iteration and by none")


def test_a_result_of_branches_that_nobody_holds():
    def fn(i, x, y):
        return lax.cond(i[0] > 0, lambda: x, lambda: y)

    refused(fn, ALL, A, B, line=1, match="no player holds this cond's index and its result in all branches")


def test_talk_in_a_loop_whose_predicate_the_talkers_do_not_know():
    def fn(n, x):
        def body(carry):
            n, x = carry
            return n - np.uint64(1), release(x, A, C, "why")

        return lax.while_loop(lambda carry: carry[0][0] > 0, body, (n, x))

    refused(fn, (A, B), ALL, line=3, match="{C} would talk inside a while whose predicate only {A, B} know")


def test_talk_in_a_predicate_that_the_talkers_do_not_know():
    def fn(x):
        def predicate(carry):
            return release(jnp.all(carry > 0), A, C, "why") & (release(carry, A, B, "why")[0] > 0)

        return lax.while_loop(predicate, lambda c: c - np.uint64(1), x)

    refused(fn, A, line=2, match="no player|would talk inside a while whose predicate only")


def test_talk_in_a_branch_that_the_talkers_do_not_know():
    def fn(i, x):
        return lax.cond(i[0] > 0, lambda: release(x, A, B, "why"), lambda: x)

    refused(fn, A, A, line=1, match="{B} would talk inside a cond whose predicate only {A} know")


def test_talk_below_a_loop_in_a_loop():
    def fn(n, x):
        def body(carry):
            n, x = carry
            x = lax.scan(lambda c, _: (release(c, A, B, "why"), None), x, None, length=2)[0]
            return n - np.uint64(1), x

        return lax.while_loop(lambda carry: carry[0][0] > 0, body, (n, x))

    refused(fn, A, (A, B), line=3, match="{B} would talk inside a while")


def test_local_code_and_guards_on_what_the_player_lacks():
    def unit(x):
        return local(jax.make_jaxpr(lambda v: v)(words(3)), [x], B, "mine")

    refused(unit, A, line=1, match="local computation 'mine' of 'B' uses values that 'B' does not hold: {A}")

    def guarded(x, y):
        return guard(x, y[0] > 0, A, "no")

    refused(guarded, (A, B), B, line=1, match="guard by 'A', who does not hold both the value and its condition")


def test_players_and_arguments_must_fit():
    with pytest.raises(ChoreographyError, match="argument 0 is held by"):
        traced(lambda x: x, "D")
    with pytest.raises(ChoreographyError, match="argument 0 is held by"):
        trace(lambda x: [x], [words(3)], [()], PLAYERS)
    with pytest.raises(ChoreographyError, match="need different names"):
        trace(lambda x: [x], [words(3)], [(A,)], (A, A))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: send_masked(x, {}, A),
        lambda x: send_masked(x, {A: draw((B,), (3,))}, A),
        lambda x: send_masked(x, {B: draw((A,), (2,))}, A),
        lambda x: send_masked(x, {B: draw((A,), (3,), np.uint32)}, A),
        lambda x: send_masked(x, {B: draw((A,), (3,))}, A, bits=65),
        lambda x: send_masked(x.astype(np.int64), {B: draw((A,), (3,))}, A),
        lambda x: release(x, A, A, "why"),
        lambda x: release(x, A, [B, B], "why"),
        lambda x: release(x, A, [], "why"),
        lambda x: release(x, A, B, "why", bits=0),
        lambda x: release(x.astype(np.int64), A, B, "why", bits=8),
        lambda x: draw((A,), (3,), np.int64),
        lambda x: draw((A,), (3,), bits=65),
        lambda x: agree(x, x[:2]),
        lambda x: guard(x, x > 0, A, "why"),
    ],
)
def test_malformed_uses(fn):
    with pytest.raises(ChoreographyError):
        traced(fn, A)


def test_primitives_mean_nothing_outside_a_trace():
    with pytest.raises(ChoreographyError, match="only has a meaning inside a choreography"):
        draw((A,), (3,))
