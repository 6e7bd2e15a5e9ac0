"""Traces a choreography and checks it: the one way in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, JaxprEqn

from jmpc._compat import dce
from jmpc.choreography import primitives as prim
from jmpc.choreography.holders import HolderMap, Holders, all_equations, infer_holders
from jmpc.choreography.inline import inline_calls
from jmpc.choreography.masks import check_masks
from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.optional import check_optional
from jmpc.choreography.unshare import unshare
from jmpc.errors import ChoreographyError


@dataclass(frozen=True)
class Choreography:
    """A traced and checked choreography: without calls, without dead code, every holder known."""

    closed: ClosedJaxpr
    inputs: tuple[Holders, ...]
    players: tuple[str, ...]
    holders: HolderMap
    masked_messages: int  # how many (message, receiver) pairs the mask check covered
    optional: Holders = frozenset()  # players that a run can do without

    def equations(self) -> Iterator[JaxprEqn]:
        """Every equation, those in loops and branches included."""
        yield from all_equations(self.closed.jaxpr)

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """The key sets that the draws use."""
        return tuple(sorted({eqn.params["key"] for eqn in self.equations() if eqn.primitive is prim.draw_p}))


def trace(
    fn: Callable[..., Sequence[jax.Array]],
    avals: Sequence[Any],
    inputs: Sequence[Iterable[str]],
    players: Sequence[str],
    optional: Iterable[str] = (),
) -> Choreography:
    """Traces `fn`, a choreography in `jax.numpy` and the primitives, and checks it.

    Args:
      fn: takes one located array for each of `avals` and returns a flat sequence of arrays.
      avals: shape and dtype of each argument.
      inputs: who holds each argument.
      players: everyone who takes part.
      optional: those of them that a run can do without.

    Raises:
      ChoreographyError: naming the author's line; see `infer_holders`, `check_masks` and `check_optional`.
    """
    located = tuple(frozenset(who) for who in inputs)
    _check_players(located, players)
    with jax.enable_x64(True):
        closed = inline_calls(jax.make_jaxpr(fn)(*avals))
        closed = unshare(dce(closed, [True] * len(closed.out_avals)))
    holders = infer_holders(closed, located, players)
    may_miss = frozenset(optional)
    check_optional(closed, may_miss)
    return Choreography(closed, located, tuple(players), holders, check_masks(closed), may_miss)


def _check_players(inputs: Sequence[Holders], players: Sequence[str]) -> None:
    if len(set(players)) != len(players) or TOGETHER in players:
        raise ChoreographyError(f"the players {list(players)} need different names, other than {TOGETHER!r}")
    for index, who in enumerate(inputs):
        if not who or not who <= set(players):
            raise ChoreographyError(f"argument {index} is held by {sorted(who)}, the players are {list(players)}")
