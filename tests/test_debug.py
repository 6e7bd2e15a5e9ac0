"""`jmpc.debug.compare`: figures that are right, lines that are the user's, and advice that fits."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from lowering.helpers import Clear
from lowering.table import Case
from lowering.test_table import ALL

import jmpc
from jmpc.choreography.holders import all_equations
from jmpc.debug import Concern, Place, Report, Row, compare
from jmpc.debug.observing import ObservedContext, observe_p
from jmpc.debug.twin import _PROTOCOL
from jmpc.errors import InputError, TraceError
from jmpc.lowering import Context, lower
from jmpc.lowering.inputs import reveal, share
from jmpc.net.codec import CodecError, encode_jaxpr

STEP = 2.0**-18
RNG = np.random.default_rng(0)
X = np.array([0.5, -1.25, 2.0, 0.75], np.float32)


@pytest.fixture(autouse=True)
def _numbers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in every order of the tests."""
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(0))


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def here(function: Callable[..., Any]) -> int:
    """The line after the one where a function starts."""
    return function.__code__.co_firstlineno + 1


def rows(report: Report, operation: str = "", place: Place = Place.OPERATION) -> list[Row]:
    return [row for row in report.rows if row.place is place and operation in ("", row.operation)]


def only(report: Report, operation: str) -> Row:
    (row,) = rows(report, operation)
    return row


# -- figures -------------------------------------------------------------------------------------------------------


def test_a_product_in_figures() -> None:
    def f(x):
        return x * x

    report = compare(f, np.float32([1000.0, -0.1]))
    product = only(report, "mul")
    assert product.line == f"test_debug.py:{here(f)} (f)" and product.times == 1
    assert (product.fraction, product.limit) == (36, 2.0**26)  # not truncated yet: at its own scale
    assert product.headroom == pytest.approx(math.log2(2**26 / 1e6))
    assert product.own_error == 0 and (product.low, product.high) == (pytest.approx(0.01), pytest.approx(1e6))
    exact = np.round(0.1 * 2**18) / 2**18
    error = abs(exact**2 - float(np.float32(-0.1)) ** 2)
    assert product.error == pytest.approx(error) and product.smallest == pytest.approx(0.01)
    (result,) = rows(report, place=Place.RESULT)
    assert 0 < result.own_error <= STEP and report.max_error == result.error <= error + STEP
    (argument,) = rows(report, place=Place.ARGUMENT)
    assert argument.line == "argument x" and argument.own_error <= STEP / 2
    assert argument.headroom == pytest.approx(math.log2(2**20 / 1000))


def test_errors_so_far_add_up_and_own_errors_do_not() -> None:
    def f(x):
        for _ in range(8):
            x = jnp.sin(x) * 3
        return x

    report = compare(f, np.linspace(0.5, 1.5, 9, dtype=np.float32))
    sine = only(report, "sin")
    assert sine.times == 8 and sine.own_error <= 2 * STEP < report.max_error
    assert only(report, "mul").error >= sine.error


def test_the_report_is_what_a_run_on_shares_gives() -> None:
    w, x = normal(6, 3), normal(20, 6)

    def f(w, x):
        return jax.nn.softmax(x @ w)

    report = compare(f, w, x)
    with jax.enable_x64(True):
        exact = np.asarray(f(jnp.asarray(w, np.float64), jnp.asarray(x, np.float64)))
    found = np.abs(jmpc.simulate(f)(w, x) - exact).max()
    assert report.max_error / 4 < found < report.max_error + 4 * STEP


def test_two_comparisons_are_equal() -> None:
    f = lambda x: jnp.exp(x) / (1 + x * x)
    assert str(compare(f, X)) == str(compare(f, X)) and compare(f, X) == compare(f, X)
    with pytest.raises(dataclasses.FrozenInstanceError):
        compare(f, X).rows = ()  # pyrefly: ignore[read-only]


