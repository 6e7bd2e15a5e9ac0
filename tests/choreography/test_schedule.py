"""Projection: what each player computes, sends and receives, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import (
    ALL,
    A,
    B,
    C,
    check_environment,
    places,
    planned,
    projected,
    traced,
    words,
)
from jax import lax

from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.primitives import agree, draw, guard, local, public, release, send_masked
from jmpc.choreography.programs import Branch, Program, Receive, Scan, Segment, Send, While
from jmpc.choreography.schedule import schedule

ONE = np.uint64(1)


def mask(*key, shape=(3,)):
    return draw(key, shape)


def kinds(program: Program) -> list[str]:
    return [type(step).__name__ for step in program.steps]


def frames(program: Program, kind: type) -> list[list[tuple[str, int, int]]]:
    """For each round the frames: the other player, messages, bytes."""
    rounds = [step.frames for step in program.steps if isinstance(step, kind)]
    other = "dst" if kind is Send else "src"
    return [[(getattr(f, other), len(f.messages), f.size) for f in row] for row in rounds]


def computed(program: Program) -> list[str]:
    return [eqn.primitive.name for s in program.segments() for eqn in s.equations]


def fused(choreography, **options) -> Program:
    outputs = {TOGETHER: range(len(choreography.closed.jaxpr.outvars))}
    program = schedule(choreography.closed, None, (), outputs, **options).program(TOGETHER)
    check_environment(program, set(choreography.closed.jaxpr.invars))
    return program


# -- messages --------------------------------------------------------------------------------------------------


def test_messages_of_equal_depth_share_a_frame():
    def fn(x, y):
        one = send_masked(x, {B: mask(A, C)}, A)
        two = release(y + y, A, B, "why")
        other = release(y, A, C, "why")
        return one * two, other

    programs = projected(traced(fn, A, A))
    assert frames(programs[A], Send) == [[(B, 2, 48), (C, 1, 24)]]
    assert frames(programs[B], Receive) == [[(A, 2, 48)]]
    assert frames(programs[C], Receive) == [[(A, 1, 24)]]


def test_each_depth_is_a_round():
    def fn(x, y, z):
        for _ in range(2):
            x = release(release(x, A, B, "there") + y, B, A, "back") + z
        return x

    programs = projected(traced(fn, A, B, A))
    rounds = [(type(s), s.depth) for s in programs[A].steps if not isinstance(s, Segment)]
    assert rounds == [(Send, 0), (Receive, 1), (Send, 2), (Receive, 3)]


def test_sends_come_first_and_everything_else_late():
    def fn(x, y):
        seen = release(x + ONE, A, B, "why"), release(y + ONE, B, A, "why")
        return seen, x * x

    programs = projected(traced(fn, A, B))
    assert kinds(programs[A]) == ["Segment", "Send", "Receive", "Segment"]
    first, last = programs[A].segments()
    assert [e.primitive.name for e in first.equations] == ["add", "release"]
    assert [e.primitive.name for e in last.equations] == ["mul"]


def test_draws_are_made_where_they_are_first_used():
    def fn(x, y):
        early, late = mask(A, C), mask(A, C)
        seen = send_masked(x, {B: early}, A)
        back = release(seen + y, B, A, "back")
        return back + late

    first, last = projected(traced(fn, A, B), {A: (0,), B: (), C: ()})[A].segments()
    assert [d.op_id for d in first.draws] == [0] and [d.op_id for d in last.draws] == [1]


def test_what_nobody_needs_is_neither_computed_nor_sent():
    def fn(x):
        seen = send_masked(x * x, {B: mask(A, C)}, A)
        return seen + ONE, x + ONE

    made = traced(fn, A)
    programs = projected(made, {A: (1,), B: (), C: ()})
    assert not programs[B].steps and not programs[C].steps
    assert kinds(programs[A]) == ["Segment"] and computed(programs[A]) == ["add"]
    programs = projected(made, {A: (0,), B: (), C: ()})  # A subtracts the mask, and keeps what it would have sent
    assert kinds(programs[A]) == ["Segment"] and "send_masked" in computed(programs[A])


def test_a_player_that_can_compute_a_message_does_not_receive_it():
    def fn(x):
        return send_masked(x, {B: mask(A, C)}, A)

    programs = projected(traced(fn, (A, C)))
    assert frames(programs[A], Send) == [[(B, 1, 24)]]
    assert computed(programs[C]) == ["send_masked"]


def test_a_multicast_goes_to_those_who_need_it():
    def fn(x):
        return release(x, A, [B, C], "why")

    made = traced(fn, A)
    assert frames(projected(made)[A], Send) == [[(B, 1, 24), (C, 1, 24)]]
    assert frames(projected(made, {A: (), B: (), C: (0,)})[A], Send) == [[(C, 1, 24)]]


def test_small_elements_travel_packed():
    def fn(x):
        few = send_masked(x, {B: draw((A, C), (3,), bits=13)}, A, bits=13)
        flags = release(x > ONE, A, B, "why")
        word = send_masked(x.astype(np.uint16), {B: draw((A, C), (3,), np.uint16)}, A, bits=16)
        return few, flags, word, release(x.astype(np.float32), A, B, "why")

    programs = projected(traced(fn, A))
    (frame,) = next(step for step in programs[A].steps if isinstance(step, Send)).frames
    assert [m.size for m in frame.messages] == [5, 1, 6, 12]  # 39 bits, 3 bits, whole words
    assert [m.payload is m.value for m in frame.messages] == [False, False, True, True]
    assert computed(programs[B]) == ["unpack", "unpack"]


def test_messages_know_their_line_and_reason():
    def fn(x):
        return release(x, A, B, "the result"), send_masked(x, {B: mask(A, C)}, A)

    (send,) = (step for step in projected(traced(fn, A))[A].steps if isinstance(step, Send))
    line = fn.__code__.co_firstlineno + 1
    assert [m.why for m in send.frames[0].messages] == ["the result", None]
    assert {m.line for m in send.frames[0].messages} == {f"test_schedule.py:{line} (fn)"}


def test_each_player_goes_on_with_its_copy():
    def fn(x):
        seen = release(x, A, B, "why")
        return agree(x * np.uint64(3), seen + seen + seen) ^ ONE

    programs = projected(traced(fn, A))
    assert computed(programs[A]) == ["release", "mul", "agree", "xor"]
    assert computed(programs[B]) == ["add", "add", "agree", "xor"]


def test_results_that_are_arguments_or_constants():
    def fn(x):
        return x, np.uint64(5), public(np.arange(2))

    programs = projected(traced(fn, A))
    assert [len(programs[p].outputs) for p in (A, B)] == [3, 2]
    assert len(programs[B].constants) == 1


# -- units: local code, guards, loops without messages ---------------------------------------------------------


def unit(x, player):
    return local(jax.make_jaxpr(lambda v: v.astype(np.float32) * np.float32(0.5))(x), [x], player, "half")[0]


def test_local_units_stand_alone_at_their_levels():
    def fn(x):
        y = unit(x + ONE, A)
        z = unit((y + y).astype(np.uint64), A)
        return z + np.float32(1)

    program = projected(traced(fn, A))[A]
    assert kinds(program) == ["Segment", "Local", "Segment", "Local", "Segment"]


def test_local_units_run_before_the_messages_of_their_depth():
    def fn(x, y):
        seen = release(y, A, B, "why")
        return release(unit(x, A), A, B, "why"), seen

    program = projected(traced(fn, A, A))[A]
    assert kinds(program).index("Local") < kinds(program).index("Send")


def test_guards_are_checked_before_anything_is_sent():
    """Even if the checked value is needed later only."""

    def fn(x, y, z):
        checked = guard(x, jnp.all(x < np.uint64(9)), A, "too large")
        back = release(release(y, A, B, "there") + z, B, A, "back")
        return release(checked + back, A, C, "why")

    program = projected(traced(fn, A, A, B))[A]
    first = program.steps[0]
    assert isinstance(first, Segment) and [g.message.split(": ", 1)[1] for g in first.guards] == ["A: too large"]
    assert kinds(program)[1] == "Send"


def test_guards_of_local_results_come_before_the_next_message():
    def fn(x):
        y = unit(x, A)
        return release(guard(y, y[0] > 0, A, "no"), A, B, "why")

    program = projected(traced(fn, A))[A]
    at = next(i for i, s in enumerate(program.steps) if isinstance(s, Segment) and s.guards)
    assert kinds(program)[at - 1] == "Local" and "Send" in kinds(program)[at:]


def test_a_loop_without_messages_is_code_where_everyone_has_all_of_it():
    def fn(x, y):
        return lax.scan(lambda c, _: (c * c + y, c), x, None, length=4)

    program = projected(traced(fn, (A, B), (A, B)))[A]
    assert kinds(program) == ["Segment"] and computed(program) == ["scan"]


def test_a_loop_whose_carries_are_held_by_different_players_is_a_step():
    def fn(x, y):
        def body(carry, _):
            a, b = carry
            return (a + a, b * b), None

        (a, b), _ = lax.scan(body, (x, y), None, length=4)
        return release(a, A, C, "why"), release(b, B, C, "why")

    made = traced(fn, A, B)
    programs = projected(made)
    assert kinds(programs[A]) == ["Scan", "Segment", "Send"] and kinds(programs[B]) == ["Scan", "Segment", "Send"]
    assert len(programs[A].steps[0].carry) == 1
    assert kinds(programs[C]) == ["Receive"] and programs[C].steps[0].depth == 0  # such a loop is no round


def test_loops_with_draws_are_steps_and_no_rounds():
    def fn(x):
        y, _ = lax.scan(lambda c, _: (c + mask(A, C), None), x, None, length=2)
        return release(y, A, B, "why")

    programs = projected(traced(fn, A))
    assert kinds(programs[A]) == ["Scan", "Segment", "Send"]
    assert programs[A].steps[-1].depth == 0


# -- loops and branches with messages --------------------------------------------------------------------------


def test_loops_are_programs_in_programs():
    def fn(x, y, z):
        def body(carry, row):
            seen = send_masked(carry + row, {B: mask(A, C, shape=())}, A)
            return carry + ONE, seen + z

        return lax.scan(body, x, y)

    programs = projected(traced(fn, A, A, B, avals=[words(), words(5), words()]))
    (loop,) = (s for s in programs[A].steps if isinstance(s, Scan))
    assert (loop.length, len(loop.carry), len(loop.xs), len(loop.consts)) == (5, 1, 1, 0)
    assert kinds(loop.body) == ["Segment", "Send"] or kinds(loop.body) == ["Segment", "Send", "Segment"]
    (loop,) = (s for s in programs[B].steps if isinstance(s, Scan))
    assert (len(loop.carry), len(loop.xs), len(loop.consts), len(loop.ys)) == (0, 0, 1, 1)
    assert kinds(loop.body) == ["Receive", "Segment"]
    assert not programs[C].steps


def test_loops_come_after_the_sends_and_before_the_receives_of_their_depth():
    def fn(x, y):
        seen = release(x, A, B, "out"), release(y, B, A, "in")
        z, _ = lax.scan(lambda c, _: (release(release(c, A, B, "why"), B, A, "why"), None), x, None, length=2)
        return seen, release(z, A, B, "after")

    programs = projected(traced(fn, A, B))
    assert [k for k in kinds(programs[A]) if k != "Segment"] == ["Send", "Scan", "Receive", "Send"]
    assert [s.depth for s in programs[A].steps if isinstance(s, Send)] == [0, 1]


def test_a_player_takes_part_wherever_it_is_needed_inside():
    """B only tosses a coin, two loops below; nothing else of it is in the outer body."""

    def fn(x):
        def inner(c, _):
            return c + release(draw((B,), (3,)), B, A, "coin"), None

        def outer(c, _):
            return lax.scan(inner, c, None, length=2)[0] + ONE, None

        return lax.scan(outer, x, None, length=3)[0]

    programs = projected(traced(fn, A))
    (place,) = [place for place, step in places(programs[B]) if isinstance(step, Send)]
    assert len(place) == 2


def test_a_player_takes_part_in_a_predicate():
    """B knows the answer by which A's loop goes on."""

    def fn(x, y):
        def predicate(c):
            return release(jnp.all(y > ONE), B, A, "goes on") & (release(c, A, B, "count")[0] < ONE)

        return lax.while_loop(predicate, lambda c: c + ONE, x)

    programs = projected(traced(fn, A, B), {A: (0,), B: (), C: ()})
    (loop,) = (s for s in programs[B].steps if isinstance(s, While))
    assert kinds(loop.cond).count("Send") == 1 and not loop.body.steps
    (loop,) = (s for s in programs[A].steps if isinstance(s, While))
    assert "Receive" in kinds(loop.cond)


