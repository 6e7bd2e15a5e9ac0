"""Keystream on the host and in a jitted function, against RFC 8439 and against each other."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.kernels import chacha20, keystream

KEY = bytes(range(32))

# Addresses enter as operands, so that one compilation serves many draws.
BLOCKS = jax.jit(chacha20.blocks, static_argnums=4)
DRAW = jax.jit(chacha20.keystream, static_argnums=(3, 4, 5))

# Key, words 13 to 15 of the state, block counter, block. RFC 8439, sections 2.3.2, 2.4.2 (two
# blocks), and appendix A.1, test vectors 1 to 5.
RFC_8439 = [
    (
        KEY,
        "000000090000004a00000000",
        1,
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
    ),
    (
        KEY,
        "000000000000004a00000000",
        1,
        "224f51f3401bd9e12fde276fb8631ded8c131f823d2c06e27e4fcaec9ef3cf78"
        "8a3b0aa372600a92b57974cded2b9334794cba40c63e34cdea212c4cf07d41b7",
    ),
    (
        KEY,
        "000000000000004a00000000",
        2,
        "69a6749f3f630f4122cafe28ec4dc47e26d4346d70b98c73f3e9c53ac40c5945"
        "398b6eda1a832c89c167eacd901d7e2bf363740373201aa188fbbce83991c4ed",
    ),
    (
        bytes(32),
        "000000000000000000000000",
        0,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    (
        bytes(32),
        "000000000000000000000000",
        1,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    (
        bytes(31) + b"\x01",
        "000000000000000000000000",
        1,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    (
        b"\x00\xff" + bytes(30),
        "000000000000000000000000",
        2,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
        "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
    (
        bytes(32),
        "000000000000000000000002",
        0,
        "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
        "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d",
    ),
]


@pytest.mark.parametrize(("key", "nonce", "counter", "block"), RFC_8439)
def test_rfc_8439(key, nonce, counter, block):
    op_id, low, high = np.frombuffer(bytes.fromhex(nonce), "<u4").tolist()
    iteration, stream = low + ((high & 0xFFFF) << 32), high >> 16
    drawn = keystream.generate(key, op_id, iteration, (counter + 1, 64), np.uint8, stream)
    assert drawn[counter].tobytes().hex() == block
    words = chacha20.key_words(key)
    counters = np.array([counter], np.uint32)
    drawn = BLOCKS(words, counters, np.uint32(op_id), np.uint64(iteration), stream)
    assert np.asarray(drawn).astype("<u4").tobytes().hex() == block


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    key=st.binary(min_size=32, max_size=32),
    op_id=st.integers(0, 2**32 - 1),
    iteration=st.integers(0, 2**48 - 1),
    stream=st.sampled_from([0, 1, 2**16 - 1]),
    layout=st.sampled_from([((3, 7), np.uint64), ((33,), np.uint32), ((2, 3, 5), np.uint16), ((65,), np.uint8)]),
)
def test_device_draws_what_the_host_draws(key, op_id, iteration, stream, layout):
    shape, dtype = layout
    want = keystream.generate(key, op_id, iteration, shape, dtype, stream)
    words = chacha20.key_words(key)
    got = DRAW(words, np.uint32(op_id), np.uint64(iteration), shape, dtype, stream)
    assert got.dtype == dtype and got.shape == shape
    np.testing.assert_array_equal(got, want)


def test_addresses_of_either_width():
    words = chacha20.key_words(KEY)
    want = keystream.generate(KEY, 7, 2**32 - 1, (3,), np.uint64)
    for number in (int, jnp.uint32, jnp.uint64):
        got = chacha20.keystream(words, number(7), number(2**32 - 1), (3,), np.uint64)
        np.testing.assert_array_equal(got, want)
    with pytest.raises(TypeError, match="uint32 or uint64"):
        chacha20.keystream(words, 7, jnp.int32(1), (3,), np.uint64)


def test_empty_draws():
    got = chacha20.keystream(chacha20.key_words(KEY), 1, 2, (3, 0), np.uint64)
    assert got.shape == (3, 0) and got.dtype == np.uint64


def test_each_part_of_an_address_counts():
    addresses = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 2**32, 0), (0, 2**47, 0), (0, 0, 1)]
    draws = {
        keystream.generate(KEY, op_id, iteration, (4,), np.uint64, stream).tobytes()
        for op_id, iteration, stream in addresses
    }
    assert len(draws) == len(addresses)


@pytest.mark.parametrize("size", [1, 63, 64, 65, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 600_000])
def test_longer_draws_continue_shorter_ones(size):
    whole = keystream.generate(KEY, 1, 2, (600_000,), np.uint8)
    np.testing.assert_array_equal(keystream.generate(KEY, 1, 2, (size,), np.uint8), whole[:size])


def test_fill_overwrites_what_was_there():
    out = np.full((3, 5), 2**64 - 1, np.uint64)
    keystream.fill(KEY, 3, 4, out, 5)
    np.testing.assert_array_equal(out, keystream.generate(KEY, 3, 4, (3, 5), np.uint64, 5))
    part = np.zeros((4, 5), np.uint64)
    keystream.fill(KEY, 3, 4, part[1:], 5)
    np.testing.assert_array_equal(part[1:], out)
    assert not part[0].any()
    keystream.fill(KEY, 3, 4, np.zeros((0, 5), np.uint64))


def test_a_generator_serves_several_draws():
    generator = keystream.Keystream(KEY)
    for op_id in (5, 5, 6):
        got = generator.generate(op_id, 1, (9,), np.uint32)
        np.testing.assert_array_equal(got, keystream.generate(KEY, op_id, 1, (9,), np.uint32))


def test_threads_share_a_generator():
    generator = keystream.Keystream(KEY)
    outs = [[np.zeros(2000, np.uint64) for _ in range(50)] for _ in range(4)]

    def work(thread: int) -> None:
        for iteration, out in enumerate(outs[thread]):
            generator.fill(thread, iteration, out)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for op_id, draws in enumerate(outs):
        for iteration, out in enumerate(draws):
            want = keystream.generate(KEY, op_id, iteration, (2000,), np.uint64)
            np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize(
    ("name", "op_id", "iteration", "stream"),
    [
        ("op_id", -1, 0, 0),
        ("op_id", 2**32, 0, 0),
        ("iteration", 0, -1, 0),
        ("iteration", 0, 2**48, 0),
        ("stream", 0, 0, -1),
        ("stream", 0, 0, 2**16),
    ],
)
def test_addresses_out_of_range(name, op_id, iteration, stream):
    with pytest.raises(ValueError, match=name):
        keystream.generate(KEY, op_id, iteration, (1,), np.uint64, stream)
    with pytest.raises(ValueError, match=name):
        words = chacha20.key_words(KEY)
        chacha20.keystream(words, op_id, iteration, (1,), np.uint64, stream)


def test_draws_beyond_the_block_counter():
    with pytest.raises(ValueError, match="several streams"):
        keystream.generate(KEY, 0, 0, (2**35,), np.uint64)
    with pytest.raises(ValueError, match="several streams"):
        chacha20.keystream(chacha20.key_words(KEY), 0, 0, (2**35,), np.uint64)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros(4, np.int64),
        np.zeros(4, np.float64),
        np.zeros(4, bool),
        np.zeros(4, ">u8"),
        np.zeros((4, 4), np.uint64)[:, :2],
        np.broadcast_to(np.zeros(1, np.uint64), (4,)),
        np.frombuffer(bytes(8), np.uint64),
    ],
)
def test_arrays_that_cannot_be_filled(out):
    with pytest.raises(ValueError, match="keystream fills"):
        keystream.fill(KEY, 0, 0, out)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_keys_of_other_lengths(key):
    with pytest.raises(ValueError, match="32 bytes"):
        keystream.fill(key, 0, 0, np.zeros(1, np.uint64))
    with pytest.raises(ValueError, match="32 bytes"):
        chacha20.key_words(key)


def test_no_64_bit_draws_outside_of_64_bit_mode():
    words = chacha20.key_words(KEY)
    with jax.enable_x64(False):
        got = chacha20.keystream(words, 1, 2, (5,), np.uint32)
        with pytest.raises(TypeError, match="enable_x64"), pytest.warns(UserWarning):
            chacha20.keystream(words, 1, 2, (5,), np.uint64)
    np.testing.assert_array_equal(got, keystream.generate(KEY, 1, 2, (5,), np.uint32))
