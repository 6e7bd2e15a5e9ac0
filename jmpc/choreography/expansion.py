"""Equations that are programs of simpler ones, written out: what `inline_calls` treats like a call.

Collectives over an axis that `vmap` has mapped are reductions of it, and a ragged product is a dense one of operands
with zeros. Later passes, and what travels, know only the simpler ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn

Array = Any
Axes = Sequence[int]


def expansion(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The program of an equation's operands that it stands for, or None."""
    if eqn.primitive.name in _REDUCTIONS:
        return _of_mapped_axes(eqn, _REDUCTIONS[eqn.primitive.name])
    if eqn.primitive.name == "ragged_dot_general" and eqn.params["group_offset"] is None:
        options = {name: eqn.params[name] for name in ("precision", "preferred_element_type")}
        numbers = eqn.params["ragged_dot_dimension_numbers"]
        return _traced(eqn, functools.partial(ragged_dot_general, numbers=numbers, **options))
    return None


def _traced(eqn: JaxprEqn, function: Callable[..., Any]) -> ClosedJaxpr:
    avals: list[Any] = [v.aval for v in eqn.invars]
    wide = any(np.dtype(a.dtype).itemsize == 8 for a in avals)
    with jax.enable_x64(wide):
        return jax.make_jaxpr(function)(*avals)


# -- collectives -----------------------------------------------------------------------------------------------

_REDUCTIONS: Mapping[str, Callable[..., Array]] = {
    "psum": jnp.sum,
    "psum_invariant": jnp.sum,
    "pmax": jnp.max,
    "pmin": jnp.min,
}


def _of_mapped_axes(eqn: JaxprEqn, reduce: Callable[..., Array]) -> ClosedJaxpr | None:
    """A name that is left is one of a mesh of devices."""
    axes = eqn.params.get("axes", ("",))
    if not all(isinstance(axis, int) for axis in axes) or eqn.params.get("axis_index_groups") is not None:
        return None
    return _traced(eqn, lambda *arrays: [reduce(x, axes).astype(x.dtype) for x in arrays])


# -- ragged products -------------------------------------------------------------------------------------------


def ragged_dot_general(
    lhs: Array,
    rhs: Array,
    group_sizes: Array,
    *,
    numbers: lax.RaggedDotDimensionNumbers,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """`jax.lax.ragged_dot_general`: groups of neighbours in one dimension of `lhs` each have their own product.

    The groups' sizes may be secret. Costs as much as a product of every group with all of `lhs`, because which
    elements belong to it does not show.
    """
    (ragged,) = numbers.lhs_ragged_dimensions
    (lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch) = numbers.dot_dimension_numbers
    product = functools.partial(lax.dot_general, precision=precision, preferred_element_type=preferred_element_type)
    if ragged in lhs_batch:
        return product(lhs, rhs, numbers.dot_dimension_numbers)
    contracting, batch = _behind(lhs_contracting), _behind(lhs_batch)
    before = _sized_dimensions(ragged, lhs.ndim, lhs_batch, lhs_contracting)
    grouped = _by_group(lhs, ragged, group_sizes, before)
    if ragged not in lhs_contracting:
        (group,) = numbers.rhs_group_dimensions
        return product(grouped, rhs, (([*contracting, 0], [*rhs_contracting, group]), (batch, rhs_batch)))
    opposite = rhs_contracting[list(lhs_contracting).index(ragged)]
    before = _sized_dimensions(opposite, rhs.ndim, rhs_batch, rhs_contracting)
    dimensions = (contracting, _behind(rhs_contracting)), ([0, *batch], [0, *_behind(rhs_batch)])
    return product(grouped, _by_group(rhs, opposite, group_sizes, before), dimensions)


def _behind(axes: Axes) -> list[int]:
    """The same axes behind a new first one."""
    return [axis + 1 for axis in axes]


def _sized_dimensions(ragged: int, rank: int, batch: Axes, contracting: Axes) -> list[int]:
    """For which other dimensions of the operand the groups may have sizes of their own, in their order."""
    alike = contracting if ragged in contracting else [d for d in range(rank) if d not in (*batch, *contracting)]
    return [*batch, *alike[: list(alike).index(ragged)]]


def _by_group(x: Array, ragged: int, sizes: Array, before: Axes) -> Array:
    """[group, ...]: x with zeros where an element is not of the group."""
    ends = jnp.cumsum(sizes, axis=-1)
    starts = jnp.concatenate([jnp.zeros_like(ends[..., :1]), ends[..., :-1]], axis=-1)

    def along(bounds: Array) -> Array:
        """The bounds of each group, for arrays [group, *x.shape]."""
        shape = [1] * x.ndim
        if bounds.ndim > 1:
            for axis, n in zip(before, bounds.shape[:-1], strict=True):
                shape[axis] = n
            order = np.argsort(before)
            bounds = jnp.transpose(bounds, [bounds.ndim - 1, *map(int, order)])
        return bounds.reshape(-1, *shape)

    places = lax.broadcasted_iota(sizes.dtype, x.shape, ragged)
    return jnp.where((along(starts) <= places) & (places < along(ends)), x, jnp.zeros_like(x))
