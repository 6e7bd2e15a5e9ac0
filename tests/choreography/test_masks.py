"""Which messages count as masked. For each refusal there is a twin that is accepted."""

import inspect
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import A, B, C, traced
from jax import lax

from jmpc.choreography.primitives import Group, agree, draw, release, send_masked
from jmpc.errors import ChoreographyError

HERE = Path(__file__).name


def accepted(fn, *inputs, **options) -> int:
    """The number of checked messages."""
    return traced(fn, *inputs, **options).masked_messages


def refused(fn, *inputs, line: int, match: str) -> None:
    with pytest.raises(ChoreographyError, match=match) as caught:
        traced(fn, *inputs)
    assert str(caught.value).startswith(f"{HERE}:{inspect.getsourcelines(fn)[1] + line} ("), str(caught.value)


def mask(*key, **options):
    return draw(key, (3,), **options)


# -- correct protocols -----------------------------------------------------------------------------------------


def test_a_product_with_its_zero_share():
    """z_i + k_i - k_{i+1} from P_i to P_{i-1}, k_i under the key of P_i and P_{i-1}."""
    players, pairs = (A, B, C), [(C, A), (A, B), (B, C)]

    def fn(*x):
        k = [mask(*pairs[i]) for i in range(3)]
        terms = [x[i] * x[i] + x[i] * x[(i + 1) % 3] * np.uint64(2) for i in range(3)]
        return [send_masked(terms[i] + k[i], {players[i - 1]: k[(i + 1) % 3]}, players[i]) for i in range(3)]

    assert accepted(fn, *pairs) == 3


def cross_gate(u, v):
    """C hides v from A and B, who tell each other u times the masks; see PROTOCOLS 1.5."""
    k, k_, s, s_ = mask(C, A), mask(B, C), mask(C, A), mask(B, C)
    h, h_ = send_masked(v, {B: k}, C), send_masked(v, {A: k_}, C)
    e, e_ = send_masked(u * k, {B: s}, A), send_masked(u * k_, {A: s_}, B)
    return agree(e_ + u * h_ - s, e + u * h - s_)


def test_a_cross_gate():
    assert accepted(cross_gate, (A, B), C) == 4


def test_a_multicast():
    def fn(x):
        return send_masked(x, {B: mask(A, C), C: mask(A, B)}, A)

    assert accepted(fn, A) == 2


def test_one_draw_may_hide_one_message_from_each_of_two_players():
    """Each of them sees a single message under it."""

    def fn(x, y):
        r = mask(A)
        return send_masked(x, {B: r}, A), send_masked(y, {C: r}, A)

    assert accepted(fn, A, A) == 2


def test_messages_that_hide_masks_of_earlier_ones():
    def fn(x):
        r, s, t = mask(A, C), mask(A, C), mask(A, C)
        return send_masked(x, {B: r}, A), send_masked(x * r + s, {B: t}, A), send_masked(x + r, {B: s}, A)

    assert accepted(fn, A) == 3


def test_fewer_bits_under_more():
    def fn(x):
        return send_masked(x, {B: mask(A, C, bits=9)}, A, bits=9), send_masked(x, {B: mask(A, C)}, A, bits=9)

    assert accepted(fn, A) == 2


def test_messages_in_loops_with_masks_of_their_own():
    def fn(x):
        def inner(c, _):
            return c + np.uint64(1), send_masked(c, {B: mask(A, C)}, A)

        def outer(c, _):
            c, seen = lax.scan(inner, c, None, length=2)
            return c, (seen, send_masked(c, {B: mask(A, C)}, A))

        return lax.scan(outer, x, None, length=2)

    assert accepted(fn, A) == 2


def test_masks_that_pass_into_loops_and_out_of_them():
    """A message before a loop that hides its mask, and one after a loop that hides the loop's masks."""

    def fn(x):
        before, after = mask(A, C), mask(A, C)
        first = send_masked(x, {B: before}, A)

        def body(c, _):
            r = mask(A, C)
            return c + r, send_masked(c + before, {B: r}, A)

        c, seen = lax.scan(body, x, None, length=2)
        return first, seen, send_masked(c, {B: after}, A)

    assert accepted(fn, A) == 3


# -- mutants ---------------------------------------------------------------------------------------------------


def test_a_mask_that_the_receiver_can_make():
    def fn(x):
        return send_masked(x, {B: mask(A, B)}, A)

    refused(fn, A, line=1, match="a message to 'B' is drawn under the key of {A, B}, which 'B' holds")


def test_a_mask_of_everyone():
    def fn(x):
        return send_masked(x, {B: mask(A, C), C: mask(A, B, C)}, A)

    refused(fn, A, line=1, match="to 'C' is drawn under the key of {A, B, C}")


def test_two_messages_under_one_mask():
    def fn(x, y):
        r = mask(A, C)
        one = send_masked(x, {B: r}, A)
        return one, send_masked(y, {B: r}, A)

    refused(fn, A, A, line=3, match=rf"already masks a message to 'B' \({HERE}:\d+ \(fn\)\)")


