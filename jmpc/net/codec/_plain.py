"""Reading plain data that may be anything: every function returns exactly what its name says, or refuses."""

from typing import Any

from jmpc.net.codec._limits import CodecError

INT64 = range(-(1 << 63), 1 << 63)


def as_list(data: Any, length: int | None = None) -> list[Any]:
    if type(data) is not list or (length is not None and len(data) != length):
        raise CodecError(f"expected a list{'' if length is None else f' of {length}'}, got {_kind(data)}")
    return data


def as_map(data: Any) -> dict[str, Any]:
    """A map with text keys in sorted order: the only order that encoding produces."""
    if type(data) is not dict or not all(type(key) is str for key in data):
        raise CodecError(f"expected a map, got {_kind(data)}")
    if list(data) != sorted(data):
        raise CodecError("the keys of a map are not sorted")
    return data


def as_fields(data: Any, *names: str) -> list[Any]:
    """The values of a map that has exactly these keys."""
    fields = as_map(data)
    if set(fields) != set(names):
        raise CodecError(f"expected the fields {sorted(names)}")
    return [fields[name] for name in names]


def as_int(data: Any) -> int:
    if type(data) is not int or data not in INT64:
        raise CodecError(f"expected an integer, got {_kind(data)}")
    return data


def as_size(data: Any) -> int:
    if as_int(data) < 0:
        raise CodecError("expected an integer that is not negative")
    return data


def as_bool(data: Any) -> bool:
    if type(data) is not bool:
        raise CodecError(f"expected a truth value, got {_kind(data)}")
    return data


def as_float(data: Any) -> float:
    if type(data) is not float:
        raise CodecError(f"expected a float, got {_kind(data)}")
    return data


def as_text(data: Any) -> str:
    if type(data) is not str:
        raise CodecError(f"expected text, got {_kind(data)}")
    return data


def as_bytes(data: Any) -> bytes:
    if type(data) is not bytes:
        raise CodecError(f"expected bytes, got {_kind(data)}")
    return data


def _kind(data: Any) -> str:
    return f"a {type(data).__name__}" + (f" of {len(data)}" if type(data) in (list, dict) else "")