@pytest.mark.parametrize("fraction", [8, 12, 18, 24, 30])
def test_precision(fraction: int) -> None:
    third = lambda x: x / 3
    report = compare(third, X, precision=fraction)
    assert report == compare(third, X, precision=jmpc.Precision(fraction))
    assert 0 < report.max_error <= 1.5 * 2.0**-fraction + 2.0**-23  # a word has no room for a longer constant
    assert report.precision == jmpc.Precision(fraction)


# -- programs ------------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_network() -> None:
    params = [(normal(6, 5, scale=0.5), normal(5)), (normal(5, 3, scale=0.5), normal(3))]
    x, labels = normal(8, 6), RNG.integers(0, 3, 8).astype(np.int32)

    def loss(params, x, labels):
        (w, b), (v, c) = params
        scores = jax.nn.log_softmax(jax.nn.relu(x @ w + b) @ v + c)
        return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], axis=1))

    report = compare(jax.value_and_grad(loss), params, x, labels)
    assert report.max_error < 16 * STEP
    assert {row.line.split(":")[0] for row in rows(report)} == {"test_debug.py"}
    results = {row.line for row in rows(report, place=Place.RESULT)}
    assert results == {"result [0]", *(f"result [1][{i}][{j}]" for i in (0, 1) for j in (0, 1))}
    assert not report.concerns


def test_the_step_of_the_federated_example() -> None:
    folder = str(Path(__file__).parents[1] / "examples" / "federated_learning")
    sys.path.insert(0, folder)
    try:
        import model
    finally:
        sys.path.remove(folder)

    @jmpc.function
    def step(parameters, batches):
        gradients = [model.gradient(parameters, *batch) for batch in batches]
        return model.update(parameters, sum(gradients) / len(gradients))

    batches = [(RNG.random((4, 9)).astype(np.float32), RNG.integers(0, 10, 4).astype(np.int32)) for _ in range(2)]
    report = compare(step, model.initial_vector(9), batches)
    assert report.max_error < 16 * STEP and rows(report, "logistic")[0].times == 2
    assert {row.line.split(":")[0] for row in rows(report)} == {"model.py", "test_debug.py"}


def test_loops_count_once_for_all_iterations() -> None:
    def f(x):
        def step(total, row):
            return total * 0.5 + row, total

        total, seen = lax.scan(step, jnp.float32(0), x, reverse=True)
        return lax.fori_loop(0, 5, lambda i, y: y + i * x, seen) + total

    report = compare(f, X)
    assert [row.times for row in rows(report, "mul") if "(step)" in row.line] == [4]
    assert [row.times for row in rows(report, "mul") if "(<lambda>)" in row.line] == [5]
    assert report.max_error < 32 * STEP


def test_branches_and_loops_of_unknown_length() -> None:
    def f(x, flag):
        secret = lax.cond(flag.sum() > 3, lambda x: x * 2.0, jnp.exp, x)
        public = lax.cond(jnp.array(True), lambda x: x * 3.0, jnp.exp, x)
        more = lambda state: state[0] < 4
        return lax.while_loop(more, lambda s: (s[0] + 1, jnp.where(s[1] > 1, s[1] * 0.5, s[1] + public)), (0, secret))

    report = compare(f, X, np.arange(4))
    assert report.max_error < 32 * STEP
    assert only(report, "exp").times == 1  # of the secret condition both branches, of the public one what it chooses
    assert rows(report, "gt")[0].error == 0 and rows(report, "while")[0].times == 1
    assert compare(f, X, -np.arange(4)).max_error < 64 * STEP


def test_calls_and_derivatives_of_the_users_own() -> None:
    @jax.custom_jvp
    def clipped(x):
        return jnp.clip(x, -1, 1)

    clipped.defjvp(lambda primals, tangents: (clipped(*primals), tangents[0] * 0.25))

    @jax.jit
    def inner(x):
        return jax.checkpoint(lambda x: jax.jit(clipped)(x) ** 2)(x)

    report = compare(jax.grad(lambda x: inner(x).sum()), X)
    assert report.max_error < 4 * STEP and all("test_debug.py" in row.line for row in rows(report))


