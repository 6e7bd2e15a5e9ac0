"""Running values: `run`, `simulate`, `explain`, and the configuration they use."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jmpc.api.account import Account, account
from jmpc.api.define import Variable, as_jax, as_value, define_private_input
from jmpc.api.functions import function
from jmpc.api.graph import Built, build
from jmpc.api.session import LocalSession, Session, open_session
from jmpc.api.values import DRIVER, Effect, Value, assign
from jmpc.config import LocalConfig, RemoteConfig
from jmpc.errors import StorageError
from jmpc.precision import USUAL, Precision


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


def run(fetches: Any, *, iteration: int | None = None) -> Any:
    """Runs what `fetches` needs, once, and returns what was opened to the player that this script acts as.

    That is the driver. Where all players run this script, it is each one its own, and what is revealed to nobody by
    name opens to the one that leads them (`RemoteConfig.load`).

    Args:
      fetches: a pytree of revealed values (`value.reveal()`), assignments and outputs.
      iteration: a number from 0 to 2^63 - 1 that all players get, for providers that ask which iteration they bring
        data for (`jmpc.provider`).

    Returns:
      The same pytree with an array for every value opened to this player and None for everything else.

    Raises:
      TypeError: for a value that is still secret, or an iteration that is no integer.
      ValueError: for an iteration that is negative or too large.
      StorageError: for a variable that was loaded under another configuration.
      InputError, PeerError, PolicyError, RunAborted: naming the player; nothing is committed then.
    """
    session = current_session()
    leaves, tree = jax.tree.flatten(fetches, is_leaf=_is_fetch)
    number = _number(iteration)
    built = _built(session, tuple(leaves))
    session.announce(built)
    initialise(session, built.variables, number)
    outputs = session.run(dataclasses.replace(built, iteration=number))
    return jax.tree.unflatten(tree, opened(built, outputs, session.me))


def _number(iteration: int | None) -> int | None:
    if iteration is None:
        return None
    if not isinstance(iteration, int | np.integer):
        raise TypeError(f"run: an iteration is an integer, not {type(iteration).__name__}")
    number = int(iteration)
    if not 0 <= number < 1 << 63:
        raise ValueError(f"run: iterations are numbered from 0 to 2^63 - 1, not {number}")
    return number


def opened(built: Built, outputs: Mapping[str, Any], me: str) -> list[Any]:
    """For each fetch its array, if it opened to player `me`, who got these outputs: none, if it was left out."""
    return [None if it is None or it[1] != me else outputs.get(it[0]) for it in built.outputs]


def _built(session: Session, fetches: tuple[Any, ...]) -> Built:
    """The computation behind fetches; remembered, so that loops build it once."""
    for fetch in fetches:
        if not _is_fetch(fetch):
            raise TypeError(f"run: {type(fetch).__name__} is not a private value, an assignment or an output")
    built = session.built.get(fetches)
    if built is None:
        values = [as_value(fetch) if isinstance(fetch, Variable) else fetch for fetch in fetches]
        built = build(values, session.servers, session.driver, session.fraction)
        session.built.put(fetches, built)
    return built


def initialise(session: Session, variables: Iterable[Variable], iteration: int | None = None) -> None:
    """Gives variables their initial values, where no run has done so; first those that others start from.

    Providers are told the `iteration` of the run that needs them.
    """
    waiting = [variable for variable in variables if not session.knows(variable.name)]
    if not waiting:
        return
    needed = {variable.name: _start(session, [variable]).variables for variable in waiting}
    others = (other for name, reads in needed.items() for other in reads if other.name != name)
    initialise(session, others, iteration)
    still = [variable for variable in waiting if not session.knows(variable.name)]
    if still:
        session.run(dataclasses.replace(_start(session, still), iteration=iteration))


def _start(session: Session, variables: Sequence[Variable]) -> Built:
    """The computation that gives variables their initial values."""
    effects = [assign(it, _initial(it), it.player, it.value.node.line) for it in variables]
    return build(effects, session.servers, session.driver, session.fraction)


def _initial(variable: Variable) -> Value:
    if variable.initial is None:
        raise StorageError(
            f"a variable of {variable.line} is not known here: set_config was called since, so load it again"
        )
    return variable.initial


def simulate(fn: Callable[..., Any], *, precision: int | Precision = USUAL) -> Callable[..., Any]:
    """`fn` run on secrets in a fused simulation: plain arrays in, plain arrays out; for notebooks and tests.

    Every array among the arguments is secret-shared, every result opened. Anything else (Python numbers, strings) is
    passed to `fn` as it is. Reals have `precision` fractional bits, 8 to 30.
    """
    fraction = Precision.of(precision).fraction

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(leaf, Value | Variable) for leaf in jax.tree.leaves((args, kwargs))):
            raise TypeError("simulate takes arrays; private values belong to jmpc.function and jmpc.run")
        session = _simulation(fraction)
        leaves, tree = jax.tree.flatten(_secret_call(fn, args, kwargs), is_leaf=_is_fetch)
        built = build(leaves, session.servers, session.driver, session.fraction)
        outputs = session.run(built)
        return jax.tree.unflatten(tree, opened(built, outputs, session.me))

    return call


@functools.cache
def _simulation(fraction: int) -> LocalSession:
    """One for the whole process, so that what is compiled once serves every call."""
    return LocalSession(LocalConfig(precision=fraction))


def explain(fn: Callable[..., Any] | Any, *args: Any, **kwargs: Any) -> Account:
    """What a computation will do and cost, exactly, with nothing executed; print it.

    Args:
      fn: a JAX function, whose array arguments (or their `jax.ShapeDtypeStruct`) are secret inputs of the driver
        and whose results open to it; or, without arguments, fetches as for `run`.
    """
    session = current_session()
    fetches = _secret_call(fn, args, kwargs) if callable(fn) else fn
    leaves = [as_value(x) if isinstance(x, Variable) else x for x in jax.tree.leaves(fetches, is_leaf=_is_fetch)]
    built = build(leaves, session.servers, session.driver, session.fraction)
    return account(session.prepare(built.computation), session.driver)


def _secret_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """`fn` on private inputs of the driver, with every result revealed to it."""

    def secret(leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct):
            return leaf
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return define_private_input(DRIVER, _no_data, types=leaf)
        array = as_jax("the driver", leaf)
        return define_private_input(DRIVER, lambda: array, types=jax.ShapeDtypeStruct(array.shape, array.dtype))

    args, kwargs = jax.tree.map(secret, (args, dict(kwargs)))
    return jax.tree.map(lambda value: value.reveal(), function(fn)(*args, **kwargs))


def _no_data() -> Any:
    raise TypeError("a jax.ShapeDtypeStruct has no data: it can be explained, not run")
