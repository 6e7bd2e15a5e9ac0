"""The convolution kernels against XLA's uint64 convolution, and that against its definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jmpc.kernels import convolution, float64_limbs, int8_digits, reference
from jmpc.kernels.convolution import ConvolutionParams


def make_params(
    x_shape,
    y_shape,
    strides=None,
    padding=None,
    x_dilation=None,
    y_dilation=None,
    numbers=None,
    groups=1,
    batch_groups=1,
):
    rank = len(x_shape) - 2
    return ConvolutionParams(
        window_strides=strides or (1,) * rank,
        padding=padding or ((0, 0),) * rank,
        lhs_dilation=x_dilation or (1,) * rank,
        rhs_dilation=y_dilation or (1,) * rank,
        dimension_numbers=lax.conv_dimension_numbers(x_shape, y_shape, numbers),
        feature_group_count=groups,
        batch_group_count=batch_groups,
    )


def check(compiled, on_cpu, ring_array, x_shape, y_shape, seed=0, kernel=float64_limbs, **options):
    params = make_params(x_shape, y_shape, **options)
    x, y = ring_array(seed, *x_shape), ring_array(seed + 1, *y_shape)
    want = on_cpu(lambda x, y: reference.conv_general_dilated(x, y, params), x, y)
    assert convolution.result_shape(x_shape, y_shape, params) == want.shape
    result = compiled(kernel.conv_general_dilated, x, y, params)
    assert result.dtype == np.uint64
    np.testing.assert_array_equal(result, want)
    return x, y, want


CASES = {
    "1d": dict(x_shape=(2, 3, 10), y_shape=(4, 3, 3)),
    "1d strides, padding": dict(x_shape=(2, 3, 10), y_shape=(4, 3, 3), strides=(2,), padding=((2, 1),)),
    "1d one window": dict(x_shape=(1, 1, 7), y_shape=(1, 1, 7)),
    "1d inner dimension of several blocks": dict(x_shape=(2, 300, 9), y_shape=(3, 300, 7)),
    "2d": dict(x_shape=(2, 3, 6, 5), y_shape=(4, 3, 3, 2)),
    "2d everything": dict(
        x_shape=(2, 4, 6, 7),
        y_shape=(6, 2, 3, 2),
        strides=(2, 1),
        padding=((1, 2), (0, -1)),
        x_dilation=(1, 2),
        y_dilation=(2, 3),
        groups=2,
    ),
    "2d channels last": dict(x_shape=(2, 6, 5, 3), y_shape=(3, 2, 3, 4), numbers=("NHWC", "HWIO", "NHWC")),
    "2d odd layouts": dict(x_shape=(6, 3, 2, 5), y_shape=(3, 3, 4, 2), numbers=("HCNW", "IHOW", "WNCH")),
    "2d depthwise": dict(x_shape=(2, 4, 6, 5), y_shape=(8, 1, 3, 3), groups=4),
    "2d batch groups": dict(x_shape=(6, 4, 5, 5), y_shape=(9, 4, 3, 3), batch_groups=3),
    "2d batch groups, channels last": dict(
        x_shape=(4, 5, 5, 3),
        y_shape=(2, 2, 3, 6),
        batch_groups=2,
        numbers=("NHWC", "HWIO", "NHWC"),
    ),
    "2d many images": dict(x_shape=(50, 2, 9, 9), y_shape=(3, 2, 2, 2)),
    "2d the gradient of a kernel": dict(
        x_shape=(40, 2, 14, 14), y_shape=(40, 3, 12, 12), numbers=("CNHW", "IOHW", "NCHW")
    ),
    "2d negative padding": dict(x_shape=(2, 2, 7, 7), y_shape=(3, 2, 2, 2), padding=((-2, 0), (1, -3))),
    "2d window larger than the input": dict(x_shape=(2, 2, 3, 3), y_shape=(3, 2, 5, 4)),
    "2d no images": dict(x_shape=(0, 2, 3, 3), y_shape=(3, 2, 2, 2)),
    "2d no input features": dict(x_shape=(2, 0, 3, 3), y_shape=(3, 0, 2, 2)),
    "3d": dict(x_shape=(2, 2, 4, 5, 4), y_shape=(3, 2, 2, 3, 2), strides=(1, 2, 1), padding=((1, 1),) * 3),
    "no space": dict(x_shape=(3, 4), y_shape=(5, 4)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cases(compiled, on_cpu, ring_array, case):
    check(compiled, on_cpu, ring_array, **case)


@pytest.mark.parametrize(
    "name", ["1d inner dimension of several blocks", "2d everything", "2d batch groups", "no space"]
)
def test_cases_in_bytes(compiled, on_cpu, ring_array, name):
    check(compiled, on_cpu, ring_array, kernel=int8_digits, **CASES[name])


def test_reference_is_the_definition(compiled, on_cpu, ring_array):
    x, y, got = check(compiled, on_cpu, ring_array, (2, 3, 6, 5), (4, 3, 3, 2), strides=(2, 1))
    want = np.zeros((2, 4, 2, 4), np.uint64)
    for i, j in itertools.product(range(3), range(2)):
        want += np.einsum("nihw,oi->nohw", x[:, :, i : i + 3 : 2, j : j + 4], y[:, :, i, j])
    np.testing.assert_array_equal(got, want)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.data())
def test_any_parameters(compiled, on_cpu, ring_array, data):
    def each_axis(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(2))

    groups, batch_groups = data.draw(st.sampled_from([(1, 1), (2, 1), (1, 2)]))
    images, features_in, features_out = (data.draw(st.integers(1, 3)) for _ in range(3))
    check(
        compiled,
        on_cpu,
        ring_array,
        x_shape=(images * batch_groups, features_in * groups, *each_axis(1, 6)),
        y_shape=(features_out * groups * batch_groups, features_in, *each_axis(1, 3)),
        seed=data.draw(st.integers(0, 1000)),
        strides=each_axis(1, 3),
        padding=(each_axis(0, 2), each_axis(0, 2)),
        x_dilation=each_axis(1, 3),
        y_dilation=each_axis(1, 3),
        groups=groups,
        batch_groups=batch_groups,
    )


@pytest.mark.parametrize(
    ("y_shape", "options", "message"),
    [
        ((4, 2, 3, 3), {}, "has 4 features"),
        ((3, 2, 3, 3), {"groups": 2}, "must divide"),
        ((4, 4, 3, 3), {"batch_groups": 4}, "the 2 images"),
        ((4, 2, 3, 3), {"groups": 2, "batch_groups": 2}, "must be 1"),
    ],
)
def test_shapes_that_do_not_fit(y_shape, options, message):
    x_shape = (2, 4, 6, 6)
    with pytest.raises(TypeError, match=message):
        convolution.result_shape(x_shape, y_shape, make_params(x_shape, y_shape, **options))
