"""Which cases are in the domain of fixed-point numbers, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.coverage.cases import Case, Traced, as_numpy

_LARGEST = 2.0**44  # of a real number at 18 fraction bits
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
    arrays = [*(x for x, public in zip(traced.args, traced.public, strict=True) if not public), *traced.want]
    dtypes = [np.asarray(x).dtype if not hasattr(x, "dtype") else x.dtype for x in arrays]
    dtypes += [a.aval.dtype for eqn in traced.jaxpr.jaxpr.eqns for a in (*eqn.invars, *eqn.outvars) if _array(a)]
    if any(_is_narrow(dtype) for dtype in dtypes) or any(map(_rounds_to_narrow, traced.jaxpr.jaxpr.eqns)):
        return "a low-precision type: float16, bfloat16, float8, or integers of less than 8 bits"
    if any(map(_is_real_only, traced.jaxpr.jaxpr.eqns)):
        return _OF_COMPLEX
    if case.kind == "bitcast_convert_type" and any(map(_reads_bits, traced.jaxpr.jaxpr.eqns)):
        return _BITS_OF_FLOATS
    inputs = [as_numpy(x) for x in traced.args]
    if not all(map(_finite, inputs)):
        return "NaN or infinite inputs"
    if any(_largest(x) >= _LARGEST for x in (*inputs, *traced.want) if x.dtype.kind in "fc"):
        return "values of 2^44 and more"
    if traced.want and not any(map(_partly_finite, traced.want)):
        return "all results are NaN or infinite"
    return ""


def _array(atom: Any) -> bool:
    return hasattr(atom.aval, "dtype")


def _is_real_only(eqn: Any) -> bool:
    types = [atom.aval.dtype for atom in (*eqn.invars, *eqn.outvars) if _array(atom)]
    name = eqn.primitive.name.replace("-", "_")
    return name in _REAL_ONLY and any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in types)


def _is_narrow(dtype: Any) -> bool:
    if jnp.issubdtype(dtype, jnp.floating):
        return jnp.finfo(dtype).bits < 32
    return jnp.issubdtype(dtype, jnp.integer) and jnp.iinfo(dtype).bits < 8


def _rounds_to_narrow(eqn: Any) -> bool:
    return eqn.primitive.name == "reduce_precision" and eqn.params["mantissa_bits"] < 23


def _reads_bits(eqn: Any) -> bool:
    if eqn.primitive.name != "bitcast_convert_type":
        return False
    kinds = {np.dtype(atom.aval.dtype).kind for atom in (*eqn.invars, *eqn.outvars)}
    return not kinds.isdisjoint("fc") and len(kinds) > 1


def _finite(x: np.ndarray) -> bool:
    return x.dtype.kind not in "fc" or bool(np.isfinite(x).all())


def _partly_finite(x: np.ndarray) -> bool:
    return x.dtype.kind not in "fc" or x.size == 0 or bool(np.isfinite(x).any())


def _largest(x: np.ndarray) -> float:
    known: Iterable[float] = np.abs(x[np.isfinite(x)])
    return float(np.max(known, initial=0.0))
