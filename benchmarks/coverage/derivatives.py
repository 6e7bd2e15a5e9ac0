"""First derivatives of cases: vector-Jacobian products for all real inputs, with fixed cotangents of all real results.

The inputs and the cotangents are secret. Eigenvectors and singular vectors have free signs, so that their squares are
differentiated.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Var

from benchmarks.coverage import listing
from benchmarks.coverage.cases import Case, Traced, trace
from benchmarks.coverage.checks import FREE_SIGNS
from benchmarks.coverage.domain import why_out
from benchmarks.coverage.score import judged

PREFIX = "derivative of "  # of kinds


def derivative(case: Case) -> Case:
    """The case of the derivative: its arguments are those of the case, and the cotangents."""
    return dataclasses.replace(case, kind=PREFIX + case.kind, make=functools.partial(_made, case))


def _made(case: Case) -> tuple[Callable[..., Any], Sequence[Any]]:
    function, args = case.make()
    leaves, tree = jax.tree.flatten(tuple(args))
    real = [i for i, x in enumerate(leaves) if _is_real(x)]

    def real_results(leaves: Sequence[Any], reals: Sequence[Any]) -> list[Any]:
        merged = list(leaves)
        for i, x in zip(real, reals, strict=True):
            merged[i] = x
        results = [y for y in jax.tree.leaves(function(*jax.tree.unflatten(tree, merged))) if _is_real(y)]
        return _without_signs(results) if case.kind in FREE_SIGNS else results

    def derivatives(leaves: Sequence[Any], cotangents: Sequence[Any]) -> Sequence[Any]:
        _, pull_back = jax.vjp(functools.partial(real_results, leaves), [leaves[i] for i in real])
        return pull_back(list(cotangents))

    random = np.random.default_rng(0)
    shapes = jax.eval_shape(real_results, leaves, [leaves[i] for i in real])
    return derivatives, (leaves, [random.uniform(-1, 1, y.shape).astype(y.dtype) for y in shapes])


def _without_signs(results: Sequence[Any]) -> list[Any]:
    """Singular values or eigenvalues, and if there are vectors, too, the squares of these."""
    dimensions = {y.ndim for y in results}
    return [y * y if len(dimensions) > 1 and y.ndim == max(dimensions) else y for y in results]


def _is_real(x: Any) -> bool:
    return jnp.issubdtype(x.dtype if hasattr(x, "dtype") else np.result_type(x), jnp.floating)


def judged_derivative(case: Case, marked_out: str | None = None) -> tuple[str, Traced | None]:
    """Why there is no derivative in the domain, or the derivative's trace."""
    found = trace(derivative(case)) if marked_out == "" else marked_out or _traced(case)
    return (found, None) if isinstance(found, str) else ("", found)


def _traced(case: Case) -> Traced | str:
    """The derivative, or why there is none in the domain."""
    function, args = case.make()
    if not any(map(_is_real, jax.tree.leaves(args))):
        return "no real inputs"
    reason = listing.read().get(case.name)
    if reason is None:
        reason, _ = judged(case)
    if reason:
        return f"the case is out of the domain: {reason}"
    if not any(map(_is_real, jax.tree.leaves(jax.eval_shape(function, *args)))):
        return "no real results"
    try:
        traced = trace(derivative(case))
    except Exception as error:  # whatever JAX says of it
        return f"JAX has no derivative: {' '.join(str(error).split())}"[:140]
    if not _depends(traced.jaxpr.jaxpr):
        return "0 everywhere"
    return why_out(derivative(case), traced) or traced


def _depends(jaxpr: Jaxpr) -> bool:
    """Whether any result depends on any argument."""
    found = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(isinstance(atom, Var) and atom in found for atom in eqn.invars):
            found.update(eqn.outvars)
    return any(isinstance(atom, Var) and atom in found for atom in jaxpr.outvars)
