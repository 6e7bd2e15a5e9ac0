"""Test cases: a JAX function and its arrays, from JAX's own harnesses or from `own.py`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jmpc._compat import make_closed
from jmpc.choreography.inline import inline_calls
from jmpc.lowering.values import is_key


@dataclass(frozen=True)
class Case:
    """`make()` gives the function and its array arguments, the same every time; `kind` groups cases in the report."""

    name: str
    kind: str
    make: Callable[[], tuple[Callable[..., Any], Sequence[Any]]]


@dataclass(frozen=True)
class Traced:
    """A case as a jaxpr without calls, with its flat arguments, the constants that it captures and its results."""

    jaxpr: ClosedJaxpr
    compiled: Callable[..., Sequence[Any]]
    args: tuple[Any, ...]
    public: tuple[bool, ...]  # arguments that stay public: PRNG keys
    want: tuple[np.ndarray, ...]

    @property
    def primitives(self) -> list[str]:
        return [eqn.primitive.name for eqn in self.jaxpr.jaxpr.eqns]

    @functools.cached_property
    def roundoff(self) -> float:
        """Of the least precise type that JAX computes with, if that is less precise than float32; else 0."""
        dtypes = {x.dtype for x in (*self.args, *self.want) if hasattr(x, "dtype")}
        dtypes |= {a.aval.dtype for eqn in self.jaxpr.jaxpr.eqns for a in (*eqn.invars, *eqn.outvars) if _typed(a)}
        bits = [jnp.finfo(d).nmant for d in dtypes if jnp.issubdtype(d, jnp.floating)]
        bits += [e.params["mantissa_bits"] for e in self.jaxpr.jaxpr.eqns if e.primitive.name == "reduce_precision"]
        return 2.0 ** -(min(bits) + 1) if bits and min(bits) < 23 else 0.0

    def call(self, consts: Sequence[Any], *args: Any) -> list[Any]:
        """The results, with the captured constants as arguments."""
        return jax.core.eval_jaxpr(self.jaxpr.jaxpr, consts, *args)

    def plain(self, args: Sequence[Any]) -> list[np.ndarray]:
        """What JAX gives."""
        return [as_numpy(x) for x in self.compiled(*args)]


def _typed(atom: Any) -> bool:
    return hasattr(atom.aval, "dtype")


def trace(case: Case) -> Traced:
    """Traces a case and evaluates it with JAX."""
    function, args = case.make()
    closed = inline_calls(jax.make_jaxpr(function)(*args))
    closed = _with_stable_sorts(closed)
    flat = tuple(jax.tree.leaves(args))
    public = tuple(_is_key(case, x) for x in flat)
    compiled = jax.jit(jaxpr_as_fun(closed))
    return Traced(closed, compiled, flat, public, tuple(as_numpy(x) for x in compiled(*flat)))


def as_numpy(x: Any) -> np.ndarray:
    """An array, or the words of a PRNG key, as numpy has it."""
    return np.asarray(jax.random.key_data(x) if hasattr(x, "dtype") and is_key(x.dtype) else x)


def is_inexact(x: Any) -> bool:
    """Whether an array, or what has a type like one, is real or complex."""
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _is_key(case: Case, x: Any) -> bool:
    raw = case.kind.startswith(("random_", "rng_")) and getattr(x, "dtype", None) == np.uint32
    return raw or (hasattr(x, "dtype") and is_key(x.dtype))


def _with_stable_sorts(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Where a sort may order equal keys as it likes, the order that jmpc gives."""
    eqns = [
        eqn.replace(params=dict(eqn.params, is_stable=True)) if eqn.primitive.name == "sort" else eqn
        for eqn in closed.jaxpr.eqns
    ]
    inner = closed.jaxpr
    return make_closed(inner.constvars, closed.consts, inner.invars, eqns, inner.outvars, like=closed)


def harnesses() -> Iterator[Case]:
    """JAX's test cases for its primitives on a CPU; they come with JAX and need absl-py."""
    arguments, sys.argv[1:] = sys.argv[1:], []  # which it reads when it is imported
    try:
        from jax._src.internal_test_util import test_harnesses  # noqa: TID251  (nothing public has them)
    finally:
        sys.argv[1:] = arguments
    for harness in test_harnesses.all_harnesses:
        if harness.filter("cpu"):
            make = functools.partial(_made, harness)
            yield Case(harness.fullname, harness.group_name, make)


def _made(harness: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
    function = harness.dyn_fun
    if harness.group_name == "cholesky":  # the other triangle is not determined: JAX leaves there what was there
        function = lambda *args: jnp.tril(harness.dyn_fun(*args))
    return function, harness.dyn_args_maker(np.random.RandomState(0))
