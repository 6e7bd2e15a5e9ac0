"""Which cases are in the domain of fixed-point numbers, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.coverage.cases import Case, Traced, as_numpy, is_inexact

_LARGEST = 2.0**44  # of a real number at 18 fraction bits
_LARGEST_EXPONENTIAL = 2.0**24.5
_BITS_OF_FLOATS = "it reads or makes the bits of a floating-point number"
_RANDOM = "it draws random numbers that depend on a secret, by rejection or from a secret key"
_OF_COMPLEX = (
    "complex types in factorisations by reflections or rotations, scatters that multiply or compare, reductions"
)

# By what a case is a case of.
_KINDS = {
    "nextafter": _BITS_OF_FLOATS,
    "eig": "eigenvalues of general matrices",
    "random_gamma": _RANDOM,
}

# What has no form on complex secrets.
_REAL_ONLY = frozenset(
    "eigh householder_product qr reduce reduce_window reduce_window_max reduce_window_min scatter_max scatter_min "
    "scatter_mul svd".split()
)


def why_out(case: Case, traced: Traced) -> str:
    """The reason why a case is out of the domain; empty if it is in it."""
    if case.kind in _KINDS:
        return _KINDS[case.kind]
    if any(map(_is_real_only, traced.jaxpr.jaxpr.eqns)):
        return _OF_COMPLEX
    if case.kind == "bitcast_convert_type" and any(map(_reads_bits, traced.jaxpr.jaxpr.eqns)):
        return _BITS_OF_FLOATS
    inputs = [as_numpy(x) for x in traced.args]
    if not all(map(_finite, inputs)):
        return "NaN or infinite inputs"
    if any(_largest(x) >= _LARGEST for x in (*inputs, *traced.want) if is_inexact(x)):
        return "values of 2^44 and more"
    if case.kind == "pow" and any(x.dtype.kind == "c" and _largest(x) > _LARGEST_EXPONENTIAL for x in traced.want):
        return "complex types in powers above the largest exponential"
    if traced.want and not any(map(_partly_finite, traced.want)):
        return "all results are NaN or infinite"
    return ""


def _array(atom: Any) -> bool:
    return hasattr(atom.aval, "dtype")


def _is_real_only(eqn: Any) -> bool:
    types = [atom.aval.dtype for atom in (*eqn.invars, *eqn.outvars) if _array(atom)]
    name = eqn.primitive.name.replace("-", "_")
    return name in _REAL_ONLY and any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in types)


def _reads_bits(eqn: Any) -> bool:
    if eqn.primitive.name != "bitcast_convert_type":
        return False
    dtypes = {atom.aval.dtype for atom in (*eqn.invars, *eqn.outvars)}
    return len(dtypes) > 1 and any(jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes)


def _finite(x: np.ndarray) -> bool:
    return not is_inexact(x) or bool(np.isfinite(x).all())


def _partly_finite(x: np.ndarray) -> bool:
    return not is_inexact(x) or x.size == 0 or bool(np.isfinite(x).any())


def _largest(x: np.ndarray) -> float:
    known: Iterable[float] = np.abs(x[np.isfinite(x)])
    return float(np.max(known, initial=0.0))
