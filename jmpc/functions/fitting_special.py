"""Targets of `jmpc.functions.fitting` for special functions; `python -m` prints `coefficients_special.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.special

from jmpc.functions.fitting import Target, print_fits

_SMALL = 1e-12


def _erf_inv(w: np.ndarray) -> np.ndarray:
    """erf_inv(x) / x as a function of w = -log(1 - x^2)."""
    w = np.maximum(w, _SMALL)
    x = np.sqrt(-np.expm1(-w))
    return scipy.special.erfcinv(np.exp(-w) / (1 + x)) / x


def _lgamma(x: np.ndarray) -> np.ndarray:
    """A quarter of lgamma(x + 1)."""
    return scipy.special.gammaln(x + 1) / 4


def _digamma(x: np.ndarray) -> np.ndarray:
    """A quarter of digamma(x + 1)."""
    return scipy.special.digamma(x + 1) / 4


def _asinh_far(r: np.ndarray) -> np.ndarray:
    """asinh(x) - log(x) as a function of r = 1 / x."""
    return np.log1p(np.sqrt(1 + r * r))


def _i0e_far(s: np.ndarray) -> np.ndarray:
    """bessel_i0e as a function of s = x^(-1/2)."""
    return scipy.special.i0e(np.maximum(s, _SMALL) ** -2)


def _i1e_far(s: np.ndarray) -> np.ndarray:
    """bessel_i1e as a function of s = x^(-1/2)."""
    return scipy.special.i1e(np.maximum(s, _SMALL) ** -2)


def targets() -> Iterator[Target]:
    """Everything in `coefficients_special.py`, in its order."""
    yield Target("ERF_INV", _erf_inv, 0.0, 12.0, 18.0, _all(14), most_fraction=18)
    yield Target("ERF_INV_FINE", _erf_inv, 0.0, 20.2, 31.0, _all(17))
    yield Target("ASINH_NEAR", np.arcsinh, -1.0, 1.0, 4.0, _all(8), even=False, most_fraction=19)
    yield Target("ASINH_NEAR_FINE", np.arcsinh, -1.0, 1.0, 4.0, _all(10), even=False)
    yield Target("ASINH_FAR", _asinh_far, -1.0, 1.0, 4.0, _all(8), odd=False)
    yield Target("LGAMMA", _lgamma, 0.0, 8.0, 12.0, _all(14), most_fraction=19, exponent=2)
    yield Target("LGAMMA_FINE", _lgamma, 0.0, 8.0, 12.0, _all(18), exponent=2)
    yield Target("DIGAMMA", _digamma, 0.0, 8.0, 12.0, _all(16), most_fraction=19, exponent=2)
    yield Target("DIGAMMA_FINE", _digamma, 0.0, 8.0, 12.0, _all(20), exponent=2)
    yield Target("I0E_NEAR", scipy.special.i0e, 0.0, 8.0, 12.8, _all(14), most_fraction=19)
    yield Target("I0E_NEAR_FINE", scipy.special.i0e, 0.0, 8.0, 12.8, _all(18))
    yield Target("I0E_FAR", _i0e_far, 0.0, 0.3536, 2.0, _all(6), even=False)
    yield Target("I1E_NEAR", scipy.special.i1e, 0.0, 8.0, 12.8, _all(14), most_fraction=19)
    yield Target("I1E_NEAR_FINE", scipy.special.i1e, 0.0, 8.0, 12.8, _all(18))
    yield Target("I1E_FAR", _i1e_far, 0.0, 0.3536, 2.0, _all(6), even=False)


def _all(n: int) -> tuple[int, ...]:
    return tuple(range(1, n + 1))


if __name__ == "__main__":
    print_fits(targets(), "jmpc.functions.fitting_special")
