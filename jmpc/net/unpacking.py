"""msgpack from anyone: plain data only, and no more of it than its reader expects.

Bytes say little about memory: an empty list is one byte as it travels and some eighty where it is read, so who
only bounds bytes can be made to take eighty times as many. And a list takes the room for all elements that it announces
before the first of them is read, so lists in lists that announce many and have none would take gigabytes.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

_SHORT: Final = 256  # bytes: what so few can announce, if no list is longer than they are, takes less than a megabyte


def unpack(data: bytes | memoryview, *, most_elements: int, **limits: Any) -> Any:
    """The plain data that `data` stands for.

    Args:
      most_elements: of all lists and maps together, these included.
      limits: of every single text, list, map; see `msgpack.unpackb`. Extension types are refused, and lists and maps
        that announce more than there is.

    Raises:
      ValueError: for anything that is not msgpack within the limits; nothing else.
    """
    left = most_elements

    def count(container: Any) -> Any:
        nonlocal left
        left -= 1 + len(container)
        if left < 0:
            raise ValueError("too many elements")
        return container

    # Every element takes a byte: what is short cannot have more. That spares a call for every list of a frame's head.
    hooks = {} if 2 * len(data) <= most_elements else {"list_hook": count, "object_hook": count}
    limits["max_array_len"] = min(limits.get("max_array_len", len(data)), len(data))
    try:
        if len(data) > _SHORT:
            _skip(data)
        return msgpack.unpackb(data, raw=False, strict_map_key=True, max_ext_len=0, **hooks, **limits)
    except Exception as error:  # msgpack raises half a dozen types for what is one fact
        raise ValueError(f"not msgpack within its limits ({type(error).__name__})") from None


def _skip(data: bytes | memoryview) -> None:
    """Reads `data` without making anything of it; raises if something announced is not there."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.skip()
