"""What is known of values relative to others, so that stable softmax and its like stay accurate and cheap.

JAX's softmax is max, sub, exp, sum and div, with no primitive of its own. Intervals alone say nothing about
x - max(x). So a maximum remembers what it is the maximum of (`Peak`); the difference is then at most 0 and
attains it (`Attains`), its exponential is at most 1 and attains that, and the sum of exponentials lies in [1, n]: a
denominator, or the argument of a logarithm, in a known and narrow range. This recognises the computation wherever
it is written out (softmax, log_softmax, logsumexp, attention) and not only JAX's own spelling of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from jmpc.lowering.interval import Interval
from jmpc.lowering.values import Attains, Boolean, FixedPoint, Peak, Spread, Trait, Value


def peak(x: FixedPoint, axes: Sequence[int]) -> Peak:
    """Of the maximum of `x` over `axes`."""
    axes = tuple(sorted(axis % len(x.shape) for axis in axes))
    return Peak(x, axes, tuple(d for d in range(len(x.shape)) if d not in axes))


def after_broadcast(trait: Trait | None, dims: Sequence[int], rank: int) -> Trait | None:
    """Of a broadcast that puts dimension i at `dims[i]`."""
    if not isinstance(trait, Peak):
        return None
    places: list[int | None] = [None] * rank
    for source, target in zip(trait.dims, dims, strict=True):
        places[target] = source
    return dataclasses.replace(trait, dims=tuple(places))


def after_reshape(trait: Trait | None, shape: Sequence[int], new_shape: Sequence[int]) -> Trait | None:
    """Of a reshape that only adds or drops dimensions of size 1."""
    if not isinstance(trait, Peak) or [n for n in shape if n != 1] != [n for n in new_shape if n != 1]:
        return None
    kept = iter([dim for dim, n in zip(trait.dims, shape, strict=True) if n != 1])
    return dataclasses.replace(trait, dims=tuple(next(kept) if n != 1 else None for n in new_shape))


def is_peak_of(x: Value, y: Value) -> bool:
    """Whether `y` is the maximum of `x`, broadcast along the dimensions it was taken over."""
    trait = getattr(y, "trait", None)
    if not isinstance(trait, Peak) or trait.of is not x or len(trait.dims) != len(x.shape):
        return False
    ones = [n == 1 for n in y.shape]
    return all(
        dim == d or (dim is None and (d in trait.axes or x.shape[d] == 1)) or (one and d in trait.axes)
        for d, (dim, one) in enumerate(zip(trait.dims, ones, strict=True))
    )


def minus_peak(x: FixedPoint, y: FixedPoint, difference: FixedPoint) -> FixedPoint:
    """`difference` is x - y, where y is the peak of x."""
    known = Interval(min(0.0, difference.interval.low), 0.0, difference.interval.trust)
    trait = y.trait
    assert isinstance(trait, Peak)
    return dataclasses.replace(difference, interval=known, trait=Attains(trait.axes, 0.0))


def attained(x: FixedPoint | Boolean, axes: Sequence[int]) -> float | None:
    """What some element of `x` is along `axes`, if that is known."""
    trait = x.trait
    if isinstance(trait, Attains) and set(trait.axes) <= {axis % len(x.shape) for axis in axes}:
        return trait.value
    return None


def narrowly(x: FixedPoint, function: Callable[[FixedPoint], FixedPoint], broadcast: Callable) -> FixedPoint:
    """An elementwise function of `x`, computed before `x` was broadcast if it was."""
    if not isinstance(x.trait, Spread):
        return function(x)
    of = function(x.trait.of)
    return dataclasses.replace(broadcast(of, x.shape), trait=Spread(of))
