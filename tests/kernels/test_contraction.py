"""The contraction kernels against numpy's wrapping uint64 products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.kernels import contraction, float64_limbs, int8_digits, reference

DIGITS = pytest.mark.parametrize("kernel", [float64_limbs, int8_digits])
MATRICES = (((1,), (0,)), ((), ()))


def run(compiled, kernel, x, y, dimension_numbers):
    numbers = contraction.canonical(x.ndim, y.ndim, dimension_numbers)
    result = compiled(kernel.dot_general, x, y, numbers)
    assert result.dtype == np.uint64
    assert result.shape == contraction.result_shape(x.shape, y.shape, numbers)
    return np.asarray(result)


def oracle(x, y, dimension_numbers):
    (x_contracting, y_contracting), (x_batch, y_batch) = dimension_numbers
    x_names, y_names = list(range(x.ndim)), list(range(100, 100 + y.ndim))
    for i, j in zip((*x_contracting, *x_batch), (*y_contracting, *y_batch), strict=True):
        y_names[j] = x_names[i]
    shared = {x_names[i] for i in (*x_contracting, *x_batch)}
    result = [x_names[i] for i in x_batch]
    result += [name for name in (*x_names, *y_names) if name not in shared]
    letters = {name: chr(97 + i) for i, name in enumerate(dict.fromkeys(x_names + y_names))}
    x_axes, y_axes, axes = ("".join(letters[n] for n in names) for names in (x_names, y_names, result))
    return np.einsum(f"{x_axes},{y_axes}->{axes}", x, y)


@DIGITS
@pytest.mark.parametrize("k", [1, 2, 3, 896, 897, 1023, 1024, 1025, 2047, 2048, 2049, 8192, 8193, 20_000])
def test_inner_dimensions(compiled, kernel, k, ring_array):
    x, y = ring_array(k, 3, k), ring_array(k + 1, k, 5)
    np.testing.assert_array_equal(run(compiled, kernel, x, y, MATRICES), x @ y)


@pytest.mark.parametrize("shape", [(5, 2, 3), (16, 31, 16), (64, 9, 8), (67, 65, 129)])
def test_matrices_of_odd_sizes_in_bytes(compiled, shape, ring_array):
    m, k, n = shape
    x, y = ring_array(1, m, k), ring_array(2, k, n)
    np.testing.assert_array_equal(run(compiled, int8_digits, x, y, MATRICES), x @ y)


@DIGITS
@pytest.mark.parametrize("k", [896, 8192])
def test_extreme_digits_do_not_overflow(compiled, kernel, k, extremes):
    # The longest inner dimensions of the two kernels, with all terms of a sum at their bounds.
    x = np.array(extremes, np.uint64)[:, None].repeat(k, 1)
    y = np.array(extremes, np.uint64)[None, :].repeat(k, 0)
    want = [[a * b * k % 2**64 for b in extremes] for a in extremes]
    np.testing.assert_array_equal(run(compiled, kernel, x, y, MATRICES), np.array(want, np.uint64))


@pytest.mark.parametrize("m", [1023, 1025, 2049])
def test_blocks_of_rows(compiled, m, ring_array):
    for k in (2, 901):
        x, y = ring_array(m, m, k), ring_array(m + 1, k, 3)
        np.testing.assert_array_equal(run(compiled, float64_limbs, x, y, MATRICES), x @ y)


@pytest.mark.parametrize("kernel", [float64_limbs, reference])
@pytest.mark.parametrize(
    ("x_shape", "y_shape", "dimension_numbers"),
    [
        ((), (), (((), ()), ((), ()))),
        ((4,), (4,), (((0,), (0,)), ((), ()))),
        ((4,), (3,), (((), ()), ((), ()))),
        ((4,), (3, 4), (((0,), (1,)), ((), ()))),
        ((3, 4), (4,), (((1,), (0,)), ((), ()))),
        ((4, 3), (4, 5), (((0,), (0,)), ((), ()))),
        ((2, 3, 4), (2, 4, 5), (((2,), (1,)), ((0,), (0,)))),
        ((3, 2, 4), (5, 4, 2), (((2,), (1,)), ((1,), (2,)))),
        ((2, 3, 4, 5), (3, 5, 6, 2), (((3,), (1,)), ((1, 0), (0, 3)))),
        ((2, 3, 4, 5), (4, 7, 3, 5), (((1, 3, 2), (2, 3, 0)), ((), ()))),
        ((7,), (7,), (((), ()), ((0,), (0,)))),
        ((0, 4), (4, 5), MATRICES),
        ((3, 0), (0, 5), MATRICES),
        ((3, 4), (4, 0), MATRICES),
        ((0, 3, 4), (0, 4, 5), (((2,), (1,)), ((0,), (0,)))),
    ],
)
def test_dimension_numbers(compiled, kernel, x_shape, y_shape, dimension_numbers, ring_array):
    x, y = ring_array(1, *x_shape), ring_array(2, *y_shape)
    want = oracle(x, y, dimension_numbers)
    np.testing.assert_array_equal(run(compiled, kernel, x, y, dimension_numbers), want)


@st.composite
def contractions(draw):
    """Shapes of two operands, and dimension numbers that contract them."""
    batch, contracting, x_free, y_free = (draw(st.lists(st.integers(1, 5), max_size=2)) for _ in range(4))
    x_order = draw(st.permutations(range(len(batch) + len(contracting) + len(x_free))))
    y_order = draw(st.permutations(range(len(batch) + len(contracting) + len(y_free))))

    def place(sizes, order):
        shape = [0] * len(sizes)
        for size, axis in zip(sizes, order, strict=True):
            shape[axis] = size
        ends = len(batch), len(batch) + len(contracting)
        return tuple(shape), tuple(order[: ends[0]]), tuple(order[ends[0] : ends[1]])

    x_shape, x_batch, x_contracting = place(batch + contracting + x_free, x_order)
    y_shape, y_batch, y_contracting = place(batch + contracting + y_free, y_order)
    return x_shape, y_shape, ((x_contracting, y_contracting), (x_batch, y_batch))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(contractions(), st.integers(0, 1000))
def test_any_contraction(compiled, ring_array, shapes, seed):
    x_shape, y_shape, dimension_numbers = shapes
    x, y = ring_array(seed, *x_shape), ring_array(seed + 1, *y_shape)
    want = oracle(x, y, dimension_numbers)
    np.testing.assert_array_equal(run(compiled, float64_limbs, x, y, dimension_numbers), want)


def test_batches_of_bytes(compiled, ring_array):
    x, y = ring_array(1, 3, 2, 4), ring_array(2, 5, 4, 2)
    numbers = (((2,), (1,)), ((1,), (2,)))
    got = run(compiled, int8_digits, x, y, numbers)
    np.testing.assert_array_equal(got, oracle(x, y, numbers))
    empty = run(compiled, int8_digits, x[:, :, :0], y[:, :0], numbers)
    np.testing.assert_array_equal(empty, np.zeros((2, 3, 5), np.uint64))


@pytest.mark.parametrize(
    ("dimension_numbers", "message"),
    [
        ((((1,), ()), ((), ())), "pair 1 axes with 0"),
        ((((2,), (0,)), ((), ())), "axis 2 of an operand of rank 2"),
        ((((1,), (0,)), ((1,), (1,))), "an axis twice"),
    ],
)
def test_wrong_dimension_numbers(dimension_numbers, message):
    with pytest.raises(TypeError, match=message):
        contraction.canonical(2, 2, dimension_numbers)


def test_negative_axes():
    assert contraction.canonical(3, 2, (((-1,), (-2,)), ((), ()))) == (((2,), (0,)), ((), ()))
