"""Players that a run can do without, and the static check that it can.

An *optional* player contributes to a gather and otherwise only receives. Whether it has delivered is a boolean that is
known at run time (`primitives.delivered`), so what others compute may depend on who is there, but nothing that they
wait for, or that hides anything, may depend on a player that died. This pass demands of every optional player:

1. all that it sends are masked messages that a `delivered` waits for, in no loop or branch; only releases go to it;
2. a key that it shares is shared with no other optional player, so that each may be missing without the others;
3. what it sends, and every draw under a key that it shares, goes into a `contribution` of its own and nowhere else
   (but for the masks of its own messages), behind a `quorum` in which it is counted.

So a player that lacks a key of a missing one never hides anything behind words that it made up in its place (3), and
whatever it makes up is multiplied by a public zero. With every key of its own, an optional player can at most be left
out, alone (2). All players that hold a slot of a contribution take the same branch, since the boolean comes from the
same messages for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import source_line
from jmpc.choreography import primitives as prim
from jmpc.choreography.holders import all_equations, inner_jaxprs
from jmpc.errors import ChoreographyError

_OUTERMOST = (prim.delivered_p, prim.quorum_p, prim.contribution_p)


def check_optional(closed: ClosedJaxpr, optional: Collection[str]) -> None:
    """Checks what the module's docstring says of a choreography without calls.

    Raises:
      ChoreographyError: naming the author's line, and the player that others would need.
    """
    _Check(closed.jaxpr, frozenset(optional)).run()


class _Check:
    def __init__(self, jaxpr: Jaxpr, optional: frozenset[str]) -> None:
        self.jaxpr, self.optional = jaxpr, optional
        self.maker: Mapping[Var, JaxprEqn] = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
        waits = [eqn for eqn in jaxpr.eqns if eqn.primitive is prim.delivered_p]
        self.awaited = {atom for eqn in waits for atom in eqn.invars if not isinstance(atom, Literal)}
        self.of: dict[Var, str] = {}  # whose absence would change a variable

    def run(self) -> None:
        for eqn in all_equations(self.jaxpr):
            if eqn.primitive in prim.TALK:
                self._talk(eqn)
            elif eqn.primitive is prim.draw_p:
                self._draw(eqn)
            elif eqn.primitive in _OUTERMOST:
                self._counts(eqn)
        for eqn in all_equations(self.jaxpr):
            for atom in eqn.invars:
                if not isinstance(atom, Literal) and (owner := self.of.get(atom)) is not None:
                    self._use(eqn, atom, owner)
        for atom in self.jaxpr.outvars:
            if not isinstance(atom, Literal) and (owner := self.of.get(atom)) is not None:
                raise ChoreographyError(f"a result is what {owner!r} sends, who may be missing")

    def _talk(self, eqn: JaxprEqn) -> None:
        src, (value,) = eqn.params["src"], eqn.outvars
        if src in self.optional:
            if eqn.primitive is not prim.send_masked_p or value not in self.awaited:
                raise ChoreographyError(
                    f"{source_line(eqn)}: {src!r} would send something that others wait for, but it contributes to a "
                    "gather, so the run must be able to do without it: contribute this, too, or use nothing else of "
                    f"{src!r} in this computation"
                )
            self.of[value] = src
        elif told := self.optional & set(eqn.params["dsts"]):
            if eqn.primitive is not prim.release_p:
                raise ChoreographyError(f"{source_line(eqn)}: shares go to {sorted(told)}, who may be missing")

    def _draw(self, eqn: JaxprEqn) -> None:
        whose = sorted(self.optional & set(eqn.params["key"]))
        if len(whose) > 1:
            raise ChoreographyError(f"{source_line(eqn)}: a key that {whose} share, each of whom may be missing")
        if whose:
            self.of[eqn.outvars[0]] = whose[0]

    def _counts(self, eqn: JaxprEqn) -> None:
        owners = set(eqn.params["owners"] if "owners" in eqn.params else [eqn.params["owner"]])
        if not owners <= self.optional:
            raise ChoreographyError(
                f"{source_line(eqn)}: {sorted(owners - self.optional)} are not players that may miss"
            )
        if all(eqn is not outer for outer in self.jaxpr.eqns):
            raise ChoreographyError(f"{source_line(eqn)}: `{eqn.primitive.name}` within a loop or branch")

    def _use(self, eqn: JaxprEqn, atom: Var, owner: str) -> None:
        match eqn.primitive:
            case prim.send_masked_p if eqn.params["src"] == owner and atom is not eqn.invars[0]:
                return
            case prim.delivered_p if owner in eqn.params["owners"]:
                return
            case prim.contribution_p if eqn.params["owner"] == owner and atom is eqn.invars[0]:
                if owner in self._counted(eqn.invars[1]):
                    return
        raise ChoreographyError(
            f"{source_line(eqn)}: `{eqn.primitive.name}` uses a message or a key of {owner!r}, who may be missing"
        )

    def _counted(self, atom: Var | Literal) -> frozenset[str]:
        """The owners of the quorums behind a boolean, all copies of which must have one."""
        if isinstance(atom, Literal) or atom not in self.maker:
            return frozenset()
        eqn = self.maker[atom]
        if eqn.primitive is prim.quorum_p:
            return frozenset(eqn.params["owners"])
        if inner_jaxprs(eqn) or not eqn.invars:
            return frozenset()
        return frozenset.intersection(*(self._counted(operand) for operand in eqn.invars))
