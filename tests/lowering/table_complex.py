"""JAX functions of complex arrays, whose parts are secret."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax.linalg import triangular_solve

from .table import Case

Z = np.array([[1.5 - 0.25j, -2 + 1j, 0.5j], [-0.75 - 1.25j, 3, 0.125 + 2.5j]], np.complex64)
W = np.array([[0.5 + 2j, 1.25 - 1j, -3], [2.5j, -0.5 - 0.5j, 1 + 1j]], np.complex64)
SMALL = (Z / 4).astype(np.complex64)
TINY = (Z / 128).astype(np.complex64)
BESIDE = Z + np.complex64(0.125j)  # off the cuts, where the side is a matter of signed zeros
PARTLY = np.where(Z.real > 0, Z, W)
MATRIX = np.array([[2 + 1j, 0.5, -1j], [0.25j, -1.5, 1 + 0.5j], [1 - 1j, 0.75j, 3j]], np.complex64)
V = Z.reshape(6)
X = V.real.copy()
AT = np.array([4, 0, 2], np.int32)
IMAGES = (np.arange(128) % 11 - 5).reshape(2, 1, 8, 8).astype(np.float32)

LINEAR = [
    Case("add", lambda z, w: z + w, (Z, W)),
    Case("add a real", lambda z, x: z + x, (V, X)),
    Case("add a constant", lambda z: z + (1 - 2j), (Z,)),
    Case("add an imaginary constant to a real", lambda x: x + 2j, (X,)),
    Case("sub", lambda z, w: z - w, (Z, W)),
    Case("neg", lambda z: -z, (Z,), 0),
    Case("conj", lambda z: (z.conj(), jnp.conj(z.real)), (Z,), 0),
    Case("parts", lambda z: (z.real, z.imag, jnp.real(z.real), lax.imag(lax.complex(z.real, z.imag))), (Z,), 0),
    Case("complex", lambda z: lax.complex(z.imag, z.real), (Z,), 0),
    Case("from a real", lambda x: (x.astype(np.complex64), x > 0), (X,), 0),
    Case("from an integer", lambda i: i.astype(np.complex64) * 1j, (AT,), 0),
    Case("to a boolean", lambda z: z.astype(bool), (Z,), 0),
    Case("bits as its own type", lambda z: lax.bitcast_convert_type(z, np.complex64), (Z,), 0),
    Case("empty factors", lambda z: jnp.linalg.cholesky(z[:0, :0]), (Z,), 0),
    Case("moves", lambda z: (z.T[::-1], z.reshape(3, 2), z[None], z[:, 1:], jnp.squeeze(z[:1])), (Z,), 0),
    Case("broadcast", lambda z: jnp.broadcast_to(z[:, :1], (2, 2, 4)), (Z,), 0),
    Case("concatenate", lambda z, x: jnp.concatenate([z, x, z]), (V, X), 0),
    Case("stack and split", lambda z, w: jnp.split(jnp.stack([z, w]), 2), (Z, W), 0),
    Case("pad", lambda z: jnp.pad(z, 1, constant_values=1 + 3j), (Z,), 0),
    Case("index", lambda z: (z[1], z[np.array([4, 0])], z[2:4]), (V,), 0),
    Case("index by a secret", lambda z, at: z[at], (V, AT), 0),
    Case("slice at a secret", lambda z, at: lax.dynamic_slice(z, at[2:], (3,)), (V, AT), 0),
    Case("update", lambda z, w: lax.dynamic_update_slice(z, w[0], (2,)), (V, W), 0),
    Case("scatter", lambda z: (z.at[1].set(5j), z.at[np.array([1, 1])].add(2 + 1j), z.at[0].subtract(1j)), (V,), 0),
    Case("where", lambda z, w: jnp.where(z.real > 0, z, w), (Z, W)),
    Case("where constants", lambda z: jnp.where(z.real > 0, 1j, 2.0), (Z,), 0),
    Case("where public", lambda z: jnp.where(np.eye(2, 3) > 0, z, 0), (Z,), 0),
    Case("sum", lambda z: (z.sum(), z.mean(0), jnp.cumsum(z, 1)), (Z,)),
]

PRODUCTS = [
    Case("mul", lambda z, w: z * w, (Z, W)),
    Case("mul by a real", lambda z, x: z * x, (V, X)),
    Case("mul by constants", lambda z: (z * 1j, 2.5 * z, z * W), (Z,)),
    Case("matmul", lambda z, w: z @ w.T, (Z, W)),
    Case("matmul by a constant", lambda z: z @ W.T, (Z,)),
    Case("matmul by a real", lambda z: z @ z.T.real, (Z,), 8),
    Case("vdot", jnp.vdot, (V, V), 8),
    Case("einsum", lambda z, w: jnp.einsum("ij,kj->ik", z, w), (Z, W)),
    Case("square", jnp.square, (Z,)),
    Case("prod", lambda z: (jnp.prod(z), jnp.cumprod(z, axis=1)), (SMALL,)),
    Case("div", lambda z, w: z / w, (Z, W), 8),
    Case("div by a real", lambda z, x: z / (x + 4), (V, X)),
    Case("abs", lambda z: (jnp.abs(z), jnp.abs(z.real + 0j), jnp.abs(1j * z.real)), (Z,)),
    Case("abs of small numbers", jnp.abs, (TINY,)),
    Case("sign", lambda z: (jnp.sign(z), jnp.sign(z.real + 0j)), (Z,), 4),
    Case("sign of zero", lambda z: jnp.sign(z * 0), (Z,), 0),
]

FUNCTIONS = [
    Case("exp", lambda z: (jnp.exp(z), jnp.exp(1j * z.real), jnp.exp(z.real + 0j)), (Z,), 8),
    Case("angle", jnp.angle, (Z,), 6),
    Case("cos", jnp.cos, (Z,), 8),
    Case("tanh", jnp.tanh, (SMALL,), 8),
    Case("comparisons", lambda z, w: (z == w, z != w, z == 3, z < w, z >= w), (Z, PARTLY)),
    Case("order", lambda z, w: (jnp.maximum(z, w), jnp.minimum(z, w)), (Z, PARTLY.conj()), 0),
]

SLOW = [
    Case("div by constants", lambda z: (z / W, z / 2j, z / 3), (Z,)),
    Case("a small denominator", lambda z: 1j / z, (TINY,), 8, 5e-4),
    Case("log", jnp.log, (V,), 6),
    Case("sqrt", lambda z: jnp.sqrt(z), (V,), 4),
    Case("solve", jnp.linalg.solve, (MATRIX, W.T), 32),
    Case("inv and det", lambda a: (jnp.linalg.inv(a), jnp.linalg.det(a)), (MATRIX,), 32),
    Case("batches of lu", lambda a: lax.linalg.lu(jnp.stack([a, a[::-1].T])[:, :, :2]), (MATRIX,), 32),
    Case("cholesky", lambda a: jnp.linalg.cholesky(a @ a.conj().T), (MATRIX,), 16),
    Case(
        "of a transpose", partial(triangular_solve, left_side=True, transpose_a=True, conjugate_a=True), (MATRIX, W.T)
    ),
    Case("from the right", partial(triangular_solve, lower=True, unit_diagonal=True), (MATRIX, W), 16),
    Case(
        "sort",
        lambda z, x: (jnp.sort(z), jnp.argsort(z, descending=True), jnp.sort_complex(x)),
        (PARTLY.reshape(6), X),
        0,
    ),
    Case("sort by keys", lambda z, x: lax.sort((z, x, z.imag), num_keys=2), (V.real + 1j * V.imag.round(), X), 0),
    Case("arcsinh", jnp.arcsinh, (Z,), 8),
    Case("pow", lambda z, w: (z**w, z**0.5), (V[:3] / 2, W[0] / 2), 32, 5e-5),
    Case("powers", lambda z: (z**0, z**1, z**3, z**-1, z**-2), (V[:3],), 8, 5e-5),
    Case("rsqrt", lax.rsqrt, (V,), 8),
    Case("log1p", jnp.log1p, (Z,), 6),
    Case("log2", jnp.log2, (Z,), 8),
    Case("extrema", lambda z: (jnp.max(z), lax.cummax(z)), (V,), 0),
    Case("sqrt of a real", lambda x: jnp.sqrt(x + 0j), (X,), 4),
    Case("convolve", jnp.convolve, (V, V), 8),
    Case("axes and norms", lambda z: (jnp.fft.fft(z, axis=0), jnp.fft.ifft(z, norm="ortho")), (Z,)),
    Case("fftn", lambda x: (jnp.fft.fftn(x), jnp.fft.ifftn(x)), (IMAGES[:, :, :2, :3],), 8),
    Case("logistic", jax.nn.sigmoid, (SMALL,), 8),
    Case("constant by secret", lambda w: 2j / w, (W,), 8),
    Case("expm1", jnp.expm1, (Z,), 8),
    Case("exp2", jnp.exp2, (Z,), 8),
    Case("sinh", jnp.sinh, (Z,), 8),
    Case("cosh", jnp.cosh, (Z,), 8),
    Case("tan", jnp.tan, (SMALL,), 8),
    Case("sin", jnp.sin, (Z,), 8),
    Case("longer and shorter", lambda z: (jnp.fft.fft(z, 8), jnp.fft.fft(z, 3)), (V,)),
    Case("sum of windows", lambda z: lax.reduce_window(z, 0j, lax.add, (1, 2), (1, 1), "valid"), (Z,)),
    Case("arcsin", jnp.arcsin, (BESIDE,), 8),
    Case("arccos", jnp.arccos, (BESIDE,), 8),
    Case("arctan", jnp.arctan, (Z,), 8),
    Case("arccosh", jnp.arccosh, (V[[0, 1, 3]],), 8),
    Case("arctanh", jnp.arctanh, (Z,), 8),
]


def recurrence(z):
    """Loops with complex carries, of both kinds, and branches."""
    last, every = lax.scan(lambda total, row: (total * 0.5 + row, (total.real, total)), 0j, z)
    turned = lax.fori_loop(0, 3, lambda i, state: (state[0] * 1j + i, state[1]), (z, 2 + 1j))
    chosen = lax.cond(z[0].real > 0, lambda z: z * 1j, lambda z: z.conj(), z)
    known = lax.cond(True, lambda z: z * 2j, lambda z: z, z)
    return last, every, turned, chosen, known


def of_public_numbers(z):
    """What is public stays complex in loops, too, and is exact."""
    twiddles = jnp.exp(2j * np.pi * jnp.arange(6) / 6)
    return lax.scan(lambda total, row: (total + row * jnp.sum(twiddles * 1j), None), 0j, z)[0], z * twiddles


@jax.custom_jvp
def _turned(z):
    return z * 1j


_turned.defjvp(lambda primals, tangents: (primals[0] * 1j, tangents[0] * 1j))

CONTROL = [
    Case("loops and branches", recurrence, (V,), 8),
    Case("public numbers", of_public_numbers, (V,), 8),
    Case("jit", lambda z: jax.jit(lambda z: jnp.square(z))(z) + 1j, (Z,)),
    Case("vmap", lambda z: jax.vmap(lambda row: jnp.fft.fft(row) @ row)(z), (Z,), 16),
    Case("checkpoint", lambda z: jax.checkpoint(lambda z: z * z)(z), (Z,)),
    Case("custom_jvp", lambda z: jax.jvp(_turned, (z,), (z,)), (Z,), 0),
    Case("where a branch is real", lambda x: lax.cond(x[0] > 1, lambda x: x, lambda x: jnp.abs(x + 1j), x), (X,)),
]

FOURIER = [
    Case("fft", lambda z, x: (jnp.fft.fft(z), jnp.fft.fft(x)), (V, X)),
    Case("ifft", lambda z, x: (jnp.fft.ifft(z), jnp.fft.ifft(x)), (V, X)),
    Case("rfft", lambda x: (jnp.fft.rfft(x), jnp.fft.rfft(x[:5])), (X,)),
    Case("irfft", lambda z: (jnp.fft.irfft(z), jnp.fft.irfft(z, 11)), (V,)),
    Case("fft2", lambda z: (jnp.fft.fft2(z), jnp.fft.ifft2(z)), (Z,), 6),
    Case("rfft2", lambda x: (jnp.fft.rfft2(x), jnp.fft.irfft2(jnp.fft.rfft2(x))), (IMAGES[0],), 8),
    Case("rfftn", lambda x: (jnp.fft.rfftn(x), jnp.fft.irfftn(x[0] + 1j * x[1])), (IMAGES[:, :, :2, :4],), 8),
    Case("hfft", lambda z, x: (jnp.fft.hfft(z), jnp.fft.ihfft(x)), (V, X), 16),
    Case("fftshift", lambda z: (jnp.fft.fftshift(z), jnp.fft.ifftshift(z)), (V,), 0),
]

COMPLEX = [*LINEAR, *PRODUCTS, *FUNCTIONS, *CONTROL, *FOURIER]
