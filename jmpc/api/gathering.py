"""Values of many owners of whom some may be missing: `gather`, and means over those that are there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jmpc.api.complexes import in_parts
from jmpc.api.define import as_value
from jmpc.api.functions import function
from jmpc.api.values import DRIVER, Node, Value, Visibility, whereabouts
from jmpc.computation import ArrayType, Average, Gather


def gather(
    contributions: Mapping[str, Any] | Sequence[Any], *, min_owners: int, deadline: float | None = None
) -> tuple[Any, Value]:
    """Secret-shares what owners contribute, of those that deliver in time; the run goes on without the others.

    An owner that has died, is late, or tells the servers different things is left out, by agreement of the servers: an
    owner is there if all of them say so, and that is settled before anything is computed of it. A run needs nothing
    else of such an owner: all that it brings to the computation goes through `gather`, and what is revealed to it is
    for itself.

    If a computation gathers twice, the difference of two sums is about those owners that are in one of them alone. So a
    run also ends if owners are lost between two gathers, fewer than the larger `min_owners` of the two, but at least
    one; the next run begins without them. Training that goes on without whoever dies has one gather in each run.

    Args:
      contributions: for each owner a pytree of values in the clear at that owner, by its name or in order; all of one
        structure.
      min_owners: with fewer the run ends everywhere, with an error that names those that are missing. Policies judge
        what is opened by this number.
      deadline: seconds, from when the servers have come so far that they wait for these contributions alone; default:
        the `timeout` of the configuration.

    Returns:
      The contributions as secrets, in the same container, zero where their owner is missing; and who is there, a public
      vector of booleans in the order of the owners, which all players know at run time.
    """
    trees = list(contributions.values()) if isinstance(contributions, Mapping) else list(contributions)
    names = list(contributions) if isinstance(contributions, Mapping) else [None] * len(trees)
    leaves, structures = zip(*(jax.tree.flatten(in_parts(tree)) for tree in trees), strict=True) if trees else ((), ())
    if not trees or not leaves[0] or any(structure != structures[0] for structure in structures):
        raise TypeError("gather takes one pytree of values for each owner, all of one structure")
    values = [as_value(leaf) for of_owner in leaves for leaf in of_owner]
    owners = tuple(_owner(map(as_value, row), name) for row, name in zip(leaves, names, strict=True))
    if len(set(owners)) != len(owners):
        raise TypeError(f"gather: an owner contributes once, as one pytree; these do more often: {_repeated(owners)}")
    if type(min_owners) is not int or not 1 <= min_owners <= len(owners):
        raise ValueError(f"gather: min_owners is a number from 1 to {len(owners)}, the owners, not {min_owners!r}")
    if deadline is not None and not 0 < deadline < math.inf:
        raise ValueError(f"gather: a deadline is a number of seconds, not {deadline!r}")
    ranges = tuple(value.range for value in values)
    seconds = None if deadline is None else float(deadline)

    def make(numbers: tuple[int, ...], driver: str) -> Gather:
        if driver in owners:
            raise TypeError(f"gather: {driver!r} is the driver, without which no run goes on: it cannot be left out")
        return Gather(numbers, owners, ranges, min_owners, seconds)

    node = Node(tuple(values), (*(value.type for value in values), ArrayType((len(owners),), "bool")), make)
    secrets = iter([Value(node, index, Visibility.SECRET) for index in range(len(values))])
    made = [jax.tree.unflatten(structures[0], [next(secrets) for _ in row]) for row in leaves]
    present = Value(node, len(values), Visibility.PUBLIC)
    return (dict(zip(contributions, made, strict=True)) if isinstance(contributions, Mapping) else made), present


def average(values: Mapping[str, Any] | Sequence[Any], present: Value) -> Any:
    """The mean over those owners that are there: of what `gather` returned, or of what was computed from it.

    Args:
      values: for each owner a pytree of secrets, all of the same shapes.
      present: who is there, in the order of the owners.

    Returns:
      A pytree of secret reals. The number of those that are there is public, and dividing by it costs one truncation:
      the mean is exact to about one unit in the last place.
    """
    trees = list(values.values()) if isinstance(values, Mapping) else list(values)
    if present.type != ArrayType((len(trees),), "bool"):
        raise TypeError(f"average: {present!r} does not say which of {len(trees)} owners are there")
    return jax.tree.map(lambda *leaves: _average(leaves, present), *map(in_parts, trees))


def aggregate(
    contributions: Mapping[str, Any] | Sequence[Any], *, min_owners: int, deadline: float | None = None
) -> Any:
    """The secret mean of what owners contribute, over those that deliver in time; a pytree as each of them gives it.

    `average` of `gather`, which has the arguments.
    """
    return average(*gather(contributions, min_owners=min_owners, deadline=deadline))


def _average(leaves: Sequence[Any], present: Value) -> Value:
    values = [as_value(leaf) for leaf in leaves]
    if different := [value.type for value in values if value.shape != values[0].shape]:
        raise TypeError(f"average: the owners' arrays are of one shape, not {values[0].type} and {different[0]}")
    reals = tuple((value if jnp.issubdtype(value.dtype, jnp.floating) else _real(value)).shared() for value in values)
    node = Node((present, *reals), (reals[0].type,), lambda numbers, _: Average(numbers[1:], numbers[0]))
    return Value(node, 0, Visibility.SECRET)


@function
def _real(x: jax.Array) -> jax.Array:
    return x.astype(float)


def _owner(values: Any, name: str | None) -> str:
    """The one player that has all these values in the clear."""
    for value in values:
        if value.visibility is not Visibility.CLEAR or value.player == DRIVER or value.player != (name or value.player):
            where = f"at {name!r}" if name else "in the clear at an owner other than the driver"
            raise TypeError(f"gather: a contribution of type {value.type} is {whereabouts(value)}, not {where}")
        name = value.player
    assert name is not None
    return name


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
