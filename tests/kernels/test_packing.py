"""Packed bits against numpy's own packing of a matrix of bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.kernels.packing import pack, packed_size, unpack

WIDTHS = {np.uint8: 8, np.uint16: 16, np.uint32: 32, np.uint64: 64}


def oracle(x, bits):
    columns = [(x.reshape(-1) >> x.dtype.type(bit)) & x.dtype.type(1) for bit in range(bits)]
    stream = np.stack(columns, 1).astype(np.uint8).reshape(-1)
    return np.packbits(stream, bitorder="little")


def check(x, bits):
    packed = jax.jit(pack, static_argnums=1)(x, bits)
    assert packed.dtype == np.uint8 and packed.shape == (packed_size(x.size, bits),)
    np.testing.assert_array_equal(packed, oracle(x, bits))
    back = jax.jit(unpack, static_argnums=(1, 2, 3))(packed, bits, x.shape, x.dtype)
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x & x.dtype.type((1 << bits) - 1))


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [(dtype, bits) for dtype in WIDTHS for bits in (1, 4, 7, 8, 16, 18, 63) if bits < WIDTHS[dtype]]
    + list(WIDTHS.items()),
)
def test_widths(dtype, bits):
    x = np.random.default_rng(bits).integers(0, 1 << WIDTHS[dtype], (7, 3), np.uint64)
    check(x.astype(dtype), bits)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_any_array(data):
    dtype = np.dtype(data.draw(st.sampled_from(list(WIDTHS))))
    bits = data.draw(st.integers(1, WIDTHS[dtype.type]))
    size = data.draw(st.integers(0, 40))
    word = st.integers(0, (1 << WIDTHS[dtype.type]) - 1)
    check(np.array(data.draw(st.lists(word, min_size=size, max_size=size)), dtype), bits)


def test_bools():
    x = np.random.default_rng(0).random((5, 5)) < 0.5
    packed = pack(jnp.asarray(x), 1)
    np.testing.assert_array_equal(packed, np.packbits(x, bitorder="little"))
    back = unpack(packed, 1, (5, 5), bool)
    assert back.dtype == np.bool_
    np.testing.assert_array_equal(back, x)


def test_scalars():
    check(np.array(5, np.uint16), 3)


def test_few_equations():
    # Packing is compiled into many segments.
    x = jnp.zeros(1000, jnp.uint64)
    assert len(jax.make_jaxpr(lambda x: pack(x, 18))(x).eqns) < 30
    assert len(jax.make_jaxpr(lambda x: pack(x, 64))(x).eqns) < 5


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 0), (np.uint8, 9), (np.uint64, 65), (bool, 2), (np.int64, 8)])
def test_bits_that_are_not_there(dtype, bits):
    with pytest.raises(ValueError, match="cannot be packed"):
        pack(jnp.zeros(3, dtype), bits)
    with pytest.raises(ValueError, match="cannot be packed"):
        unpack(jnp.zeros(3, jnp.uint8), bits, (3,), dtype)


def test_buffers_of_another_size():
    for buffer in (jnp.zeros(3, jnp.uint8), jnp.zeros(2, jnp.uint16), jnp.zeros((1, 2), jnp.uint8)):
        with pytest.raises(ValueError, match=r"packed in uint8\[2\]"):
            unpack(buffer, 4, (3,), np.uint16)


@pytest.mark.parametrize("bits", [63, 64])
def test_no_64_bit_words_outside_of_64_bit_mode(bits):
    buffer = jnp.zeros(8, jnp.uint8)
    with jax.enable_x64(False), pytest.warns(UserWarning, match="truncated to dtype uint32"):
        with pytest.raises((TypeError, ValueError)):
            unpack(buffer, bits, (1,), np.uint64)
