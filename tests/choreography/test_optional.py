"""The static check of players that a run can do without, and what programs make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import words
from runtime.modes import Case, agree_in_all_modes

from jmpc.choreography.cost import cost
from jmpc.choreography.primitives import Group, agree, contribution, delivered, draw, quorum, release, send_masked
from jmpc.choreography.programs import Delivered, Receive, Segment
from jmpc.choreography.trace import Choreography, trace
from jmpc.errors import ChoreographyError

A, B, C, OWNER, OTHER = "A", "B", "C", "owner", "other"
PARTIES = (A, B, C)


def located(fn: Callable[..., Any], *inputs: str, optional: Sequence[str] = (OWNER, OTHER)) -> Choreography:
    players = (*PARTIES, OWNER, OTHER)
    flat = lambda *args: jax.tree.leaves(fn(*args))
    return trace(flat, [words(3)] * len(inputs), [(who,) for who in inputs], players, optional)


def shared(x: Any, owner: str) -> tuple[Any, Any, Any]:
    """As rep3 does it, for an owner that is no party: held by C and A, A and B, B and C."""
    first, second = draw({owner, C, A}, x.shape), draw({owner, A, B}, x.shape)
    return first, second, send_masked(x, {B: first, C: second}, owner, group=Group.RING)


def agreed(owners: Sequence[str], *shares: Any, least: int = 1, deadline: float | None = None) -> Any:
    """Who is there by the word of all three."""
    came = {A: [], B: [rest for _, _, rest in shares], C: [rest for _, _, rest in shares]}
    told = []
    for party in PARTIES:
        others = tuple(other for other in PARTIES if other != party)
        told.append(release(delivered(came[party], owners, party, deadline), party, others, "who"))
    there = told[0] & told[1] & told[2]
    return agree(*(quorum(there, owners, party, least) for party in PARTIES))


def bit(present: Any, index: int) -> Any:
    return jax.lax.index_in_dim(present, index, keepdims=False)


def kept(share: Sequence[Any], present: Any, index: int, owner: str) -> list[Any]:
    return [contribution(slot, bit(present, index), owner) for slot in share]


def opened(slots: Sequence[Any]) -> Any:
    """To A, which lacks the third."""
    return slots[0] + slots[1] + release(slots[2], B, A, "sum")


def total(x: Any, y: Any, least: int = 1, deadline: float | None = None) -> Any:
    shares = shared(x, OWNER), shared(y, OTHER)
    present = agreed((OWNER, OTHER), *shares, least=least, deadline=deadline)
    slots = [kept(share, present, i, who) for i, (share, who) in enumerate(zip(shares, (OWNER, OTHER), strict=True))]
    return opened([a + b for a, b in zip(*slots, strict=True)]), present


def test_a_sum_of_all_is_the_same_in_all_modes() -> None:
    arrays = [np.arange(3, dtype=np.uint64), np.full(3, 1 << 63, np.uint64)]
    (result, present), messages = agree_in_all_modes(Case(located(total, OWNER, OTHER), arrays))
    np.testing.assert_array_equal(result, arrays[0] + arrays[1])
    assert present.all()
    assert {(src, dst) for _, src, dst in messages if src == OWNER} == {(OWNER, B), (OWNER, C)}


def test_looks_at_who_is_there_are_steps_behind_the_messages() -> None:
    case = Case(located(lambda x, y: total(x, y, deadline=2.5), OWNER, OTHER), [])
    programs = case.programs()
    for party in PARTIES:
        steps = programs[party].steps
        (look,) = [i for i, step in enumerate(steps) if isinstance(step, Delivered)]
        receives = [(i, step) for i, step in enumerate(steps) if isinstance(step, Receive)]
        waits = [i for i, step in receives if any(frame.src in (OWNER, OTHER) for frame in step.frames)]
        assert all(i < look and steps[i].deadline == 2.5 for i in waits) and len(waits) == (party != A)
        (asked,) = [quorum for step in steps if isinstance(step, Segment) for quorum in step.quorums]
        assert asked.owners == (OWNER, OTHER) and asked.least == 1
    for owner in (OWNER, OTHER):
        assert not any(isinstance(step, Delivered | Receive) for step in programs[owner].steps)
    flags = [frame for frame in cost(list(programs.values())).frames if frame.bits == 2]
    assert len(flags) == 6 and all(frame.size == 1 for frame in flags)


def refused(fn: Callable[..., Any], *inputs: str, match: str, optional: Sequence[str] = (OWNER, OTHER)) -> None:
    with pytest.raises(ChoreographyError, match=match) as caught:
        located(fn, *inputs, optional=optional)
    assert "test_optional.py:" in str(caught.value)


def test_what_others_would_wait_for() -> None:
    refused(lambda x: opened(shared(x, OWNER)), OWNER, match=r"'owner' would send something that others wait for")
    refused(lambda x: release(x, OWNER, A, "all of it"), OWNER, match="'owner' would send something")

    def twice(x, y):
        result, present = total(x, y)
        return result, present, release(x[:1], OWNER, B, "more")

    refused(twice, OWNER, OTHER, match="'owner' would send something")


def test_shares_for_those_that_may_be_missing() -> None:
    def masked(x):
        return send_masked(x, {OWNER: draw({A, B}, x.shape)}, A)

    refused(masked, A, match=r"shares go to \['owner'\]")
    located(lambda x: release(x, A, OWNER, "for it"), A)  # which may be released to it


def test_keys_that_hide_something_of_others() -> None:
    def hidden(x):
        return send_masked(x, {B: draw({A, OWNER}, x.shape)}, A)

    refused(hidden, A, match=r"`send_masked` uses a message or a key of 'owner'")
    refused(lambda: draw({A, OWNER, OTHER}, (3,)), match="a key that .* share")

    def pad(x):
        return release(x + draw({A, OWNER}, x.shape), A, B, "padded")

    refused(pad, A, match=r"`add` uses a message or a key of 'owner'")


def test_contributions_that_nobody_judged() -> None:
    def bare(x):
        share = shared(x, OWNER)
        present = agreed((OWNER,), share)
        return opened(share), present

    refused(bare, OWNER, match=r"`release` uses a message or a key of 'owner'|`add` uses a message or a key of 'owner'")

    def unjudged(x):
        share = shared(x, OWNER)
        told = [release(delivered([share[2]], (OWNER,), B), B, (A, C), "who")]
        return opened(kept(share, told[0], 0, OWNER))

    refused(unjudged, OWNER, match=r"`contribution` uses a message or a key of 'owner'")

    def of_another(x, y):
        shares = shared(x, OWNER), shared(y, OTHER)
        first, second = agreed((OWNER,), shares[0]), agreed((OTHER,), shares[1])
        return opened(kept(shares[0], second, 0, OWNER)), first

    refused(of_another, OWNER, OTHER, match=r"`contribution` uses a message or a key of 'owner'")


def test_within_loops() -> None:
    def looped(x):
        share = shared(x, OWNER)
        present = agreed((OWNER,), share)

        def turn(carry, _):
            return [c + contribution(slot, bit(present, 0), OWNER) for c, slot in zip(carry, share, strict=True)], None

        slots, _ = jax.lax.scan(turn, [jnp.zeros_like(slot) for slot in share], None, length=2)
        return opened(slots)

    refused(looped, OWNER, match=r"`contribution` within a loop or branch|`scan` uses a message or a key of 'owner'")


def test_players_that_no_run_can_do_without() -> None:
    refused(lambda x, y: total(x, y), OWNER, OTHER, match=r"\['other'\] are not players", optional=(OWNER,))
