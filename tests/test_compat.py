"""Every function of _compat, on whatever release of JAX is installed."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from jmpc import _compat

X = jnp.arange(6.0).reshape(2, 3)


def equation(function, name, *args):
    eqns = jax.make_jaxpr(function)(*args).jaxpr.eqns
    return next(eqn for eqn in eqns if eqn.primitive.name == name)


def running(x):
    return lax.scan(lambda c, y: (c + y * x[0], (c, 2 * y)), x[0], x, reverse=True)


def test_scan_counts_and_params():
    eqn = equation(running, "scan", X)
    num_consts, num_carry = _compat.scan_counts(eqn.params)
    assert (num_consts, num_carry) == (1, 1)
    params = _compat.scan_params(eqn.params["jaxpr"], num_consts=1, num_carry=1, length=2, reverse=True, unroll=1)
    assert params.keys() == eqn.params.keys()
    assert _compat.scan_counts(params) == (1, 1)
    out = eqn.primitive.bind(X, X[0], X, **params)
    for a, b in zip(out, jax.tree.leaves(running(X)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_closed_and_opened():
    closed = jax.make_jaxpr(jnp.sin)(1.0)
    assert _compat.closed(closed) is closed
    again = _compat.closed(_compat.opened(closed))
    assert isinstance(again, ClosedJaxpr)
    assert jaxpr_as_fun(again)(1.0)[0] == jnp.sin(1.0)
    remat = equation(jax.checkpoint(jnp.sin), "remat2", 1.0)
    assert jaxpr_as_fun(_compat.closed(remat.params["jaxpr"]))(1.0)[0] == jnp.sin(1.0)


@jax.custom_jvp
def half(x):
    return x / 2


half.defjvp(lambda primals, tangents: (half(primals[0]), tangents[0] / 2))


@jax.custom_vjp
def double(x):
    return x * 2


double.defvjp(lambda x: (x * 2, None), lambda _, g: (2 * g,))


@pytest.mark.parametrize(
    "function",
    [
        jax.jit(jnp.sin),
        jax.checkpoint(jnp.sin),
        half,
        double,
        lax.composite(lambda x: x + 1, "jmpc.test"),
        lambda x: lax.custom_linear_solve(lambda v: v * x, x, lambda f, b: b / x),
        lambda x: jax.custom_derivatives.linear_call(lambda r, y: y * r, lambda r, y: y * r, x, x),
    ],
)
def test_calls(function):
    eqns = jax.make_jaxpr(function)(3.0).jaxpr.eqns
    eqn = next(eqn for eqn in eqns if _compat.call_jaxpr(eqn) is not None)
    body, operands = _compat.call_jaxpr(eqn), _compat.call_operands(eqn)
    assert len(body.in_avals) == len(operands)
    assert jaxpr_as_fun(body)(*[3.0] * len(operands))[0] == function(3.0)


def test_loops_are_not_calls():
    assert _compat.call_jaxpr(equation(running, "scan", X)) is None
    assert _compat.call_jaxpr(equation(jnp.add, "add", 1.0, 2.0)) is None


def test_building_an_equation():
    closed = jax.make_jaxpr(lambda x: x + 1.5)(2.0)
    (eqn,) = closed.jaxpr.eqns
    x = _compat.fresh_var(ShapedArray((), np.float64))
    literal = _compat.make_literal(np.array(1 / 3), ShapedArray((), np.float64))
    (aval,) = _compat.infer_types(eqn.primitive, [x.aval, literal.aval], eqn.params)
    y = _compat.fresh_var(aval)
    new = _compat.make_equation([x, literal], [y], eqn.primitive, eqn.params, eqn.source_info)
    built = _compat.make_closed([], [], [x], [new], [y])
    assert isinstance(literal, Literal) and aval.dtype == np.float64
    # a literal keeps its 64 bits where x64 is off
    assert str(jax.jit(jaxpr_as_fun(built)).trace(x.aval).jaxpr.out_avals[0].dtype) == "float64"
    with jax.enable_x64(True):
        assert jaxpr_as_fun(built)(np.float64(1))[0] == 1 + 1 / 3
    with pytest.raises(Exception, match="dimensions"):
        _compat.infer_types(eqn.primitive, [X.aval, jnp.ones(7).aval], eqn.params)


def test_dce_drops_equations_constants_but_no_inputs():
    big, small = np.arange(3.0), np.arange(4.0)
    closed = jax.make_jaxpr(lambda x, y: (x + big, jnp.sin(y) + small, y))(X[0], 1.0)
    lean = _compat.dce(closed, [True, False, False])
    assert [eqn.primitive.name for eqn in lean.jaxpr.eqns] == ["add"]
    assert len(lean.consts) == 1 and len(lean.in_avals) == 2 and len(lean.out_avals) == 1
    np.testing.assert_array_equal(jaxpr_as_fun(lean)(X[0], 1.0)[0], X[0] + big)


def test_source_lines():
    eqn = equation(lambda x: jnp.sin(x), "sin", 1.0)
    line = test_source_lines.__code__.co_firstlineno + 1
    assert _compat.source_line(eqn) == f"test_compat.py:{line} (<lambda>)"

    def relowered(x):
        with _compat.user_context(eqn.source_info):
            return lax.cos(x)

    again = jax.make_jaxpr(relowered)(1.0).jaxpr.eqns[0]
    assert _compat.source_line(again) == _compat.source_line(eqn)


def test_remote_lines():
    source = _compat.remote_source("model.py:12 (loss)")
    assert _compat.line_of(source) == "model.py:12 (loss)"

    def relowered(x):
        with _compat.user_context(source):
            return lax.scan(lambda c, _: (lax.cos(c), None), lax.sin(x), None, length=2)[0]

    closed = jax.make_jaxpr(relowered)(1.0)
    assert {_compat.source_line(eqn) for eqn in closed.jaxpr.eqns} == {"model.py:12 (loss)"}
    jax.jit(relowered)(1.0)  # the scope's name is no trouble to the compiler
    assert _compat.line_of(_compat.remote_source("evil/../../x")) == "unknown line"


def function_in(path):
    namespace: dict = {}
    source = "import jax\ndef wrapped(f, x):\n    return jax.lax.sin(x) + f(x)\n"
    type(lambda: 0)(compile(source, path, "exec"), namespace)()
    return namespace["wrapped"]


def test_jmpc_itself_is_never_the_user():
    wrapped = function_in(os.path.join(os.path.dirname(_compat.__file__), "somewhere", "file.py"))
    closed = jax.make_jaxpr(lambda x: wrapped(lax.cos, x))(1.0)
    assert _compat.defined_by_user(closed)
    ours = jax.make_jaxpr(wrapped, static_argnums=0)(lax.cos, 1.0)
    assert _compat.defined_here(ours) and not _compat.defined_by_user(ours)
    library = jax.make_jaxpr(jax.nn.relu)(1.0)
    assert not _compat.defined_by_user(library) and not _compat.defined_here(library)
    assert all(_compat.source_line(e).startswith("test_compat.py") for e in closed.jaxpr.eqns)


def test_excluded_files_are_not_the_user():
    wrapped = function_in("/nowhere/excluded/file.py")
    trace = jax.make_jaxpr(lambda x: wrapped(lax.cos, x))
    assert _compat.source_line(trace(1.0).jaxpr.eqns[0]) == "file.py:3 (wrapped)"
    _compat.exclude_from_source_lines("/nowhere/excluded/")
    assert _compat.source_line(trace(1.0).jaxpr.eqns[0]).startswith("test_compat.py")


def test_key_primitives():
    assert set(_compat.key_primitives()) == {"random_wrap", "random_unwrap", "random_clone"}
    assert _compat.key_impl().name == "threefry2x32"


def test_a_line_from_elsewhere_holds_nothing_for_a_terminal():
    assert _compat.line_of(_compat.remote_source("train.py:7 (step)")) == "train.py:7 (step)"
    for line in ("\x1b[2J:1 (f)", "a\nb:1 (f)", "a\u202e:1 (f)", "a@b:1 (f)", "a/b:1 (f)", "x" * 300 + ":1 (f)"):
        assert _compat.line_of(_compat.remote_source(line)) == _compat.UNKNOWN_LINE
