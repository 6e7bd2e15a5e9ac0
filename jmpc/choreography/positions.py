"""When each value can be there: the depth that orders messages, the level that orders units.

A *unit* is what a program runs as a step of its own without talking: local code, a look at who has delivered, or a
loop or branch without messages. The position of a value is (depth, level): the number of messages (and of loops and
branches with messages) and, after the last of them, the number of units on the longest path to it. The
depth is a property of the choreography alone, however it is read, so both ends of a message agree on its
round without talking about it, and so does a simulation. Only an eager view, in which nobody waits for messages, does
not count those that say nothing but keystream: what they lead to can be there any time.
"""

from __future__ import annotations

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from jmpc.choreography import primitives as prim
from jmpc.choreography.holders import all_equations, inner_jaxprs
from jmpc.choreography.needs import View

Position = tuple[int, int]
ANY_TIME: Position = (-1, 0)  # made of keystream and constants
START: Position = (0, 0)
LAST_LEVEL = 1 << 30  # after all units of a depth
END: Position = (LAST_LEVEL, LAST_LEVEL)


class Positions:
    """Earliest positions of the equations of one body; loops inside have positions of their own."""

    def __init__(self, jaxpr: Jaxpr, view: View) -> None:
        self._view = view
        self._first = ANY_TIME if view.eager else START
        self._available: dict[Var, Position] = dict.fromkeys(jaxpr.invars, START)
        self._of_eqn: dict[int, Position] = {}
        for eqn in jaxpr.eqns:
            here = max((self.available(atom) for atom in eqn.invars), default=self._first)
            self._of_eqn[id(eqn)] = here
            there = self._after(eqn, here)
            if there != self._first:
                self._available.update((var, there) for var in eqn.outvars)

    def available(self, atom: Var | Literal) -> Position:
        return self._first if isinstance(atom, Literal) else self._available.get(atom, self._first)

    def __getitem__(self, eqn: JaxprEqn) -> Position:
        """Where the operands of `eqn` are there: it can run, or its message be sent."""
        return self._of_eqn[id(eqn)]

    def earliest(self, eqn: JaxprEqn, otherwise: Position) -> Position:
        """`self[eqn]`; `otherwise` if it waits for no message, or if the scheduler has made it."""
        here = self._of_eqn.get(id(eqn), START)
        return here if here > START else otherwise

    def _after(self, eqn: JaxprEqn, here: Position) -> Position:
        depth, level = here
        if eqn.primitive in prim.TALK:
            return (depth + 1, 0) if self._view.cut_messages and here != ANY_TIME else here
        if eqn.primitive in prim.UNITS:
            return (max(depth, 0), level + 1)
        if not inner_jaxprs(eqn):
            return here
        if talks(eqn):
            return (max(depth, 0) + 1, 0)
        return (max(depth, 0), level + 1) if self._view.is_step(eqn) else here


def talks(eqn: JaxprEqn) -> bool:
    """Whether a loop or branch has messages in it."""
    return any(inner.primitive in prim.TALK for body in inner_jaxprs(eqn) for inner in all_equations(body))
