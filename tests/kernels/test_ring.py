"""The public ring functions as JAX sees them: dtypes, jit, vmap, and a kernel for each platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jmpc.kernels import conv_general_dilated, dot_general, matmul

MATRICES = (((1,), (0,)), ((), ()))


def test_eager_and_jit(ring_array):
    x, y = ring_array(1, 100, 200), ring_array(2, 200, 40)
    np.testing.assert_array_equal(dot_general(x, y, MATRICES), x @ y)
    np.testing.assert_array_equal(jax.jit(lambda x, y: dot_general(x, y, MATRICES))(x, y), x @ y)


def test_is_one_equation():
    x = jnp.zeros((100, 100), jnp.uint64)
    jaxpr = jax.make_jaxpr(lambda x: dot_general(x, x, [[[-1], [0]], [[], []]]))(x)
    assert [eqn.primitive.name for eqn in jaxpr.eqns] == ["ring_dot_general"]
    assert jaxpr.eqns[0].params == {"dimension_numbers": MATRICES}
    assert jaxpr.out_avals[0].dtype == np.uint64


def test_the_unsigned_dot_is_not_differentiated_by_accident():
    x = jnp.ones((2, 2), jnp.uint64)
    with pytest.raises(TypeError, match="grad requires real"):
        jax.grad(lambda x: dot_general(x, x, MATRICES)[0, 0])(x)


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.float64, np.bool_])
def test_other_dtypes_are_refused(dtype):
    ring, other = jnp.ones((2, 2), jnp.uint64), jnp.ones((2, 2), dtype)
    image, kernel = jnp.ones((1, 1, 3), jnp.uint64), jnp.ones((1, 1, 2), dtype)
    for x, y in ((ring, other), (other, ring), (other, other)):
        with pytest.raises(TypeError, match="takes uint64 operands"):
            dot_general(x, y, MATRICES)
    with pytest.raises(TypeError, match="takes uint64 operands"):
        conv_general_dilated(image, kernel, (1,), "VALID")


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_truncation_outside_of_64_bit_mode_is_an_error(transform, ring_array):
    x = ring_array(1, 100, 100)
    with jax.enable_x64(False):
        with pytest.raises(TypeError, match="enable_x64"):
            transform(lambda x: dot_general(x, x, MATRICES))(x)
        with pytest.raises(TypeError, match="enable_x64"):
            transform(lambda x: conv_general_dilated(x, x, (1, 1), "SAME"))(x[None, None])


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
@pytest.mark.parametrize("n", [3, 130])
def test_ring_arrays_survive_outside_of_64_bit_mode(transform, n, ring_array):
    x, y = ring_array(1, n, 100), ring_array(2, 100, n + 50)
    on_device = jnp.asarray(x), jnp.asarray(y)
    with jax.enable_x64(False):
        result = transform(lambda x, y: dot_general(x, y, MATRICES))(*on_device)
    np.testing.assert_array_equal(np.asarray(result), x @ y)


@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [
        ((4,), (4,)),
        ((3, 4), (4,)),
        ((4,), (4, 5)),
        ((3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (4, 5)),
        ((3, 4), (2, 4, 5)),
        ((6, 2, 3, 4), (6, 2, 4, 5)),
        ((3, 4), (6, 2, 4, 5)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 5)),
    ],
)
def test_matmul(x_shape, y_shape, ring_array):
    x, y = ring_array(1, *x_shape), ring_array(2, *y_shape)
    np.testing.assert_array_equal(matmul(x, y), x @ y)


@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 0), (1, 2), (2, None), (None, 3)])
def test_vmap_of_dot(in_axes, ring_array):
    def insert(shape, axis):
        return shape if axis is None else (*shape[:axis], 5, *shape[axis:])

    numbers = (((0,), (2,)), ((1,), (0,)))
    x = ring_array(1, *insert((4, 2, 3), in_axes[0]))
    y = ring_array(2, *insert((2, 6, 4), in_axes[1]))
    got = jax.vmap(lambda x, y: dot_general(x, y, numbers), in_axes)(x, y)
    want = jax.vmap(lambda x, y: lax.dot_general(x, y, numbers), in_axes)(x, y)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("in_axes", [(1, 0), (0, None), (None, 2)])
def test_vmap_of_convolution(in_axes, ring_array, on_cpu):
    def stacked(seed, shape, axis):
        return ring_array(seed, *(shape if axis is None else (*shape[:axis], 4, *shape[axis:])))

    x, y = stacked(1, (3, 2, 8), in_axes[0]), stacked(2, (5, 2, 3), in_axes[1])
    got = jax.vmap(lambda x, y: conv_general_dilated(x, y, (1,), "SAME"), in_axes)(x, y)
    want = on_cpu(jax.vmap(lambda x, y: lax.conv_general_dilated(x, y, (1,), "SAME"), in_axes), x, y)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "SAME_LOWER", [(1, 0), (2, 2)]])
def test_convolution_takes_what_lax_takes(padding, ring_array, on_cpu):
    x, y = ring_array(1, 2, 7, 8, 3), ring_array(2, 3, 2, 3, 4)
    options = dict(padding=padding, rhs_dilation=[1, 2], dimension_numbers=("NHWC", "HWIO", "NHWC"))
    got = conv_general_dilated(x, y, [2, 1], **options)
    want = on_cpu(lambda x, y: lax.conv_general_dilated(x, y, (2, 1), **options), x, y)
    np.testing.assert_array_equal(got, want)


def test_named_padding_with_input_dilation_is_refused():
    x = jnp.ones((1, 1, 4), jnp.uint64)
    with pytest.raises(ValueError, match="must be numbers"):
        conv_general_dilated(x, x, (1,), "SAME", lhs_dilation=(2,))


def lowered(platform, f, *shapes):
    operands = [jax.ShapeDtypeStruct(shape, np.uint64) for shape in shapes]
    return jax.jit(f).trace(*operands).lower(lowering_platforms=(platform,)).as_text()


def dot(x, y):
    return dot_general(x, y, MATRICES)


def conv(x, y):
    return conv_general_dilated(x, y, (1, 1), "SAME")


def multiplies_bytes(text):
    assert "convolution" not in text and "xf" not in text
    return text.count("stablehlo.dot_general") == 8 and "xi8>" in text and "xi32>" in text


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
def test_accelerators_multiply_bytes(platform):
    assert multiplies_bytes(lowered(platform, dot, (1024, 1000), (1000, 1024)))
    assert multiplies_bytes(lowered(platform, conv, (16, 128, 32, 32), (128, 128, 3, 3)))


def test_small_products_are_left_to_xla_where_it_has_them():
    small = (dot, (64, 300), (300, 64)), (conv, (2, 16, 8, 8), (16, 16, 3, 3))
    assert not any(multiplies_bytes(lowered("cuda", *case)) for case in small)
    assert all(multiplies_bytes(lowered("tpu", *case)) for case in small)


def test_cpu_multiplies_floats_where_that_is_faster():
    large = (
        lowered("cpu", dot, (64, 300), (300, 64)),
        lowered("cpu", conv, (2, 16, 16, 16), (32, 16, 3, 3)),
    )
    small = (
        lowered("cpu", dot, (64, 3), (3, 64)),
        lowered("cpu", dot, (1000, 1000), (1000, 1)),
        lowered("cpu", conv, (2, 3, 16, 16), (32, 3, 3, 3)),
        lowered("cpu", conv, (2, 3, 16, 16), (0, 3, 3, 3)),
    )
    assert all(text.count("stablehlo.dot_general") == 5 and "xf64>" in text for text in large)
    assert not any("xf64>" in text for text in small)


def test_large_convolution(ring_array, on_cpu):
    x, y = ring_array(1, 2, 16, 16, 16), ring_array(2, 32, 16, 3, 3)
    want = on_cpu(lambda x, y: lax.conv_general_dilated(x, y, (1, 1), "SAME"), x, y)
    np.testing.assert_array_equal(conv_general_dilated(x, y, (1, 1), "SAME"), want)
