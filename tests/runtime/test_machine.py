"""One choreography, every mode: bit-identical results, identical messages."""

import jax
import jax.numpy as jnp
import numpy as np
from choreography.programs_check import A, B, C, traced
from runtime.modes import Case, Eager, agree_in_all_modes, random_words

from jmpc.choreography.primitives import Group, agree, draw, release, send_masked
from jmpc.protocols.base import Ring
from jmpc.protocols.rep3 import Rep3

PAIRS = [(C, A), (A, B), (B, C)]


def test_multiplication():
    def fn(*slots):
        p = Rep3((A, B, C))
        x, y = Ring(slots[:3]), Ring(slots[3:])
        return p.settle(p.multiply(x, y))

    case = Case(traced(fn, *PAIRS, *PAIRS), [random_words(i, 3) for i in range(6)])
    outs, messages = agree_in_all_modes(case)
    x, y = sum(case.arrays[:3]), sum(case.arrays[3:])
    assert (sum(outs) == x * y).all()
    assert len(messages) == 3
