"""Which player needs which value: the backward pass behind projection.

A *view* is a way of reading the trace. In the `Located` view every player computes what it holds and
receives the rest; in the `Together` view one imagined player holds everything, sends are plain
subtractions and only the first copy of an `agree` is computed: that is the fused simulation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import scan_counts
from jmpc.choreography import primitives as prim
from jmpc.choreography.holders import HolderMap, all_equations, inner_jaxprs

TOGETHER = "(everyone)"  # the imagined player of a fused simulation; no name of a real one

_PLACED = (*prim.TALK, prim.draw_p, prim.agree_p, prim.guard_p, prim.local_p, prim.delivered_p, prim.quorum_p)


@dataclass(frozen=True)
class View:
    """How a choreography is read: by its players (`holders` given) or as one (`holders` None).

    `cut_messages` says whether a message ends a compiled segment; it always does between players. `eager` says
    whether everything is computed as early as it can be, not as late as it is used: where nobody waits for a
    message, this is what decides which segment an equation belongs to.
    """

    players: tuple[str, ...]
    holders: HolderMap | None
    cut_messages: bool = True
    eager: bool = False

    def holds(self, player: str, atom: Var | Literal) -> bool:
        return self.holders is None or player in self.holders[atom] or not self.holders[atom]

    def is_step(self, eqn: JaxprEqn) -> bool:
        """Whether a control-flow equation is a step of the program, not code inside a segment.

        It is if something in it concerns single players, or if its parts are held by different ones.
        """
        bodies = inner_jaxprs(eqn)
        if not bodies:
            return False
        if any(inner.primitive in _PLACED for body in bodies for inner in all_equations(body)):
            return True
        if self.holders is None:
            return False
        players = {player for var in eqn.outvars for player in self.holders[var]}
        return not all(self.holds(player, atom) for player in players for atom in eqn.invars)


@dataclass
class Needs:
    """For each player the variables it must compute or receive, and who receives each message."""

    of_player: dict[str, set[Var]] = field(default_factory=lambda: defaultdict(set))
    receivers: dict[Var, tuple[str, ...]] = field(default_factory=dict)

    def add(self, player: str, atoms: Iterable[Var | Literal]) -> None:
        self.of_player[player].update(atom for atom in atoms if not isinstance(atom, Literal))

    def size(self) -> int:
        return sum(map(len, self.of_player.values()))


def mark_needs(jaxpr: Jaxpr, view: View, needs: Needs) -> None:
    """Extends `needs`, which holds what is needed of the outputs, backwards over a body."""
    for eqn in reversed(jaxpr.eqns):
        if eqn.primitive in prim.TALK:
            _mark_message(eqn, view, needs)
        elif eqn.primitive is prim.agree_p:
            _mark_copy(eqn, view, needs)
        elif view.is_step(eqn):
            _mark_control(eqn, view, needs)
        else:
            for player in view.players:
                if not needs.of_player[player].isdisjoint(eqn.outvars):
                    needs.add(player, eqn.invars)


def _mark_message(eqn: JaxprEqn, view: View, needs: Needs) -> None:
    (seen,) = eqn.outvars
    receivers = []
    for player in view.players:
        if seen in needs.of_player[player]:
            if all(view.holds(player, atom) for atom in eqn.invars):
                needs.add(player, eqn.invars)
            else:
                receivers.append(player)
    if receivers:
        needs.add(eqn.params["src"], [seen, *eqn.invars])
        needs.receivers[seen] = tuple(receivers)


def copy_of(eqn: JaxprEqn, player: str, view: View) -> Var | Literal:
    """The operand of an `agree` that this player continues with: the first that it holds."""
    return next(atom for atom in eqn.invars if view.holds(player, atom))


def _mark_copy(eqn: JaxprEqn, view: View, needs: Needs) -> None:
    for player in view.players:
        if eqn.outvars[0] in needs.of_player[player]:
            needs.add(player, [copy_of(eqn, player, view)])


def _mark_control(eqn: JaxprEqn, view: View, needs: Needs) -> None:
    rule = {"scan": _mark_scan, "while": _mark_while, "cond": _mark_cond}[eqn.primitive.name]
    before = -1
    while before != needs.size():  # a carry needed before an iteration is needed after it
        before = needs.size()
        rule(eqn, view, needs)


def _mark_scan(eqn: JaxprEqn, view: View, needs: Needs) -> None:
    num_consts, num_carry = scan_counts(eqn.params)
    body = eqn.params["jaxpr"].jaxpr
    for player in view.players:
        need = needs.of_player[player]
        _carry_needs(need, body.invars[num_consts:][:num_carry], body.outvars[:num_carry], eqn.outvars[:num_carry])
        needs.add(player, _paired(need, eqn.outvars[num_carry:], body.outvars[num_carry:]))
    mark_needs(body, view, needs)
    for player in view.players:
        needs.add(player, _paired(needs.of_player[player], body.invars, eqn.invars))


def _mark_while(eqn: JaxprEqn, view: View, needs: Needs) -> None:
    cond, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    cut, more = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    cond_operands = [*eqn.invars[:cut], *eqn.invars[cut + more :]]
    for player in view.players:
        need = needs.of_player[player]
        _carry_needs(need, body.invars[more:], body.outvars, eqn.outvars)
        if takes_part(need, eqn):
            needs.add(player, cond.outvars)
    mark_needs(cond, view, needs)
    for player in view.players:  # what the predicate reads of the carry, the body must keep up to date
        needs.add(player, _paired(needs.of_player[player], cond.invars[cut:], body.invars[more:]))
    mark_needs(body, view, needs)
    for player in view.players:
        need = needs.of_player[player]
        needs.add(player, _paired(need, cond.invars, cond_operands))
        needs.add(player, _paired(need, body.invars, eqn.invars[cut:]))


def _mark_cond(eqn: JaxprEqn, view: View, needs: Needs) -> None:
    index, *operands = eqn.invars
    branches = [branch.jaxpr for branch in eqn.params["branches"]]
    for branch in branches:
        for player in view.players:
            needs.add(player, _paired(needs.of_player[player], eqn.outvars, branch.outvars))
        mark_needs(branch, view, needs)
        for player in view.players:
            needs.add(player, _paired(needs.of_player[player], branch.invars, operands))
    for player in view.players:
        if takes_part(needs.of_player[player], eqn):
            needs.add(player, [index])


def takes_part(need: set[Var], eqn: JaxprEqn) -> bool:
    """Whether a player has anything to do in a loop or branch, at any depth of nesting."""
    if not need.isdisjoint(eqn.outvars):
        return True
    for body in inner_jaxprs(eqn):
        if not need.isdisjoint(body.invars) or any(
            not need.isdisjoint(inner.outvars) or takes_part(need, inner) for inner in body.eqns
        ):
            return True
    return False


def _paired(need: set[Var], those: Iterable, these: Iterable) -> list[Var | Literal]:
    """The `these` whose partner among `those` is needed."""
    return [this for that, this in zip(those, these, strict=True) if not isinstance(that, Literal) and that in need]


def _carry_needs(need: set[Var], before: list, after: list, final: list) -> None:
    for var_before, atom_after, var_final in zip(before, after, final, strict=True):
        if var_before in need or var_final in need:
            need.add(var_before)
            if not isinstance(atom_after, Literal):
                need.add(atom_after)
