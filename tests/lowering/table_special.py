"""More of the table: special functions, remainders and powers as jax.numpy and jax.scipy.special spell them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jax import lax

from .table import POSITIVE, UNIT, Case, I, J, X, Y

FIRST = np.array([0.125, 0.5, 1.0, 2.5, 6.0], np.float32)
SECOND = np.array([3.0, 0.25, 1.5, 7.0, 2.0], np.float32)
PARTS = np.array([0.125, 0.25, 0.5, 0.75, 0.96875], np.float32)
BASES = np.array([-2, -2, -1.5, 0, 0, 0, 3, 0.25, -0.125, -7], np.float32)
EXPONENTS = np.array([3, -2, 4, 0, 0.1, 2.5, -1.5, -3.25, 1, -5], np.float32)
POWERS = np.arange(-1, 3, dtype=np.int32)
LARGE = np.array([1e6, 7e5, -8e5, 9e5, -1e6], np.float32)


def _beyond_large_numbers(x):
    least = lax.scan(lambda best, v: (jnp.minimum(best, v), None), jnp.inf, 32 * abs(x))[0]
    positive = jnp.where(x > 0, x, jnp.inf)
    return least, positive.min(), jnp.sort(positive)[:3], jax.ops.segment_max(x, np.array([0, 0, 1, 1, 2]), 3)


SPECIAL = [
    Case("mod by secrets", jnp.mod, (X, Y)),
    Case("fmod by secrets", jnp.fmod, (X, Y), 0),
    Case("remainder of a constant", lambda y: jnp.remainder(np.float32(5.5), y), (Y,)),
    Case("floor_divide by secrets", lambda x, y: x // y, (X, Y), 0),
    Case("divmod by secrets", lambda x, y: jnp.stack(jnp.divmod(x, y)), (X, Y)),
    Case("copysign", jnp.copysign, (X, Y), 0),
    Case("signbit", jnp.signbit, (X,)),
    Case("signbit in a loop", lambda x: lax.scan(lambda c, v: (c + jnp.signbit(v), v), jnp.zeros(4, int), x)[0], (X,)),
    Case("hypot", jnp.hypot, (X, Y)),
    Case("sinc", jnp.sinc, (X,)),
    Case("nan_to_num", jnp.nan_to_num, (X,), 0),
    Case("nan in a selection", lambda x: jnp.where(x > 100, jnp.nan, x), (X,), 0),
    Case("infinity beyond large numbers", _beyond_large_numbers, (LARGE,), 0),
    Case("clz", lax.clz, (I,)),
    Case("powers by constants", lambda x: x**POWERS, (Y,)),
    Case("vander", lambda x: jnp.vander(x, 4), (FIRST,), relative=2e-5),
    Case("integer powers by constants", lambda i: i**J, (I,)),
    Case("float_power", jnp.float_power, (POSITIVE, Y), relative=1e-4),
    Case("pow of any base", lambda x, y: x**y, (BASES, EXPONENTS), relative=1e-4),
    Case("pow by integers", lambda x, i: lax.pow(x, i), (BASES[:4], np.array([3, -2, 1, 0], np.int32)), relative=1e-4),
    Case("pow of constants by integers", lambda i: lax.pow(np.float32([1.5, 0.5, 4]), i), (I[0, :3],), relative=1e-4),
    Case("large constant powers", lambda x: (x**65.0, x**66.0), (np.float32([-1.1, 0.9, -0.5, 1]),), relative=2e-4),
    Case("power of zero", lambda x: (x - x) ** 0.3, (POSITIVE,)),
    Case("i0", jnp.i0, (X / 2,), relative=2e-5),
    Case("i1", jsp.i1, (X / 2,), relative=2e-5),
    Case("gammaln", jsp.gammaln, (POSITIVE,), 8),
    Case("gamma", jsp.gamma, (np.where(X % 1 == 0, X + 0.5, X) / 2,), 24, 5e-5),
    Case("gammasgn", jsp.gammasgn, (Y - 0.1,), 0),
    Case("beta", jsp.beta, (FIRST, SECOND), 16, 5e-5),
    Case("betaln", jsp.betaln, (FIRST, SECOND), 16),
    Case("multigammaln", lambda x: jsp.multigammaln(x + 2, 3), (FIRST,), 24),
    Case("digamma", jsp.digamma, (POSITIVE,), 8),
    Case("polygamma", lambda x: jsp.polygamma(2, x), (POSITIVE + 0.25,), 24, 1e-4),
    Case("gradient of gammaln", jax.grad(lambda x: jsp.gammaln(x).sum()), (POSITIVE,), 8),
    Case("gradient of digamma", jax.grad(lambda x: jsp.digamma(x).sum()), (POSITIVE + 0.5,), 16, 5e-5),
    Case("gradient of digamma at negative numbers", jax.grad(lambda x: jsp.digamma(x).sum()), (-PARTS - 2,), 16, 2e-4),
    Case("zeta", lambda q: jsp.zeta(2.0, q), (FIRST,), 8, 2e-5),
    Case("gammainc", jsp.gammainc, (FIRST, SECOND), 12),
    Case(
        "gradients of gammainc",
        lambda a, x: jnp.stack(jax.grad(lambda *args: jsp.gammainc(*args).sum(), (0, 1))(a, x)),
        (FIRST, SECOND),
        12,
    ),
    Case("gammainc of constants", lambda x: jsp.gammainc(FIRST, x), (SECOND,), 12),
    Case("gammaincc", jsp.gammaincc, (FIRST, SECOND), 12),
    Case("betainc", jsp.betainc, (FIRST, SECOND, PARTS), 12),
    Case("betainc of constants", lambda x: jsp.betainc(FIRST, SECOND, x), (PARTS,), 12),
    Case("erfinv", jsp.erfinv, (UNIT,)),
    Case("ndtr", jsp.ndtr, (X,)),
    Case("ndtri", jsp.ndtri, (PARTS,), 24),
    Case("entr", jsp.entr, (POSITIVE,), 8),
    Case("xlogy", jsp.xlogy, (X, POSITIVE), 16),
    Case("xlog1py", jsp.xlog1py, (X, POSITIVE), 16),
    Case("logit", jsp.logit, (PARTS,), 8, 5e-5),
    Case("kl_div", jsp.kl_div, (FIRST, SECOND), 48),
    Case("rel_entr", jsp.rel_entr, (FIRST, SECOND), 48),
    Case("log_normal tails", lambda x: jsp.log_ndtr(x / 4), (X,), 16),
]
