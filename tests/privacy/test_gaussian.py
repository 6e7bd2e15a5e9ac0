"""What a mechanism says of itself."""

from __future__ import annotations

import math

import pytest

from jmpc.gaussian import Summed
from jmpc.privacy import Adjacency, Gaussian, epsilon


def test_it_is_the_guarantee_of_its_noise_in_steps():
    mechanism = Gaussian(clip=0.5, noise_multiplier=3.0)
    assert mechanism.standard_deviation == 1.5
    for fraction in (12, 18, 24):  # half of the variance from each of two servers
        deviation = 1.5 * 2**fraction / math.sqrt(2)
        exact = Summed(10_000, 0.5 * 2**fraction, deviation, 2)
        assert mechanism.rho == pytest.approx(exact.rho) == pytest.approx(1 / 18)
        from jmpc import gaussian

        assert mechanism.epsilon(1e-5, 20) == pytest.approx(gaussian.epsilon(1e-5, [(exact, 20)]), rel=1e-12)


def test_replacing_is_twice_as_far_as_removing():
    removed, replaced = Gaussian(1.0, 4.0), Gaussian(1.0, 8.0, Adjacency.REPLACE)
    assert removed.epsilon(1e-5, 7) == pytest.approx(replaced.epsilon(1e-5, 7))


@pytest.mark.parametrize(("target", "delta", "releases"), [(1.0, 1e-5, 1), (0.1, 1e-6, 500), (8.0, 1e-9, 2000)])
def test_the_noise_for_a_budget(target, delta, releases):
    mechanism = Gaussian.for_budget(target, delta, releases, clip=2.0)
    assert mechanism.clip == 2.0
    assert target * (1 - 1e-6) < mechanism.epsilon(delta, releases) <= target
    assert Gaussian(2.0, mechanism.noise_multiplier * 0.999).epsilon(delta, releases) > target


def test_different_releases_add_up():
    first, second = Gaussian(1.0, 2.0), Gaussian(5.0, 10.0)
    both = epsilon(1e-5, [(first, 3), (second, 4)])
    assert max(first.epsilon(1e-5, 3), second.epsilon(1e-5, 4)) < both
    assert both < first.epsilon(1e-5, 3) + second.epsilon(1e-5, 4)
    assert epsilon(1e-5, [(first, 0)]) == 0


def test_what_is_refused():
    for arguments in ((0.0, 1.0), (1.0, -1.0), (math.inf, 1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="is a positive finite number"):
            Gaussian(*arguments)
    with pytest.raises(ValueError, match="epsilon is positive"):
        Gaussian.for_budget(0.0, 1e-5, clip=1.0)
    with pytest.raises(ValueError, match="no noise makes"):
        Gaussian.for_budget(1e-12, 1e-9, 10**6, clip=1.0)
    with pytest.raises(ValueError, match="counted from 0"):
        Gaussian(1.0, 1.0).epsilon(1e-5, -1)
