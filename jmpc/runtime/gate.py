"""What a node lets in of a driver's orders, beyond what its policy says: everything, or what a script asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jmpc.computation import Computation
from jmpc.net.framing import Header
from jmpc.runtime.orders import Order
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.saving import Request
from jmpc.runtime.steps import Over, Step, decode

Take = Callable[[Mapping[str, Any]], None]  # what a run has opened at this player


class Gate:
    """That of a jmpc-node: its operator has said with its policy what it takes part in."""

    def hear(self, player: str, header: Header) -> Over | None:
        """A driver says where its script is; the answer, if there is one."""
        said = decode(header.body)
        reason = f"jmpc-node {player} takes orders of a driver: run the script as {player}, too, or as the driver alone"
        return Over(said.number, player, reason) if isinstance(said, Step) else None

    def check(self, computation: Computation) -> None:
        """Raises AgreementError for a computation that is not to be prepared."""
        del computation

    def refused(self, error: Exception) -> None:
        """A computation is refused."""
        del error

    @contextmanager
    def turn(self, prepared: Prepared, order: Order) -> Iterator[Take]:
        """A run, from its order to its end. Raises AgreementError for one that is not to be."""
        del prepared, order
        yield lambda outputs: None

    @contextmanager
    def request(self, request: Request) -> Iterator[None]:
        """Its storage does something. Raises AgreementError for what it is not to do."""
        del request
        yield

    def farewell(self, player: str) -> str:
        """Why the runs that go on end when the node does."""
        return f"jmpc-node {player} was stopped"
