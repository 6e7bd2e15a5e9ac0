"""Kinds of parameters: how a parameter of an equation becomes plain data, and how it is read back.

What a parameter may be is decided by the primitive's schema, never by the data, so nothing that comes from outside
can choose a type. Both directions refuse what is not of the kind.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive

from jmpc import _compat
from jmpc.net.codec._limits import CodecError
from jmpc.net.codec._plain import INT64, as_bool, as_float, as_int, as_list, as_text
from jmpc.net.codec._types import KEY_IMPL, decode_dtype, encode_dtype


class Encoder(Protocol):
    """What a nested jaxpr is encoded with."""

    def encode(self, closed: ClosedJaxpr) -> Any: ...


class Decoder(Protocol):
    """What a nested jaxpr is decoded with."""

    def decode(self, data: Any) -> ClosedJaxpr: ...


@dataclass(frozen=True)
class Kind:
    """One kind of parameter. An `optional` one may be missing; an `axis` is one, or several, of the first operand."""

    encode: Callable[[Any, Encoder], Any]
    decode: Callable[[Any, Decoder], Any]
    optional: bool = False
    axis: bool = False


def optional(kind: Kind) -> Kind:
    return replace(kind, optional=True)


def _atomic(encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> Kind:
    return Kind(lambda value, _: encode(value), lambda data, _: decode(data))


def _refuse(value: Any) -> CodecError:
    return CodecError(f"a value of type {type(value).__name__} cannot travel")


def _encode_bool(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise _refuse(value)
    return bool(value)


def _encode_int(value: Any, among: range = INT64) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise _refuse(value)
    if int(value) not in among:
        raise CodecError(f"an integer parameter beyond {among.stop - 1}")
    return int(value)


def _encode_float(value: Any) -> float:
    if not isinstance(value, (float, np.floating)):
        raise _refuse(value)
    return float(value)


def _nothing(value: Any) -> None:
    if value is not None:
        raise _refuse(value)


def _encode_sharding(value: Any) -> None:
    """Where an array lies is not the user computation's to say; some rules note an empty mesh."""
    if value is not None and not getattr(getattr(value, "mesh", None), "empty", False):
        raise CodecError("a sharding cannot travel")


BOOL = _atomic(_encode_bool, as_bool)
# Sizes, positions and their like. XLA computes with them in 64 bits, and aborts the process where that overflows.
_INT32 = range(-(1 << 31), 1 << 31)


def _decode_int32(data: Any) -> int:
    if as_int(data) not in _INT32:
        raise CodecError("an integer parameter beyond 32 bits")
    return data


INT = _atomic(lambda value: _encode_int(value, _INT32), _decode_int32)
AXIS = replace(INT, axis=True)
FLOAT = _atomic(_encode_float, as_float)
NOTHING = _atomic(_nothing, _nothing)
SHARDING = _atomic(_encode_sharding, _nothing)
DTYPE = _atomic(encode_dtype, decode_dtype)


def maybe(kind: Kind) -> Kind:
    """None, or of the kind."""
    return Kind(
        lambda value, bodies: None if value is None else kind.encode(value, bodies),
        lambda data, bodies: None if data is None else kind.decode(data, bodies),
    )


def many(kind: Kind) -> Kind:
    """A tuple of the kind."""

    def encode(value: Any, bodies: Encoder) -> list[Any]:
        if not isinstance(value, (tuple, list)):
            raise _refuse(value)
        return [kind.encode(item, bodies) for item in value]

    def decode(data: Any, bodies: Decoder) -> tuple[Any, ...]:
        return tuple(kind.decode(item, bodies) for item in as_list(data))

    return Kind(encode, decode)


def one_of(members: type[enum.Enum]) -> Kind:
    """A member of an enumeration, by its name."""
    return _atomic(lambda value: _name_of(members, value), lambda data: _member(members, data))


def _name_of(members: type[enum.Enum], value: Any) -> str:
    if not isinstance(value, members):
        raise _refuse(value)
    return value.name


def _member(members: type[enum.Enum], data: Any) -> enum.Enum:
    found = members.__members__.get(as_text(data))
    if found is None:
        raise CodecError(f"not a member of {members.__name__}")
    return found


def record(cls: Any, kind: Kind) -> Kind:
    """A named tuple whose fields are all of the kind, in the order of its fields."""
    names = cls._fields

    def encode(value: Any, bodies: Encoder) -> list[Any]:
        if not isinstance(value, cls):
            raise _refuse(value)
        return [kind.encode(getattr(value, name), bodies) for name in names]

    def decode(data: Any, bodies: Decoder) -> Any:
        return cls(*(kind.decode(item, bodies) for item in as_list(data, len(names))))

    return Kind(encode, decode)


def primitive_among(*primitives: Primitive) -> Kind:
    """One of a few primitives, by name."""
    table = {primitive.name: primitive for primitive in primitives}

    def encode(value: Any) -> str:
        if value not in primitives:
            raise _refuse(value)
        return value.name

    def decode(data: Any) -> Primitive:
        if as_text(data) not in table:
            raise CodecError("unknown primitive in a parameter")
        return table[data]

    return _atomic(encode, decode)


INTS = many(INT)
AXES = replace(INTS, axis=True)
INT_LISTS = many(INTS)
JAXPR = Kind(
    lambda value, bodies: bodies.encode(_compat.closed(value)),
    lambda data, bodies: bodies.decode(data),
)


def _decode_open(data: Any, bodies: Decoder) -> Any:
    jaxpr = bodies.decode(data)
    if jaxpr.consts:
        raise CodecError("constants in a jaxpr that can have none")
    return _compat.opened(jaxpr)


OPEN_JAXPR = Kind(JAXPR.encode, _decode_open)


def _encode_empty(value: Any) -> None:
    if len(value):
        raise CodecError("constants in a jaxpr that can have none")


EMPTY = _atomic(_encode_empty, lambda data: () if data is None else _nothing(data))


def _encode_precision(value: Any) -> Any:
    if isinstance(value, lax.DotAlgorithmPreset):
        return value.name
    if isinstance(value, tuple) and len(value) == 2:
        return [_name_of(lax.Precision, item) for item in value]
    return _nothing(value)


def _decode_precision(data: Any) -> Any:
    if data is None:
        return None
    if type(data) is list:
        return tuple(_member(lax.Precision, item) for item in as_list(data, 2))
    return _member(lax.DotAlgorithmPreset, data)


PRECISION = _atomic(_encode_precision, _decode_precision)


def _encode_key_impl(value: Any) -> str:
    if value != _compat.key_impl():
        raise CodecError(f"only {KEY_IMPL} keys travel")
    return KEY_IMPL


def _decode_key_impl(data: Any) -> Any:
    if as_text(data) != KEY_IMPL:
        raise CodecError("unknown generator of random numbers")
    return _compat.key_impl()


KEY_GENERATOR = _atomic(_encode_key_impl, _decode_key_impl)


def _encode_scalar(value: Any) -> Any:
    """A Python or numpy number: what a gather fills in where its indices are out of bounds."""
    if value is None or type(value) is bool or type(value) is float:
        return value
    if type(value) is int:
        return _encode_int(value)
    if type(value) is complex:
        return [value.real, value.imag]
    if isinstance(value, np.generic):
        return _encode_scalar(value.item())
    raise _refuse(value)


def _decode_scalar(data: Any) -> Any:
    if data is None or type(data) is bool or type(data) is float:
        return data
    if type(data) is list:
        return complex(*(as_float(item) for item in as_list(data, 2)))
    return as_int(data)


SCALAR = _atomic(_encode_scalar, _decode_scalar)
