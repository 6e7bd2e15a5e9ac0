"""Who may see what derives from whose inputs: said by the owners, kept with every variable.

A grant travels with the data. When a variable is opened in a run without its owner, those who hold it still judge by
what the owner said in the run that wrote it, not only by their own policies.
"""

from __future__ import annotations

from jmpc.computation import ArrayType
from jmpc.runtime.orders import Order
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.store import Generation, Grants


def granted(prepared: Prepared, order: Order, *, opened: bool = False) -> Grants:
    """For each player whose inputs a run touches: those who may see them, by its own word and by all variables read.

    With `opened`, of what the run itself opens: then also those to whom the player's operator has approved that.
    """
    found = {player: order.receivers[player] for player in prepared.owners - uninvited(prepared, order)}
    if opened:
        found = {player: may | order.approved.get(player, frozenset()) for player, may in found.items()}
    for name in prepared.reads:
        for owner, receivers in order.variables[name].grants.items():
            found[owner] = found.get(owner, receivers) & receivers
    return found


def uninvited(prepared: Prepared, order: Order) -> frozenset[str]:
    """The players that a run can do without and that have not said who may see their inputs: they bring none."""
    return prepared.optional - order.receivers.keys()


def form(prepared: Prepared, type_: ArrayType, player: str | None) -> str:
    """How a variable is held by those who run this computation: as shares, or in the clear at a player."""
    bits = prepared.lowered.computation.fraction
    return f"{type_} in shares of {bits} bits" if player is None else f"{type_} in the clear at {player}"


def written(prepared: Prepared, order: Order, run: bytes) -> dict[str, Generation]:
    """The generation of each variable that a run writes; `run` is the identity that its players agreed on."""
    origins = prepared.provenance({name: order.variables[name].origins for name in prepared.reads})
    every = granted(prepared, order)
    types = prepared.lowered.computation.written
    return {
        name: Generation(run, {it: every[it] for it in sorted(owners & every.keys())}, form(prepared, *types[name]))
        for name, owners in origins.items()
    }
