"""When each value can be there: the depth that orders messages, the level that orders local units.

The position of a value is (depth, level): the number of messages, and after the last of them the number
of local units, on the longest path to it. It is a property of the whole choreography, so both ends of a
message agree on its round without talking about it.
"""

from __future__ import annotations

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from jmpc.choreography import primitives as prim
from jmpc.choreography.needs import View

Position = tuple[int, int]
START: Position = (0, 0)
LAST_LEVEL = 1 << 30  # after all local units of a depth
END: Position = (LAST_LEVEL, LAST_LEVEL)


class Positions:
    """Earliest positions of the equations of one body; loops inside have positions of their own."""

    def __init__(self, jaxpr: Jaxpr, view: View) -> None:
        self._available: dict[Var, Position] = {}
        self._of_eqn: dict[int, Position] = {}
        for eqn in jaxpr.eqns:
            here = max((self.available(atom) for atom in eqn.invars), default=START)
            self._of_eqn[id(eqn)] = here
            there = self._after(eqn, here, view)
            if there != START:
                self._available.update((var, there) for var in eqn.outvars)

    def available(self, atom: Var | Literal) -> Position:
        return START if isinstance(atom, Literal) else self._available.get(atom, START)

    def __getitem__(self, eqn: JaxprEqn) -> Position:
        """Where the operands of `eqn` are there: it can run, or its message be sent."""
        return self._of_eqn[id(eqn)]

    @staticmethod
    def _after(eqn: JaxprEqn, here: Position, view: View) -> Position:
        depth, level = here
        if eqn.primitive in (prim.send_masked_p, prim.release_p):
            return (depth + 1, 0) if view.cut_messages else here
        if eqn.primitive is prim.local_p:
            return (depth, level + 1)
        if view.is_step(eqn):
            return (depth + 1, 0)
        return here
