"""Segments that compute the same stand in the same order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import A, B, C, traced
from jax import lax

from jmpc.choreography.canonical import canonical
from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.primitives import draw, send_masked
from jmpc.choreography.schedule import schedule
from jmpc.protocols.base import Ring
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.compiler import fingerprint

ONE, TWO = np.uint64(1), np.uint64(2)


def fused(fn, *inputs, cut=False, **options):
    """The canonical program of all players together."""
    choreography = traced(fn, *inputs, **options)
    outputs = {A: range(len(choreography.closed.jaxpr.outvars))}
    return canonical(schedule(choreography.closed, None, (), outputs, cut_messages=cut).program(TOGETHER))


def marks(fn, *inputs, **options):
    return [fingerprint(segment) for segment in fused(fn, *inputs, **options).segments()]


def test_the_order_of_writing_does_not_matter():
    def one(x, y):
        a, b = x * ONE, y * TWO
        return a + b, a ^ y

    def two(y, x):
        b = y * TWO
        a = x * ONE
        return a ^ y, a + b

    def other(x, y):
        a, b = x * TWO, y * ONE
        return a + b, a ^ y

    assert marks(one, A, A) == marks(two, A, A) != marks(other, A, A)


def test_uses_tell_inputs_apart():
    """What an input is used for, also at a distance, decides where it stands."""

    def chain(x):
        return jnp.flip(((x + ONE) * x) ^ (x + ONE))

    def one(x, y, z):
        return chain(x) + z, y - chain(y)

    def two(z, y, x):
        return y - chain(y), chain(x) + z

    assert marks(one, A, A, A) == marks(two, A, A, A)


def test_slots_in_any_rotation():
    """The same gate, whoever has which part in it."""
    protocols = [Rep3((A, B, C), rotation) for rotation in range(3)]
    for gate in (lambda p, x: p.sign(x), lambda p, x: p.truncate(x, 18), lambda p, x: p.truncate(p.square(x), 18)):
        found = {
            tuple(marks(lambda *x, p=p, gate=gate: gate(p, Ring(x)).slots, {A, C}, {A, B}, {B, C}, cut=True))
            for p in protocols
        }
        assert len(found) == 1


def test_nothing_else_changes():
    """The same equations, inputs, draws and outputs, and operands still come first; in loops, too."""

    def fn(x):
        def body(c, _):
            return send_masked(c * c, {B: draw((A, C), (3,))}, A) + draw((A,), (3,)), c

        return lax.scan(body, x - ONE, None, length=2)

    choreography = traced(fn, A)
    plain = schedule(choreography.closed, None, (), {A: (0, 1)}).program(TOGETHER)
    ordered = canonical(plain)
    assert len(list(ordered.segments())) == len(list(plain.segments())) > 1
    for before, after in zip(plain.segments(), ordered.segments(), strict=True):
        assert set(map(id, before.equations)) == set(map(id, after.equations))
        for part in ("inputs", "outputs", "draws"):
            assert set(getattr(before, part)) == set(getattr(after, part))
        assert before.guards == after.guards
        known = {*after.inputs, *(d.var for d in after.draws)}
        for eqn in after.equations:
            assert known.issuperset(atom for atom in eqn.invars if hasattr(atom, "count"))
            known.update(eqn.outvars)
    assert (ordered.outputs, ordered.drops) == (plain.outputs, plain.drops)


@pytest.mark.parametrize("length", [1, 40])
def test_keystream_waits_until_it_is_used(length):
    """What is made of draws alone does not gather in the first segment of a long fused program."""

    def fn(x):
        for _ in range(length):
            x = x * send_masked(x, {B: draw((A, C), (3,))}, A) + (draw((A,), (3,)) ^ draw((A,), (3,)))
        return (x,)

    segments = list(fused(fn, A, cut=True).segments())
    assert len(segments) >= length
    assert max(len(segment.draws) for segment in segments) <= 4
    with jax.enable_x64(True):
        assert max(len(segment.outputs) for segment in segments) <= 4
