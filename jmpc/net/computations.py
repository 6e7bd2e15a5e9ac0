"""A `Computation` as bytes and back: what a driver submits to nodes.

Every call is a list [kind, fields...] of plain data; jaxprs travel by `jmpc.net.codec`. Reading checks
everything: kinds, names, that a call only uses values made before it, that types are types and of bounded
size, that nothing is named twice.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import msgpack
import numpy as np

from jmpc._compat import JAX_VERSION, LINE_LENGTH
from jmpc.computation import (
    ArrayType,
    Assign,
    Average,
    Call,
    Computation,
    Compute,
    Constant,
    Gather,
    Noise,
    Output,
    Publish,
    Read,
    Reveal,
    Secure,
    Share,
    Source,
    result_count,
)
from jmpc.gaussian import MOST_DEVIATION
from jmpc.leaves import LONGEST_NAME
from jmpc.net.codec import CodecError, Limits, Tally, decode_jaxpr, encode_jaxpr, unpack
from jmpc.net.codec._encode import BLOCK
from jmpc.net.codec._plain import as_bytes, as_float, as_list, as_size, as_text

VERSION = 1
_MAGIC = "jmpc run"
_KINDS: tuple[type, ...] = (
    *(Source, Constant, Read, Compute, Share, Secure, Reveal, Publish, Assign, Output),
    *(Noise, Gather, Average),
)
_NAME = re.compile(r"[A-Za-z0-9_.@/<>-]{0,128}")
_KEY = re.compile(r"[A-Za-z0-9_.@/<>-]{1,100}/[0-9]{1,9}")
_DTYPES = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64".split())


def encode_computation(computation: Computation) -> bytes:
    """The canonical bytes of a computation; raises CodecError for what cannot travel."""
    calls = [
        [_KINDS.index(type(call)), *(_plain(getattr(call, f.name)) for f in dataclasses.fields(call))]
        for call in computation.calls
    ]
    blocks = [calls[start : start + BLOCK] for start in range(0, len(calls), BLOCK)]  # so that no list is long
    body = [_MAGIC, VERSION, list(JAX_VERSION), list(computation.servers), computation.fraction, blocks]
    return msgpack.packb(body, use_bin_type=True)


def _plain(value: Any) -> Any:
    match value:
        case None | str() | int() | float() | bytes():
            return value
        case np.ndarray():
            if value.dtype.name not in _DTYPES:
                raise CodecError(f"an array of type {value.dtype} cannot be part of a computation")
            return [value.dtype.name, list(value.shape), np.ascontiguousarray(value).tobytes()]
        case ArrayType():
            return [value.dtype, list(value.shape)]
        case tuple():
            return [_plain(item) for item in value]
    return encode_jaxpr(value)


def decode_computation(data: bytes, limits: Limits | None = None) -> Computation:
    """Reads a computation from anyone. Raises CodecError for anything that is not one."""
    limits = limits or Limits()
    tally = Tally(limits)
    message = as_list(unpack(data, limits), 6)
    if message[0] != _MAGIC or message[1] != VERSION:
        raise CodecError("not a computation of this version of jmpc")
    if message[2] != list(JAX_VERSION):
        raise CodecError(f"a computation of another JAX release than {JAX_VERSION[0]}.{JAX_VERSION[1]}")
    servers = tuple(_name(name) for name in as_list(message[3], 3))
    fraction = as_size(message[4])
    if not 1 <= fraction <= 30 or len(set(servers)) != 3:
        raise CodecError("a computation needs three servers, and between 1 and 30 fractional bits")
    calls: list[Call] = []
    made = 0
    for data_of_call in itertools.chain.from_iterable(map(as_list, as_list(message[5]))):
        tally.add(equations=1)
        call = _decode_call(as_list(data_of_call), made, tally)
        tally.add(variables=result_count(call))
        made += result_count(call)
        calls.append(call)
    for kind, name in ((Source, "key"), (Assign, "variable"), (Output, "key")):
        names = [getattr(call, name) for call in calls if isinstance(call, kind)]
        if len(set(names)) != len(names):
            raise CodecError(f"two {kind.__name__} calls of one {name}")
    return Computation(servers, tuple(calls), fraction)


def _decode_call(data: list[Any], made: int, tally: Tally) -> Call:
    if not data or type(data[0]) is not int or data[0] not in range(len(_KINDS)):
        raise CodecError("a call of an unknown kind")
    kind = _KINDS[data[0]]
    fields = dataclasses.fields(kind)
    if len(data) != 1 + len(fields):
        raise CodecError(f"a {kind.__name__} with {len(data) - 1} fields, expected {len(fields)}")
    limits = tally.limits
    read = {**_READERS, "arg": lambda item: _number(item, made), "args": lambda item: _numbers(item, made)}
    read["jaxpr"] = lambda item: decode_jaxpr(item, tally=tally)
    read["value"] = lambda item: _array(item, tally)
    read["type"] = lambda item: _type(item, limits)
    read["types"] = lambda item: tuple(_type(entry, limits) for entry in as_list(item))
    if kind is Output:
        read["key"] = _output_key
    call = kind(**{f.name: read[f.name](item) for f, item in zip(fields, data[1:], strict=True)})
    if getattr(call, "player", "") is None and not isinstance(call, Read | Assign):
        raise CodecError(f"a {kind.__name__} without a player")
    if isinstance(call, Compute | Secure) and len(call.args) != len(call.jaxpr.in_avals):
        raise CodecError(
            f"{kind.__name__} {call.name!r} takes {len(call.jaxpr.in_avals)} arguments, got {len(call.args)}"
        )
    if isinstance(call, Source) and len(call.names) not in (0, len(call.types)):
        raise CodecError(f"{len(call.names)} names of {len(call.types)} arrays")
    if isinstance(call, Gather):
        _check_gather(call)
    if isinstance(call, Average) and not call.args:
        raise CodecError("a mean of nothing")
    return call


def _check_gather(call: Gather) -> None:
    count = len(call.owners)
    if not count or len(set(call.owners)) != count or not call.args or len(call.args) % count:
        raise CodecError(f"a gather of {len(call.args)} contributions of {count} owners")
    if len(call.ranges) != len(call.args) or not 1 <= call.min_owners <= count:
        raise CodecError(f"a gather of {count} owners, at least {call.min_owners}, with {len(call.ranges)} ranges")


def is_name(data: Any) -> bool:
    """Whether it can be the name of a variable."""
    return type(data) is str and data != "" and _NAME.fullmatch(data) is not None


def _name(data: Any) -> str:
    if not _NAME.fullmatch(as_text(data)):
        raise CodecError("a name with characters that names do not have")
    return data


def _player(data: Any) -> str | None:
    return None if data is None else _name(data)


def _number(data: Any, made: int) -> int:
    if as_size(data) >= made:
        raise CodecError(f"a call uses value {data}, but only {made} are made before it")
    return data


def _numbers(data: Any, made: int) -> tuple[int, ...]:
    return tuple(_number(item, made) for item in as_list(data))


def _output_key(data: Any) -> str:
    """The group of an output and its place in it."""
    if not _KEY.fullmatch(as_text(data)):
        raise CodecError("the key of an output is no group and number")
    return data


def _label(data: Any, length: int = 128) -> str:
    """What a function was called by who wrote it, or on which line: for messages only."""
    return "".join(char if char.isprintable() else "?" for char in as_text(data)[:length])


def _names(data: Any) -> tuple[str, ...]:
    names = tuple(as_text(item) for item in as_list(data))
    if not all(len(name) <= LONGEST_NAME and name.isprintable() for name in names):
        raise CodecError(f"a name of an array with unprintable characters, or more than {LONGEST_NAME}")
    return names


def _type(data: Any, limits: Limits) -> ArrayType:
    dtype, shape = as_list(data, 2)
    if as_text(dtype) not in _DTYPES:
        raise CodecError("an array type that jmpc does not have")
    sizes = tuple(as_size(n) for n in as_list(shape))
    limits.check("rank", len(sizes), "the rank of a value")
    limits.check("dimension", max(sizes, default=0), "a dimension")
    limits.check("value_bytes", math.prod(sizes) * jax.numpy.dtype(dtype).itemsize, "the size of a value in bytes")
    return ArrayType(sizes, dtype)


def _array(data: Any, tally: Tally) -> np.ndarray:
    dtype, shape, raw = as_list(data, 3)
    type_ = _type([dtype, shape], tally.limits)
    tally.add(constant_bytes=len(as_bytes(raw)))
    item = jax.numpy.dtype(type_.dtype)
    if len(raw) != item.itemsize * math.prod(type_.shape):
        raise CodecError("a constant whose bytes do not fit its shape")
    if item == np.bool_ and raw.strip(b"\0\1"):
        raise CodecError("a truth value that is neither 0 nor 1")
    return np.frombuffer(raw, item).reshape(type_.shape)


def _range(data: Any) -> tuple[float, float] | None:
    if data is None:
        return None
    low, high = (as_float(float(item) if type(item) is int else item) for item in as_list(data, 2))
    if not -math.inf < low <= high < math.inf:
        raise CodecError("a range that is empty or infinite")
    return low, high


def _deadline(data: Any) -> float | None:
    if data is None:
        return None
    seconds = as_float(float(data) if type(data) is int else data)
    if not 0 < seconds < math.inf:
        raise CodecError("a deadline that is no number of seconds")
    return seconds


def _deviation(data: Any) -> float:
    if not 0 < as_float(data) <= MOST_DEVIATION:
        raise CodecError("a standard deviation that is not positive, or too large")
    return data


_READERS: dict[str, Callable[[Any], Any]] = {
    "player": _player,
    "provider": _name,
    "key": _name,
    "variable": _name,
    "name": _label,
    "line": lambda data: _label(data, LINE_LENGTH),
    "range": _range,
    "deviation": _deviation,
    "names": _names,
    "sink": _name,
    "owners": lambda data: tuple(_name(item) for item in as_list(data)),
    "ranges": lambda data: tuple(_range(item) for item in as_list(data)),
    "min_owners": as_size,
    "deadline": _deadline,
}
