"""JAX functions on secrets, with inputs and how far the results may be from JAX's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .helpers import ULP


@dataclasses.dataclass(frozen=True)
class Case:
    """`f(*args)` within `ulps` ulp plus `relative` of the result; 0 ulps: exactly."""

    name: str
    f: Callable[..., Any]
    args: tuple[Any, ...]
    ulps: float = 4.0
    relative: float = 1e-5

    def check(self, got: np.ndarray, want: np.ndarray) -> None:
        assert got.shape == want.shape and got.dtype == want.dtype, (got.dtype, want.dtype, got.shape)
        if self.ulps == 0 or want.dtype.kind != "f":
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, atol=self.ulps * ULP, rtol=self.relative)


X = np.array([[-1.5, 0.25, 3.0, -0.125], [2.0, -0.5, 1.25, 4.0], [0.0, 7.5, -6.25, 0.75]], np.float32)
Y = np.array([[2.5, -0.75, 1.0, 0.5], [-3.0, 1.5, 2.25, -0.25], [1.125, -2.0, 0.375, 5.0]], np.float32)
POSITIVE = np.abs(X) + np.float32(0.125)
UNIT = np.clip(X / 8, -0.9, 0.9).astype(np.float32)
V = np.array([0.5, -1.25, 2.0, 3.5, -0.75], np.float32)
IMAGES = np.sin(np.arange(2 * 6 * 6 * 3, dtype=np.float32)).reshape(2, 6, 6, 3)
KERNEL = np.cos(np.arange(3 * 3 * 3 * 4, dtype=np.float32)).reshape(3, 3, 3, 4)
I = np.array([[-7, 3, 0, 12], [5, -1, 100, -100], [2**20, -(2**20), 9, 6]], np.int32)
J = np.array([[2, -3, 5, 1], [-4, 7, 3, 9], [1024, 3, -2, 6]], np.int32)
B = np.array([[True, False, True, True], [False, False, True, False], [True, True, False, False]])
C = np.array([[True, True, False, True], [False, True, True, False], [False, True, False, True]])


def _near_zero(x):
    y = -x
    return jnp.stack([abs(x) < 1e-8, abs(x) > 1e-8, 1e-8 <= x, x >= -1e-8, y < -1e-8, y * y > 1e-8, y * y <= 1e-13])


ELEMENTWISE = [
    Case("add", lambda x, y: x + y, (X, Y)),
    Case("sub", lambda x, y: x - y, (X, Y)),
    Case("mul", lambda x, y: x * y, (X, Y)),
    Case("div", lambda x, y: x / y, (X, Y)),
    Case("div by constants", lambda x: x / np.arange(1, 5, dtype=np.float32), (X,)),
    Case("constant by secret", lambda y: 3.5 / y, (Y,), relative=2e-5),
    Case("reciprocal", jnp.reciprocal, (Y,)),
    Case("numbers by one secret", lambda y: (1 / jnp.full(5, y), 2.5 / jnp.full((2, 5), y)), (Y[0, 0],), relative=2e-5),
    Case("powers of one secret", jax.grad(lambda x: jnp.sum((1 + x) ** -jnp.arange(5))), (Y[0, 0],), relative=2e-5),
    Case("neg", lambda x: -x, (X,), 0),
    Case("abs", jnp.abs, (X,), 0),
    Case("sign", jnp.sign, (X,), 0),
    Case("maximum", jnp.maximum, (X, Y), 0),
    Case("minimum", jnp.minimum, (X, Y), 0),
    Case("maximum with a constant", lambda x: jnp.maximum(x, 1.5), (X,), 0),
    Case("minimum with the largest float", jax.grad(lambda x: jnp.minimum(x, jnp.finfo(x.dtype).max).sum()), (X,), 0),
    Case("equal to the largest float", lambda x: x == jnp.finfo(x.dtype).max, (X,)),
    Case("minimum with constants", lambda x: jnp.minimum(x, Y), (X,), 0),
    Case("clip", lambda x: jnp.clip(x, -1.0, 2.0), (X,), 0),
    Case("clamp by secrets", lambda x, y: lax.clamp(jnp.minimum(y, 0), x, jnp.maximum(y, 0)), (X, Y), 0),
    Case("square", jnp.square, (X,)),
    Case("cube", lambda x: x**3, (X,)),
    Case("fifth power", lambda x: x**5, (X / 4,)),
    Case("negative power", lambda y: y**-2, (Y,), 8),
    Case("zeroth power", lambda x: x**0, (X,), 0),
    Case("pow", lambda x, y: x**y, (POSITIVE, Y), relative=1e-4),
    Case("pow of a constant", lambda y: 2.5**y, (Y,), relative=3e-5),
    Case("pow by a constant", lambda x: x**1.7, (POSITIVE,), relative=1e-4),
    Case("sqrt", jnp.sqrt, (POSITIVE,)),
    Case("rsqrt", lax.rsqrt, (POSITIVE,)),
    Case("cbrt", jnp.cbrt, (X,), relative=1e-4),
    Case("length", lambda x, y: jnp.sqrt(x * x + y * y), (X, Y), 16, 2e-5),
    Case("floor", jnp.floor, (X,), 0),
    Case("ceil", jnp.ceil, (X,), 0),
    Case("trunc", jnp.trunc, (X,), 0),
    Case("round half even", jnp.round, (np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, -2.6], np.float32),), 0),
    Case(
        "round away from zero",
        lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
        (np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, -2.6], np.float32),),
        0,
    ),
    Case("remainder", lambda x: x % 1.5, (X,), 0),
    Case("rem", lambda x: lax.rem(x, jnp.float32(1.75)), (X,), 0),
    Case("floor_divide", lambda x: x // 2, (X,), 0),
    Case("comparisons with a constant below a step", _near_zero, (X,)),
    Case("is_finite", lambda x: (jnp.isfinite(x), jnp.isnan(x), x)[0:3], (X,), 0),
    Case("one minus square", lambda x: 1 - x * x, (X,)),
    Case("scalar operand", lambda x, s: x * s + s, (X, np.float32(2.25))),
    Case("lerp", lambda x, y: x + 0.25 * (y - x), (X, Y)),
    Case("heaviside", lambda x: jnp.heaviside(x, 0.5), (X,), 0),
    Case("copy", lambda x: jnp.array(x), (X,), 0),
]

SMOOTH = [
    Case("exp", jnp.exp, (X,), relative=2e-6),
    Case("exp2", jnp.exp2, (X,), relative=2e-6),
    Case("expm1", jnp.expm1, (X,), relative=2e-6),
    Case("log", jnp.log, (POSITIVE,)),
    Case("log2", jnp.log2, (POSITIVE,)),
    Case("log10", jnp.log10, (POSITIVE,)),
    Case("log1p", jnp.log1p, (POSITIVE,)),
    Case("logistic", jax.nn.sigmoid, (X,)),
    Case("tanh", jnp.tanh, (X,)),
    Case("erf", lax.erf, (X,)),
    Case("erfc", lax.erfc, (X,)),
    Case("sin", jnp.sin, (X,)),
    Case("cos", jnp.cos, (X,)),
    Case("tan", jnp.tan, (UNIT,), 8, 2e-5),
    Case("arctan", jnp.arctan, (X,), 6),
    Case("arctan2", jnp.arctan2, (X, Y), 6),
    Case("arcsin", jnp.arcsin, (UNIT,), 24),
    Case("arccos", jnp.arccos, (UNIT,), 24),
    Case("sinh", jnp.sinh, (X / 2,), 8),
    Case("cosh", jnp.cosh, (X / 2,), 8),
    Case("arcsinh", jnp.arcsinh, (X,), 16),
    Case("arccosh", jnp.arccosh, (POSITIVE + 1,), 16),
    Case("arctanh", jnp.arctanh, (UNIT,), 8),
    Case("relu", jax.nn.relu, (X,), 0),
    Case("relu6", jax.nn.relu6, (X,), 0),
    Case("leaky_relu", jax.nn.leaky_relu, (X,)),
    Case("elu", jax.nn.elu, (X,)),
    Case("selu", jax.nn.selu, (X,), 8),
    Case("gelu", jax.nn.gelu, (X,), 24),
    Case("exact gelu", lambda x: jax.nn.gelu(x, approximate=False), (X,), 24),
    Case("silu", jax.nn.silu, (X,), 16),
    Case("softplus", jax.nn.softplus, (X,), 6),
    Case("log_sigmoid", jax.nn.log_sigmoid, (X,), 6),
    Case("hard_sigmoid", jax.nn.hard_sigmoid, (X,)),
    Case("softmax", jax.nn.softmax, (X,)),
    Case("softmax axis 0", lambda x: jax.nn.softmax(x, axis=0), (X,)),
    Case("softmax of a square", jax.nn.softmax, (X[:, :3],)),
    Case("log_softmax", jax.nn.log_softmax, (X,)),
    Case("logsumexp", jax.nn.logsumexp, (X,)),
    Case("logsumexp axis", lambda x: jax.nn.logsumexp(x, axis=0, keepdims=True), (X,)),
    Case("logaddexp", jnp.logaddexp, (X, Y), 6),
    Case("masked softmax", lambda x: jax.nn.softmax(jnp.where(jnp.tri(3, 4) > 0, x, -jnp.inf)), (X,)),
    Case(
        "softmax masked with the least float",
        lambda x: jax.nn.softmax(jnp.where(jnp.tri(3, 4) > 0, x, jnp.finfo(np.float32).min)),
        (X,),
    ),
    Case("standardize", lambda x: jax.nn.standardize(x, axis=-1), (X,), 16, 5e-5),
    Case("l2 normalise", lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True), (X,), 8),
]

COMPARISONS = [
    Case("lt", lambda x, y: x < y, (X, Y)),
    Case("le", lambda x, y: x <= y, (X, Y)),
    Case("gt", lambda x, y: x > y, (X, Y)),
    Case("ge", lambda x, y: x >= y, (X, Y)),
    Case("eq", lambda x, y: x == y, (X, np.where(B, X, Y))),
    Case("ne", lambda x, y: x != y, (X, np.where(B, X, Y))),
    Case("lt constant", lambda x: x < 0.25, (X,)),
    Case("le constant", lambda x: x <= 0.25, (X,)),
    Case("gt constants", lambda x: x > Y, (X,)),
    Case("eq constant", lambda x: x == 0.25, (X,)),
    Case("less than infinity", lambda x: x < jnp.inf, (X,)),
    Case("of a product", lambda x, y: x * y < 1.0, (X, Y)),
    Case("int lt", lambda x, y: x < y, (I, J)),
    Case("int ge constant", lambda x: x >= 5, (I,)),
    Case("int eq", lambda x, y: x == y, (I, J)),
    Case("bool lt", lambda x, y: lax.lt(x, y), (B, C)),
    Case("bool eq", lambda x, y: x == y, (B, C)),
    Case("where", lambda x, y: jnp.where(x > y, x, y * 2), (X, Y)),
    Case("where constants", lambda x: jnp.where(x > 0, 1.5, -2.5), (X,), 0),
    Case("where int constants", lambda x: jnp.where(x > 0, 7, -3), (X,), 0),
    Case("where bool", lambda x, b, c: jnp.where(x > 0, b, c), (X, B, C)),
    Case("where bool input", lambda b, x, y: jnp.where(b, x, y), (B, X, Y), 0),
    Case("where public", lambda x, y: jnp.where(B, x, y), (X, Y), 0),
    Case("select_n integer", lambda i, x, y: lax.select_n(jnp.clip(i, 0, 2), x, y, x + y), (I, X, Y)),
    Case("mask times", lambda x, y: (x > 0) * y, (X, Y), 0),
    Case("any", lambda x: jnp.any(x > 3, axis=1), (X,)),
    Case("all", lambda x: jnp.all(x > -2, axis=0), (X,)),
    Case("count", lambda x: jnp.sum(x > 0.5), (X,)),
]

REDUCTIONS = [
    Case("sum", jnp.sum, (X,)),
    Case("sum axis", lambda x: jnp.sum(x, axis=0), (X,)),
    Case("mean", lambda x: jnp.mean(x, axis=0), (X,)),
    Case("var", jnp.var, (X,), 8),
    Case("std", lambda x: jnp.std(x, axis=1), (X,), 16, 2e-5),
    Case("prod", lambda x: jnp.prod(x, axis=1), (Y,), 16, 5e-5),
    Case("max", jnp.max, (X,), 0),
    Case("max axis", lambda x: jnp.max(x, axis=0), (X,), 0),
    Case("min axes", lambda x: jnp.min(x, axis=(0, 2)), (IMAGES[:, 0],)),
    Case("argmax", lambda x: jnp.argmax(x, axis=1), (X,)),
    Case("argmin", lambda x: jnp.argmin(x, axis=0), (X,)),
    Case("argmax of all", jnp.argmax, (X,)),
    Case("argmax with ties", lambda x: jnp.argmax(jnp.maximum(x, 1.25), axis=0), (X,)),
    Case("int max", lambda x: jnp.max(x, axis=0), (I,)),
    Case("int argmin", lambda x: jnp.argmin(x, axis=0), (I,)),
    Case("bool argmax", lambda x: jnp.argmax(x, axis=1), (B,)),
    Case("cumsum", lambda x: jnp.cumsum(x, axis=1), (X,)),
    Case("cumsum reversed", lambda x: lax.cumsum(x, axis=0, reverse=True), (X,)),
    Case("cumprod", lambda x: jnp.cumprod(x, axis=0), (Y,), 8),
    Case("cummax", lambda x: lax.cummax(x, axis=1), (X,), 0),
    Case("cummin", lambda x: lax.cummin(x, axis=1, reverse=True), (X,), 0),
    Case("int cummax", lambda x: lax.cummax(x, axis=0), (I,)),
    Case("norm", jnp.linalg.norm, (X,), 8),
    Case("average", lambda x: jnp.average(x, axis=0, weights=jnp.array([1.0, 2.0, 4.0])), (X,)),
    Case("ptp", lambda x: jnp.ptp(x, axis=1), (X,), 0),
    Case("trace", lambda x: jnp.trace(x[:, :3]), (X,), 0),
    Case("median of three", lambda x: x.sum(0) - x.max(0) - x.min(0), (X,)),
]

LINEAR = [
    Case("matmul", lambda x, y: x @ y.T, (X, Y), 8),
    Case("matmul constant", lambda x: x @ Y.T, (X,), 8),
    Case("constant matmul", lambda y: X @ y.T, (Y,), 8),
    Case("matvec", lambda x, y: x @ y[0], (X, Y), 8),
    Case("vecdot", lambda x, y: jnp.vdot(x, y), (X, Y), 16),
    Case("outer", jnp.outer, (V, V)),
    Case("einsum", lambda x, y: jnp.einsum("ij,kj->ik", x, y), (X, Y), 8),
    Case("batched einsum", lambda a, b: jnp.einsum("nhwc,nhwd->nhcd", a, b), (IMAGES, IMAGES[..., :2]), 16),
    Case("tensordot", lambda a: jnp.tensordot(a, KERNEL, axes=[[3], [2]]), (IMAGES,), 16),
    Case("kron", lambda x, y: jnp.kron(x[:2, :2], y[:2, :2]), (X, Y)),
    Case("dot of a dot", lambda x, y: (x @ y.T) @ x, (X / 2, Y / 2), 16),
    Case(
        "conv",
        lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (IMAGES, KERNEL),
        32,
    ),
    Case(
        "conv with constants, strides and dilation",
        lambda x: lax.conv_general_dilated(
            x,
            KERNEL,
            (2, 1),
            ((1, 2), (0, 1)),
            lhs_dilation=(1, 2),
            rhs_dilation=(2, 1),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
        (IMAGES,),
        32,
    ),
    Case(
        "depthwise conv",
        lambda x, k: lax.conv_general_dilated(
            x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=3
        ),
        (IMAGES, KERNEL[:, :, :1, :3]),
        32,
    ),
    Case("convolve", lambda x, v: jnp.convolve(x[0], v), (X, V), 8),
    Case("bool matmul", lambda b, c: lax.dot_general(b, c, (((1,), (1,)), ((), ()))), (B, C)),
    Case("int matmul", lambda x, y: x @ y.T, (I, J)),
    Case("polyval", lambda x: jnp.polyval(jnp.array([0.5, -1.0, 2.0]), x), (X,), 8),
]
