"""Kernels run in 64-bit mode, as they do in jmpc, on elements that make them fail."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest

_HALF_LIMBS = (1 << 21) + (1 << 42) + (1 << 63)

_EXTREMES = (
    0,
    1,
    1 << 63,
    (1 << 64) - 1,
    0x8080_8080_8080_8080,
    0x7F7F_7F7F_7F7F_7F7F,
    -0x8080_8080_8080_8080 % 2**64,  # every int8 digit is -128
    -_HALF_LIMBS % 2**64,  # every float64 digit is its lowest
    _HALF_LIMBS - (1 + (1 << 22) + (1 << 43)),  # every float64 digit is its highest
)


@pytest.fixture(autouse=True, scope="module")
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def extremes() -> tuple[int, ...]:
    """Ring elements whose digits are at their bounds."""
    return _EXTREMES


@pytest.fixture(scope="session")
def ring_array() -> Callable[..., np.ndarray]:
    """`ring_array(seed, *shape)`: uniform elements, a quarter of them replaced by extreme ones."""

    def make(seed: int, *shape: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        uniform = generator.integers(0, 1 << 64, shape, np.uint64)
        extreme = generator.choice(np.array(_EXTREMES, np.uint64), shape)
        return np.where(generator.random(shape) < 0.25, extreme, uniform)

    return make


@pytest.fixture(scope="session")
def words() -> Callable[..., np.ndarray]:
    """`words(width, count, seed)`: words of `width` bits in their narrowest dtype, the extreme ones first."""

    def make(width: int, count: int = 200, seed: int = 0) -> np.ndarray:
        dtype = next(f"uint{n}" for n in (8, 16, 32, 64) if width <= n)
        edges = np.array([0, 1, (1 << width) - 1, 1 << (width - 1)], np.uint64)
        drawn = np.random.default_rng(seed).integers(0, (1 << width) - 1, count, np.uint64, endpoint=True)
        return np.concatenate([edges, drawn]).astype(dtype)

    return make


@pytest.fixture(scope="session")
def each() -> Callable[..., np.ndarray]:
    """`each(f, x, dtype)`: a function of Python integers on each element, reduced to the width of the dtype."""

    def apply(f: Callable[[int], int], x: np.ndarray, dtype: npt.DTypeLike = None) -> np.ndarray:
        dtype = np.dtype(dtype or x.dtype)
        values = [f(value) % (1 << 8 * dtype.itemsize) for value in x.reshape(-1).tolist()]
        return np.array(values, np.uint64).astype(dtype).reshape(x.shape)

    return apply


@pytest.fixture(scope="session")
def same() -> Callable[..., None]:
    """`same(got, want)`: equal elements of one dtype."""

    def compare(got: jax.Array, want: np.ndarray) -> None:
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)

    return compare


@pytest.fixture(scope="session")
def compiled() -> Callable[..., jax.Array]:
    """`compiled(kernel, x, y, params)`: the result of a kernel, compiled for itself."""

    def run(kernel: Callable[..., jax.Array], x: jax.Array, y: jax.Array, params: Any) -> jax.Array:
        # The products of int8 are slow to compile for a CPU, which is not what they are for.
        quick = kernel.__module__ == "jmpc.kernels.int8_digits" and jax.default_backend() == "cpu"
        options = {"xla_backend_optimization_level": 0} if quick else None
        lowered = jax.jit(kernel, static_argnums=2).lower(x, y, params)
        return lowered.compile(compiler_options=options)(x, y)

    return run


@pytest.fixture(scope="session")
def on_cpu() -> Callable[..., np.ndarray]:
    """`on_cpu(f, *arrays)`: what is expected of an accelerator too, whose XLA has no uint64 convolution."""

    def run(f: Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.asarray(f(*arrays))

    return run
