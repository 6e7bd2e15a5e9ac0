"""jax.random with a public key runs in the clear: what it gives is what it gives without jmpc."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .helpers import ULP, Clear, plain, secure

X = np.array([0.5, -1.25, 2.0, 4.0], np.float32)
KEY = np.asarray(jax.random.PRNGKey(3))

EXACT = {
    "bits": lambda key: jax.random.bits(key, (5,)),
    "bits of 8": lambda key: jax.random.bits(key, (5,), np.uint8),
    "randint": lambda key: jax.random.randint(key, (5,), -10, 10),
    "permutation": lambda key: jax.random.permutation(key, 8),
    "bernoulli": lambda key: jax.random.bernoulli(key, 0.3, (6,)),
    "choice": lambda key: jax.random.choice(key, 5, (4,)),
    "categorical": lambda key: jax.random.categorical(key, jnp.log(jnp.arange(1.0, 5.0)), shape=(6,)),
    "split": lambda key: jax.random.bits(jax.random.split(key, 3)[1], (2,)),
    "fold_in": lambda key: jax.random.bits(jax.random.fold_in(key, 7), (2,)),
    "rademacher": lambda key: jax.random.rademacher(key, (6,)),
}
REAL = {
    "uniform": lambda key: jax.random.uniform(key, (6,), minval=-3, maxval=5),
    "normal": lambda key: jax.random.normal(key, (2, 3)),
    "truncated_normal": lambda key: jax.random.truncated_normal(key, -1, 2, (6,)),
    "exponential": lambda key: jax.random.exponential(key, (6,)),
    "gumbel": lambda key: jax.random.gumbel(key, (6,)),
    "laplace": lambda key: jax.random.laplace(key, (6,)),
    "logistic": lambda key: jax.random.logistic(key, (6,)),
    "gamma": lambda key: jax.random.gamma(key, 2.5, (3,)),
    "dirichlet": lambda key: jax.random.dirichlet(key, jnp.ones(3)),
}


@pytest.mark.parametrize("name", EXACT)
def test_bits_and_integers_are_equal(name):
    f = EXACT[name]
    (want,) = plain(f, KEY)
    for got in (secure(lambda x: f(jax.random.key(3)), X), secure(f, Clear(KEY))):
        np.testing.assert_array_equal(got[0], want)
        assert got[0].dtype == want.dtype


@pytest.mark.parametrize("name", REAL)
def test_reals_that_meet_a_secret_are_rounded_once(name):
    f = REAL[name]
    (want,) = plain(f, KEY)
    for got in (
        secure(lambda x: f(jax.random.key(3)) + x[0] * 0, X),
        secure(lambda x, key: f(key) + x[0] * 0, X, Clear(KEY)),
    ):
        assert np.abs(got[0] - want).max() <= ULP / 2 + np.spacing(np.abs(want).max())


def test_dropout_and_noise_in_a_private_function():
    def layer(x, key):
        mask, noise = jax.random.split(key)
        kept = jax.random.bernoulli(mask, 0.5, x.shape)
        return jnp.where(kept, x * 2, 0) + 0.1 * jax.random.normal(noise, x.shape)

    (got,), (want,) = secure(layer, X, Clear(KEY)), plain(layer, X, Clear(KEY))
    np.testing.assert_allclose(got, want, atol=2 * ULP)


def test_a_secret_is_shuffled_by_a_public_permutation():
    def shuffled(x, key):
        return jax.random.permutation(key, x), x[jax.random.randint(key, (3,), 0, 4)]

    for got, want in zip(secure(shuffled, X, Clear(KEY)), plain(shuffled, X, Clear(KEY)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_key_in_a_loop():
    def walk(x, key):
        def step(carry, _):
            key, x = carry
            key, sub = jax.random.split(key)
            return (key, x + jax.random.normal(sub, x.shape)), jax.random.bits(sub, (2,))

        (_, x), bits = jax.lax.scan(step, (key, x), length=5)
        return x, bits

    (x, bits), (want, want_bits) = secure(walk, X, Clear(KEY)), plain(walk, X, Clear(KEY))
    np.testing.assert_array_equal(bits, want_bits)
    np.testing.assert_allclose(x, want, atol=6 * ULP)
