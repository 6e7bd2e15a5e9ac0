"""The accounting against closed forms, exact divergences, and an implementation of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from jmpc.gaussian import Summed, epsilon, zcdp_epsilon


def reference(size: int, d2: float, sigma: float, n: int, times: int, delta: float) -> float:
    """Straight from the formulas, over other orders."""
    tau = 10 * sum(math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, n))
    s2, s1 = d2 / (math.sqrt(n) * sigma), d2 * math.sqrt(size) / (math.sqrt(n) * sigma)

    def at(log_spare: float) -> float:
        a = 1 + math.exp(log_spare)
        rdp = min(
            a / 2 * s2**2 + tau * size,
            a / 2 * (s2**2 + 2 * s1 * tau + tau**2 * size),
            a / 2 * (s2 + math.sqrt(size) * tau) ** 2,
        )
        return times * rdp + math.log(1 / delta) / (a - 1) + math.log(1 - 1 / a) - math.log(a) / (a - 1)

    pieces = np.linspace(-8, 14, 45)
    return max(0.0, min(optimize.minimize_scalar(at, bounds=(s, s + 0.5), method="bounded").fun for s in pieces))


@pytest.mark.parametrize("sigma", [0.7, 1.2, 2.0, 4.0, 1000.0])
@pytest.mark.parametrize(("relative", "times", "delta"), [(0.5, 1, 1e-5), (0.1, 100, 1e-6), (4.0, 10, 1e-9)])
def test_the_formulas(sigma, relative, times, delta):
    d2 = relative * sigma * math.sqrt(2)
    found = epsilon(delta, [(Summed(1000, d2, sigma, 2), times)])
    assert found == pytest.approx(reference(1000, d2, sigma, 2, times, delta), rel=1e-4)
    assert found <= zcdp_epsilon(delta, [(Summed(1000, d2, sigma, 2), times)]) + 1e-9


def test_distance_of_a_sum_from_one_gaussian():
    assert Summed(1, 1.0, 1.0, 1).distance == 0
    assert Summed(1, 1.0, 1.0, 2).distance == pytest.approx(10 * math.exp(-(math.pi**2)))
    assert Summed(1, 1.0, 4.0, 2).distance < 1e-66
    more = Summed(1, 1.0, 0.5, 3).distance
    assert more == pytest.approx(10 * (math.exp(-(math.pi**2) / 4) + math.exp(-(math.pi**2) / 3)))


@pytest.mark.parametrize("sigma", [0.6, 1.0, 3.0])
def test_the_divergence_is_really_not_larger(sigma):
    """Of sums of two discrete Gaussians that are one apart, summed up number by number."""
    numbers = np.arange(-400, 401)
    one = np.exp(-(numbers**2) / (2 * sigma**2))
    both = np.convolve(one / one.sum(), one / one.sum(), "same")
    p, q = both[1:], both[:-1]
    visible = (p > 1e-200) & (q > 1e-200)
    bound = Summed(1, 1.0, sigma, 2)
    for order in (1.5, 2.0, 4.0, 10.0):
        logs = order * np.log(p[visible]) + (1 - order) * np.log(q[visible])
        exact = np.log(np.exp(logs).sum()) / (order - 1)
        assert exact <= bound.rdp(np.array([order]))[0] * (1 + 1e-9)


def test_epsilon_is_not_below_what_a_gaussian_needs_and_not_far_above():
    """The exact trade-off of one release of a Gaussian is known (Balle, Wang 2018)."""
    for multiplier in (0.8, 2.0, 5.0):
        found = epsilon(1e-5, [(Summed(1, 1e3, 1e3 * multiplier / math.sqrt(2), 2), 1)])

        def delta_of(eps, s=multiplier):
            return stats.norm.cdf(0.5 / s - eps * s) - math.exp(eps) * stats.norm.cdf(-0.5 / s - eps * s)

        exact = optimize.brentq(lambda eps: delta_of(eps) - 1e-5, 1e-6, 50)
        assert exact < found < 1.13 * exact


def test_releases_compose():
    a, b = Summed(10, 1.0, 30.0, 2), Summed(10, 1.0, 50.0, 2)
    assert epsilon(1e-5, []) == 0
    assert epsilon(1e-5, [(a, 0)]) == 0
    assert epsilon(1e-5, [(a, 3), (a, 4)]) == epsilon(1e-5, [(a, 7)])
    assert epsilon(1e-5, [(a, 5)]) < epsilon(1e-5, [(a, 5), (b, 5)]) < epsilon(1e-5, [(a, 10)])
    for delta in (0, 1, -1e-5):
        with pytest.raises(ValueError, match="a probability between 0 and 1"):
            epsilon(delta, [(a, 1)])