def test_while_loops_keep_what_their_predicate_reads():
    def fn(n, x):
        def body(carry):
            n, x = carry
            return n - ONE, release(x, A, B, "why") + ONE

        return lax.while_loop(lambda carry: carry[0][0] > 0, body, (n, x))[1]

    programs = projected(traced(fn, ALL, (A, B)), {A: (0,), B: (), C: ()})
    (loop,) = (s for s in programs[A].steps if isinstance(s, While))
    assert len(loop.carry) == 2 and not programs[C].steps and not programs[B].steps  # B's copy is not needed


def test_branches_hold_programs():
    def fn(i, x):
        return lax.cond(i[0] > 0, lambda: release(x, A, B, "one") + ONE, lambda: release(x * x, A, B, "two"))

    programs = projected(traced(fn, ALL, A))
    (branch,) = (s for s in programs[B].steps if isinstance(s, Branch))
    assert sorted(map(kinds, branch.programs)) == [["Receive"], ["Receive", "Segment"]]
    assert not programs[C].steps


def test_constants_of_loop_bodies_are_there():
    table = np.arange(3, dtype=np.uint64)
    shifted = jax.jit(lambda x: x + public(table))

    def fn(x):
        return lax.scan(lambda c, _: (release(shifted(c), A, B, "why"), None), x, None, length=2)

    (loop,) = (s for s in projected(traced(fn, A))[A].steps if isinstance(s, Scan))
    assert len(loop.body.constants) == 1


