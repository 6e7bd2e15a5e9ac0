"""Factorisations of secret matrices: backward errors in double precision, and JAX's own results where these are unique.

Errors are in ulp: of the matrix relative to its norm, of orthogonal factors as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
import pytest
from jax import lax

from jmpc.errors import TraceError
from jmpc.lowering import Precision
from jmpc.lowering.rules import eigen
from jmpc.protocols.rep3 import Rep3

from .helpers import ULP, Clear, plain, secure

RNG = np.random.default_rng(7)


def normal(*shape: int, scale: float = 3.0) -> np.ndarray:
    return RNG.normal(0, scale, shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    a = normal(*shape, shape[-1])
    return a @ np.swapaxes(a, -1, -2)


SQUARE, POSITIVE, TALL = normal(5, 5), positive(5), normal(6, 3)
INTEGERS = RNG.integers(-1, 2, (5, 5)).astype(np.float32)
RANK_ONE = np.outer([1, 2, -3, 4, 0.5], [1.0, -2, 3, 0.25, 1]).astype(np.float32)


def double(results: list[np.ndarray]) -> list[np.ndarray]:
    assert all(np.isfinite(x).all() for x in results)
    return [x.astype(np.float64) if x.dtype.kind == "f" else x for x in results]


def norm(a: np.ndarray) -> np.ndarray:
    """The spectral norms [..., 1, 1], at least 1."""
    return np.maximum(1.0, np.linalg.norm(a.astype(np.float64), 2, (-2, -1)))[..., None, None]


def transposed(a: np.ndarray) -> np.ndarray:
    return np.swapaxes(a, -1, -2)


def close(got: Any, want: Any, ulps: float, of: Any = 1.0) -> None:
    assert got.shape == want.shape
    worst = (np.abs(got.astype(np.float64) - want) / (of * ULP)).max()
    assert worst <= ulps, f"{worst} ulp"


def orthonormal(q: np.ndarray, ulps: float = 4) -> None:
    """In its columns."""
    n = q.shape[-1]
    close(transposed(q) @ q, np.broadcast_to(np.eye(n), (*q.shape[:-2], n, n)), ulps)


# -- triangular factors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", [POSITIVE, np.stack([positive(3), 2000 * positive(3)]), np.float32([[9]])])
def test_cholesky(a):
    (lower,) = double(secure(jnp.linalg.cholesky, a))
    close(lower @ transposed(lower), a, 3, norm(a))
    close(lower, np.linalg.cholesky(a.astype(np.float64)), 1, norm(a))


def test_cholesky_of_what_is_not_positive():
    (lower,) = secure(jnp.linalg.cholesky, np.float32([[4, 2, 2], [2, 1, 1], [2, 1, -5]]))
    np.testing.assert_array_equal(lower, [[2, 0, 0], [1, 0, 0], [1, 0, 0]])


def test_products_and_updates():
    r, w = np.linalg.cholesky(POSITIVE).T, normal(5)
    (got,), (want,) = (run(lax.linalg.cholesky_update, r, w) for run in (secure, plain))
    close(got, want, 8, norm(want))
    f = functools.partial(lax.linalg.symmetric_product, alpha=2.0, beta=-1.0)
    (got,), (want,) = (run(f, TALL, np.eye(6, dtype=np.float32)) for run in (secure, plain))
    close(got, want, 1, norm(want))


@pytest.mark.parametrize("a", [np.stack([SQUARE, INTEGERS]), TALL, TALL.T])
def test_lu(a):
    packed, pivots, permutation = double(secure(lax.linalg.lu, a))
    want = plain(lax.linalg.lu, a)
    np.testing.assert_array_equal(pivots, want[1])
    np.testing.assert_array_equal(permutation, want[2])
    close(packed, want[0], 2, norm(a))


def test_lu_of_singular_matrices():
    a = np.stack([RANK_ONE, np.zeros_like(RANK_ONE)])
    packed, _, permutation = double(secure(lax.linalg.lu, a))
    lower, upper = np.tril(packed, -1) + np.eye(5), np.triu(packed)
    close(lower @ upper, np.take_along_axis(a, permutation[..., None], axis=-2), 4, norm(a))


def test_pivots_to_permutation():
    pivots = np.int32([[2, 1, 4], [1, 1, 2]])
    f = functools.partial(lax.linalg.lu_pivots_to_permutation, permutation_size=5)
    np.testing.assert_array_equal(secure(f, pivots)[0], plain(f, pivots)[0])


@pytest.mark.parametrize("unit_diagonal", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("left_side", [False, True])
def test_triangular_solve(left_side, lower, transpose_a, unit_diagonal):
    options = {"left_side": left_side, "lower": lower, "transpose_a": transpose_a, "unit_diagonal": unit_diagonal}
    f = functools.partial(lax.linalg.triangular_solve, **options)
    a = 1 + np.eye(3, dtype=np.float32) * 4 + normal(2, 3, 3, scale=0.25)
    b = normal(2, 3, 2) if left_side else normal(2, 2, 3)
    (x,), (want,) = secure(f, a, b), plain(f, a, b)
    close(x, want, 8, np.abs(want).max())


def test_tridiagonal_solve():
    below, above, b = normal(4, scale=1), normal(4, scale=1), normal(4, 2)
    below[0] = above[-1] = 0
    diagonal = np.float32([4, -5, 6, 5])
    (x,), (want,) = (run(lax.linalg.tridiagonal_solve, below, diagonal, above, b) for run in (secure, plain))
    close(x, want, 6)


# -- orthogonal factors ----------------------------------------------------------------------------------------


SMALL = (np.round(normal(2, 3, 2) * 2**10) / 2**18).astype(np.float32)


@pytest.mark.parametrize(
    ("a", "mode"),
    [(np.stack([SQUARE, 300 * SQUARE]), "reduced"), (TALL, "complete"), (TALL.T, "reduced"), (SMALL, "reduced")],
)
def test_qr(a, mode):
    f = functools.partial(jnp.linalg.qr, mode=mode)
    q, r = double(secure(f, a))
    orthonormal(q)
    close(q @ r, a, 4, norm(a))
    condition = np.linalg.cond(a)[..., None, None]
    close(q, np.linalg.qr(a.astype(np.float64), mode)[0], 4 * condition.max(), norm(a))  # LAPACK's signs, too
    close(r, np.linalg.qr(a.astype(np.float64), mode)[1], 4, norm(a))


@pytest.mark.parametrize("a", [normal(1, 3), normal(3, 1)])
def test_qr_of_vectors(a):
    for got, want in zip(secure(jnp.linalg.qr, a), plain(jnp.linalg.qr, a), strict=True):
        close(got, want, 2, norm(a))


def test_qr_as_lapack_packs_it():
    def packed(a):
        factors, taus = jnp.linalg.qr(a, mode="raw")
        return factors, taus, lax.linalg.householder_product(factors.T, taus)

    *got, q = double(secure(packed, TALL))
    *want, _ = plain(packed, TALL)
    for x, y in zip(got, want, strict=True):
        close(x, y, 4, norm(TALL))
    orthonormal(q, 8)


@pytest.mark.parametrize(("left", "transpose"), [(True, False), (True, True), (False, False), (False, True)])
def test_products_with_q(left, transpose):
    factors, taus = plain(functools.partial(jnp.linalg.qr, mode="raw"), TALL)
    c = normal(6, 2, scale=100) if left else normal(2, 6, scale=100)
    f = functools.partial(lax.linalg.ormqr, left=left, transpose=transpose)
    (got,), (want,) = (run(f, factors.T, taus, c) for run in (secure, plain))
    close(got, want, 4, norm(c))


def test_qr_of_matrices_without_full_rank():
    a = np.stack([RANK_ONE, np.zeros_like(RANK_ONE), np.ones_like(RANK_ONE)])
    q, r = double(secure(jnp.linalg.qr, a))
    orthonormal(q)
    close(q @ r, a, 4, norm(a))


def test_qr_keeps_what_is_triangular():
    a = np.triu(np.float32([[2, 1, -3], [0, -4, 0.5], [0, 0, 1]]))
    q, r = secure(jnp.linalg.qr, a)
    np.testing.assert_array_equal(q, np.eye(3))
    close(r, a, 1, norm(a))


def test_qr_with_pivoting_is_refused():
    with pytest.raises(TraceError, match="`qr`: a QR decomposition with pivoting"):
        secure(lambda a: jsl.qr(a, pivoting=True), TALL)


# -- eigenvalues and singular values ---------------------------------------------------------------------------


def symmetric(a: np.ndarray) -> np.ndarray:
    return a + transposed(a)


THREE = np.stack(
    [symmetric(normal(3, 3)), 3000 * positive(3), symmetric(RANK_ONE[:3, :3]), np.eye(3) * -7, np.zeros((3, 3))]
)


@pytest.mark.parametrize("a", [symmetric(SQUARE), THREE, np.float32([[5]])])
def test_eigh(a):
    w, v = double(secure(jnp.linalg.eigh, a))
    close(w, np.linalg.eigvalsh(a.astype(np.float64)), 2, norm(a)[..., 0])
    orthonormal(v)
    close(v * w[..., None, :] @ transposed(v), a, 4, norm(a))


@pytest.mark.parametrize("lower", [False, True])
def test_eigh_reads_one_triangle(lower):
    f = functools.partial(lax.linalg.eigh, lower=lower, symmetrize_input=False)
    v, w = double(secure(f, SQUARE[:3, :3]))
    a = symmetric(np.tril(SQUARE[:3, :3], -1) if lower else np.triu(SQUARE[:3, :3], 1)) + np.diag(np.diag(SQUARE)[:3])
    close(v * w @ v.T, a, 4, norm(a))


WITHOUT_RANK = np.stack([RANK_ONE, np.ones_like(RANK_ONE), np.zeros_like(RANK_ONE)])


@pytest.mark.parametrize(
    ("a", "full_matrices"), [(WITHOUT_RANK, False), (TALL, True), (TALL.T, False), (normal(2, 2, 3), True)]
)
def test_svd(a, full_matrices):
    u, s, vt = double(secure(functools.partial(jnp.linalg.svd, full_matrices=full_matrices), a))
    close(s, np.linalg.svd(a.astype(np.float64), compute_uv=False), 2, norm(a)[..., 0])
    orthonormal(u, 6)
    orthonormal(transposed(vt), 6)
    k = s.shape[-1]
    close(u[..., :k] * s[..., None, :] @ vt[..., :k, :], a, 4, norm(a))


def structured(n: int) -> dict[str, np.ndarray]:
    q = np.linalg.qr(RNG.normal(size=(n, n)))[0]
    i = np.arange(n)
    return {
        "random": RNG.normal(size=(n, n)),
        "graded": q * 2.0**-i @ q.T,
        "clustered": q * np.where(i < n // 2, 1.0, 2.0) @ q.T,
        "signs": q * np.sign(RNG.normal(size=n)) @ q.T,
        "orthogonal": q,
        "a shift": np.roll(np.eye(n), 1, 0),
        "of differences": 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1),
        "of rank two": RNG.normal(size=(n, 2)) @ RNG.normal(size=(2, n)),
    }


@pytest.mark.parametrize("n", [pytest.param(8, marks=pytest.mark.slow), 29])
def test_the_sweeps_are_enough(n):
    """In plain JAX, for all structured matrices at once."""
    a = np.stack(list(structured(n).values())).astype(np.float32)
    options = {"full_matrices": False, "compute_uv": True, "subset_by_index": None, "fraction": 18}
    s, u, vt = jax.jit(functools.partial(eigen.svd, **options))(a)
    np.testing.assert_allclose(u * s[:, None] @ vt, a, atol=8e-6 * n)
    v, w = jax.jit(functools.partial(eigen.eigh, lower=True, subset_by_index=None, fraction=18))(symmetric(a))
    np.testing.assert_allclose(v * w[:, None] @ transposed(np.asarray(v)), symmetric(a), atol=1.6e-5 * n)


# -- what is made of them --------------------------------------------------------------------------------------

WELL = np.float32([[4, -1, 0.5], [1, 3, -2], [0.25, 1, -5]])
WELL_POSITIVE = WELL @ WELL.T
C = normal(3, 2)

FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...], float]] = {
    "solve": (jnp.linalg.solve, (WELL, C), 4),
    "inv": (jnp.linalg.inv, (WELL,), 4),
    "det": (jnp.linalg.det, (WELL,), 60),
    "slogdet": (jnp.linalg.slogdet, (WELL,), 4),
    "slogdet by qr": (lambda a: jnp.linalg.slogdet(a, method="qr"), (WELL,), 4),
    "matrix_power": (lambda a: jnp.linalg.matrix_power(a, -2), (WELL,), 6),
    "eigvalsh": (jnp.linalg.eigvalsh, (WELL_POSITIVE,), 60),
    "svdvals": (jnp.linalg.svdvals, (TALL,), 20),
    "pinv": (jnp.linalg.pinv, (TALL,), 6),
    "lstsq": (jnp.linalg.lstsq, (TALL, normal(6, 2)), 60),
    "matrix_rank": (jnp.linalg.matrix_rank, (RANK_ONE[:3, :3],), 0),
    "cond": (jnp.linalg.cond, (WELL,), 10),
    "norms": (lambda a: [jnp.linalg.norm(a, k) for k in (1, -np.inf, 2, "fro")], (WELL,), 10),
    "cho_solve": (lambda a, b: jsl.cho_solve(jsl.cho_factor(a), b), (WELL_POSITIVE, C), 6),
    "lu_solve": (lambda a, b: jsl.lu_solve(jsl.lu_factor(a), b, trans=1), (WELL, C), 6),
    "log of a density": (jax.scipy.stats.multivariate_normal.logpdf, (C[:, 0], C[:, 1], WELL_POSITIVE), 20),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    f, args, ulps = FUNCTIONS[name]
    for got, want in zip(secure(f, *args), plain(f, *args), strict=True):
        close(got, want, ulps)


@pytest.mark.parametrize("known", [0, 1])
def test_solve_where_one_side_is_public(known):
    args = [Clear(x) if i == known else x for i, x in enumerate((WELL, C))]
    (got,), (want,) = secure(jnp.linalg.solve, *args), plain(jnp.linalg.solve, *args)
    close(got, want, 4)
    f = (lambda b: jnp.linalg.solve(WELL, b)) if known == 0 else (lambda a: jnp.linalg.solve(a, C))
    close(secure(f, (C, WELL)[known])[0], want, 4)


def test_matrices_of_one_row_or_column():
    for a in (np.float32([[3, -1, 2]]), np.float32([[0.5], [-2]])):
        for got, want in zip(secure(lax.linalg.lu, a), plain(lax.linalg.lu, a), strict=True):
            close(got, want, 1)
    close(secure(jnp.linalg.svdvals, a)[0], plain(jnp.linalg.svdvals, a)[0], 2)


DERIVATIVES: dict[str, tuple[Callable[..., Any], np.ndarray, float]] = {
    "solve": (lambda a: jnp.sum(jnp.linalg.solve(a, C) ** 2), WELL, 10),
    "cholesky": (lambda a: jnp.sum(jnp.sin(jnp.linalg.cholesky(a))), WELL_POSITIVE, 10),
    "log of det": (lambda a: jnp.linalg.slogdet(a)[1], WELL, 4),
    "inv": (lambda a: jnp.sum(jnp.linalg.inv(a) ** 2), WELL, 10),
    "qr": (lambda a: jnp.sum(jnp.sin(jnp.linalg.qr(a)[1])), WELL, 60),
    "eigh": (lambda a: jnp.linalg.eigh(a)[1][0, 0] ** 2 + jnp.linalg.eigh(a)[0][2], WELL_POSITIVE, 20),
    "singular values": (lambda a: jnp.linalg.norm(a, "nuc"), WELL, 10),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivative(name):
    f, a, ulps = DERIVATIVES[name]
    (got,), (want,) = secure(jax.grad(f), a), plain(jax.grad(f), a)
    close(got, want, ulps)


@pytest.mark.parametrize(
    "f",
    [
        jnp.linalg.cholesky,
        pytest.param(lambda a: jnp.linalg.qr(a)[0], marks=pytest.mark.slow),
        pytest.param(jnp.linalg.inv, marks=pytest.mark.slow),
        pytest.param(jnp.linalg.svdvals, marks=pytest.mark.slow),
    ],
)
def test_three_parties(f):
    a = WELL_POSITIVE[:2, :2] / 4
    (got,), (want,) = secure(f, a, protocol=Rep3(("s0", "s1", "s2"))), plain(f, a)
    close(got, want, 10)


@pytest.mark.parametrize("fraction", [pytest.param(10, marks=pytest.mark.slow), 23])
def test_other_precisions(fraction):
    """Errors in ulp of that precision are those of the usual one."""
    a, ulp = np.round(WELL * 16) / 16, 2.0 ** (18 - fraction)
    options = {"precision": Precision(fraction)}
    (x,) = double(secure(jnp.linalg.solve, a, np.round(C * 16) / 16, **options))
    close(a @ x, np.round(C * 16) / 16, 12, ulp)
    q, r = double(secure(jnp.linalg.qr, a, **options))
    close(q.T @ q, np.eye(3), 4, ulp)
    close(q @ r, a, 4 * norm(a).item(), ulp)
    w, v = double(secure(jnp.linalg.eigh, symmetric(a), **options))
    close(v * w @ v.T, symmetric(a), 4 * norm(symmetric(a)).item(), ulp)


OF_EMPTY: dict[str, Callable[[Any], Any]] = {
    "cholesky": lambda a: jnp.linalg.cholesky(a[..., :0, :0]),
    "lu": lax.linalg.lu,
    "qr": functools.partial(jnp.linalg.qr, mode="complete"),
    "svd": jnp.linalg.svd,
    "eigh": lambda a: tuple(jnp.linalg.eigh(a[..., :0, :0])),
    "det": lambda a: jnp.linalg.det(a[..., :0, :0]),
    "inv": lambda a: jnp.linalg.inv(a[..., :0, :0]),
}


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (0, 3, 3)])
@pytest.mark.parametrize("name", OF_EMPTY)
def test_of_empty_matrices(name, shape):
    """As JAX: factors with no elements, identities, and a determinant of 1."""
    f, a = OF_EMPTY[name], np.zeros(shape, np.float32)
    for got, want in zip(jax.tree.leaves(secure(f, a)), jax.tree.leaves(f(a)), strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, atol=ULP)
