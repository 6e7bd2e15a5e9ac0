"""Functions that are flat or linear far from 0: sigmoid, tanh, erf, gelu in both forms, silu.

Inside [-L, L] a Fourier gate gives the value (2 rounds), while two comparisons of x with -L and L run
beside it (5 rounds, sharing most of their messages); one bit injection then keeps the gate's value or
puts the limit in its place. Outside the interval the gate's value is garbage, which is harmless: any ring
element times a zero bit is zero. So every x with |x| < 2^(62 - f) is in the domain.

`bounds` is a promise about x in real units; when it lies inside the fitted interval the comparisons are
left out, and the function costs 2 rounds. For f <= 12 cheaper series are used, for f > 18 longer ones;
the bits named are those at f = 18. The method is that of Fourier gates on additive shares, see
`jmpc.functions.series`; the bounds are asserted on dense grids in `tests/functions`.
"""

from __future__ import annotations

from jmpc.functions import coefficients as fitted
from jmpc.functions import coefficients_rectified as rectified
from jmpc.functions.series import GATE_SCALE, Bounds, Fit, choose, gate, smooth, to_turn
from jmpc.protocols.base import Bits, Protocol, Ring

_SIGMOID = (fitted.SIGMOID_COARSE, fitted.SIGMOID, fitted.SIGMOID_FINE)
_TANH = (fitted.TANH_COARSE, fitted.TANH, fitted.TANH_FINE)
_ERF = (fitted.ERF_COARSE, fitted.ERF, fitted.ERF_FINE)
_GELU = (rectified.GELU_COARSE, rectified.GELU, rectified.GELU_FINE)
_GELU_TANH = (rectified.GELU_TANH_COARSE, rectified.GELU_TANH, rectified.GELU_TANH_FINE)

# x multiplies the sigmoid's error in silu, which therefore needs the next finer series.
_SILU = (fitted.SIGMOID, fitted.SIGMOID_FINE)
_SILU_COARSE_FRACTION = 12


def sigmoid(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """1 / (1 + e^-x).

    Error at f = 18: 1.9 ulp. Outside +-13: exactly 0 and 1. Rounds: 6, 6455 bits.
    """
    fit = choose(_SIGMOID, fraction)
    core = protocol.add_public(smooth(protocol, x, fit, fraction), 1 << (fraction - 1))
    if _promised(bounds, fit):
        return core
    inside, below, not_above = _regions(protocol, x, fit, fraction)
    del below  # contributes 0
    one = 1 << fraction
    return _add_limits(protocol, protocol.inject(inside, core), [not_above], [-one], one)


def tanh(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """The hyperbolic tangent.

    Error at f = 18: 1.9 ulp. Outside +-6.9: exactly -1 and 1. Rounds: 6, 6839 bits.
    """
    return _odd(protocol, x, choose(_TANH, fraction), fraction, bounds)


def erf(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """The error function.

    Error at f = 18: 1.9 ulp. Outside +-3.4: exactly -1 and 1. Rounds: 6, 4023 bits.
    """
    return _odd(protocol, x, choose(_ERF, fraction), fraction, bounds)


def gelu(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """x (1 + erf(x / sqrt 2)) / 2, the exact form (not the one with tanh).

    Error at f = 18: 1.9 ulp. Outside +-5: exactly 0 and x. Rounds: 6, 4591 bits.
    """
    return _gelu(protocol, x, choose(_GELU, fraction), fraction, bounds)


def gelu_tanh(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, the form of GELU with tanh (Hendrycks and Gimpel, 2016).

    Error at f = 18: 1.9 ulp. Outside +-4.8: exactly 0 and x. Rounds: 6, 4591 bits.
    """
    return _gelu(protocol, x, choose(_GELU_TANH, fraction), fraction, bounds)


def _gelu(protocol: Protocol, x: Ring, fit: Fit, fraction: int, bounds: Bounds | None) -> Ring:
    # gelu(x) - x/2 is even and smooth; x/2 joins at the gate's scale, before the only truncation.
    scales = (28, 30)
    scale = sum(scales)
    even = gate(protocol, to_turn(protocol, x, fit.period, fraction), fit.series, scales)
    value = protocol.add(even, protocol.scale(x, 1 << (scale - fraction - 1)))
    core = protocol.truncate(value, scale - fraction)
    return _or_identity(protocol, x, core, fit, fraction, bounds)


def silu(protocol: Protocol, x: Ring, fraction: int, *, bounds: Bounds | None = None) -> Ring:
    """x sigmoid(x), also called swish.

    Error at f = 18: 3.5 ulp. Outside +-16: exactly 0 and x. Rounds: 6, 8419 bits.
    """
    fit = choose(_SILU if fraction <= _SILU_COARSE_FRACTION else _SILU[1:], fraction)
    precision = min(28, 57 - fraction)  # |x| <= 16: x * sigmoid stays below 2^(4 + 57)
    value = gate(protocol, to_turn(protocol, x, fit.period, fraction), fit.series)
    value = protocol.add_public(value, 1 << (GATE_SCALE - 1))
    core = protocol.truncate(value, GATE_SCALE - precision)
    core = protocol.truncate(protocol.multiply(x, core), precision)
    return _or_identity(protocol, x, core, fit, fraction, bounds)


def _odd(protocol: Protocol, x: Ring, fit: Fit, fraction: int, bounds: Bounds | None) -> Ring:
    """An odd function with limits -1 and 1."""
    core = smooth(protocol, x, fit, fraction)
    if _promised(bounds, fit):
        return core
    inside, below, not_above = _regions(protocol, x, fit, fraction)
    one = 1 << fraction
    core = protocol.inject(inside, core)
    return _add_limits(protocol, core, [not_above, below], [-one, -one], one)


def _or_identity(protocol: Protocol, x: Ring, core: Ring, fit: Fit, fraction: int, bounds: Bounds | None) -> Ring:
    """`core` inside, 0 below, x above."""
    if _promised(bounds, fit):
        return core
    inside, below, not_above = _regions(protocol, x, fit, fraction)
    del below  # contributes 0
    above = protocol.invert(not_above)
    return protocol.add(protocol.inject(inside, core), protocol.inject(above, x))


def _promised(bounds: Bounds | None, fit: Fit) -> bool:
    return bounds is not None and fit.low <= bounds[0] and bounds[1] <= fit.high


def _regions(protocol: Protocol, x: Ring, fit: Fit, fraction: int) -> tuple[Bits, Bits, Bits]:
    """([low <= x < high], [x < low], [x < high]). 5 rounds.

    Being below and being above exclude each other, so the middle is an xor and costs nothing.
    """
    limits = (round(fit.low * 2**fraction), round(fit.high * 2**fraction))
    below, not_above = protocol.less_than_each(x, limits)
    return protocol.xor(below, not_above), below, not_above


def _add_limits(protocol: Protocol, core: Ring, bits: list[Bits], weights: list[int], constant: int) -> Ring:
    """core + constant + sum of weights * bits. 1 round, the same as the injection of `core`."""
    (limits,) = protocol.to_ring(bits, [weights])
    return protocol.add_public(protocol.add(core, limits), constant)
