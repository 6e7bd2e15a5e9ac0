"""Complex arrays as private values: they come in and go out whole, and are two real ones in between."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmpc
from jmpc.api.graph import build
from jmpc.api.run import current_session
from jmpc.computation import Computation
from jmpc.errors import InputError, TraceError
from jmpc.net.computations import decode_computation, encode_computation

STEP = 2.0**-18
Z = np.array([1.5 - 0.25j, -2 + 1j, 0.5j, 3], np.complex64)
W = np.array([0.5 + 2j, 1.25 - 1j, -3, 0.25j], np.complex64)
RNG = np.random.default_rng(3)


def travelled(fetches: Any) -> Computation:
    """The computation behind fetches as a node reads and lowers it."""
    session = current_session()
    built = build(jax.tree.leaves(fetches), session.servers, session.driver, session.fraction)
    data = encode_computation(built.computation)
    computation = decode_computation(data)
    assert encode_computation(computation) == data and session.prepare(computation).releases()
    return computation


def close(got: Any, want: Any, ulps: float = 4) -> None:
    want = np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=ulps * STEP, rtol=1e-5)


# -- programs ------------------------------------------------------------------------------------------------------


def filtered(x, kernel):
    """A circular convolution, what is left of the lower half of the frequencies, and their power."""
    spectrum = jnp.fft.rfft(x)
    low = jnp.where(jnp.arange(spectrum.size) < spectrum.size // 2, spectrum, 0)
    convolved = jnp.fft.ifft(jnp.fft.fft(x) * jnp.fft.fft(kernel)).real
    return convolved, jnp.fft.irfft(low, x.size), jnp.abs(spectrum) ** 2 / x.size


def test_signal_processing() -> None:
    x, kernel = (RNG.uniform(-1, 1, 32).astype(np.float32) for _ in range(2))
    for got, want in zip(jmpc.simulate(filtered)(x, kernel), filtered(x, kernel), strict=True):
        close(got, want, 64)  # of sums of 32 products, and of inputs that are rounded


def test_what_nodes_get_has_no_complex_numbers() -> None:
    a = jmpc.define_private_input("alice", lambda: Z, range=(-4.0, 4.0))
    b = jmpc.define_private_input("bob", lambda: W)
    product = jmpc.function(lambda a, b: jnp.fft.fft(a * b) * jnp.exp(1j * jnp.arange(4)))(a, b)
    assert not any("c64" in str(call) for call in travelled(product.reveal("bob")).calls)


def test_explain_counts_parts() -> None:
    """A transform costs what a multiplication by a number does: the truncation of its result."""
    scaled, transformed = (jmpc.explain(f, Z) for f in (lambda z: z * 0.7, lambda z: jnp.fft.fft(z) * 0.7))
    assert transformed.rounds <= scaled.rounds + 1


# -- handles -------------------------------------------------------------------------------------------------------


def test_values() -> None:
    z = jmpc.define_private_input("alice", lambda: Z)
    w = jmpc.define_private_input("bob", lambda: W)
    assert isinstance(z, jmpc.ComplexValue) and "complex64[4]" in repr(z) and "alice" in repr(z)
    assert (z.shape, z.dtype, z.ndim, z.size, len(z)) == ((4,), np.complex64, 1, 4, 4)
    made = [z * w, z + 1j, 2 - z, z @ w, abs(z), z.conj(), z[1:], np.multiply(W, z), z.real, jmpc.sum(z), -z == z]
    want = [Z * W, Z + 1j, 2 - Z, Z @ W, abs(Z), Z.conj(), Z[1:], W * Z, Z.real, Z.sum(), -Z == Z]
    found = jmpc.run([jax.tree.map(lambda part: part.reveal(), value) for value in made])
    for got, expected in zip(found, want, strict=True):
        close(got, np.asarray(expected))
    assert jmpc.run((z * w).reveal("carol")) is None


def test_variables() -> None:
    v = jmpc.define_private_variable(Z, range=(-8, 8))
    copy = jmpc.define_private_variable(v * 2)
    close(jmpc.run(copy.reveal()), Z * 2)
    jmpc.run(v.assign(v * 1j))
    close(jmpc.run(v.reveal()), Z * 1j)
    jmpc.run(v.assign(W))
    close(jmpc.run(v.reveal()), W)
    with pytest.raises(TypeError, match=r"the variable is complex64\[4\], the value is real: convert it"):
        v.assign(v.real)
    with pytest.raises(TypeError, match=r"the variable is float32\[4\], the value complex64\[4\]"):
        v.real.assign(W)


def test_what_is_public() -> None:
    constant, public = jmpc.define_constant(Z), jmpc.define_public_input("alice", lambda: W)
    close(jmpc.run(constant), Z)
    close(jmpc.run(jmpc.function(lambda z, w: jnp.exp(z) * w)(constant, public)), np.exp(Z) * W, 64)
    close(jmpc.run((jmpc.define_private_variable(constant) * public).reveal()), Z * W)


def test_local_code() -> None:
    """Plain JAX at a player, with all complex numbers in it that it likes."""
    z = jmpc.define_private_input("alice", lambda: jnp.arange(4) * (1 + 2j))  # travels as code
    local = jmpc.define_local_computation("alice", lambda z: (jnp.linalg.eigvals(jnp.outer(z, z) + jnp.eye(4)), z), z)
    known = jmpc.define_local_variable("alice", lambda: jnp.exp(1j * jnp.arange(4.0)))
    x = np.arange(4) * (1 + 2j)
    close(jmpc.run((local[1] * known).reveal()), (x * np.exp(1j * np.arange(4))).astype(np.complex64), 16)
    jmpc.run(known.assign(local[1]))
    close(jmpc.run(known.reveal()), x.astype(np.complex64))
    trace = (jmpc.sum(local[0]) * 1j).reveal()
    assert any("c64" in str(call) for call in travelled(trace).calls)
    close(jmpc.run(trace), np.complex64((np.sum(x * x) + 4) * 1j), 256)


def test_outputs() -> None:
    """A sink gets the parts."""
    got: list[Any] = []
    value = jmpc.define_private_variable(Z)
    jmpc.run(jmpc.define_output("driver", {"z": value * 2, "x": value.real}, lambda *arrays: got.extend(arrays)))
    for a, b in zip(got, [Z.real, (2 * Z).real, (2 * Z).imag], strict=True):
        close(a, b)


def test_registered_providers() -> None:
    @jmpc.provider(types=jax.ShapeDtypeStruct((4,), np.complex64), range=(-4, 4))
    def spectrum(player):
        return Z

    assert [str(type_) for type_ in spectrum.array_types] == ["float32[4]", "float32[4]"]
    close(jmpc.run((jmpc.define_private_input("alice", spectrum) * 1j).reveal()), Z * 1j)


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"float32.*\[-2, 2\]"):
        jmpc.run((jmpc.define_private_input("alice", lambda: Z, range=(-2, 2)) * 1j).reveal())


def test_compare() -> None:
    report = jmpc.debug.compare(lambda z: jnp.abs(jnp.fft.fft(z)) * np.exp(1j * np.arange(4)), Z)
    assert report.max_error < 4 * STEP
    assert {"result .real", "result .imag", "argument z.real", "argument z.imag"} <= {row.line for row in report.rows}


def test_refusals_name_the_users_line() -> None:
    def fn(z):
        return z.at[0].multiply(2j)

    with pytest.raises(
        TraceError, match=r"test_complex.py:\d+ \(fn\): `scatter-mul`: it has no form on complex secrets"
    ):
        jmpc.simulate(fn)(Z)
    with pytest.raises(TraceError, match=r"`svd`: of complex matrices there is no such .* here. Use the real matrix"):
        jmpc.simulate(jnp.linalg.svd)(np.outer(Z, W))


def test_double_precision() -> None:
    with jax.enable_x64(True):
        z = Z.astype(np.complex128)
        close(jmpc.simulate(lambda z: jnp.fft.fft(z) * 1j)(z), np.fft.fft(z) * 1j)


@pytest.mark.slow
def test_players_apart() -> None:
    jmpc.set_config(jmpc.LocalConfig(mode="threads"))
    z = jmpc.define_private_input("alice", lambda: Z)
    close(jmpc.run((z * jmpc.define_private_variable(W)).reveal()), Z * W)
