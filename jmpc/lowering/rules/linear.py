"""Contractions and convolutions: exact bilinear maps, one round and one truncation however long they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jax import lax

from jmpc import kernels
from jmpc.lowering import arithmetic
from jmpc.lowering.context import Context
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.cast import convert
from jmpc.lowering.values import Public, Value, is_boolean, is_float


@rule("dot_general")
def dot_general(
    context: Context,
    x: Value,
    y: Value,
    *,
    dimension_numbers: Any,
    precision: Any = None,
    **_: Any,
) -> Value:
    (contracting, _y), _batch = dimension_numbers
    terms = math.prod(x.shape[d] for d in contracting)
    assert context.equation is not None
    dtype = context.equation.outvars[0].aval.dtype
    wanted = np.int32 if is_boolean(dtype) else dtype
    x, y = (_as_type(context, v, wanted) for v in (x, y))
    product = arithmetic.bilinear(
        context,
        x,
        y,
        lambda a, b: kernels.dot_general(a, b, dimension_numbers),
        terms=terms,
        precise=precision == (lax.Precision.HIGHEST, lax.Precision.HIGHEST),
    )
    return convert(context, product, np.dtype(dtype))


@rule("conv_general_dilated")
def conv_general_dilated(
    context: Context,
    x: Value,
    kernel: Value,
    *,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
    preferred_element_type: Any = None,
    **_: Any,
) -> Value:
    out_features = kernel.shape[dimension_numbers.rhs_spec[0]]
    terms = math.prod(kernel.shape) // max(1, out_features)
    x, kernel = (_as_type(context, v, preferred_element_type) for v in (x, kernel))

    def convolve(a: Any, b: Any) -> Any:
        return kernels.conv_general_dilated(
            a,
            b,
            window_strides=window_strides,
            padding=padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            batch_group_count=batch_group_count,
        )

    return arithmetic.bilinear(context, x, kernel, convolve, terms=terms)


def _as_type(context: Context, x: Value, dtype: Any) -> Value:
    """Operands are converted to the result's type first: integers may need their high bits there."""
    if dtype is None or x.dtype == dtype:
        return x
    if isinstance(x, Public):
        return Public(x.array.astype(np.dtype(dtype)), x.at) if x.known or not is_float(x.dtype) else x
    return convert(context, x, np.dtype(dtype))
