"""What clipped sums with the noise of the servers guarantee."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass

from jmpc import gaussian

_SERVERS = 2  # whose noise a curious one does not know
_LEAST_DEVIATION = 4  # of one server's noise, in steps: less is refused where noise is added
_MOST_ELEMENTS = 1 << 40
_BISECTIONS = 60


class Adjacency(enum.Enum):
    """Which data nobody shall tell apart: those that differ in one owner's vector."""

    REMOVE = 1  # which is there, or is zero, as if that owner had brought nothing
    REPLACE = 2  # for any other: twice as far apart


@dataclass(frozen=True)
class Gaussian:
    """One opening of a sum of clipped vectors, one for each owner, with noise.

    The guarantee is that of Kairouz, Liu, Steinke (2021), Proposition 14, for the noise of two servers. It holds for
    every precision and for vectors of up to 2^40 elements: clipping bounds the integers that are shared, roundings
    included, and noise of less than 4 steps of the precision for each server is refused, so that what it takes the sum
    of two discrete Gaussians to be no discrete Gaussian is below 10^-50.

    Args:
      clip: the largest Euclidean norm of an owner's vector, to which larger ones are scaled.
      noise_multiplier: the standard deviation of the noise of any two servers together, divided by `clip`.
      adjacency: what is protected.

    Raises:
      ValueError: for a `clip` or a multiplier that is not positive and finite.
    """

    clip: float
    noise_multiplier: float
    adjacency: Adjacency = Adjacency.REMOVE

    def __post_init__(self) -> None:
        for name in ("clip", "noise_multiplier"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} is a positive finite number, not {value}")

    @classmethod
    def for_budget(
        cls,
        epsilon: float,
        delta: float,
        releases: int = 1,
        *,
        clip: float,
        adjacency: Adjacency = Adjacency.REMOVE,
    ) -> Gaussian:
        """The one with the least noise with which so many releases are (epsilon, delta)-private together.

        Raises:
          ValueError: for an epsilon that is not positive, or that no noise up to 10^9 times `clip` gives.
        """
        if not epsilon > 0:
            raise ValueError(f"epsilon is positive, not {epsilon}")
        low, high = 1e-6, 1e9
        if cls(clip, high, adjacency).epsilon(delta, releases) > epsilon:
            raise ValueError(
                f"no noise makes {releases} releases ({epsilon:g}, {delta:g})-private: allow a larger epsilon"
            )
        for _ in range(_BISECTIONS):
            middle = math.sqrt(low * high)
            if cls(clip, middle, adjacency).epsilon(delta, releases) > epsilon:
                low = middle
            else:
                high = middle
        return cls(clip, high, adjacency)

    @property
    def standard_deviation(self) -> float:
        """Of the noise of any two servers together; that of all three has sqrt(1.5) times that."""
        return self.clip * self.noise_multiplier

    @property
    def rho(self) -> float:
        """One release is rho-zCDP (up to what is below 10^-50); those of several releases add up."""
        return self._released.rho

    def epsilon(self, delta: float, releases: int = 1) -> float:
        """The eps for which so many releases together are (eps, delta)-differentially private for every owner.

        Every run that opens a sum is a release, also of the same value, since it draws noise of its own; so is one that
        failed after it began, since its receiver may have had the result.
        """
        return epsilon(delta, [(self, releases)])

    @property
    def _released(self) -> gaussian.Summed:
        """In the coarsest steps that are allowed, which are the worst case: finer ones make the guarantee better."""
        far = self.adjacency.value / self.noise_multiplier
        return gaussian.Summed(_MOST_ELEMENTS, far * _LEAST_DEVIATION * math.sqrt(_SERVERS), _LEAST_DEVIATION, _SERVERS)


def epsilon(delta: float, releases: Iterable[tuple[Gaussian, int]]) -> float:
    """The eps for which all these releases together, each so many times, are (eps, delta)-private for every owner.

    Each may depend on the results of those before it.

    Raises:
      ValueError: unless 0 < delta < 1 and all numbers of times are 0 or more.
    """
    counted = list(releases)
    if wrong := [times for _, times in counted if times < 0]:
        raise ValueError(f"releases are counted from 0 on, not {wrong[0]}")
    return gaussian.epsilon(delta, [(release._released, times) for release, times in counted])
