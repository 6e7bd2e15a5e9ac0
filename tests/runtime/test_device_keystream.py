"""The keystream of an accelerator, run on the CPU: the host's bytes."""

import jax
import numpy as np
import pytest
from jax.core import ShapedArray

from jmpc._compat import fresh_var
from jmpc.choreography.programs import Draw
from jmpc.runtime import device_keystream
from jmpc.runtime.device_keystream import DeviceKeystream, keystream_for
from jmpc.runtime.keystream import HostKeystream

KEYS = {("a", "b"): bytes(range(32)), ("a", "c"): bytes(range(32, 64))}


def _draw(op_id: int, key: tuple[str, ...], shape: tuple[int, ...], dtype: str) -> Draw:
    with jax.enable_x64(True):
        return Draw(fresh_var(ShapedArray(shape, np.dtype(dtype))), key, op_id, 8)


def test_device_and_host_make_the_same_buffers() -> None:
    draws = [
        _draw(7, ("a", "b"), (3, 5), "uint64"),
        _draw(8, ("a", "c"), (100,), "uint8"),
        _draw(9, ("a", "c"), (), "uint64"),
        _draw(10, ("a", "b"), (0,), "uint64"),
        _draw(11, ("a", "b"), (70,), "uint16"),
        _draw(12, ("a", "c"), (33,), "uint32"),
    ]
    for iteration in (0, 1, (1 << 33) + 5):
        host = HostKeystream(KEYS).buffers(draws, iteration)
        device = DeviceKeystream(KEYS, small=0).buffers(draws, iteration)
        for ours, theirs in zip(host, device, strict=True):
            assert isinstance(theirs, jax.Array) and ours.dtype == theirs.dtype
            assert np.array_equal(ours, np.asarray(theirs))


def test_small_draws_come_from_the_host_and_shapes_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def gather(keys: np.ndarray, *args: np.ndarray, count: int, dtype: np.dtype) -> jax.Array:
        made.append((len(keys), count))
        return device_keystream.chacha20.gather(keys, *args, count=count, dtype=dtype)

    monkeypatch.setattr(device_keystream, "_gather", gather)
    keystream = DeviceKeystream(KEYS, small=8064)
    for sizes in [(500, 500), (505, 500), (100, 900, 100), (800, 800)]:
        draws = [_draw(row, ("a", "b"), (size,), "uint64") for row, size in enumerate(sizes)]
        (buffer,) = keystream.buffers(draws, 3)
        (expected,) = HostKeystream(KEYS).buffers(draws, 3)
        assert np.array_equal(expected, np.asarray(buffer))
    assert made == [(2, 128), (4, 256), (2, 256)]  # none for the first


def test_what_is_made_is_at_most_twice_or_64_megabytes_more() -> None:
    for count in (0, 1, 2, 3, 1000, 1 << 20, (1 << 20) + 1, (5 << 20) + 7):
        made = device_keystream._rounded(count)
        assert count <= made <= min(max(2 * count, 1), count + (1 << 20))


def test_the_keystream_is_made_where_it_is_used_and_shows_no_keys() -> None:
    made = HostKeystream if jax.default_backend() == "cpu" else DeviceKeystream
    assert isinstance(keystream_for(KEYS), made)
    assert "\\x01" not in repr(DeviceKeystream(KEYS)) and "2" in repr(DeviceKeystream(KEYS))