def test_arguments_that_are_no_secrets() -> None:
    def f(x, key, times, mode):
        assert isinstance(times, int) and mode == "sum"
        noise = jax.random.normal(key, x.shape)
        return x * times + noise, x.astype(jnp.int32) + 1, x > 0

    report = compare(f, X, jax.random.key(0), 3, "sum")
    assert report.max_error < 4 * STEP and len(rows(report, place=Place.ARGUMENT)) == 1
    assert [row.error for row in rows(report, place=Place.RESULT) if row.line != "result [0]"] == [0, 0]


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: (x.sum(), x * 2), X[:0]),
        (lambda x: lax.scan(lambda total, row: (total + row, total), 0.0, x), X[:0]),
        (lambda x: {"constant": 3.0, "none": None, "one": x**0}, X),
        (lambda x: (x.any(), ~x), X > 0),
        (lambda x: x * x, X.astype(np.float16)),
        (lambda x: x * x, np.float32(3)),
        (lambda x: x + x, np.array([200, 3], np.uint8)),
        (jax.vmap(lambda x: lax.fori_loop(0, 3, lambda i, y: lax.map(jnp.sin, y), x)), X[None]),
    ],
)
def test_shapes_and_types(f: Callable[..., Any], x: np.ndarray) -> None:
    report = compare(f, x)
    assert report.max_error < 4 * STEP and rows(report, place=Place.RESULT) and str(report)


def agrees(case: Case) -> None:
    args = [x.array if isinstance(x, Clear) else x for x in case.args]
    for row in rows(compare(case.f, *args), place=Place.RESULT):
        assert row.error <= max(case.ulps, 1) * STEP or row.relative_error <= 2 * case.relative, row


@pytest.mark.parametrize("case", ALL[::20], ids=lambda case: case.name)
def test_what_can_be_lowered_can_be_compared(case: Case) -> None:
    agrees(case)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::jmpc.lowering.RangeWarning")
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_everything_that_can_be_lowered_can_be_compared(case: Case) -> None:
    agrees(case)


@pytest.mark.parametrize("f", [jax.nn.gelu, jax.nn.silu, lambda x: x * jax.nn.sigmoid(x) + x])
def test_functions_that_are_recognised_are_one_operation(f: Callable[..., Any]) -> None:
    report = compare(f, X)
    (product,) = [row for row in report.rows if row.operation == "mul"]
    assert 0 < product.own_error < 4 * STEP and report.max_error < 4 * STEP


# -- concerns ------------------------------------------------------------------------------------------------------


def test_an_overflow_is_found_where_it_starts() -> None:
    def f(x):
        y = x * x
        return (y * 2.0).sum()

    report = compare(f, np.float32([2e4, 3.0]))
    worst = report.worst()
    assert worst.line == f"test_debug.py:{here(f)} (f)" and worst.operation == "mul"
    assert worst.concern is Concern.OVERFLOW and worst.headroom == pytest.approx(math.log2(2**26 / 4e8))
    assert worst.own_error > 1e8
    assert "reaches 4e+08, and 36 fractional bits carry no more than 6.71e+07" in worst.advice
    assert "precision=15" in worst.advice
    better = compare(f, np.float32([2e4, 3.0]), precision=15)
    assert Concern.OVERFLOW not in {row.concern for row in better.rows}


def test_values_near_the_end_of_the_range() -> None:
    worst = compare(lambda x: x * x, np.float32([6000.0])).worst()
    assert worst.concern is Concern.TIGHT and "comes within 0.9 bits of 6.71e+07" in worst.advice


