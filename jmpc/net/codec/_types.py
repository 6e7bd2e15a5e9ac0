"""Types and arrays as data: a type is [dtype, weak, shape], an array its type and its bytes."""

import functools as ft
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray

from jmpc.net.codec._limits import CodecError, Limits
from jmpc.net.codec._plain import as_bool, as_bytes, as_list, as_size, as_text

KEY = "key<threefry2x32>"
KEY_IMPL = "threefry2x32"
_KEY_BYTES = 8

# Whole bytes only: an element smaller than a byte would travel as one with bits that mean nothing.
_NAMES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 "
    "float8_e4m3fn float8_e4m3b11fnuz float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz complex64 complex128"
).split()
DTYPES: dict[str, np.dtype] = {name: np.dtype(getattr(jnp, name, name)) for name in _NAMES}


@ft.cache
def key_dtype() -> Any:
    """The dtype of typed keys of the one generator whose computations travel."""
    return jax.random.key_dtype(KEY_IMPL)


@ft.lru_cache(maxsize=256)
def encode_dtype(dtype: Any) -> str:
    """The name of a dtype in the closed list."""
    if dtype == key_dtype():
        return KEY
    if jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
        raise CodecError(f"the type {dtype} cannot travel")
    name = np.dtype(dtype).name
    if name not in DTYPES:
        raise CodecError(f"the type {name} cannot travel")
    return name


def decode_dtype(data: Any) -> Any:
    """The dtype of a name in the closed list."""
    name = as_text(data)
    if name == KEY:
        return key_dtype()
    if name not in DTYPES:
        raise CodecError("unknown dtype")
    return DTYPES[name]


def encode_type(aval: Any, *, weak: bool | None = None) -> list[Any]:
    """A type as data. `weak` overrides whether it is weak."""
    if type(aval) is not ShapedArray or not all(type(size) is int for size in aval.shape):
        raise CodecError(f"a value of type {aval} cannot travel")
    weak = aval.weak_type if weak is None else weak
    return [encode_dtype(aval.dtype), bool(weak), list(aval.shape)]


def decode_type(data: Any, limits: Limits) -> ShapedArray:
    """The inverse of `encode_type`, within the limits."""
    dtype, weak, shape = as_list(data, 3)
    limits.check("rank", len(as_list(shape)), "the rank of a value")
    sizes = tuple(as_size(size) for size in shape)
    aval = ShapedArray(sizes, decode_dtype(dtype), weak_type=as_bool(weak))
    check_type(aval, limits)
    return aval


def check_type(aval: Any, limits: Limits) -> None:
    """Refuses a type that is not a plain array or is out of the limits."""
    encode_type(aval)
    if min(aval.shape, default=0) < 0:
        raise CodecError("a negative dimension")
    limits.check("rank", len(aval.shape), "the rank of a value")
    limits.check("dimension", max(aval.shape, default=0), "a dimension")
    limits.check("value_bytes", size_in_bytes(aval), "the size of a value in bytes")


def size_in_bytes(aval: Any) -> int:
    """The size of a value of a type."""
    item = _KEY_BYTES if aval.dtype == key_dtype() else aval.dtype.itemsize
    return math.prod(aval.shape) * item


def encode_array(value: Any, aval: Any) -> bytes:
    """The exact bytes of an array, little-endian (as every machine that JAX runs on), rows first.

    A numpy constant may be wider than its type (JAX narrows it where it is used): it travels as its type says.
    """
    if aval.dtype == key_dtype():
        value = np.asarray(jax.random.key_data(value))
    else:
        value = np.asarray(value).astype(aval.dtype)
    return np.ascontiguousarray(value).tobytes()


def decode_array(data: Any, aval: ShapedArray) -> np.ndarray:
    """The array of a type with exactly these bytes; of keys, their words."""
    raw = as_bytes(data)
    if len(raw) != size_in_bytes(aval):
        raise CodecError(f"{len(raw)} bytes for an array of {size_in_bytes(aval)}")
    if aval.dtype == np.bool_ and raw.strip(b"\0\1"):
        raise CodecError("a truth value that is neither 0 nor 1")
    if aval.dtype == key_dtype():
        return np.frombuffer(raw, np.uint32).reshape(*aval.shape, 2)
    return np.frombuffer(raw, aval.dtype).reshape(aval.shape)


def to_jax(array: np.ndarray, aval: ShapedArray) -> jax.Array:
    """A constant of a jaxpr; a jax array keeps its 64 bits wherever it is used. Needs x64."""
    if aval.dtype == key_dtype():
        return jax.random.wrap_key_data(jnp.array(array), impl=KEY_IMPL)
    return jnp.array(array)
