"""What is linear in each of its complex operands: the same on both parts, or products of parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive

from jmpc.lowering.pairs.pair import Pair, as_pair, bilinear, part_dtype
from jmpc.lowering.pairs.registry import Unsupported, on_pairs
from jmpc.lowering.values import is_complex


def on_parts(f: Callable[..., Any], operands: Sequence[Any]) -> Any:
    """`f` of the real parts and of the imaginary parts of those operands that are pairs; the others are for both."""
    pairs = [x for x in operands if isinstance(x, Pair)]

    def of(index: int) -> Any:
        if all((x.real, x.imag)[index] is None for x in pairs):
            return None
        return f(*(x.filled[index] if isinstance(x, Pair) else x for x in operands))

    real, imag = of(0), of(1)
    if isinstance(real, (list, tuple)) or isinstance(imag, (list, tuple)):
        count = len(imag if real is None else real)
        reals, imags = ([None] * count if part is None else part for part in (real, imag))
        return [Pair(*parts) for parts in zip(reals, imags, strict=True)]
    return Pair(real, imag)


@on_pairs(
    *"broadcast_in_dim reshape transpose slice rev squeeze expand_dims copy copy_p tile split unstack".split(),
    *"concatenate stack pad select_n dynamic_slice dynamic_update_slice optimization_barrier".split(),
    *"reduce_sum cumsum reduce_window_sum".split(),
)
def each(*operands: Any, primitive: Primitive, **params: Any) -> Any:
    return on_parts(lambda *parts: primitive.bind(*parts, **params), operands)


@on_pairs("add", "add_any")
def add(x: Pair, y: Pair) -> Pair:
    return x + y


@on_pairs("sub")
def sub(x: Pair, y: Pair) -> Pair:
    return x - y


@on_pairs("neg")
def neg(x: Pair) -> Pair:
    return -x


@on_pairs("gather")
def gather(x: Pair, indices: Any, *, primitive: Primitive, fill_value: Any, **params: Any) -> Pair:
    fills = (None, None) if fill_value is None else (complex(fill_value).real, complex(fill_value).imag)
    real, imag = x.filled
    parts = zip((real, imag), fills, strict=True)
    return Pair(*(primitive.bind(part, indices, fill_value=fill, **params) for part, fill in parts))


_SCATTERS = {"scatter": lax.scatter, "scatter-add": lax.scatter_add, "scatter-sub": lax.scatter_sub}


@on_pairs(*_SCATTERS)
def scatter(
    x: Pair,
    indices: Any,
    updates: Pair,
    *,
    primitive: Primitive,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> Pair:
    options = dict(indices_are_sorted=indices_are_sorted, unique_indices=unique_indices, mode=mode)
    scattered = functools.partial(_SCATTERS[primitive.name], dimension_numbers=dimension_numbers, **options)
    return on_parts(scattered, [x, indices, updates])


@on_pairs("mul")
def mul(x: Pair, y: Pair) -> Pair:
    return x * y


@on_pairs("dot_general", "conv_general_dilated")
def product(x: Any, y: Any, *, primitive: Primitive, preferred_element_type: Any = None, **params: Any) -> Pair:
    wanted = None if preferred_element_type is None else part_dtype(preferred_element_type)
    bind = lambda a, b: primitive.bind(a, b, preferred_element_type=wanted, **params)
    return bilinear(bind, as_pair(x), as_pair(y))


# -- real and complex ----------------------------------------------------------------------------------------------


@on_pairs("complex")
def complex_(real: Any, imag: Any) -> Pair:
    return Pair(real, imag)


@on_pairs("real")
def real(x: Pair) -> Any:
    return x.filled[0]


@on_pairs("imag")
def imag(x: Pair) -> Any:
    return x.filled[1]


@on_pairs("conj")
def conj(x: Any) -> Pair:
    return as_pair(x).conj()


@on_pairs("convert_element_type")
def convert(x: Any, *, new_dtype: Any) -> Any:
    if is_complex(new_dtype):
        return on_parts(lambda part: part.astype(part_dtype(new_dtype)), [as_pair(x)])
    if new_dtype == jnp.bool_:
        return (x.filled[0] != 0) | (x.filled[1] != 0)
    return x.filled[0].astype(new_dtype)


@on_pairs("bitcast_convert_type")
def bitcast(x: Any, *, new_dtype: Any) -> Pair:
    if not isinstance(x, Pair) or x.filled[0].dtype != part_dtype(new_dtype):
        raise Unsupported("it reads or makes the bits of a complex number", "Convert values with x.astype")
    return x
