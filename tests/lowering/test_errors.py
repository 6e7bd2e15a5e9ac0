"""What cannot be lowered says so, with the primitive, the user's line and what to do instead."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive

from jmpc._compat import make_closed
from jmpc.choreography import primitives as prim
from jmpc.errors import InputError, TraceError
from jmpc.lowering import Context, PrecisionWarning, RangeWarning, lower
from jmpc.lowering.inputs import share
from jmpc.lowering.registry import REFUSED, RULES
from jmpc.protocols.plain import Plain

from . import evaluation
from .helpers import ULP, secure
from .refusals import AROUND, REFUSALS

X = np.array([0.5, -1.25, 2.0], np.float32)


def line_of(f):
    code = f.__code__
    start = code.co_firstlineno + (f.__name__ != "<lambda>")
    return rf"refusals.py:{start} \({f.__name__}\)"


def pairs():
    """Every case in every context, derivatives only of what has some."""
    for case in REFUSALS:
        for around in AROUND:
            if around != "grad" or (case.differentiable and case.x.dtype == np.float32):
                marks = () if around in ("nothing", "scan in jit", "secret cond") else (pytest.mark.slow,)
                yield pytest.param(case, around, marks=marks, id=f"{case.primitive}, {case.reason}, in {around}")


@pytest.mark.parametrize(("case", "around"), list(pairs()))
def test_refused(case, around):
    f = AROUND[around](case.f)
    with jax.enable_x64(case.wide), pytest.raises(TraceError) as caught:
        secure(f, case.x)
    where = rf"{line_of(case.f)}: `({case.primitive})`: "
    assert re.match(rf"^{where}.*{case.reason}.*\. .*{case.instead}", str(caught.value)), str(caught.value)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_every_refused_primitive_says_why_and_what_to_do(name):
    """Some of them belong to one release of JAX only, so they are stood in for."""
    stand_in = Primitive(name)
    stand_in.def_abstract_eval(lambda x: x)
    reason, instead = REFUSED[name]
    expected = rf"test_errors.py:\d+ \(f\): `{re.escape(name)}`: {re.escape(f'{reason}. {instead}')}"

    def f(x):
        return stand_in.bind(x)

    for g in (f, jax.jit(f), lambda x: lax.scan(lambda total, row: (total, f(row)), 0.0, x)):
        with pytest.raises(TraceError) as caught:
            secure(g, X)
        assert re.fullmatch(expected, str(caught.value)), str(caught.value)
    assert instead[0].isupper() and not instead.endswith(".") and name not in RULES


def test_what_nobody_knows_is_refused():
    stand_in = Primitive("from_the_future")
    stand_in.def_abstract_eval(lambda x: x)
    with pytest.raises(TraceError, match=r"test_errors.py:\d+ .*`from_the_future`: there is no protocol.*supported"):
        secure(lambda x: stand_in.bind(x), X)


@pytest.mark.parametrize("around", ["nothing", "scan", "secret cond", "jit in jit"])
def test_effects_of_public_values_are_refused(around):
    def f(x):
        jax.debug.print("{}", lax.fori_loop(0, 3, printed, jnp.arange(3.0)))
        return x

    def printed(i, total):
        jax.debug.print("{}", total)
        return total + i

    with pytest.raises(TraceError) as caught:
        secure(AROUND[around](f), X)
    expected = r"test_errors.py:\d+ \(printed\): `debug_(print|callback)` has side effects .*: remove the callback"
    assert re.match(expected, str(caught.value)), str(caught.value)


def test_effects_of_what_could_be_computed_are_refused():
    def f(x):
        return jnp.sin(x)

    printing = jax.make_jaxpr(lambda x: jax.debug.print("{}", x))(X).jaxpr.eqns[0]
    traced = jax.make_jaxpr(f)(X)
    eqns = [eqn.replace(effects=printing.effects) for eqn in traced.jaxpr.eqns]
    effectful = make_closed([], [], traced.jaxpr.invars, eqns, traced.jaxpr.outvars)
    context = Context(Plain())
    with jax.enable_x64(True), pytest.raises(TraceError, match=r"test_errors.py:\d+ \(f\): `sin`: it has side effects"):
        jax.make_jaxpr(lambda x: lower(effectful, [share(context, x, "owner")], context)[0].ring)(X)


def test_types_without_a_secret_form_are_refused():
    """Of computations that nobody brought into the form in which they are submitted."""
    context = Context(Plain())
    with pytest.raises(TraceError, match="an input of type complex64 cannot be secret.*two real arrays"):
        share(context, X + 1j, "owner")
    made = jax.make_jaxpr(lambda x: (x * 1j).imag)(X)
    with (
        jax.enable_x64(True),
        pytest.raises(TraceError, match=r"convert_element_type`: its result is complex.*two real"),
    ):
        jax.make_jaxpr(lambda x: lower(made, [share(context, x, "owner")], context)[0].ring)(X)


def test_an_input_out_of_range_is_refused_at_its_owner():
    for bad in (np.float32([1, np.nan, 0]), np.float32([np.inf, 1, 0]), np.float32([2.0**20, 1, 0])):
        with pytest.raises(InputError, match="not finite, or not in") as caught:
            secure(lambda x: x, bad)
        assert caught.value.player == "owner"
    with pytest.raises(InputError, match=r"\[-2, 1.5\]"):
        secure(lambda x: x, X, range=(-2, 1.5))


@pytest.mark.parametrize(
    ("dtype", "bad", "range"),
    [
        ("float16", np.inf, (0.0, 1e6)),  # as float16 the end is infinite itself
        ("float16", np.inf, (0.0, 1e4)),
        ("float16", np.nan, (-1.0, 1e6)),
        ("bfloat16", -np.inf, (-1e13, 1e13)),
        ("float32", 1.75e13, (0.0, 1.7e13)),
        ("float64", 1.0000001, (0.0, 1.0)),
        ("int64", 2**53 + 1, (0, 2**53)),  # equal as float64
        ("uint8", 8, (0.5, 7.5)),
        ("int32", 0, (0.5, 1e300)),
    ],
)
def test_what_is_in_no_declared_range_is_refused(dtype, bad, range):
    for array in (np.array([1, bad]), np.array([bad])):
        with jax.enable_x64(True), pytest.raises(InputError, match="not finite, or not in"):
            secure(lambda x: x, array.astype(jnp.dtype(dtype)), range=range)


def test_the_ends_of_a_range_are_in_it():
    for dtype, end in (("float32", 0.1), ("float16", 0.1), ("bfloat16", 0.7), ("float32", 2.0**44), ("int32", 7)):
        x = np.array([end, -end]).astype(jnp.dtype(dtype))
        (same,) = secure(lambda x: x, x, range=(-end, end))
        np.testing.assert_allclose(same.astype(float), x.astype(float), atol=ULP)


@pytest.mark.parametrize("range", [(0, 1e300), (-(2.0**44) - 1, 0), (0, 2.0**45)])
def test_a_range_that_words_cannot_represent_is_refused(range):
    with pytest.raises(TraceError, match=r"beyond what 18 fraction bits can represent, \+-2\^44 \(about 1.759"):
        secure(lambda x: x, X, range=range)


def test_a_range_without_a_value_of_the_type_is_refused():
    for x, range in ((np.float16([1]), (1e5, 1e6)), (np.uint8([1]), (300, 400)), (np.int32([1]), (0.25, 0.75))):
        with pytest.raises(TraceError, match=f"no value of type {x.dtype} is in the range"):
            secure(lambda x: x, x, range=range)


def test_zeros_leave_in_place_of_what_is_refused(monkeypatch):
    """Even where nobody enforces the guard."""
    monkeypatch.setitem(evaluation.STEPS, prim.guard_p.name, lambda operands, params: operands[:1])
    np.testing.assert_array_equal(secure(lambda x: x, np.float32([1.5, 2.0**20, -3]))[0], [0, 0, 0])


def test_a_product_that_must_overflow_warns_at_the_users_line():
    def f(x):
        return x * x

    with pytest.warns(RangeWarning, match=r"test_errors.py:\d+ \(f\): a product of at least"):
        secure(f, np.float32([3e4]), range=(2e4, 4e4))


def test_a_division_by_a_public_integer_zero():
    with pytest.raises(TraceError, match=r"`div`: a division by a public zero"):
        secure(lambda x: lax.div(x, jnp.int32(0)), np.int32(4))


def test_constants_that_vanish_are_a_warning():
    def f(x):
        return x[0] / (jnp.sqrt(x[1]) + 1e-8)

    with pytest.warns(PrecisionWarning, match=r"test_errors.py:\d+ \(f\): a constant of 1e-08 that is added.*3.8e-06"):
        got = secure(f, np.array([3.0, 4.0], np.float32))
    np.testing.assert_allclose(got, 1.5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*counts as 0")  # ldexp adds the smallest float
def test_the_bits_of_a_float_are_refused_with_what_to_write_instead():
    with pytest.raises(TraceError, match=r"test_errors.py:\d+ .*`bitcast_convert_type`: .*x \* 2.0\*\*n"):
        secure(lambda x: jnp.ldexp(x, 3), X)