def test_two_messages_under_one_mask_by_two_senders():
    def fn(x, y):
        r = mask(A, C)
        one = send_masked(x, {B: r}, A)
        return one, send_masked(y, {B: r}, C)

    refused(fn, A, C, line=3, match="already masks a message to 'B'")


def test_a_draw_that_masks_one_message_for_two_receivers():
    """x ^ r ^ r is x."""

    def fn(x):
        r = mask(A)
        return send_masked(x, {B: r, C: r}, A, group=Group.XOR)

    refused(fn, A, line=2, match="one draw masks a message to 'B' twice over")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: draw((A, C), (6,))[:3],
        lambda: mask(A, C) + mask(A, C),
        lambda: mask(A, C) * np.uint64(2),
        lambda: mask(A, C)[::-1],
        lambda: jnp.zeros(3, np.uint64),
        lambda: agree(mask(A, C), mask(A, C)),
        lambda: send_masked(mask(A, C), {B: mask(A, C)}, A),
    ],
    ids=["sliced", "summed", "scaled", "reversed", "constant", "agreed", "sent"],
)
def test_a_mask_that_is_no_whole_draw(spoil):
    def fn(x):
        return send_masked(x, {B: spoil()}, A)

    refused(fn, A, line=1, match="must be a whole `draw` of the same loop body")


def test_scalar_literals_and_arguments_are_no_masks():
    def fn(x):
        return send_masked(x[0], {B: np.uint64(7)}, A)

    refused(fn, A, line=1, match="must be a whole `draw`")

    def argument(x, y):
        return send_masked(x, {B: y}, A)

    refused(argument, A, A, line=1, match="must be a whole `draw`")


def test_a_mask_from_outside_the_loop():
    def fn(x):
        r = mask(A, C)

        def body(c, _):
            return c, send_masked(c, {B: r}, A)

        return lax.scan(body, x, None, length=2)

    refused(fn, A, line=4, match="must be a whole `draw` of the same loop body.*drawn outside the loop")


def test_a_mask_from_outside_the_branch():
    def fn(i, x):
        r = mask(A, C)
        return lax.cond(i[0] > 0, lambda: send_masked(x, {B: r}, A), lambda: x)

    refused(fn, (A, B, C), A, line=2, match="must be a whole `draw` of the same loop body")


def test_a_mask_carried_from_one_iteration_to_the_next():
    def fn(x):
        def body(r, _):
            return mask(A, C), send_masked(x, {B: r}, A)

        return lax.scan(body, mask(A, C), None, length=2)

    refused(fn, A, line=2, match="must be a whole `draw` of the same loop body")


def test_too_few_bits():
    def fn(x):
        return send_masked(x, {B: mask(A, C, bits=63)}, A)

    refused(fn, A, line=1, match="a message of 64 bits to 'B' is masked by a draw of 63 bits only")


def test_masks_in_a_circle():
    """The sum of both messages is a + b."""

    def fn(a, b):
        r1, r2 = mask(A, C), mask(A, C)
        one = send_masked(a + r2, {B: r1}, A)
        two = send_masked(b + r1, {B: r2}, A)
        return one, two

    refused(fn, A, A, line=2, match="2 messages to 'B' hide each other's masks in a circle")


def test_a_longer_circle_through_messages():
    def fn(a):
        r = [mask(A, C) for _ in range(3)]
        one = send_masked(a + r[2], {B: r[0]}, A)
        two = send_masked(one + a, {B: r[1]}, A)
        return two, send_masked(two * a, {B: r[2]}, A)

    refused(fn, A, line=2, match="3 messages to 'B' hide each other's masks in a circle")


def test_a_message_that_hides_its_own_mask():
    def fn(x):
        r = mask(A, C)
        return send_masked(x * r, {B: r}, A)

    refused(fn, A, line=2, match="1 messages? to 'B' hide")


def test_a_circle_through_the_mask_of_another_receiver():
    """B's mask in one message is C's part of the other, and the other way round."""

    def fn(x, y):
        r, s = mask(A), mask(A)
        one = send_masked(x, {B: r, C: s}, A)
        two = send_masked(y, {B: s, C: r}, A)
        return one, two

    refused(fn, A, A, line=2, match="2 messages to 'B' hide each other's masks in a circle")


def test_a_circle_through_a_loop():
    def fn(x):
        r = mask(A, C)

        def body(c, _):
            s = mask(A, C)
            return c + s, send_masked(c + r, {B: s}, A)

        c, seen = lax.scan(body, x, None, length=2)
        return seen, send_masked(c, {B: r}, A)

    refused(fn, A, line=8, match="in a circle")


def test_a_circle_inside_a_loop():
    def fn(x):
        def body(c, _):
            r, s = mask(A, C), mask(A, C)
            one = send_masked(c + s, {B: r}, A)
            return c, (one, send_masked(c + r, {B: s}, A))

        return lax.scan(body, x, None, length=2)

    refused(fn, A, line=3, match="in a circle")


def test_releases_are_not_judged():
    """A limit: with the mask in the clear, B learns x. It is in the account of releases, for people to judge."""

    def fn(x):
        r = mask(A, C)
        return send_masked(x, {B: r}, A), release(r, A, B, "a bad idea")

    assert accepted(fn, A) == 1
