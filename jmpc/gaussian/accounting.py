"""What opening a sum of integer vectors guarantees, to which several players added discrete Gaussians.

The distributed discrete Gaussian of Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated
Learning with Secure Aggregation" (2021, arXiv 2102.06387), Proposition 14; from Renyi to approximate differential
privacy by Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020, arXiv 2004.00010),
Proposition 12. These figures are floats: they describe the noise, and are no part of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_ORDERS = 1 + np.geomspace(1e-4, 1e7, 4001)  # each gives a bound that holds; close enough to give nearly the best


@dataclass(frozen=True)
class Summed:
    """A sum of vectors of integers, with the noise of `summands` players that nobody else knows.

    Args:
      size: elements of a vector.
      sensitivity: the largest l2 norm of how much one owner may change the sum.
      deviation: the parameter sigma of each summand of the noise, N_Z(0, sigma^2).
      summands: how many add such noise and keep it to themselves.
    """

    size: int
    sensitivity: float
    deviation: float
    summands: int

    @property
    def distance(self) -> float:
        """How far the sum of the discrete Gaussians is from one discrete Gaussian (tau)."""
        exponents = (-2 * (math.pi * self.deviation) ** 2 * k / (k + 1) for k in range(1, self.summands))
        return 10 * sum(map(math.exp, exponents))

    @property
    def rho(self) -> float:
        """The zero-concentrated view: RDP(alpha) <= alpha rho + tau size, for all orders alpha."""
        return self._relative**2 / 2

    @property
    def _relative(self) -> float:
        return self.sensitivity / (math.sqrt(self.summands) * self.deviation)

    def rdp(self, orders: np.ndarray) -> np.ndarray:
        """The Renyi divergence of these orders between the sums of adjacent data, at most."""
        tau, d, s2 = self.distance, self.size, self._relative
        s1 = s2 * math.sqrt(d)
        half = np.asarray(orders) / 2
        first, second = half * s2**2 + tau * d, half * (s2**2 + 2 * s1 * tau + tau**2 * d)
        return np.minimum(np.minimum(first, second), half * (s2 + math.sqrt(d) * tau) ** 2)


def epsilon(delta: float, releases: Iterable[tuple[Summed, int]]) -> float:
    """The smallest eps found with which all these releases together, each so many times, are (eps, delta)-private.

    They may be chosen one after the other, knowing the results so far. The minimum is over 4001 orders from 1.0001 on.

    Raises:
      ValueError: unless 0 < delta < 1.
    """
    _check_delta(delta)
    total = sum((times * release.rdp(_ORDERS) for release, times in releases), np.zeros_like(_ORDERS))
    spare = _ORDERS - 1
    at_orders = total + (math.log(1 / delta) - np.log(_ORDERS)) / spare + np.log(spare / _ORDERS)
    return max(0.0, float(at_orders.min()))


def zcdp_epsilon(delta: float, releases: Iterable[tuple[Summed, int]]) -> float:
    """The same by the closed form for zero-concentrated differential privacy; a little more than `epsilon`."""
    _check_delta(delta)
    counted = list(releases)
    rho = sum(times * release.rho for release, times in counted)
    apart = sum(times * release.distance * release.size for release, times in counted)
    return rho + apart + 2 * math.sqrt(rho * math.log(1 / delta))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta is a probability between 0 and 1, not {delta}")
