"""Segments in numpy: the same bits as compiled code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import A, B, C, projected, traced, words
from jax import lax
from jax.extend.core import Literal
from runtime.modes import equal, random_words

from jmpc._compat import fresh_var, make_equation
from jmpc.choreography.inline import inline_calls
from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.primitives import Group, draw, release, send_masked
from jmpc.choreography.schedule import schedule, unpack_p
from jmpc.kernels.bits import arithmetic_shift_right, parity
from jmpc.kernels.packing import pack, unpack
from jmpc.kernels.ring import dot_general
from jmpc.runtime import interpret
from jmpc.runtime.evaluate import buffer_size, keystream_layout, literal, segment_function
from jmpc.runtime.in_numpy import operation
from jmpc.runtime.interpret import interpreter

INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int32", "int64")
WHOLE = 1 << 20


def values(dtype, shape, seed=0):
    """Random ones, and the ends of the range."""
    dtype, random = np.dtype(dtype), np.random.default_rng(seed)
    size = int(np.prod(shape))
    if dtype == np.bool_:
        return random.integers(2, size=shape).astype(bool)
    if dtype.kind == "f":
        return (random.standard_normal(shape) * 1000).astype(dtype)
    x = np.frombuffer(random.bytes(size * dtype.itemsize), dtype).copy()
    ends = [np.iinfo(dtype).min, np.iinfo(dtype).max, 0, 1][:size]
    x[: len(ends)] = ends
    return x.reshape(shape)


def same_bits(fn, *args):
    """Every equation of `fn` by its operation in numpy: the results of compiled code."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        closed = inline_calls(jax.make_jaxpr(fn)(*args))
        env = dict(zip(closed.jaxpr.invars, args, strict=True))
        for eqn in closed.jaxpr.eqns:
            operands = [literal(x) if isinstance(x, Literal) else env[x] for x in eqn.invars]
            mine = operation(eqn)
            assert mine is not None, eqn
            env[eqn.outvars[0]] = mine(*operands)
        for var, want in zip(closed.jaxpr.outvars, map(np.asarray, jax.jit(fn)(*args)), strict=True):
            got = literal(var) if isinstance(var, Literal) else env[var]
            assert got.dtype == want.dtype and got.shape == want.shape, var
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_arithmetic(dtype):
    x, y = values(dtype, (3, 5)), values(dtype, (3, 5), seed=1)

    def fn(x, y):
        yield from (x + y, x - y, x * y, -x, jnp.maximum(x, y), jnp.minimum(x, y), x & y, x | y, x ^ y, ~x)
        yield from (x == y, x != y, x < y, x <= y, x > y, x >= y, lax.population_count(x))
        yield from (lax.clamp(y[0, 0], x, y[0, 1]), lax.select(x < y, x, y), jnp.abs(x))

    same_bits(lambda x, y: list(fn(x, y)), x, y)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_shifts_by_anything(dtype):
    width = 8 * np.dtype(dtype).itemsize
    x = values(dtype, (5, 1))
    by = np.array([0, 1, width - 1, width, width + 1], dtype)[None]
    shifts = (lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic)
    same_bits(lambda x, by: [shift(*jnp.broadcast_arrays(x, by)) for shift in shifts], x, by)


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_shapes(dtype):
    x, y = values(dtype, (2, 3, 4)), values(dtype, (2, 3, 4), seed=1)

    def fn(x, y):
        yield from (x.reshape(6, 4), x.T, x[:, 1:3, ::2], x[None], x[0], jnp.flip(x, 1), jnp.stack([x, y], 1))
        yield from (
            jnp.concatenate([x, y], 2),
            jnp.pad(x, ((1, 0), (0, 2), (3, 1))),
            lax.broadcasted_iota(int, (3, 2), 1),
        )
        yield jnp.broadcast_to(x[:, :1], x.shape)

    same_bits(lambda x, y: list(fn(x, y)), x, y)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_reductions(dtype):
    x = values(dtype, (2, 3, 4))
    kinds = (lax.reduce_sum, lax.reduce_max, lax.reduce_min, lax.reduce_and, lax.reduce_or, lax.reduce_xor)
    same_bits(lambda x: [reduce(x, axes) for reduce in kinds for axes in ((0,), (1, 2))], x)


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
@pytest.mark.parametrize("other", [*INTEGERS, "bool", "float32", "float64"])
def test_conversions(dtype, other):
    same_bits(lambda x: [lax.convert_element_type(x, other)], values(dtype, (4, 5)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_of_inputs_and_results(dtype):
    x, y = values(dtype, (50,)), values(dtype, (50,), seed=1)
    x[:4] = [0.5, 1.5, -2.5, np.inf]

    def fn(x, y):
        yield from (x * y, jnp.abs(x), x < y, jnp.isfinite(x), x.astype("float32"), x.astype("float64"))
        yield from (jnp.round(x), lax.convert_element_type(y, "int64"))

    same_bits(lambda x, y: list(fn(x, y)), x, y)


def test_sums_of_floats_are_left_to_the_compiler():
    """It may round x * y + z once."""
    (product, total) = jax.make_jaxpr(lambda x, y, z: x * y + z)(1.0, 2.0, 3.0).jaxpr.eqns
    assert operation(product) is not None and operation(total) is None


def test_products():
    x, y = values("uint64", (3, 4, 5)), values("uint64", (3, 5, 2), seed=1)
    same_bits(
        lambda x, y: [dot_general(x, y, (((2,), (1,)), ((0,), (0,)))), dot_general(x, y, (((2,), (1,)), ((), ())))],
        x,
        y,
    )


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: [x // np.uint64(3)],
        lambda x: [lax.fori_loop(0, 3, lambda _, y: y * y, x)],
        lambda x: [jnp.sort(x)],
        lambda x: [lax.convert_element_type(jnp.sum(x.astype("float64")), "uint64")],
    ],
)
def test_what_numpy_does_otherwise_is_compiled(fn):
    (step,) = projected(traced(fn, A))[A].segments()
    assert interpreter(step, pytest.fail) is None


def test_much_work_is_compiled():
    (step,) = projected(traced(lambda x: x * x, A, avals=[words(WHOLE)]))[A].segments()
    assert interpreter(step, pytest.fail) is None


def both(fn, *inputs, **options):
    """The results of the one segment of all players together: interpreted, and compiled."""
    choreography = traced(fn, *inputs, **options)
    outputs = {A: range(len(choreography.closed.jaxpr.outvars))}
    (step,) = schedule(choreography.closed, None, (), outputs, cut_messages=False).program(TOGETHER).segments()
    buffers = [
        random_words(seed, buffer_size(rows)).astype(dtype)
        for seed, (dtype, rows) in enumerate(keystream_layout(step.draws).items())
    ]
    args = [values(var.aval.dtype, var.aval.shape, seed=9) for var in step.inputs]
    run = interpreter(step, pytest.fail)
    assert run is not None
    with jax.enable_x64(True):
        return run(buffers, args), jax.jit(segment_function(step))(buffers, args), buffers


@pytest.mark.parametrize("group", Group)
@pytest.mark.parametrize("bits", [1, 13, 32, 64])
def test_messages_and_draws(group, bits):
    def fn(x):
        mask = draw((A, C), (7,), bits=bits)
        return send_masked(x, {B: mask}, A, group=group, bits=bits) + mask, release(x, A, B, "why", bits=bits)

    got, want, buffers = both(fn, A, avals=[words(7)])
    equal(got, [np.asarray(x) for x in want])
    assert not any(np.shares_memory(x, buffer) for x in got for buffer in buffers)


def test_a_draw_that_is_kept_does_not_keep_the_buffer():
    got, want, buffers = both(lambda x: [draw((A, B), (7,)), x + draw((A, B), (7,))], A, avals=[words(7)])
    equal(got, [np.asarray(x) for x in want])
    assert all(x.base is None for x in got) and not any(np.shares_memory(got[0], buffer) for buffer in buffers)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        ("bool", 1),
        ("uint8", 1),
        ("uint8", 3),
        ("uint16", 11),
        ("uint32", 17),
        ("uint64", 1),
        ("uint64", 8),
        ("uint64", 63),
    ],
)
@pytest.mark.parametrize("shape", [(), (5, 7)])
def test_packing(dtype, bits, shape):
    dtype = np.dtype(dtype)
    x = values(dtype, shape) if shape else values(dtype, (4,))[1]
    with jax.enable_x64(True):
        eqn = make_equation([], [fresh_var(jax.typeof(jnp.asarray(x)))], unpack_p, {"bits": bits}, None)
        packed = np.asarray(jax.jit(lambda x: pack(x, bits))(x))
        np.testing.assert_array_equal(interpret._pack(eqn)(np.asarray(x)), packed)
        want = np.asarray(jax.jit(lambda p: unpack(p, bits, shape, dtype))(packed))
    got = interpret._unpack(eqn)(packed)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(got, want)


def test_kernels_are_interpreted():
    got, want, _ = both(lambda x: [parity(x, 0xF0F), arithmetic_shift_right(x, 5)], A, avals=[words(9)])
    equal(got, [np.asarray(x) for x in want])


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("real", ["float32", "float64"])
def test_numbers_that_leave_the_range_of_integers(real, dtype):
    info = np.iinfo(dtype)
    ends = [float(info.min), float(info.max), info.max / 2, -0.75, 1.5, 2.0**63, 2.0**64, -(2.0**63), 1e30, -1e30]
    x = np.array([*ends, np.inf, -np.inf, np.nan], real)
    x = np.concatenate([x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf)])
    same_bits(lambda x: [x.astype(dtype)], x)
