"""Functions that cannot be lowered: what users write, with what the message must say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives

X = np.array([0.5, -1.25, 2.0], np.float32)
I = np.array([3, -4, 5], np.int32)
L = np.array([3, -4, 5], np.int64)
U = np.array([3, 4, 5], np.uint64)
FLAGS = np.array([True, False, True])
WINDOW = dict(window_dimensions=(2,), window_strides=(1,), padding=((0, 0),))
DILATED = dict(WINDOW, base_dilation=(1,), window_dilation=(1,))


@dataclass(frozen=True)
class Refusal:
    """`f(x)` is refused at `primitive` for `reason`, with the advice to do something `instead`."""

    f: Callable[..., Any]
    x: np.ndarray
    primitive: str
    reason: str
    instead: str
    differentiable: bool = True  # as far as JAX goes

    @property
    def wide(self) -> bool:
        """Whether it needs 64-bit types."""
        return self.x.dtype.itemsize == 8


def _windows_without_an_element(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (2,), (1,), ((2, 2),))


def _called_back(x):
    return jax.pure_callback(np.sin, x, x, vmap_method="sequential")


def _printed(x):
    jax.debug.print("{}", x)
    return x * 2


def _smaller_of_windows(x):
    return primitives.select_and_scatter_add_p.bind(x[:2], x, select_prim=lax.gt_p, **WINDOW)


def _windows_of_flags(x):
    return primitives.select_and_gather_add_p.bind(x, x, select_prim=lax.ge_p, **DILATED)


def _until_large(x):
    return lax.while_loop(lambda state: state[0] < 4, lambda state: state + 1, jnp.abs(x))


REFUSALS = [
    # what the host, a device or a stream of random numbers would see
    Refusal(_called_back, X, "pure_callback", "to the host", "Reveal the value", False),
    Refusal(_printed, X, "debug_print|debug_callback", "to the host", "remove the callback or print"),
    Refusal(lambda i: jax.random.normal(jax.random.key(i[0])), I, "random_seed", "from a secret", "from a public key"),
    # what has no protocol
    Refusal(lambda x: lax.random_gamma_grad(x, x), X, "while", "depends on a secret", "fixed number", False),
    Refusal(lambda x: lax.polygamma(x, x), X, "polygamma", "", "one constant order", False),
    Refusal(lambda x: jnp.linalg.eigvals(jnp.outer(x, x)).real, X, "eig", "a general matrix", "eigh", False),
    Refusal(lambda x: jnp.nextafter(x, 1.0), X, "nextafter", "reads the bits", "unit of the precision", False),
    Refusal(lambda x: x.view(np.int32), X, "bitcast_convert_type", "reads the bits", "jnp.sign", False),
    # complex numbers
    Refusal(lambda x: (x + 1j).at[0].multiply(2j).imag, X, "scatter-mul", "no form on complex", "two real arrays"),
    Refusal(lambda x: jnp.linalg.qr(jnp.diag(x + 1j))[1].real, X, "qr", "complex matrices", r"real matrix jnp\.block"),
    Refusal(lambda x: jnp.fft.fft(jnp.resize(x, 2053)).real, X, "fft", "2053 is prime", "Pad with zeros"),
    # constants
    Refusal(lambda x: x + jnp.inf, X, "add", "infinite or not a number", "a large finite constant"),
    Refusal(lambda x: x * np.float32(np.nan), X, "mul", "infinite or not a number", "a large finite constant"),
    Refusal(lambda x: x * 1e25, X, "mul", "magnitude 1e.25 does not fit", r"below 2\^26, or use a lower precision"),
    Refusal(lambda x: x / 0.0, X, "div", "by a public zero", r"x / jnp.where\(y == 0, 1, y\)"),
    Refusal(lambda x: lax.rem(x, np.float32(0)), X, "rem", "by a public zero", r"x / jnp.where\(y == 0, 1, y\)"),
    Refusal(lambda x: lax.div(x, np.int32(0)), I, "div", "by a public zero", r"x / jnp.where\(y == 0, 1, y\)"),
    # divisions and powers
    Refusal(lambda x: jnp.power(-2.0, x), X, "pow", "not a positive constant", "with a positive base"),
    # positions and order
    Refusal(lambda i: jnp.zeros(2**21)[i[0]], I, "dynamic_slice|gather", "2,097,152 positions", "Index a part"),
    Refusal(lambda x: jnp.argmax(x), L, "argmax", "64-bit integers of any size", "32-bit integers"),
    Refusal(lambda x: lax.approx_max_k(x, 2, aggregate_to_topk=False)[0], X, "approx_top_k", "last step", "lax.top_k"),
    Refusal(lambda x: lax.reduce_max(x[:0], (0,)), X, "reduce_max", "extremum of nothing", "an axis with elements"),
    # windows
    Refusal(_windows_without_an_element, X, "reduce_window_max", "padding altogether", "Pad by less", False),
    Refusal(_smaller_of_windows, X, "select_and_scatter_add", "selection by `gt`", "max- or min-pooling", False),
    Refusal(_windows_of_flags, FLAGS, "select_and_gather_add", "among booleans", "to integers first"),
    # loops
    Refusal(_until_large, X, "while", "number of iterations would show", "jnp.where", False),
]


def each_in(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: lax.scan(lambda total, _: (total, f(x)), 0.0, None, length=2)[1]


AROUND: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "nothing": lambda f: f,
    "jit in jit": lambda f: jax.jit(lambda x: jax.jit(f)(x)),
    "scan": each_in,
    "scan in jit": lambda f: jax.jit(each_in(jax.jit(f))),
    "secret cond": lambda f: lambda x: lax.cond((x > 0).any(), f, f, x),
    "vmap": lambda f: lambda x: jax.vmap(f)(jnp.stack([x, x])),
    "checkpoint": lambda f: jax.checkpoint(f),
    "grad": lambda f: jax.value_and_grad(lambda x: jnp.sum(f(x))),
}
