"""Running values: `run`, `simulate`, `explain`, and the configuration they use."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import jax

from jmpc.api.account import Account, account
from jmpc.api.define import Variable, define_private_input
from jmpc.api.functions import function
from jmpc.api.graph import Built, build
from jmpc.api.session import Session, open_session
from jmpc.api.values import Effect, Value, assign
from jmpc.config import LocalConfig, RemoteConfig

_log = logging.getLogger("jmpc")


class _Default:
    """The configuration set by `set_config`, the one mutable default that a script shares."""

    session: Session | None = None


def set_config(config: LocalConfig | RemoteConfig) -> None:
    """Says where the computations of this script run. Variables of an earlier configuration are not carried over."""
    if _Default.session is not None:
        _Default.session.close()
    _Default.session = open_session(config)


def current_session() -> Session:
    """The session of the configuration in force; a local simulation if none was set."""
    if _Default.session is None:
        _Default.session = open_session(LocalConfig())
    return _Default.session


def _is_fetch(x: Any) -> bool:
    return isinstance(x, Value | Effect | Variable)


def run(fetches: Any) -> Any:
    """Runs what `fetches` needs, once, and returns what was opened to the driver.

    Args:
      fetches: a pytree of revealed values (`value.reveal()`), assignments and outputs.

    Returns:
      The same pytree with an array for every value opened to the driver and None for everything else.

    Raises:
      TypeError: for a value that is still secret.
      InputError, PeerError, PolicyError, RunAborted: naming the player; nothing is committed then.
    """
    session = current_session()
    leaves, tree = jax.tree.flatten(fetches, is_leaf=_is_fetch)
    built = _built(session, tuple(leaves))
    session.announce(built)
    _initialise(session, built)
    outputs = session.run(built)
    return jax.tree.unflatten(tree, [None if key is None else outputs[key] for key in built.outputs])


def _built(session: Session, fetches: tuple[Any, ...]) -> Built:
    """The computation behind fetches; remembered, so that loops build it once."""
    if fetches not in session.built:
        for fetch in fetches:
            if not _is_fetch(fetch):
                raise TypeError(f"run: {type(fetch).__name__} is not a private value, an assignment or an output")
            if isinstance(fetch, Variable):
                raise TypeError("run: a variable is secret; run(variable.reveal()) opens it to the driver")
        session.built[fetches] = build(fetches, session.servers, session.driver, session.fraction)
    return session.built[fetches]


def _initialise(session: Session, built: Built) -> None:
    """Gives the variables of a computation their initial values, where no run has done so."""
    new = [variable for variable in built.variables if not session.knows(variable.name)]
    if not new:
        return
    effects = tuple(assign(variable, variable.initial, variable.player) for variable in new)
    first = build(effects, session.servers, session.driver, session.fraction)
    inner = [variable for variable in first.variables if variable not in new]
    if any(not session.knows(variable.name) for variable in inner):
        _initialise(session, first)
    session.run(first)


def simulate(fn: Callable[..., Any], *, precision: int = 18) -> Callable[..., Any]:
    """`fn` run on secrets in a fused simulation: plain arrays in, plain arrays out.

    Every array argument is secret-shared, every result opened; for notebooks and tests.
    """

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        with open_session(LocalConfig(precision=precision)) as session:
            fetches = _secret_call(fn, args)
            leaves, tree = jax.tree.flatten(fetches, is_leaf=_is_fetch)
            built = build(leaves, session.servers, session.driver, session.fraction)
            outputs = session.run(built)
            return jax.tree.unflatten(tree, [outputs[key] for key in built.outputs if key is not None])

    return call


def explain(fn: Callable[..., Any] | Any, *args: Any) -> Account:
    """What a computation will do and cost, exactly, with nothing executed; print it.

    Args:
      fn: a JAX function, whose array arguments `args` (or their `jax.ShapeDtypeStruct`) are secret; or, without
        `args`, fetches as for `run`.
    """
    session = current_session()
    fetches = fn if not callable(fn) else _secret_call(fn, args)
    leaves = jax.tree.leaves(fetches, is_leaf=_is_fetch)
    built = build(leaves, session.servers, session.driver, session.fraction)
    return account(session.prepare(built.computation))


def _secret_call(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """`fn` on private inputs of the driver, with every result revealed to it."""
    from jmpc.api.values import DRIVER

    def secret(leaf: Any) -> Any:
        if isinstance(leaf, Value | Variable):
            return leaf
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return define_private_input(DRIVER, lambda: None, types=leaf)
        array = jax.numpy.asarray(leaf)
        return define_private_input(DRIVER, lambda: array, types=jax.ShapeDtypeStruct(array.shape, array.dtype))

    values = jax.tree.map(secret, args, is_leaf=lambda x: isinstance(x, Value | Variable))
    return jax.tree.map(lambda value: value.reveal(), function(fn)(*values), is_leaf=_is_fetch)
