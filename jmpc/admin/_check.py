"""`jmpc-admin check`: is the configuration sound, which keys are here, and are the other players there."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from ..config import RemoteConfig
from ..errors import ConfigError, JmpcError
from ..net.keys import KeyRing, fingerprint, read_key, revoked_file
from ..net.ping import answers, ping
from ..runtime.control import ask
from ..runtime.host import control_path
from ..runtime.party import RUNTIME
from ._table import print_table


def check(arguments: argparse.Namespace) -> int:
    """Prints a table of the players, and problems; 1 if there is one."""
    config = RemoteConfig.load(arguments.config, environment={})
    problems: list[str] = []
    rows = []
    for player in config.players.values():
        public = _state(config, player.name, "public", problems)
        secret = _state(config, player.name, "secret", problems)
        if secret == "ok" and public != "revoked":
            problems += _ring_problems(config, player.name)
        rows.append((player.name, player.role, player.address, public, secret))
    if config.insecure:
        problems = []  # nobody needs the keys
    me = _asker(config, arguments.player, problems)
    reached = {} if me is None else _reached(config, me, arguments.timeout)
    problems += [f"{peer}: {problem}" for peer, row in reached.items() if (problem := _problem(config, peer, row))]
    headings = ("player", "role", "address", "public key", "secret key", "there")
    print_table([headings, *((*row, _there(config, row[0], me, reached)) for row in rows)])
    print(
        f"driver: {config.driver or 'none, so that nodes need --driver NAME'}; "
        f"links: {'plain text, loopback only' if config.insecure else 'CURVE'}; here: {RUNTIME}"
    )
    if me is None:
        print("the others were not asked: say which player asks them, --player NAME")
    for problem in dict.fromkeys(problems):
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _asker(config: RemoteConfig, named: str | None, problems: list[str]) -> str | None:
    """The player that asks the others; None if that is not clear, or not possible."""
    if named is not None:
        return config.get_player(named).name
    here = [name for name in config.players if (config.keys / f"{name}.secret").exists()]
    return here[0] if len(here) == 1 and not problems else None


def _reached(config: RemoteConfig, me: str, timeout: float) -> Mapping[str, Mapping[str, Any]]:
    """What the others answer: to the node of `me`, if it runs, which has its port; otherwise to this process."""
    try:
        return ask(control_path(config, me), "ping", timeout=timeout)
    except ConfigError:
        pass
    peers = [player for player in config.players if player != me]
    with config.transport(me, linger=0.1) as transport:
        return answers(ping(transport, peers, timeout), config.digest)


def _problem(config: RemoteConfig, player: str, row: Mapping[str, Any]) -> str | None:
    if "error" in row:  # the driver is there while its script runs
        return row["error"] if config.players[player].role != "driver" else None
    if row["runtime"] != RUNTIME:
        return f"it runs {row['runtime']}, here it is {RUNTIME}: install the same versions"
    if not row["same"]:
        return "its configuration has other players, roles, protocol or precision: compare the files"
    return None


def _there(config: RemoteConfig, player: str, me: str | None, reached: Mapping[str, Mapping[str, Any]]) -> str:
    if player == me:
        return "asks"
    if player not in reached:
        return "not asked"
    row = reached[player]
    if "error" in row:
        return "no"
    return f"yes, {row['milliseconds']:.1f} ms" + ("" if _problem(config, player, row) is None else ", but")


def _state(config: RemoteConfig, name: str, kind: str, problems: list[str]) -> str:
    # Only its own machine has a player's secret, so that one that is not here is nothing to
    # complain of.
    if kind == "secret" and not (config.keys / f"{name}.secret").exists():
        return "not here"
    configured = config.players[name].public_key
    if kind == "public" and revoked_file(config.keys, name).exists():
        return "revoked"
    if kind == "public" and configured is not None:
        return fingerprint(configured)
    try:
        key = read_key(config.keys, name, kind)
    except JmpcError as error:
        problems.append(str(error))
        return "missing" if not (config.keys / f"{name}.{kind}").exists() else "unusable"
    return "ok" if kind == "secret" else fingerprint(key)


def _ring_problems(config: RemoteConfig, name: str) -> list[str]:
    public = {player.name: player.public_key for player in config.players.values() if player.public_key}
    try:
        KeyRing.load(config.keys, name, config.players, public)
    except JmpcError as error:
        return [str(error) if str(error).startswith(str(config.keys)) else f"{name}: {error}"]
    return []
