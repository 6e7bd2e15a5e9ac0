"""The elementwise functions on their whole domains, and what `docs/functions.md` says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax import lax
from protocols import sharings
from protocols.evaluate import Choreography, P

from jmpc.lowering import Context, FixedPoint, interval, lower
from jmpc.lowering.rules import gamma, special
from jmpc.protocols.rep3 import Rep3

from .accuracy import FRACTIONS, computed
from .table_functions import FUNCTIONS, Function

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "functions.md"


@pytest.mark.parametrize("fraction", [pytest.param(f, marks=pytest.mark.slow if f < 18 else ()) for f in FRACTIONS])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_error(function: Function, fraction: int) -> None:
    args = function.points(fraction)
    excess = function.excess(computed(function.f, *args, fraction=fraction), fraction, *args)
    worst = int(np.argmax(excess))
    limit = function.ulps[fraction == 24]
    assert excess[worst] <= limit, (excess[worst], [x[worst] for x in args])


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_documented_figures(function: Function) -> None:
    (row,) = (line for line in DOCUMENTATION.read_text().splitlines() if line.startswith(f"| `{function.name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert (cells[2], int(cells[4])) == (function.error(), function.rounds)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_rounds(function: Function) -> None:
    args = [x[:2] for x in function.points(18)]
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(function.f)(*args)

    def run(*rings: Any) -> Any:
        context = Context(Rep3(P))
        values = [FixedPoint(ring, 18, interval.representable(18), np.dtype(np.float64)) for ring in rings]
        (result,) = lower(closed, values, context)
        return context.ring(result)

    rng = np.random.default_rng(0)
    shared = [sharings.ring(rng, np.round(x * 2.0**18).astype(np.int64)) for x in args]
    assert Choreography(run, *shared)(*shared, seed=1).rounds == function.rounds


@dataclasses.dataclass(frozen=True)
class Outside:
    """Numbers outside of the domain, or at its end, and what the documentation says of them."""

    f: Callable[..., Any]
    args: tuple[list[float], ...]
    results: list[float]
    ulps: float = 3.0


CAP = 2.0**24.5
END = float(scipy.special.erfinv(1 - 2.0**-18))
OUTSIDE = {
    "capped": Outside(jnp.exp, ([16.99, 1e6, 1e12, -14, -1e12],), [CAP, CAP, CAP, 0, 0], 0.5),
    "capped hyperbolic": Outside(jnp.sinh, ([16.99, 1e12, -1e12],), [CAP / 2, CAP / 2, -CAP / 2], 2),
    "saturating": Outside(jnp.tanh, ([7.0, -1e12],), [1, -1], 0),
    "erf_inv": Outside(lax.erf_inv, ([1.0, 5.0, -1e12],), [END, END, -END], 5),
    "asin": Outside(jnp.arcsin, ([1.0, 1 + 2.0**-18, -1e9],), [np.pi / 2, np.pi / 2, -np.pi / 2]),
    "acos": Outside(jnp.arccos, ([1.0, 1 + 2.0**-18, -1e9],), [0, 0, np.pi]),
    "acosh": Outside(jnp.arccosh, ([1.0, 0.5, -1e12],), [0, 0, 0], 4),
    "asinh": Outside(jnp.arcsinh, ([0.0, 2.0**43, -(2.0**43)],), [0, 44 * np.log(2), -44 * np.log(2)]),
    "division by zero": Outside(lambda x: 1 / x, ([0.0],), [0], 0),
    "power of zero": Outside(lambda x: x**-2, ([0.0],), [0], 0),
    "roots of zero": Outside(lambda x: jnp.cbrt(x) + jnp.sqrt(x) + x**0.3, ([0.0],), [0], 2),
    "log": Outside(jnp.log, ([0.0],), [-18 * np.log(2)]),
    "lgamma": Outside(lax.lgamma, ([0.0],), [18 * np.log(2)]),
    "rem": Outside(lax.rem, ([2.5, -2.5, 0.0, 2.0**40], [0.0, 0.0, 3.0, 2.0**41]), [2.5, -2.5, 0, 2.0**40], 0),
    "igamma": Outside(
        lax.igamma,
        ([0.5, 2.0, 30.0, 99.0], [0.0, -3.0, 1e6, 40.0]),
        [0, 0, 1, float(scipy.special.gammainc(32, 40))],
        45,
    ),
    "betainc": Outside(lax.betainc, ([0.5, 2.0, 3.0], [3.0, 2.0, 0.5], [0.0, -5.0, 7.0]), [0, 0, 1]),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside(name: str) -> None:
    case = OUTSIDE[name]
    got = computed(case.f, *(np.round(np.array(x) * 2.0**18) * 2.0**-18 for x in case.args))
    np.testing.assert_allclose(got, case.results, rtol=0, atol=max(case.ulps, 1e-3) * 2.0**-18)


def test_tangents_near_poles_are_zero_or_right() -> None:
    x = np.round(np.pi / 2 * 2.0**18) * 2.0**-18 + np.arange(-40, 41) * 2.0**-18
    got, want = computed(jnp.tan, x), np.tan(x)
    np.testing.assert_array_equal(got[np.abs(want) > 2.0**15], 0)
    right = np.abs(got - want) <= np.abs(want) ** 2 * 2.0**-22
    assert (right | (got == 0)).all() and right[np.abs(want) < 2.0**14].all()


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("beside", [0, 1, -1])
def test_remainders_of_large_quotients_are_exact(fraction: int, beside: int) -> None:
    """Also an ulp beside a multiple of the divisor, where an estimate is easily wrong."""
    rng = np.random.default_rng(fraction)
    n, ulp = 4000, 2.0**-fraction
    y = np.maximum(np.round(2.0 ** rng.uniform(0, 42.5, n)), 2) * ulp * rng.choice([-1, 1], n)
    x = (np.abs(y) * np.round(2.0 ** rng.uniform(0, 17.9, n)) + beside * ulp) * rng.choice([-1, 1], n)
    np.testing.assert_array_equal(computed(lax.rem, x, y, fraction=fraction), np.fmod(x, y))


def test_composites_are_the_functions_in_the_clear_too() -> None:
    x = jnp.linspace(0.125, 20, 100, dtype=np.float32)
    for ours, theirs in (
        (special.lgamma, lax.lgamma),
        (special.digamma, lax.digamma),
        (special.bessel_i0e, lax.bessel_i0e),
        (special.asinh, jnp.arcsinh),
        (lambda x: special.erf_inv(x / 21), lambda x: lax.erf_inv(x / 21)),
        (lambda x: gamma.igamma(x, x), lambda x: lax.igamma(x, x)),
    ):
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