# -- the fused reading -----------------------------------------------------------------------------------------


def product(x, y):
    k = [mask(A, C), mask(A, B), mask(B, C)]
    one = send_masked(x * y + k[0], {C: k[1]}, A)
    two = send_masked(y * y + k[1], {A: k[2]}, B)
    return agree(one + two, two + one), x


def test_fused_programs_are_one_segment():
    made = traced(product, A, (A, B))
    (step,) = fused(made, cut_messages=False).steps
    assert isinstance(step, Segment) and not any(e.primitive.name == "pack" for e in step.equations)
    assert [len(e.invars) for e in step.equations if e.primitive.name == "agree"] == [1]


def test_recorded_programs_send_what_players_send_at_the_same_depths():
    made = traced(_recorded, A, (A, B), C)
    plan = planned(made)
    slots = {
        (place, step.depth, f.src, f.dst, len(f.messages), f.size)
        for player in made.players
        for place, step in places(plan.program(player))
        if isinstance(step, Send)
        for f in step.frames
    }
    program = fused(made, record=plan.needs.receivers)
    assert not any(isinstance(step, Receive) for _, step in places(program))
    assert slots == {
        (place, step.depth, f.src, f.dst, len(f.messages), f.size)
        for place, step in places(program)
        if isinstance(step, Send)
        for f in step.frames
    }