def test_an_argument_beyond_the_range_of_inputs() -> None:
    report = compare(lambda x: x * 0.5, np.float32([2e6, 1.0]))
    worst = report.worst()
    assert worst.place is Place.ARGUMENT and worst.concern is Concern.OVERFLOW
    assert "argument x: reaches 2e+06" in str(report) and "declare its range" in worst.advice
    assert report.max_error <= STEP  # as it is with the range declared


def test_the_epsilon_of_adam_counts_as_zero() -> None:
    def step(w, g, v):
        v = 0.999 * v + 0.001 * g**2
        return w - 0.01 * g / (jnp.sqrt(v) + 1e-8), v

    report = compare(step, normal(5), normal(5), np.abs(normal(5)))
    worst = report.worst()
    assert worst.constant == pytest.approx(1e-8) and worst.operation == "add"
    assert "the constant 1e-08 counts as 0 here" in worst.advice
    assert not compare(lambda x: jnp.sqrt(x) + 1e-4, np.abs(X)).concerns


def test_squares_of_small_gradients_lose_their_digits() -> None:
    def f(g):
        v = jnp.square(g)
        return v * g

    g = normal(50, scale=1e-3)
    g = np.copysign(np.maximum(np.abs(g), 1e-4), g)  # 26 steps: smaller ones have lost digits before they are squared
    report = compare(f, g)
    assert only(report, "square").lost == 0  # a product has twice the bits until something needs it otherwise
    assert only(compare(lambda g: jnp.sqrt(g * g), g), "sqrt").lost == 0  # whose root needs no more than it has
    cube = only(report, "mul")
    assert cube.lost > 0.5 and "scale them up first" in cube.advice
    assert compare(f, g, precision=30).max_error < report.max_error / 4
    (small,) = rows(compare(lambda g: g / 64, normal(50, scale=1e-3)), place=Place.RESULT)
    assert small.concern is Concern.SMALL and "higher precision" in small.advice


def test_what_a_loop_carries_is_rounded_in_it() -> None:
    def f(v, g):
        return lax.fori_loop(0, 3, lambda i, v: v * g, v)

    report = compare(f, np.ones(300, np.float32), normal(300, scale=5e-3))
    loop = only(report, "scan")
    assert loop.times == 1 and loop.lost > 0.3 and 0 < loop.own_error <= STEP


def test_a_function_outside_of_its_domain() -> None:
    worst = compare(jnp.exp, np.float32([1.0, 20.0])).worst()
    assert worst.concern is Concern.INEXACT and worst.operation == "exp" and worst.own_relative_error > 0.9
    assert "outside of what `exp` is right for" in worst.advice


def test_errors_that_are_amplified() -> None:
    def f(x, y):
        close = x * 1.0001 - y * 1.0001
        return 1 / close

    report = compare(f, np.float32([1.0]), np.float32([0.99961]))
    difference, quotient = only(report, "sub"), only(report, "div")
    assert difference.own_error == 0 and difference.relative_error > 1e-3 and difference.amplification > 100
    assert quotient.relative_error >= difference.relative_error
    amplified = [row for row in report.rows if row.concern is Concern.AMPLIFIED]
    assert not amplified or "bound the divisor from below" in amplified[0].advice


def test_what_is_undefined_in_floating_point() -> None:
    (concern,) = compare(lambda x: 1 / x, np.float32([0.0, 2.0])).concerns[:1]
    assert concern.concern is Concern.UNDEFINED and concern.undefined == 1 and "inf or nan" in concern.advice
    masked = compare(lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)), X)
    assert masked.max_error < 8 * STEP  # minus infinity beside finite scores is well defined


