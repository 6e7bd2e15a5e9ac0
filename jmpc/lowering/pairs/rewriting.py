"""The pass itself: a jaxpr with complex variables into an equal one on pairs of real ones.

Equations that have nothing to do with complex secrets stay as they are. The others are traced anew, each by its rule,
and keep their lines. Loops and branches stay what they are, with two carries for each complex one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jmpc import _compat
from jmpc._compat import Atom, dce, source_line
from jmpc.choreography.holders import all_equations, inner_jaxprs
from jmpc.choreography.inline import inline_calls
from jmpc.errors import TraceError
from jmpc.lowering.pairs.pair import Pair, part_dtype
from jmpc.lowering.pairs.registry import Unsupported, named_arguments
from jmpc.lowering.registry import PAIR_RULES, REFUSED
from jmpc.lowering.values import is_complex, is_key

_WITHOUT_RULE = (
    "it has no form on complex secrets",
    "Compute with the real and the imaginary part, x.real and x.imag, as two real arrays",
)
_OF_A_MATRIX = (
    "of complex matrices there is no such factorisation here",
    "Use the real matrix jnp.block([[a.real, -a.imag], [a.imag, a.real]]): it maps [x.real, x.imag] as a maps x",
)
_FACTORISATIONS = frozenset("eigh geqrf householder_product ormqr qr svd tridiagonal_solve".split())


def has_complex(jaxpr: Jaxpr) -> bool:
    """Whether a jaxpr without calls has complex variables, at any depth."""
    atoms = [atom for eqn in all_equations(jaxpr) for atom in (*eqn.invars, *eqn.outvars)]
    return any(map(_is_complex, (*jaxpr.invars, *jaxpr.outvars, *atoms)))


def rewritten(closed: ClosedJaxpr, secret: Sequence[bool], fraction: int) -> ClosedJaxpr:
    """A jaxpr in which no complex variable depends on a secret; a complex argument or result becomes its two parts.

    Args:
      closed: without calls.
      secret: which arguments are.
      fraction: the number of fraction bits of secrets, for rules that ask for it.

    Raises:
      TraceError: naming the user's line, for what has no rule on pairs.
    """
    scope = _Scope(closed, fraction)
    given = zip(closed.jaxpr.invars, secret, strict=True)
    invars = [new for var, is_secret in given for new in scope.argument(var, is_secret)]
    for eqn in closed.jaxpr.eqns:
        scope.add(eqn)
    outvars = scope.flat(closed.jaxpr.outvars)
    made = _compat.make_closed(*scope.constants(), invars, scope.eqns, outvars, like=closed)
    return dce(made, [True] * len(outvars))


class _Scope:
    """One jaxpr under construction."""

    def __init__(self, closed: ClosedJaxpr, fraction: int) -> None:
        self.eqns: list[JaxprEqn] = []
        self._fraction = fraction
        self._constants: dict[Var, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        self._secret: set[Var] = set()
        self._env: dict[Var, Atom | Pair] = {}  # in the place of variables that are no more
        self._source: Any = None  # of the equation at hand

    def constants(self) -> tuple[list[Var], list[Any]]:
        return list(self._constants), list(self._constants.values())

    def argument(self, var: Var, secret: bool) -> list[Var]:
        """The variables in the place of an argument."""
        if secret or _is_complex(var):
            self._secret.add(var)
        return self._new(var)

    def add(self, eqn: JaxprEqn) -> None:
        secret = [isinstance(atom, Var) and atom in self._secret for atom in eqn.invars]
        self._source = eqn.source_info
        if not any(secret):
            self.eqns.append(eqn)
            return
        self._secret.update(eqn.outvars)
        inside = eqn.primitive.name in _CONTROL and any(map(has_complex, inner_jaxprs(eqn)))
        if not inside and not any(map(_is_complex, (*eqn.invars, *eqn.outvars))):
            self.eqns.append(eqn.replace(invars=[self._read(atom) for atom in eqn.invars]))
        elif eqn.primitive.name in _CONTROL:
            params = _CONTROL[eqn.primitive.name](eqn, secret, self._fraction)
            invars = self.flat(eqn.invars)
            outvars = [new for var in eqn.outvars for new in self._new(var)]
            self.eqns.append(eqn.replace(invars=invars, outvars=outvars, params=params))
        else:
            self._by_rule(eqn)

    def flat(self, atoms: Sequence[Atom]) -> list[Atom]:
        """Both parts, as arrays, in the place of each complex atom."""
        return [new for atom in atoms for new in (self._parts(atom) if _is_complex(atom) else [self._read(atom)])]

    def _read(self, atom: Atom) -> Any:
        return self._env.get(atom, atom) if isinstance(atom, Var) else atom

    def _new(self, var: Var) -> list[Var]:
        if not _is_complex(var):
            return [var]
        aval = ShapedArray(var.aval.shape, part_dtype(var.aval.dtype))
        parts = [_compat.fresh_var(aval), _compat.fresh_var(aval)]
        self._env[var] = Pair(*parts)
        return parts

    # -- equations by their rules ----------------------------------------------------------------------------------

    def _by_rule(self, eqn: JaxprEqn) -> None:
        name = eqn.primitive.name
        if name not in PAIR_RULES:
            raise _refusal(eqn, *REFUSED.get(name, _OF_A_MATRIX if name in _FACTORISATIONS else _WITHOUT_RULE))
        if all(math.prod(var.aval.shape) == 0 for var in eqn.outvars):
            self._env.update({var: self._zeros(var) for var in eqn.outvars})
            return
        rule = PAIR_RULES[name]
        named = named_arguments(rule, eqn.params, primitive=eqn.primitive, fraction=self._fraction)
        operands = [self._pair(atom) if _is_complex(atom) else self._read(atom) for atom in eqn.invars]
        try:
            results = self._traced(functools.partial(rule, **named), *operands)
        except Unsupported as error:
            raise _refusal(eqn, error.reason, error.instead) from None
        for var, result in zip(eqn.outvars, results if eqn.primitive.multiple_results else [results], strict=True):
            self._env[var] = self._shaped(result, var.aval.shape)

    def _traced(self, function: Callable[..., Any], *operands: Any) -> Any:
        """What a function returns, of atoms and pairs of them; its equations stand at the line of the one at hand."""
        atoms, tree = jax.tree.flatten(operands)
        types = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in atoms]
        wide = any(not is_key(t.dtype) and np.dtype(t.dtype).itemsize == 8 for t in types)
        with jax.enable_x64(wide):
            closed, shape = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(tree, types))
        made = inline_calls(closed, self._source)
        env: dict[Var, Atom] = dict(zip(made.jaxpr.invars, atoms, strict=True))
        self._constants.update(zip(made.jaxpr.constvars, made.consts, strict=True))
        read = lambda atom: env.get(atom, atom) if isinstance(atom, Var) else atom
        self.eqns += [eqn.replace(invars=[read(atom) for atom in eqn.invars]) for eqn in made.jaxpr.eqns]
        return jax.tree.unflatten(jax.tree.structure(shape), [read(atom) for atom in made.jaxpr.outvars])

    def _shaped(self, result: Any, shape: tuple[int, ...]) -> Any:
        """A result, in which scalars are broadcast, and zeros known as such."""
        if not isinstance(result, Pair):
            return self._broadcast(result, shape)
        real, imag = (None if _is_zero(part) else part for part in (result.real, result.imag))
        if real is None and imag is None:
            real = result.real
        return Pair(*(None if part is None else self._broadcast(part, shape) for part in (real, imag)))

    def _broadcast(self, atom: Atom, shape: tuple[int, ...]) -> Atom:
        return atom if atom.aval.shape == shape else self._traced(lambda x: jnp.broadcast_to(x, shape), atom)

    # -- complex atoms as pairs ------------------------------------------------------------------------------------

    def _parts(self, atom: Atom) -> Sequence[Atom]:
        return self._traced(lambda pair: pair.filled, self._pair(atom))

    def _pair(self, atom: Atom) -> Pair:
        if isinstance(atom, Literal):
            return self._constant(np.asarray(atom.val, atom.aval.dtype))
        if atom not in self._env:  # public: complex until now
            if atom in self._constants:
                self._env[atom] = self._constant(np.asarray(self._constants[atom]))
            else:
                self._env[atom] = self._traced(lambda x: Pair(lax.real(x), lax.imag(x)), atom)
        return self._env[atom]

    def _constant(self, array: np.ndarray) -> Pair:
        parts = [self._known(part) if part.any() else None for part in (array.real, array.imag)]
        return Pair(*parts) if any(part is not None for part in parts) else Pair(self._known(array.real))

    def _zeros(self, var: Var) -> Atom | Pair:
        array = np.zeros(var.aval.shape, var.aval.dtype)
        return self._constant(array) if _is_complex(var) else self._known(array)

    def _known(self, array: np.ndarray) -> Atom:
        aval = ShapedArray(array.shape, array.dtype)
        if not array.ndim:
            return _compat.make_literal(array, aval)
        var = _compat.fresh_var(aval)
        self._constants[var] = array
        return var


def _is_complex(atom: Atom) -> bool:
    return hasattr(atom.aval, "dtype") and is_complex(atom.aval.dtype)


def _is_zero(atom: Any) -> bool:
    return atom is None or (isinstance(atom, Literal) and not np.any(atom.val))


def _refusal(eqn: JaxprEqn, reason: str, instead: str) -> TraceError:
    return TraceError(f"{source_line(eqn)}: `{eqn.primitive.name}`: {reason}. {instead}")


# -- loops and branches: the parameters with their bodies rewritten ------------------------------------------------


def _scan(eqn: JaxprEqn, secret: Sequence[bool], fraction: int) -> dict[str, Any]:
    params = eqn.params
    consts, carry = _compat.scan_counts(params)
    body = _body(params["jaxpr"], secret, range(consts, consts + carry), fraction)
    counts = dict(num_consts=_count(eqn.invars[:consts]), num_carry=_count(eqn.invars[consts:][:carry]))
    return _compat.scan_params(body, **counts, **{key: params[key] for key in ("length", "reverse", "unroll")})


def _while(eqn: JaxprEqn, secret: Sequence[bool], fraction: int) -> dict[str, Any]:
    params = eqn.params
    cut = params["cond_nconsts"]
    more = cut + params["body_nconsts"]
    in_cond, in_body = [*secret[:cut], *secret[more:]], secret[cut:]
    return dict(
        params,
        cond_jaxpr=_body(params["cond_jaxpr"], in_cond, range(cut, len(in_cond)), fraction),
        body_jaxpr=_body(params["body_jaxpr"], in_body, range(more - cut, len(in_body)), fraction),
        cond_nconsts=_count(eqn.invars[:cut]),
        body_nconsts=_count(eqn.invars[cut:more]),
    )


def _cond(eqn: JaxprEqn, secret: Sequence[bool], fraction: int) -> dict[str, Any]:
    branches = tuple(_body(branch, secret[1:], range(0), fraction) for branch in eqn.params["branches"])
    return dict(eqn.params, branches=branches)


_CONTROL = {"scan": _scan, "while": _while, "cond": _cond}


def _body(closed: ClosedJaxpr, secret: Sequence[bool], carry: range, fraction: int) -> ClosedJaxpr:
    """A body, in which a carry may always have become secret."""
    return rewritten(closed, [is_secret or i in carry for i, is_secret in enumerate(secret)], fraction)


def _count(atoms: Sequence[Atom]) -> int:
    return sum(1 + _is_complex(atom) for atom in atoms)
