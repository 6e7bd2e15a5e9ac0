"""Complex numbers: rules against JAX, Fourier transforms against numpy in double precision, derivatives, what stays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.choreography.inline import inline_calls
from jmpc.complexes import parts
from jmpc.lowering import Precision
from jmpc.lowering.pairs import without_complex
from jmpc.net.codec import encode_jaxpr
from jmpc.protocols.rep3 import Rep3

from .helpers import ULP, Clear, choreography, plain, secure
from .table import Case
from .table_complex import COMPLEX, SLOW, V, X, Z

RNG = np.random.default_rng(5)
SERVERS = ("s0", "s1", "s2")


def check(case: Case) -> None:
    want = [part for x in plain(case.f, *case.args) for part in parts(x)]
    for a, b in zip(secure(case.f, *case.args), want, strict=True):
        case.check(a, b)


@pytest.mark.parametrize("case", COMPLEX, ids=lambda case: case.name)
def test_function(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=lambda case: case.name)
def test_slow_function(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", SLOW, ids=lambda case: case.name)
def test_what_is_rewritten_travels(case: Case) -> None:
    """Nodes get it from the driver: it is made of JAX's own primitives alone."""
    closed = inline_calls(jax.make_jaxpr(case.f)(*case.args))
    encode_jaxpr(without_complex(closed, [True] * len(case.args)))


def test_double_precision() -> None:
    with jax.enable_x64(True):
        z = V.astype(np.complex128)
        real, imag = secure(lambda z: z * z + 1j, z)
    assert real.dtype == imag.dtype == np.float64
    np.testing.assert_allclose(real + 1j * imag, z * z + 1j, atol=4 * ULP)


# -- Fourier transforms --------------------------------------------------------------------------------------------


def signal(*shape: int) -> np.ndarray:
    """Complex numbers of a size up to 1 that their encoding does not round."""
    x = RNG.uniform(-0.7, 0.7, (2, *shape))
    real, imag = np.round(x / ULP) * ULP
    return (real + 1j * imag).astype(np.complex64)


def lengths():
    """With and without a declared range."""
    for n in (1, 2, 3, 4, 5, 8, 12, 31, 64, 255, 256, 257, 1000, 1024, 4096):
        for declared in (None, (-1, 1)):
            fast = n in (2, 3, 8) or (n in (256, 1024) and declared is None)
            yield pytest.param(n, declared, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize(("n", "declared"), list(lengths()))
def test_the_error_of_a_transform(n: int, declared: tuple[float, float] | None) -> None:
    """Measured against double precision, with the bounds that `docs/functions.md` states."""
    z = signal(n)
    wide = z.astype(np.complex128)
    real, imag = secure(jnp.fft.fft, z, range=declared)
    bound = (2.5 if n <= 256 else 4) * ULP + 2.0**-22 * np.abs(np.fft.fft(wide)).max()  # and single precision
    assert np.abs(real + 1j * imag - np.fft.fft(wide)).max() < bound
    real, imag = secure(jnp.fft.ifft, z, range=declared)
    assert np.abs(real + 1j * imag - np.fft.ifft(wide)).max() < 2.5 * ULP
    real, imag = secure(jnp.fft.rfft, z.real, range=declared)
    assert np.abs(real + 1j * imag - np.fft.rfft(wide.real)).max() < bound
    if n > 1:
        (back,) = secure(lambda z: jnp.fft.irfft(z, n), z[: n // 2 + 1], range=declared)
        assert np.abs(back - np.fft.irfft(wide[: n // 2 + 1], n)).max() < 3 * ULP


@pytest.mark.slow
def test_a_long_transform_of_several_stages() -> None:
    z = signal(1 << 15)
    real, imag = secure(jnp.fft.fft, z)
    assert np.abs(real + 1j * imag - np.fft.fft(z.astype(np.complex128))).max() < 32 * ULP


@pytest.mark.parametrize("fraction", [8, 12, 24])
def test_other_precisions(fraction: int) -> None:
    z = signal(32)
    real, imag = secure(jnp.fft.fft, z, precision=Precision(fraction))
    error = np.abs(real + 1j * imag - np.fft.fft(z.astype(np.complex128))).max()
    assert error < (32 if fraction < 18 else 3) * 2.0**-fraction + 2.0**-21  # encoding rounds 32 inputs


def test_large_inputs_stay_in_the_range() -> None:
    """Of which nothing was declared: the sum of 256 times almost 2^20 is there."""
    x = np.full(256, 2.0**20 - 1, np.float32)
    real, imag = secure(jnp.fft.rfft, x)
    np.testing.assert_allclose(real[0], 256 * (2.0**20 - 1), rtol=1e-6)
    assert np.abs(real[1:]).max() < 256 and np.abs(imag).max() < 256


def test_a_transform_sends_what_a_product_with_a_number_does() -> None:
    """The truncation of the result."""

    def sent(f):
        traced, _ = choreography(f, Z[0], protocol=Rep3(SERVERS), players=SERVERS, range=(-8, 8))
        return sorted(eqn.outvars[0].aval.size for eqn in traced.equations() if eqn.primitive.name == "send_masked")

    assert sent(jnp.fft.fft) == sent(lambda z: z * 0.7)


@pytest.mark.parametrize("f", [lambda z: z * z, jnp.fft.fft], ids=["mul", "fft"])
def test_on_shares(f) -> None:
    want = [part for x in plain(f, Z) for part in parts(x)]
    for a, b in zip(secure(f, Z, protocol=Rep3(SERVERS)), want, strict=True):
        np.testing.assert_allclose(a, b, atol=6 * ULP, rtol=1e-5)


# -- derivatives ---------------------------------------------------------------------------------------------------


def power(x):
    return jnp.sum(jnp.abs(jnp.fft.rfft(x)) ** 2)


def spectrogram(x):
    """Frames of 4 every 2 elements, with a window, and the logarithm of their power."""
    frames = x[np.arange(0, len(x) - 3, 2)[:, None] + np.arange(4)] * np.hanning(4).astype(np.float32)
    spectrum = jnp.fft.rfft(frames)
    return jnp.sum(jnp.log1p(spectrum.real**2 + spectrum.imag**2))


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (power, X),
        (spectrogram, signal(12).real),
        pytest.param(lambda z: jnp.sum(jnp.abs(z * z - 1j) ** 2), V, marks=pytest.mark.slow),
        pytest.param(
            lambda x: jnp.sum(jnp.fft.irfft(jnp.fft.rfft(x) * np.exp(1j * np.arange(4))) ** 3),
            X,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["power", "spectrogram", "of a complex argument", "filter"],
)
def test_gradient(f, x) -> None:
    want = [part for g in plain(jax.grad(f), x) for part in parts(g)]
    for a, b in zip(secure(jax.grad(f), x), want, strict=True):
        np.testing.assert_allclose(a, b, atol=64 * ULP, rtol=1e-4)


# -- what is public ------------------------------------------------------------------------------------------------


def test_what_is_public_stays_complex() -> None:
    """So whatever JAX can do with it, it can be done: nobody splits it before it meets a secret."""
    matrix = np.array([[0, -1], [1, 0.5]], np.float32)

    def f(matrix, x):
        values = jnp.linalg.eigvals(matrix)
        return x * jnp.sort(values.imag), jnp.abs(x[0] * values).sum(), values.real.sum()

    got, want = secure(f, Clear(matrix), X[:2]), plain(f, matrix, X[:2])
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=8 * ULP)
