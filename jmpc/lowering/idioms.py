"""What JAX writes by reading the bits of floats, and secrets do another way: the test of a sign.

`jnp.signbit`, and with it `copysign` and `gamma`, casts a float to an integer of its bits, shifts all but the sign out,
and casts that to a boolean. Of a fixed-point number it is a comparison with 0. (Zero has no sign there.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn, Literal, Var

from jmpc._compat import make_equation, make_literal
from jmpc.lowering.values import is_boolean, is_float, is_integer


def with_sign_tests(eqns: Sequence[JaxprEqn], results: Sequence[object]) -> list[JaxprEqn]:
    """The equations with comparisons in the place of such casts and shifts.

    Args:
      eqns: of a jaxpr without calls, in order.
      results: its results, which may not be replaced.
    """
    made = {eqn.outvars[0]: eqn for eqn in eqns if eqn.primitive.name in _STEPS}
    tests = {id(eqn): real for eqn in eqns if (real := _tested(eqn, made)) is not None}
    if not tests:
        return list(eqns)
    replaced = [_comparison(eqn, tests[id(eqn)]) if id(eqn) in tests else eqn for eqn in eqns]
    return list(reversed(list(_used(replaced, results))))


_STEPS = ("bitcast_convert_type", "shift_right_arithmetic", "shift_right_logical", "convert_element_type")


def _tested(eqn: JaxprEqn, made: dict[Var, JaxprEqn]) -> Var | None:
    """The real whose sign bit the equation's result is."""
    if eqn.primitive.name != "convert_element_type" or not is_boolean(eqn.outvars[0].aval.dtype):
        return None
    shift = made.get(eqn.invars[0]) if isinstance(eqn.invars[0], Var) else None
    if shift is None or not shift.primitive.name.startswith("shift_right") or not isinstance(shift.invars[0], Var):
        return None
    word, amount = shift.invars
    cast = made.get(word)
    if cast is None or cast.primitive.name != "bitcast_convert_type" or not isinstance(amount, Literal):
        return None
    real = cast.invars[0]
    width = 8 * np.dtype(word.aval.dtype).itemsize
    whole = is_integer(word.aval.dtype) and is_float(real.aval.dtype) and real.aval.shape == word.aval.shape
    return real if whole and isinstance(real, Var) and int(amount.val) == width - 1 else None


def _comparison(eqn: JaxprEqn, real: Var) -> JaxprEqn:
    zero = make_literal(np.zeros((), real.aval.dtype), ShapedArray((), real.aval.dtype))
    return make_equation([real, zero], eqn.outvars, lax.lt_p, {}, eqn.source_info)


def _used(eqns: Sequence[JaxprEqn], results: Sequence[object]) -> Iterator[JaxprEqn]:
    """From the last to the first, without steps that nothing needs any more."""
    needed = {atom for atom in results if isinstance(atom, Var)}
    for eqn in reversed(eqns):
        if eqn.primitive.name not in _STEPS or not needed.isdisjoint(eqn.outvars):
            needed.update(atom for atom in eqn.invars if isinstance(atom, Var))
            yield eqn
