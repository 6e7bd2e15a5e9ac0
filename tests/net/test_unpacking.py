import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jmpc.net.unpacking import unpack

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.binary(max_size=9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=5),
    max_leaves=30,
)


def elements(value) -> int:
    if isinstance(value, list):
        return 1 + len(value) + sum(map(elements, value))
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(elements, value.values()))
    return 0


@given(PLAIN)
def test_plain_data_within_the_limit_comes_back(value):
    data = msgpack.packb(value)
    assert unpack(data, most_elements=elements(value)) == value
    if elements(value):
        with pytest.raises(ValueError, match="not msgpack within its limits"):
            unpack(data, most_elements=elements(value) - 1)


@given(st.binary(max_size=200))
def test_any_bytes_give_plain_data_or_a_value_error(data):
    try:
        unpack(data, most_elements=50)
    except ValueError:
        pass


@pytest.mark.parametrize("container", [b"\x90", b"\x80"])
def test_empty_containers_are_counted(container):
    """They take some eighty times as much memory as bytes."""
    many = b"\xdd" + (100_000).to_bytes(4, "big") + container * 100_000
    assert len(unpack(many, most_elements=200_001)) == 100_000
    with pytest.raises(ValueError):
        unpack(many, most_elements=100_000)


@pytest.mark.parametrize("announced", [200, 2900, 65535])
@pytest.mark.parametrize("size", [51, 250, 1000, 3000, 9000])
def test_what_is_announced_and_not_there_takes_no_memory(size, announced):
    """Lists in lists, each with room for as many elements as there are bytes, or for more."""
    data = (b"\xdc" + announced.to_bytes(2, "big")) * (size // 3)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            unpack(data, most_elements=1 << 20, use_list=False, max_array_len=1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_tuples_are_counted_as_well():
    data = msgpack.packb([[1, 2], [3]])
    assert unpack(data, most_elements=8, use_list=False) == ((1, 2), (3,))
    with pytest.raises(ValueError):
        unpack(data, most_elements=7, use_list=False)


def test_extension_types_are_refused():
    with pytest.raises(ValueError):
        unpack(msgpack.packb(msgpack.ExtType(1, b"x")), most_elements=9)
    with pytest.raises(ValueError):
        unpack(msgpack.packb(msgpack.Timestamp(1, 2)), most_elements=9)
