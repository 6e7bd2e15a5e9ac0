"""NaN and infinities that a program puts among secrets are found, or who asks for them is told why they cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jmpc.errors import TraceError
from jmpc.protocols.rep3 import Rep3

from .helpers import ULP, Clear, secure

X = np.array([[3, 5, 8, 11, 2], [-1, 0.5, 7, 0.25, -6]], np.float32)
MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 1]], bool)
FILLED = [
    lambda x: jnp.nanmean(x, axis=1),
    lambda x: jnp.nanvar(x.T, axis=0),
    jnp.nansum,
    lambda x: jnp.stack([jnp.nanmin(x, 0), jnp.nanmax(x, 0)]) * jnp.array([1.0, 1, 1, 0, 1]),
    lambda x: jnp.nanargmax(x, axis=1),
    lambda x: jnp.nan_to_num(x[:, ::-1].ravel(), nan=7.0),
    lambda x: jnp.where(jnp.isnan(x), jnp.nanmean(x), x),
    lambda x: jnp.isnan(jnp.where(x > 4, x, jnp.nan)),
    lambda x: jnp.isfinite(x) & ~jnp.isnan(x),
    lambda x: jnp.stack([x < 4, x <= 4, x > 4, x >= 4, x == 3, x != 3, x < 1e9]),
    lambda x: jnp.nan_to_num(jnp.sort(x, axis=1), nan=100.0),
    lambda x: jnp.argsort(x, axis=1),
    lambda x: jax.vmap(jnp.nansum)(x),
]


@pytest.mark.parametrize("f", FILLED)
@pytest.mark.parametrize("public", [False, True], ids=["secret mask", "public mask"])
def test_what_a_mask_makes_nan(f, public):
    def masked(x, mask):
        return f(jnp.where(mask, x, jnp.nan))

    if public:
        (got,) = secure(lambda x: masked(x, MASK), X)
    else:
        (got,) = secure(masked, X, MASK)
    np.testing.assert_allclose(got, masked(X, MASK), rtol=1e-5, atol=16 * ULP)


@pytest.mark.parametrize("f", [lambda x: jnp.nanmedian(x, axis=1), lambda x: jnp.nanquantile(x, 0.3)])
def test_quantiles_leave_it_out(f):
    (got,) = secure(lambda x, mask: f(jnp.where(mask, x, jnp.nan)), X, MASK)
    np.testing.assert_allclose(got, f(jnp.where(MASK, X, jnp.nan)), rtol=0, atol=4 * ULP)


def test_by_three_parties():
    def f(x, mask):
        return jnp.nanmean(jnp.where(mask, x, jnp.nan))

    (got,) = secure(f, X, MASK, protocol=Rep3(("s0", "s1", "s2")))
    np.testing.assert_allclose(got, f(X, MASK), rtol=0, atol=4 * ULP)


def test_by_a_mask_that_a_player_makes_public():
    def f(x, mask):
        return jnp.nanmean(jnp.where(mask, x, jnp.nan))

    (got,) = secure(f, X, Clear(MASK))
    np.testing.assert_allclose(got, f(X, MASK), rtol=0, atol=16 * ULP)  # 1 / 6 as a public number of 18 bits


def _computed(x):
    return jnp.nanmean(2 * jnp.where(x > 0, x, jnp.nan))


def _set(x):
    return jnp.isnan(x.at[0].set(jnp.nan))


def _in_a_loop(x):
    return lax.map(jnp.nansum, jnp.where(x > 0, x, jnp.nan))


def _after_a_loop(x):
    return jnp.isnan(lax.fori_loop(0, 3, lambda i, c: c + x, jnp.where(x > 0, x, jnp.nan)))


@pytest.mark.parametrize("f", [_computed, _set, _in_a_loop, _after_a_loop])
def test_asking_in_vain_is_refused(f):
    line = rf"test_missing.py:{f.__code__.co_firstlineno + 1} \({f.__name__}\)"
    with pytest.raises(TraceError, match=rf"{line}: `(ne|eq)`: .* are NaN.*at {line} counts as 0.*where=mask"):
        secure(f, X)


def _distances(edges):
    start = jnp.where(jnp.eye(4, dtype=bool), 0, jnp.where(edges > 0, edges, jnp.inf))
    d = lax.fori_loop(0, 2, lambda i, d: jnp.minimum(d, (d[:, :, None] + d[None]).min(1)), start)
    looped = lax.map(lambda row: jnp.isinf(row).sum(), d)
    compared = d < jnp.inf, d >= jnp.inf, d > jnp.inf, d <= jnp.inf, -d > -jnp.inf, -d == -jnp.inf, jnp.inf != d
    return jnp.isinf(d), jnp.isneginf(-d), jnp.where(d == jnp.inf, -1, d), looped, *compared


def test_comparisons_find_infinities():
    edges = np.float32([[0, 2, 0, 1], [0, 0, 3, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    for got, want in zip(secure(_distances, edges), _distances(edges), strict=True):
        np.testing.assert_array_equal(got, want)


def test_segments_without_an_element():
    def f(x, segments):
        largest = jax.ops.segment_max(x, segments, 4)
        return jnp.where(jnp.isinf(largest), 0.25, largest)

    x, segments = X.ravel(), np.int32([0, 0, 1, 1, 3, 3, 3, 3, 0, 1])
    np.testing.assert_array_equal(secure(f, x, segments)[0], f(x, segments))


def test_nothing_is_asked_of_what_has_no_nan():
    def f(x):
        loss = jnp.sum(jnp.where(x > 0, x, -jnp.inf).max(1))  # infinities stand for numbers
        return jnp.where(jnp.isnan(loss), 0.0, loss), jnp.isnan(2 * jnp.where(jnp.isnan(x), 0, x))

    loss, missing = secure(f, X)
    assert abs(loss - 18) < 2 * ULP and not missing.any()
