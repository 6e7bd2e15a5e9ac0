"""Primitives that are written in JAX: lowered as if the user had written them out of simpler ones.

Such a function is ordinary JAX and works on plain arrays as well, where it can be compared with the primitive. It
is written for fixed point: no value of it leaves the range or vanishes below an ulp, and where the size of a value
is known it says so, with `jnp.maximum` and `bounded`, or for nothing with what is in `rules/hints.py`: that makes
quotients and roots cheap and constants precise.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax

from jmpc._compat import dce
from jmpc.choreography.inline import inline_calls
from jmpc.lowering.context import Context
from jmpc.lowering.registry import rule
from jmpc.lowering.values import Public, Value, is_float, is_key

F = TypeVar("F", bound=Callable[..., Any])


def composite(*primitives: str) -> Callable[[F], F]:
    """Registers a JAX function as the rule of these primitives.

    It takes the operands as arrays and, as keyword-only arguments, the parameters of the equation that it needs, and
    `fraction`, the number of fraction bits, if it names that; it returns what the primitive does.
    """

    def register(function: F) -> F:
        named = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]

        @rule(*primitives)
        def lower(context: Context, *operands: Value, **params: Any) -> Any:
            assert context.equation is not None
            offered = {"fraction": context.fraction, **params}
            known = {name: offered[name] for name in named if name in offered}
            results = composed(context, functools.partial(function, **known), *operands)
            return results if context.equation.primitive.multiple_results else results[0]

        return function

    return register


def bounded(x: Any, low: float, high: float) -> Any:
    """x clamped to an interval that is then known; cheaper than `jnp.clip`, which is two selections."""
    return lax.clamp(x.dtype.type(low), x, x.dtype.type(high))


def composed(context: Context, function: Callable[..., Any], *operands: Value) -> list[Value]:
    """As `compute`, of a function of ours instead of the user's, for the results of the equation at hand.

    What is float16 or bfloat16 it takes as float32: in JAX the constants of the function would be rounded as well.
    """
    assert context.equation is not None
    results = compute(context, function, *(_of_type(x, np.float32) if _is_half(x.dtype) else x for x in operands))
    types = [var.aval.dtype for var in context.equation.outvars]
    return [_of_type(x, dtype) if _is_half(dtype) else x for x, dtype in zip(results, types, strict=True)]


def _is_half(dtype: Any) -> bool:
    return is_float(dtype) and np.dtype(dtype).itemsize < 4


def _of_type(x: Value, dtype: Any) -> Value:
    if isinstance(x, Public):
        return Public(x.array.astype(dtype), x.at)
    return dataclasses.replace(x, dtype=np.dtype(dtype))


def compute(context: Context, function: Callable[..., Any], *operands: Value) -> list[Value]:
    """A JAX function of values, with its results flat; its operations stand at the user's line.

    Like the user's own function it is traced with 32-bit defaults, unless an operand has 64 bits.
    """
    from jmpc.lowering.interpreter import run  # the interpreter imports the rules

    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands]
    wide = any(not is_key(x.dtype) and np.dtype(x.dtype).itemsize == 8 for x in operands)
    with jax.enable_x64(wide):
        closed = jax.make_jaxpr(function)(*shapes)
    source = context.equation.source_info if context.equation is not None else None
    inlined = inline_calls(closed, source)
    lean = dce(inlined, [True] * len(inlined.jaxpr.outvars))
    with jax.enable_x64(True):
        return run(context, lean.jaxpr, lean.consts, operands)
