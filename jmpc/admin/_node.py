"""`jmpc-admin status`, `cancel`, `audit`, `pending`, `show`, `approve`, `withdraw`: an operator asks a node here."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import RemoteConfig
from ..errors import ConfigError
from ..runtime.audit import read
from ..runtime.control import ask
from ..runtime.host import audit_path, control_path
from ..runtime.orders import printable
from ..storage.key import storage_key
from ._table import print_table

_SURE = 16  # digits that no second computation is made to begin with


def status(arguments: argparse.Namespace) -> int:
    """What a node is doing."""
    config, player = _node(arguments)
    found = ask(control_path(config, player), "status")
    if arguments.json:
        print(json.dumps(found, indent=4))
        return 0
    print(
        f"{found['player']} at {found['address']}, {found['runtime']}, up {found['seconds']:.0f} s; takes computations "
        f"of {', '.join(found['drivers']) or 'nobody'}"
    )
    for driver, nbytes in found["sessions"].items():
        print(f"a session of {driver}: {nbytes:,} bytes of variables")
    for run in found["runs"]:
        print(f"run {run['run']} of {run['driver']} with {', '.join(run['players'])}, for {run['seconds']:.0f} s")
    if not found["runs"]:
        print("no run is going on")
    if found["peers"]:
        rows = [(peer, f"{it['sent']:,}", f"{it['received']:,}") for peer, it in found["peers"].items()]
        print_table([("peer", "bytes sent", "received"), *rows])
    for what in ("refused", "dropped"):
        for whom, count in found[what].items():
            print(f"{what}: {count} {'orders of ' if what == 'refused' else 'frames, '}{whom}")
    return 0


def cancel(arguments: argparse.Namespace) -> int:
    """Ends a run everywhere."""
    config, player = _node(arguments)
    print(f"cancelled run {ask(control_path(config, player), 'cancel', run=arguments.run)}")
    return 0


def audit(arguments: argparse.Namespace) -> int:
    """Every run, and what was opened to whom in it."""
    config, player = _node(arguments)
    entries, problems = read(audit_path(config, player), storage_key(config.keys, player))
    for entry in entries:
        print(json.dumps(entry) if arguments.json else _told(entry))
    for problem in problems:
        print(f"jmpc-admin: {audit_path(config, player)}, {problem}", file=sys.stderr)
    return 1 if problems else 0


def pending(arguments: argparse.Namespace) -> int:
    """What the policy has refused lately, and what the operator has approved."""
    config, player = _node(arguments)
    refused, approved = (ask(control_path(config, player), command) for command in ("pending", "approved"))
    if arguments.json:
        print(json.dumps({"pending": refused, "approved": approved}, indent=4))
        return 0
    for it in refused:
        print(f"{it['computation'][:16]}  of {it['driver']}, refused: {it['reason']}")
    for computation, time in approved.items():
        print(f"{computation[:16]}  approved {time}")
    if not refused and not approved:
        print("nothing was refused since the node was started, and nothing is approved")
    return 0


def approve(arguments: argparse.Namespace) -> int:
    """Shows a computation, and asks."""
    config, player = _node(arguments)
    path = control_path(config, player)
    if arguments.yes and len(arguments.computation) < _SURE:
        raise ConfigError(f"--yes takes at least {_SURE} digits of the computation that has been read")
    (found,) = _one(arguments.computation, {it["computation"]: it for it in ask(path, "pending")}, "refused")
    _print_account(path, found["computation"])
    print(f"\nrefused because {printable(found['reason'])}")
    drivers = ", ".join(ask(path, "status")["drivers"])
    question = (
        f"\nLet it run at {player}, whoever of {drivers} submits it? What it keeps may afterwards be used by other "
        "computations, within reveal_to and min_owners. [y/N] "
    )
    if not arguments.yes and input(question).strip().lower() not in ("y", "yes"):
        print("not approved")
        return 1
    ask(path, "approve", identity=found["computation"])
    print(f"approved {found['computation']}")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Shows a computation that was refused, or what was approved."""
    config, player = _node(arguments)
    path = control_path(config, player)
    identities = [*(it["computation"] for it in ask(path, "pending")), *ask(path, "approved")]
    (found,) = _one(arguments.computation, {it: it for it in identities}, "refused or approved")
    _print_account(path, found)
    return 0


def _print_account(path: Path, identity: str) -> None:
    for line in ask(path, "account", identity=identity).splitlines():
        print("".join(char if char.isprintable() else "?" for char in line))


def withdraw(arguments: argparse.Namespace) -> int:
    """Takes an approval back."""
    config, player = _node(arguments)
    path = control_path(config, player)
    approved = ask(path, "approved")
    (found,) = _one(arguments.computation, {it: it for it in approved}, "approved")
    ask(path, "withdraw", identity=found)
    print(f"withdrew {found}; a run that is going on goes on: `jmpc-admin cancel RUN` ends it")
    return 0


def _one(beginning: str, known: Mapping[str, Any], what: str) -> list[Any]:
    """The one that begins so, in a list."""
    found = [it for identity, it in known.items() if identity.startswith(beginning) and beginning]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found)} computations that are {what} begin with {beginning!r}: {sorted(it[:16] for it in known)}"
        )
    return found


def _told(entry: dict[str, Any]) -> str:
    if "stored" in entry:
        what = f"{entry['stored']} of {entry['driver']}: {entry['variables']} variables as {entry['name']!r}"
        return f"{entry['time']}  {printable(what)}"
    if "judged" in entry:
        return f"{entry['time']}  computation {entry['computation'][:16]} {entry['judged']} by the operator"
    head = f"{entry['time']}  run {entry['run'][:16]} of {entry['driver']}"
    if "ended" in entry:
        without = f", without {', '.join(entry['missing'])}" if entry.get("missing") else ""
        return printable(f"{head}  ended {'' if entry['ended'] == 'well' else 'because '}{entry['ended']}{without}")
    how = (", approved by hand" if entry["approved"] else "") + (f", by {entry['author']}" if entry["author"] else "")
    which = f", iteration {entry['iteration']}" if "iteration" in entry else ""
    lines = [f"{head}  computation {entry['computation'][:16]}{which}{how}"]
    if entry["used"]:
        lines.append(f"    takes {', '.join(entry['used'])} of this player")
    rows = {
        f"    to {it['to']}: {it['what']} {it['shape']}, of {', '.join(it['of']) or 'nobody'}  {it['line']}": None
        for it in entry["opened"]
    }
    return "\n".join(map(printable, [*lines, *(rows or {"    nothing is opened": None})]))


def _node(arguments: argparse.Namespace) -> tuple[RemoteConfig, str]:
    """The configuration, and the player whose node is meant."""
    config = RemoteConfig.load(arguments.config, environment={})
    if arguments.player is not None:
        return config, config.get_player(arguments.player).name
    here = [name for name in config.players if _has_state(config.state / name)]
    if len(here) != 1:
        what = f"nodes of {here} have" if here else "no node has"
        raise ConfigError(f"{what} been started here with {arguments.config}: say whose is meant, --player NAME")
    return config, here[0]


def _has_state(folder: Path) -> bool:
    return (folder / "control").exists() or (folder / "audit.jsonl").exists()
