"""An example of every public function of jax.numpy, jax.nn and their like that maps arrays to arrays."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np
from jax import nn

from benchmarks.coverage.cases import Case

MODULES: dict[str, ModuleType] = {
    "jax.numpy": jnp,
    "jax.numpy.linalg": jnp.linalg,
    "jax.numpy.fft": jnp.fft,
    "jax.nn": nn,
    "jax.scipy.special": special,
}

X = np.array([[-1.5, 0.25, 3.0, -0.125], [2.0, -0.5, 1.25, 4.0], [0.0, 7.5, -6.25, 0.75]], np.float32)
Y = np.array([[2.5, -0.75, 1.0, 0.5], [-3.0, 1.5, 2.25, -0.25], [1.125, -2.0, 0.375, 5.0]], np.float32)
POSITIVE = np.abs(X) + np.float32(0.125)
UNIT = np.clip(X / 8, -0.9, 0.9).astype(np.float32)
PART = np.clip(np.abs(X) / 8 + 0.05, 0.05, 0.9).astype(np.float32)
V, W = X[1], Y[0]
RISING = np.array([-1.0, 0.5, 2.0, 4.5], np.float32)
I = np.array([[-7, 3, 0, 12], [5, -1, 100, -100], [1000, -30, 9, 6]], np.int32)
J = np.array([[2, -3, 5, 1], [-4, 7, 3, 9], [24, 3, -2, 6]], np.int32)
SMALL = np.array([0, 2, 1, 1, 3], np.int32)
BYTES = np.array([0, 1, 2, 5, 127, 128, 200, 255], np.uint8)
B, C = X > 0, Y > 0
SQUARE = np.array([[4.0, 1.0, 0.5, -1.0], [1.0, 3.0, -0.25, 0.5], [0.5, -0.25, 2.0, 0.75], [-1.0, 0.5, 0.75, 5.0]])
SQUARE = SQUARE.astype(np.float32)  # symmetric and positive definite
SKEW = (SQUARE + np.triu(np.ones((4, 4)), 1)).astype(np.float32)
CUBES = X[:, None, :] * Y[None]


def _named(names: str, *args: Any) -> dict[str, tuple[Any, ...]]:
    """The functions of these names, called with these arguments."""
    return {name: args for name in names.split()}


def _called(**functions: Any) -> dict[str, tuple[Any, ...]]:
    """(function, arguments) where the function has more than arrays as arguments."""
    return functions


_NUMPY: dict[str, tuple[Any, ...]] = {
    **_named(
        "abs absolute fabs negative positive sign square exp exp2 expm1 sin cos tan sinh cosh tanh arctan atan", X
    ),
    **_named(
        "arctan atan arcsinh asinh cbrt ceil floor trunc rint round around degrees rad2deg radians deg2rad sinc i0", X
    ),
    **_named("log log2 log10 log1p sqrt reciprocal", POSITIVE),
    **_named("arccos acos arcsin asin arctanh atanh", UNIT),
    **_named("arccosh acosh", POSITIVE + 1),
    **_named("add subtract multiply divide true_divide maximum minimum fmax fmin arctan2 atan2 hypot logaddexp", X, Y),
    **_named("logaddexp2 floor_divide mod remainder fmod divmod heaviside copysign", X, Y),
    **_named("greater greater_equal less less_equal equal not_equal isclose allclose array_equal array_equiv", X, Y),
    **_named("pow power float_power", POSITIVE, Y),
    **_named("isfinite isinf isnan isneginf isposinf iscomplex isreal signbit nan_to_num real conj conjugate", X),
    **_named("frexp modf angle imag spacing", X),
    **_named("nextafter", X, Y),
    **_named("ldexp", X, SMALL[:4]),
    **_named("bitwise_and bitwise_or bitwise_xor gcd lcm", I, J),
    **_named("bitwise_invert bitwise_not invert bitwise_count", I),
    **_named("bitwise_left_shift left_shift bitwise_right_shift right_shift", I, np.abs(J)),
    **_named("logical_and logical_or logical_xor", B, C),
    **_named("logical_not all any count_nonzero", B),
    **_named("sum prod mean std var max min amax amin ptp median argmax argmin average cumsum cumprod", X),
    **_named(
        "nansum nanprod nanmean nanstd nanvar nanmax nanmin nanmedian nanargmax nanargmin nancumsum nancumprod", X
    ),
    **_named("cumulative_sum cumulative_prod sort argsort nancumprod sort_complex", V),
    **_named("diff ediff1d gradient trapezoid unwrap", V),
    **_named("dot matmul", X, Y.T),
    **_named("inner outer kron tensordot", X, Y),
    **_named("vdot vecdot correlate convolve", V, W),
    **_named("matvec", X, V),
    **_named("vecmat", V, X.T),
    **_named("cross", V[:3], W[:3]),
    **_named("cov corrcoef", X),
    **_named("atleast_1d atleast_2d atleast_3d copy ravel squeeze transpose matrix_transpose flip fliplr flipud", X),
    **_named("rot90 tril triu diag diagonal trace diagflat array asarray zeros_like", X),
    **_named("ones_like empty_like unstack", X),
    **_named("broadcast_arrays meshgrid", V, W),
    **_named("polyadd polysub polymul", V, W),
    **_named("polyval", V, X),
    **_named("polyder polyint vander", V),
    **_named("interp", X, RISING, W),
    **_named("searchsorted", RISING, X),
    **_called(
        append=(lambda x, y: jnp.append(x, y), X, V),
        apply_along_axis=(lambda x: jnp.apply_along_axis(jnp.sum, 1, x), X),
        apply_over_axes=(lambda x: jnp.apply_over_axes(jnp.sum, x, [0]), X),
        argpartition=(lambda x: jnp.argpartition(x, 2, axis=1).shape, X),
        array_split=(lambda x: jnp.array_split(x, 2, axis=1), X),
        astype=(lambda x: jnp.astype(x, jnp.int32), X),
        bincount=(lambda i: jnp.bincount(i, length=5), SMALL),
        block=(lambda x, y: jnp.block([[x, y], [y, x]]), X, Y),
        broadcast_to=(lambda v: jnp.broadcast_to(v, (3, 4)), V),
        choose=(lambda i, x, y: jnp.choose(i, [x, y], mode="clip"), SMALL[:4], V, W),
        clip=(lambda x: jnp.clip(x, -1, 2), X),
        column_stack=(lambda x, y: jnp.column_stack([x, y]), X, Y),
        compress=(lambda x: jnp.compress(np.array([True, False, True]), x, axis=0, size=2), X),
        concat=(lambda x, y: jnp.concat([x, y]), X, Y),
        concatenate=(lambda x, y: jnp.concatenate([x, y]), X, Y),
        delete=(lambda x: jnp.delete(x, 1, axis=1), X),
        digitize=(lambda x, bins: jnp.digitize(x, bins), X, RISING),
        dsplit=(lambda x: jnp.dsplit(x, 2), CUBES),
        dstack=(lambda x, y: jnp.dstack([x, y]), X, Y),
        einsum=(lambda x, y: jnp.einsum("ij,kj->ik", x, y), X, Y),
        expand_dims=(lambda x: jnp.expand_dims(x, 1), X),
        extract=(lambda b, x: jnp.extract(b, x, size=12, fill_value=0), B, X),
        fill_diagonal=(lambda x: jnp.fill_diagonal(x, 9.0, inplace=False), SQUARE),
        full_like=(lambda x: jnp.full_like(x, 2.5), X),
        geomspace=(lambda a, b: jnp.geomspace(a, b, 5), np.float32(1), np.float32(9)),
        histogram=(lambda x: jnp.histogram(x, jnp.linspace(-8, 8, 5)), X),
        histogram2d=(lambda x, y: jnp.histogram2d(x, y, [jnp.linspace(-8, 8, 4)] * 2), V, W),
        histogram_bin_edges=(lambda x: jnp.histogram_bin_edges(x, 4), X),
        histogramdd=(lambda x: jnp.histogramdd(x[:, :2], [jnp.linspace(-8, 8, 4)] * 2), X),
        hsplit=(lambda x: jnp.hsplit(x, 2), X),
        hstack=(lambda x, y: jnp.hstack([x, y]), X, Y),
        insert=(lambda x: jnp.insert(x, 1, 5.0, axis=1), X),
        intersect1d=(lambda i: jnp.intersect1d(i, jnp.arange(3), size=3), SMALL),
        isin=(lambda i: jnp.isin(i, jnp.array([3, 5])), I),
        isrealobj=(lambda x: x + jnp.isrealobj(x), X),
        iscomplexobj=(lambda x: x + jnp.iscomplexobj(x), X),
        lexsort=(lambda i, x: jnp.lexsort((i, x)), I[0], V),
        linspace=(lambda a, b: jnp.linspace(a, b, 5), np.float32(1), np.float32(9)),
        logspace=(lambda a, b: jnp.logspace(a, b, 5), np.float32(0), np.float32(2)),
        moveaxis=(lambda x: jnp.moveaxis(x, 0, 2), CUBES),
        nanpercentile=(lambda x: jnp.nanpercentile(x, 30.0), X),
        nanquantile=(lambda x: jnp.nanquantile(x, 0.3), X),
        packbits=(lambda b: jnp.packbits(b), B),
        unpackbits=(lambda i: jnp.unpackbits(i), BYTES),
        pad=(lambda x: jnp.pad(x, 1), X),
        partition=(lambda x: jnp.partition(x, 2, axis=1)[:, 2], X),
        percentile=(lambda x: jnp.percentile(x, 30.0), X),
        permute_dims=(lambda x: jnp.permute_dims(x, (1, 0)), X),
        roots=(lambda v: jnp.roots(v, strip_zeros=False), V),
        piecewise=(lambda x: jnp.piecewise(x, [x < 0, x >= 0], [lambda v: -v, lambda v: v * 2]), X),
        place=(lambda x, v: jnp.place(x, x > 0, v, inplace=False), X, V),
        poly=(lambda v: jnp.poly(v), V),
        polydiv=(lambda u, v: jnp.polydiv(u, v), V, W[:2]),
        polyfit=(lambda x, y: jnp.polyfit(x, y, 2), RISING, W),
        put=(lambda x, i, v: jnp.put(x, i, v, inplace=False), X, SMALL, W),
        put_along_axis=(lambda x, i: jnp.put_along_axis(x, i[None, :], 9.0, 0, inplace=False), X, SMALL[:4] % 3),
        quantile=(lambda x: jnp.quantile(x, 0.3), X),
        ravel_multi_index=(lambda i, j: jnp.ravel_multi_index((i, j), (4, 4), mode="clip"), SMALL, SMALL),
        repeat=(lambda x: jnp.repeat(x, 2, axis=1), X),
        reshape=(lambda x: jnp.reshape(x, (2, 6)), X),
        resize=(lambda x: jnp.resize(x, (5, 2)), X),
        roll=(lambda x: jnp.roll(x, 1, axis=0), X),
        rollaxis=(lambda x: jnp.rollaxis(x, 2), CUBES),
        select=(lambda x, y: jnp.select([x > 1, x < 0], [x, y], 0.5), X, Y),
        setdiff1d=(lambda i: jnp.setdiff1d(i, jnp.arange(2), size=3), SMALL),
        setxor1d=(lambda i: jnp.setxor1d(i, jnp.arange(2), size=4), SMALL),
        split=(lambda x: jnp.split(x, 2, axis=1), X),
        stack=(lambda x, y: jnp.stack([x, y]), X, Y),
        swapaxes=(lambda x: jnp.swapaxes(x, 0, 1), X),
        take=(lambda x, i: jnp.take(x, i % 3, axis=0), X, SMALL),
        take_along_axis=(lambda x, i: jnp.take_along_axis(x, i[None, :], 0), X, SMALL[:4] % 3),
        tile=(lambda v: jnp.tile(v, 2), V),
        union1d=(lambda i: jnp.union1d(i, jnp.arange(2), size=5), SMALL),
        unique=(lambda i: jnp.unique(i, size=5), SMALL),
        unique_all=(lambda i: jnp.unique_all(i, size=5), SMALL),
        unique_counts=(lambda i: jnp.unique_counts(i, size=5), SMALL),
        unique_inverse=(lambda i: jnp.unique_inverse(i, size=5), SMALL),
        unique_values=(lambda i: jnp.unique_values(i, size=5), SMALL),
        argwhere=(lambda v: jnp.argwhere(v > 0, size=4), V),
        nonzero=(lambda v: jnp.nonzero(v > 0, size=4), V),
        flatnonzero=(lambda v: jnp.flatnonzero(v > 0, size=4), V),
        unravel_index=(lambda i: jnp.unravel_index(i, (2, 3)), SMALL),
        vectorize=(jnp.vectorize(lambda x, y: x * y), X, Y),
        frompyfunc=(lambda x, y: jnp.frompyfunc(jnp.add, 2, 1, identity=0).reduce(x * y), X, Y),
        vsplit=(lambda x: jnp.vsplit(x, 3), X),
        vstack=(lambda x, y: jnp.vstack([x, y]), X, Y),
        where=(lambda b, x, y: jnp.where(b, x, y), B, X, Y),
    ),
}


def _rebuilt(values: Any, vectors: Any) -> tuple[Any, Any]:
    """What does not depend on the signs of eigenvectors and singular vectors."""
    return values, (vectors * values) @ vectors.T


_LINALG: dict[str, tuple[Any, ...]] = {
    **_named("cholesky cond det inv pinv slogdet matrix_rank eigvalsh svdvals qr eig eigvals", SQUARE),
    **_named("norm matrix_norm vector_norm diagonal trace matrix_transpose", X),
    **_named("matmul", X, Y.T),
    **_named("outer vecdot", V, W),
    **_named("cross", V[:3], W[:3]),
    **_named("solve lstsq", SKEW, W),
    **_called(
        eigh=(lambda x: _rebuilt(*jnp.linalg.eigh(x)), SQUARE),  # eigenvectors have any sign
        svd=(lambda x: _rebuilt(*jnp.linalg.svd(x)[1::-1]), SQUARE),
        matrix_power=(lambda x: jnp.linalg.matrix_power(x, 3), SQUARE),
        multi_dot=(lambda x, y, z: jnp.linalg.multi_dot([x, y, z]), X, SQUARE, Y.T),
        tensordot=(lambda x, y: jnp.linalg.tensordot(x, y), X, Y),
        tensorinv=(lambda x: jnp.linalg.tensorinv(x.reshape(2, 2, 4), 2), SKEW),
        tensorsolve=(lambda a, b: jnp.linalg.tensorsolve(a, b), SKEW, W),
    ),
}

_FFT: dict[str, tuple[Any, ...]] = {
    **_named("fft ifft fft2 ifft2 fftn ifftn hfft fftshift ifftshift", X + 1j * Y),
    **_named("irfft irfft2 irfftn", X + 1j * Y),
    **_named("rfft rfft2 rfftn ihfft", X),
}

_NN: dict[str, tuple[Any, ...]] = {
    **_named(
        "celu elu gelu hard_sigmoid hard_silu hard_swish hard_tanh identity leaky_relu log_sigmoid log_softmax", X
    ),
    **_named("logmeanexp logsumexp mish relu relu6 selu sigmoid silu soft_sign softmax softplus sparse_plus", X),
    **_named("log_softmax sparse_sigmoid squareplus standardize swish tanh glu", X),
    **_named("log1mexp", POSITIVE),
    **_called(
        one_hot=(lambda i: nn.one_hot(i, 13), I),
        dot_product_attention=(
            lambda q, k, v: nn.dot_product_attention(*(a.reshape(3, 2, 2) for a in (q, k, v))),
            X,
            Y,
            UNIT,
        ),
    ),
}

_SPECIAL: dict[str, tuple[Any, ...]] = {
    **_named("erf erfc ndtr expit i0 i0e i1 i1e log_ndtr log_softmax logsumexp softmax dawsn expi", UNIT * 3),
    **_named("digamma gamma gammaln loggamma gammasgn entr factorial exp1 spence", POSITIVE),
    **_named("erfinv", UNIT),
    **_named("logit ndtri", PART),
    **_named(
        "beta betaln xlogy xlog1py kl_div rel_entr gammainc gammaincc boxcox boxcox1p poch owens_t comb", POSITIVE, PART
    ),
    **_called(
        betainc=(lambda a, b, x: special.betainc(a, b, x), POSITIVE, POSITIVE + 1, PART),
        expn=(lambda x: special.expn(2, x), POSITIVE),
        multigammaln=(lambda a: special.multigammaln(a + 2, 2), POSITIVE),
        polygamma=(lambda x: special.polygamma(1, x), POSITIVE),
        zeta=(lambda x: special.zeta(x + 1.5, 1.0), POSITIVE),
        hyp1f1=(lambda x: special.hyp1f1(1.0, 2.0, x), UNIT[0]),
        hyp2f1=(lambda x: special.hyp2f1(1.0, 2.0, 3.0, x), UNIT[0] / 2),
    ),
}

_EXAMPLES = {
    "jax.numpy": _NUMPY,
    "jax.numpy.linalg": _LINALG,
    "jax.numpy.fft": _FFT,
    "jax.nn": _NN,
    "jax.scipy.special": _SPECIAL,
}

NO_MAPS = """array_repr array_str arange bartlett blackman broadcast_shapes can_cast diag_indices diag_indices_from
einsum_path empty eye from_dlpack frombuffer fromfile fromfunction fromiter fromstring full get_printoptions hamming
hanning identity indices isdtype isscalar issubdtype iterable ix_ kaiser load mask_indices ndim ones printoptions
promote_types result_type save savez set_printoptions shape size tri tril_indices tril_indices_from triu_indices
triu_indices_from zeros get_scaled_dot_general_config bernoulli""".split()
"""What makes arrays of numbers, tells about types and shapes, or reads and writes files."""

NAMED_REASONS = {
    "trim_zeros": "the size of its result depends on the values",
    "bessel_jn": "JAX computes it by terms that leave the range or vanish in fixed point",
    "erfcx": "JAX computes it by terms that leave the range or vanish in fixed point",
    "fresnel": "JAX computes it by terms that leave the range or vanish in fixed point",
    "sici": "JAX computes it by terms that leave the range or vanish in fixed point",
    "sph_harm_y": "JAX computes it by a table of associated Legendre functions for public degrees",
    "wofz": "JAX computes it by terms that leave the range or vanish in fixed point",
    "scaled_matmul": "low-precision types, for accelerators",
    "scaled_dot_general": "low-precision types, for accelerators",
}

INEXACT_REASONS = {
    "boxcox": "JAX divides by lambda what is right to 2 ulp",
    "boxcox1p": "JAX divides by lambda what is right to 2 ulp",
    "dawsn": "JAX's polynomials have coefficients below an ulp",
}
"""Of what is computed, but not within the bound."""


def public_functions() -> Iterator[tuple[str, str]]:
    """(module, name) of everything that can be called."""
    for module, found in MODULES.items():
        for name in dir(found):
            value = getattr(found, name)
            if not name.startswith("_") and callable(value) and not inspect.isclass(value) and name not in NO_MAPS:
                yield module, name


def examples() -> Iterator[Case]:
    """A case for every function that has an example, named by it."""
    for module, name in public_functions():
        example = _EXAMPLES[module].get(name)
        if example is None:
            continue
        function = example[0] if callable(example[0]) else getattr(MODULES[module], name)
        args = example[1:] if callable(example[0]) else example
        yield Case(f"{module}.{name}", module, lambda function=function, args=args: (function, args))


def without_example() -> list[str]:
    """Functions that nobody has written an example or a reason for; a newer JAX may have some."""
    every = [(module, name) for module, name in public_functions() if name not in NAMED_REASONS]
    return [f"{module}.{name}" for module, name in every if name not in _EXAMPLES[module]]
