"""Who may see what derives from whose inputs: said by the owners, kept with every variable.

A grant travels with the data. When a variable is opened in a run without its owner, those who hold it still judge by
what the owner said in the run that wrote it, not only by their own policies.
"""

from __future__ import annotations

from jmpc.runtime.orders import Order
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.store import Grants


def granted(prepared: Prepared, order: Order, *, opened: bool = False) -> Grants:
    """For each player whose inputs a run touches: those who may see them, by its own word and by all variables read.

    With `opened`, of what the run itself opens: then also those to whom the player's operator has approved that.
    """
    found = {player: order.receivers[player] for player in prepared.owners}
    if opened:
        found = {player: may | order.approved.get(player, frozenset()) for player, may in found.items()}
    for name in prepared.reads:
        for owner, receivers in order.variables[name].grants.items():
            found[owner] = found.get(owner, receivers) & receivers
    return found


def written(prepared: Prepared, order: Order) -> dict[str, Grants]:
    """The grants of each variable that a run writes."""
    origins = prepared.provenance({name: order.variables[name].origins for name in prepared.reads})
    every = granted(prepared, order)
    return {name: {owner: every[owner] for owner in owners} for name, owners in origins.items()}