def _recorded(x, y, z):
    a, _ = product(x, y)

    def quiet(carry, _):
        return (carry[0] + ONE, carry[1] * carry[1]), None

    (b, d), _ = lax.scan(quiet, (a, z), None, length=2)  # held by different players
    c, _ = lax.scan(lambda c, _: (release(c, A, B, "why"), None), b, None, length=2)
    return release(c, A, C, "why"), d


def test_draws_have_distinct_addresses_and_loops_distinct_numbers():
    def shared(x):
        return lax.scan(lambda c, _: (c + mask(A, C), None), x, None, length=2)[0]

    def fn(x):
        return shared(shared(x)) + lax.cond(True, shared, lambda x: shared(shared(x)), x) + mask(A, C)

    made = traced(fn, A)
    plan = planned(made)
    programs = projected(made)
    loops = [s for _, s in places(programs[A]) if isinstance(s, Scan | Branch)]
    assert len({s.number for s in loops}) == len(loops)
    draws = [d.op_id for s in programs[A].segments() for d in s.draws]
    assert len(set(draws)) == len(draws) == len(plan.op_ids)


@pytest.mark.parametrize("length", [0, 1])
def test_short_loops(length):
    def fn(x):
        return lax.scan(lambda c, _: (release(c, A, B, "why"), c), x, None, length=length)

    projected(traced(fn, A))
