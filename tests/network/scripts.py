"""All players run the same script, as threads: their sessions, and what tests do with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from network import inprocess
from network.inprocess import COMPILER, SERVERS

import jmpc
from jmpc.api.graph import build
from jmpc.api.run import initialise, opened
from jmpc.config import RemoteConfig
from jmpc.runtime.follower import FollowerSession
from jmpc.runtime.lead import LeadSession

PLAYERS = (*SERVERS, "owner", "other", "lead")
VECTOR = jax.ShapeDtypeStruct((2,), "float32")
Session = LeadSession | FollowerSession


def config(path: Path, me: str) -> RemoteConfig:
    return RemoteConfig.load(path, environment={"JMPC_PLAYER": me})


def written(folder: Path, players: tuple[str, ...], **rules: Any) -> Path:
    ports = inprocess.free_ports(len(players))
    addresses = {name: {"address": f"127.0.0.1:{port}"} for name, port in zip(players, ports, strict=True)}
    made = folder / "config.json"
    data = {"players": addresses, "driver": "lead", "insecure": True, "timeout": 6}
    made.write_text(json.dumps(data | {"policy": {"drivers": ["owner"]} | rules}))
    return made


@dataclass
class Scripts:
    """The sessions of all players, and what their scripts do."""

    sessions: dict[str, Session]

    @property
    def lead(self) -> LeadSession:
        return self.sessions["lead"]  # type: ignore[return-value]

    def do(self, script: Callable[[Session], Any], lead: Callable[[Any], Any] | None = None) -> dict[str, Any]:
        """What the script returns or raises at each player; `lead` is what that one does instead."""

        def one(session: Session) -> Any:
            try:
                return (lead or script)(session) if session.me == "lead" else script(session)
            except Exception as error:
                return error

        with ThreadPoolExecutor(len(self.sessions)) as pool:
            return dict(zip(self.sessions, pool.map(one, self.sessions.values()), strict=True))

    def works(self) -> None:
        results = self.do(lambda session: run(session, constant(3).reveal()))
        np.testing.assert_allclose(results["lead"], [[3, 3]], atol=1e-4)


@contextmanager
def started(path: Path, players: tuple[str, ...]) -> Iterator[Scripts]:
    """The scripts of players, the last of which leads."""
    sessions: dict[str, Session] = {name: FollowerSession(config(path, name)) for name in players[:-1]}
    for session in sessions.values():
        session._node._host.make_compiler = lambda: COMPILER  # type: ignore[union-attr]
    sessions["lead"] = LeadSession(config(path, "lead"))
    for session in sessions.values():
        session._compiler = COMPILER
    made = Scripts(sessions)
    yield made
    with ThreadPoolExecutor(len(players)) as pool:
        list(pool.map(lambda session: session.close(), made.sessions.values()))


def built_by(session: Session, *fetches: Any) -> Any:
    made = build(fetches, session.servers, session.driver, session.fraction)
    initialise(session, made.variables)
    return made


def run(session: Session, *fetches: Any) -> list[Any]:
    made = built_by(session, *fetches)
    return opened(made, session.run(made), session.me)


def constant(number: float, player: str = "owner") -> jmpc.Value:
    """What the owner brings; another number is another computation."""
    brought = jmpc.define_private_input(player, lambda: np.ones(2, np.float32), types=VECTOR)
    return jmpc.function(lambda x: x * number)(brought)
