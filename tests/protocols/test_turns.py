"""The integer evaluators of angles and powers of two against numpy's floating point."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jmpc.choreography.inline import inline_calls
from jmpc.protocols.turns import ONE_Q30, cos_turn, exp2_q30, sin_turn

ANGLES = np.random.default_rng(0).integers(0, 2**64, (3, 100_000), np.uint64)
ANGLES[0, :9] = [0, 1, 2**62 - 1, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 3 << 62, 2**64 - 1]


@pytest.mark.parametrize(("evaluator", "real"), [(sin_turn, np.sin), (cos_turn, np.cos)])
def test_waves(evaluator, real) -> None:
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(evaluator)(ANGLES))
    assert got.dtype == np.int64
    assert np.abs(got / ONE_Q30 - real(ANGLES / 2.0**64 * 2 * np.pi)).max() < 2**-28


def test_waves_are_symmetric() -> None:
    with jax.enable_x64(True):
        np.testing.assert_array_equal(sin_turn(ANGLES), -sin_turn(ANGLES + np.uint64(1 << 63)))
        np.testing.assert_array_equal(cos_turn(ANGLES), sin_turn(ANGLES + np.uint64(1 << 62)))


def test_powers_of_two() -> None:
    fraction = np.random.default_rng(1).integers(0, 2**31, 100_000)
    fraction[:3] = [0, 1, 2**31 - 1]
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(exp2_q30)(fraction))
    assert got.min() >= ONE_Q30 and got.max() <= 2 * ONE_Q30
    assert np.abs(got / ONE_Q30 - 2.0 ** (fraction / 2.0**31)).max() < 2**-28


def test_integers_only() -> None:
    """A float anywhere would let two players' copies of a share differ."""
    with jax.enable_x64(True):
        for evaluator, x in ((sin_turn, ANGLES), (cos_turn, ANGLES), (exp2_q30, ANGLES.view(np.int64))):
            for eqn in inline_calls(jax.make_jaxpr(evaluator)(x)).jaxpr.eqns:
                assert all(v.aval.dtype.kind in "iub" for v in (*eqn.invars, *eqn.outvars))