def test_the_printed_report() -> None:
    def f(x):
        return jnp.sqrt(x * x * 1e-6) + 1e-7

    text = str(compare(f, X))
    assert "18 fractional bits: steps of 3.8e-06, inputs below 1e+06, products below 6.7e+07" in text
    assert f"test_debug.py:{here(f)} (f)" in text and "head-room" in text and "what to look at" in text
    assert "nothing to look at" in str(compare(lambda x: x + 1, X))
    assert "argument 1" in str(compare(lambda *xs: xs[0] + xs[1], X, X))
    assert "argument pair['b'][0]" in str(compare(lambda pair: pair["b"][0] + 1, {"a": X, "b": [X]}))


def test_the_worked_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Of docs/precision.md; which primitives JAX makes of a power, say, depends on its release."""
    page = (Path(__file__).parents[1] / "docs" / "precision.md").read_text("utf-8")
    first, check, scaled = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (expected,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    space: dict[str, Any] = {}
    exec(compile(first, "adam.py", "exec"), space)
    printed = capsys.readouterr().out.splitlines()
    wanted = expected.splitlines()
    assert printed[:2] == wanted[:2] and printed[4].split() == wanted[4].split()  # the summary and the worst line
    assert [line for line in printed if ", div: " in line] == [line for line in wanted if ", div: " in line]
    assert [line for line in printed if "1e-08 counts" in line] == [line for line in wanted if "1e-08 counts" in line]
    exec(compile(scaled, "scaled.py", "exec"), space)
    args = [space[name] for name in "wmvxy"]
    assert compare(space["scaled"], *args).max_error < 2e-4 < 0.01 < compare(space["step"], *args).max_error
    assert compare(space["scaled"], *args, precision=24).max_error < 1e-6
    assert compare(space["step"], *args, precision=24).max_error < 1e-4
    space.update(predict=lambda w, x: jax.nn.softmax(x @ w), w=normal(4, 3))
    exec(compile(check, "check.py", "exec"), space)


# -- limits --------------------------------------------------------------------------------------------------------


def test_observing_changes_nothing_that_is_computed() -> None:
    def f(w, x):
        def step(w, _):
            return w - 0.1 * x.T @ (jax.nn.sigmoid(x @ w) - 0.5), jnp.sum(w * w)

        return lax.scan(step, w, None, length=2), jax.nn.softmax(w) @ w

    args = normal(3), normal(5, 3)
    closed = jax.make_jaxpr(f)(*args)

    def choreography(context: Context) -> list[str]:
        def run(*arrays: Any) -> list[Any]:
            values = [share(context, x, "simulator") for x in arrays]
            return [reveal(context, out, "simulator", "result") for out in lower(closed, values, context)]

        with jax.enable_x64(True):
            return [str(eqn.primitive) for eqn in all_equations(jax.make_jaxpr(run)(*args).jaxpr)]

    observed = choreography(ObservedContext(_PROTOCOL, jmpc.Precision(), closed, lambda observation: None))
    assert [name for name in observed if name != observe_p.name] == choreography(Context(_PROTOCOL))


def test_private_values_are_refused() -> None:
    for private in (jmpc.define_private_variable(X), jmpc.define_private_input("alice", lambda: X) + 1):
        with pytest.raises(TypeError, match="is private, and float64 needs the numbers"):
            compare(lambda pair: pair[0] + pair[1], [X, private])
        with pytest.raises(TypeError, match="used in a function that it was not passed to"):
            compare(lambda x, private=private: x * private, X)


def test_what_has_no_numbers_is_refused() -> None:
    with pytest.raises(TypeError, match="call compare outside"):
        jax.jit(lambda x: compare(jnp.exp, x))(X)
    with pytest.raises(InputError, match="not finite"):
        compare(jnp.exp, X * np.float32(np.nan))
    with pytest.raises(TraceError, match=r"test_debug.py:\d+ .*nextafter"):
        compare(lambda x: lax.nextafter(x, x), X)


def test_no_player_can_be_made_to_observe() -> None:
    closed = jax.make_jaxpr(lambda x: observe_p.bind(x, show=print))(X)
    with pytest.raises(CodecError):
        encode_jaxpr(closed)
