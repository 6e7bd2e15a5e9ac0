"""Softmax, its logarithm and the logarithm of its denominator, along an axis of any length.

The largest logit is subtracted first, or a public bound where one is known, so that no exponential exceeds 1. Of
the sum of n exponentials, one of which is 1, only ceil(log2 n) + 1 exponents are possible: its reciprocal
and its logarithm need that many comparisons of one number instead of a bit decomposition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jmpc.functions import coefficients as fitted
from jmpc.functions.comparison import reduce_max
from jmpc.functions.exponential import exp_nonpositive
from jmpc.functions.logarithm import log_of
from jmpc.functions.normalize import Exponents, PowerOfTwo, normalize
from jmpc.functions.series import GATE_SCALE, check_fraction, choose, gate
from jmpc.protocols.base import Protocol, Ring

_LOG2_E = 1 / math.log(2.0)
_RECIPROCAL = (fitted.RECIPROCAL, fitted.RECIPROCAL_FINE)
_PRODUCT_BITS = 60
_EXP_FRACTION = 28
_MOST_EXP_FRACTION = 40
_PRECISION = 24


def softmax(protocol: Protocol, x: Ring, fraction: int, *, axis: int = -1, bound: float | None = None) -> Ring:
    """e^x_i / sum_j e^x_j along `axis`.

    Domain: logits with |x| < 2^12 at f = 18. Terms below 2^-28 of the largest count as 0. Error at f = 18:
    1.8 ulp. Rounds for n entries: 6 ceil(log2 n) + 19; 6068 bits an entry for n = 8.

    Args:
      bound: a promise |x| <= bound, at most (38 - f) ln 2 / 2 (6.9 at f = 18). Instead of the maximum it
        is subtracted: 17 rounds for any n, 4449 bits an entry for n = 8.
    """
    check_fraction(fraction)
    n = x.shape[axis]
    if n == 1:
        return protocol.constant(jnp.full(x.shape, 1 << fraction, np.uint64))
    _, exponentials = _exponentials(protocol, x, fraction, axis, bound)
    inverse, scale = _inverse(protocol, exponentials, fraction)
    product = protocol.multiply(exponentials.terms, inverse)
    result = protocol.truncate(product, exponentials.fraction + scale - fraction)
    return protocol.map(lambda slot: jnp.moveaxis(slot, -1, axis), result)


def log_softmax(protocol: Protocol, x: Ring, fraction: int, *, axis: int = -1, bound: float | None = None) -> Ring:
    """x_i - log(sum_j e^x_j) along `axis`. As `softmax`; rounds: 6 ceil(log2 n) + 15."""
    check_fraction(fraction)
    relative, exponentials = _exponentials(protocol, x, fraction, axis, bound)
    result = protocol.subtract(relative, _log_total(protocol, exponentials, fraction))
    return protocol.map(lambda slot: jnp.moveaxis(slot, -1, axis), result)


def logsumexp(protocol: Protocol, x: Ring, fraction: int, *, axis: int = -1, bound: float | None = None) -> Ring:
    """log(sum_j e^x_j) along `axis`, which disappears. As `softmax`; rounds: 6 ceil(log2 n) + 15."""
    check_fraction(fraction)
    relative, exponentials = _exponentials(protocol, x, fraction, axis, bound)
    first = protocol.map(lambda slot, z: jnp.moveaxis(slot, axis, -1)[..., 0] - z[..., 0], x, relative)
    total = _log_total(protocol, exponentials, fraction)
    return protocol.add(first, protocol.map(lambda slot: slot[..., 0], total))


@dataclass(frozen=True)
class _Exponentials:
    """Terms in [0, 1] at scale 2^fraction with the axis last, and their sum (the axis kept)."""

    terms: Ring
    total: Ring
    fraction: int
    exponents: Exponents


def _exponentials(
    protocol: Protocol, x: Ring, fraction: int, axis: int, bound: float | None
) -> tuple[Ring, _Exponentials]:
    """(z, e^z) for z = x - max x <= 0, or z = x - bound."""
    x = protocol.map(lambda slot: jnp.moveaxis(slot, axis, -1), x)
    n = x.shape[-1]
    if n == 0:
        raise ValueError(f"softmax along axis {axis}, which has no element")
    if bound is None:
        largest = reduce_max(protocol, x, -1)
        z = protocol.map(lambda slot, top: slot - top[..., None], x, largest)
        octaves, bounds = 0, None
    else:
        z = protocol.add_public(x, -math.ceil(bound * 2**fraction))
        octaves, bounds = math.ceil(2 * bound * _LOG2_E), (-2.0 * bound, 0.0)
    out = _exp_fraction(fraction, octaves, bound)
    terms = exp_nonpositive(protocol, z, fraction, out, bounds=bounds)
    total = protocol.map(lambda slot: jnp.sum(slot, axis=-1, keepdims=True), terms)
    # 2^(out - octaves) <= total <= n 2^out, up to rounding.
    exponents = Exponents(low=out - octaves + 1, high=out + (n - 1).bit_length() + 1, zero=False)
    return z, _Exponentials(terms, total, out, exponents)


def _exp_fraction(fraction: int, octaves: int, bound: float | None) -> int:
    """Fractional bits of the terms, such that the smallest possible sum still has f + 2 bits."""
    wanted = max(_EXP_FRACTION, fraction + 2 + octaves, fraction + 6)
    if fraction + 2 + octaves > _MOST_EXP_FRACTION:
        most = (_MOST_EXP_FRACTION - 2 - fraction) / _LOG2_E / 2
        raise ValueError(
            f"softmax of logits up to {bound} at {fraction} fractional bits: without the maximum, "
            f"the bound may be {most:.2f} at most; leave it out"
        )
    return min(wanted, _MOST_EXP_FRACTION)


def _inverse(protocol: Protocol, exponentials: _Exponentials, fraction: int) -> tuple[Ring, int]:
    """1 / total and its fractional bits g. Its error is multiplied by terms of at most 1."""
    scale = min(fraction + 5, _PRODUCT_BITS - exponentials.fraction)
    top = exponentials.fraction + scale
    exponents = exponentials.exponents
    turn, (power,) = normalize(protocol, exponentials.total, exponents, [PowerOfTwo(top)])
    precision = min(_PRECISION, _PRODUCT_BITS - (top - exponents.low))
    value = gate(protocol, turn, choose(_RECIPROCAL, fraction).series)
    inverse = protocol.truncate(value, GATE_SCALE - precision)
    return protocol.truncate(protocol.multiply(inverse, power), precision), scale


def _log_total(protocol: Protocol, exponentials: _Exponentials, fraction: int) -> Ring:
    return log_of(
        protocol,
        exponentials.total,
        fraction,
        exponentials.fraction,
        exponentials.exponents,
    )
