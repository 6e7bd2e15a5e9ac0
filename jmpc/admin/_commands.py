"""The commands and their arguments."""

import argparse
import sys
from collections.abc import Sequence

from ..errors import JmpcError
from . import _check, _data, _keys, _node, _trace

_NODE_COMMANDS = (
    ("status", _node.status, "show what a node on this machine is doing", None),
    ("audit", _node.audit, "show every run that a node took part in, and what was opened to whom", None),
    ("cancel", _node.cancel, "end a run that a node takes part in, everywhere", "RUN"),
    ("pending", _node.pending, "list computations that a node's policy has refused, and those approved", None),
    ("show", _node.show, "show what a computation does that was refused or approved", "COMPUTATION"),
    ("approve", _node.approve, "show what a refused computation does, and let it run from now on", "COMPUTATION"),
    ("withdraw", _node.withdraw, "take an approval back", "COMPUTATION"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it went well, 1 if not."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except JmpcError as error:
        print(f"jmpc-admin: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jmpc-admin", description="Keys, nodes and data of jmpc players.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    keygen = commands.add_parser("keygen", help="make key pairs")
    keygen.add_argument("--config", default="config.json", help="who the players are (default: %(default)s)")
    keygen.add_argument("--keys", help="directory for the keys (default: the configuration's, keys beside it)")
    keygen.add_argument(
        "--player", metavar="NAME", action="append", help="make this player's pair only, where it runs (repeatable)"
    )
    keygen.add_argument("--author", metavar="NAME", help="make the key of somebody who signs computations")
    keygen.add_argument(
        "--force",
        action="store_true",
        help="replace keys that exist; peers must then get the new ones",
    )
    keygen.set_defaults(command=_keys.keygen)
    rotate = commands.add_parser("rotate-keys", help="make a new key pair for a player of this machine")
    rotate.add_argument("--player", metavar="NAME", required=True, help="whose pair")
    rotate.set_defaults(command=_keys.rotate_keys)
    revoke = commands.add_parser("revoke", help="let a player in no longer, at the nodes of this machine")
    revoke.add_argument("name", metavar="PLAYER", help="whose key is used no more")
    revoke.set_defaults(command=_keys.revoke_key)
    reload = commands.add_parser("reload", help="have the nodes of this machine read the public keys again")
    reload.set_defaults(command=_keys.reload)
    for made in (rotate, revoke, reload):
        made.add_argument("--config", default="config.json", help="configuration file (default: %(default)s)")
    check = commands.add_parser("check", help="check a configuration, the keys that are here, and the other players")
    check.add_argument("config", metavar="CONFIG", nargs="?", default="config.json")
    check.add_argument("--player", metavar="NAME", help="who asks the others (default: the one whose secret is here)")
    check.add_argument("--timeout", type=float, default=5.0, help="seconds for the others' answers (default: 5)")
    check.set_defaults(command=_check.check)
    for name, command, text, argument in _NODE_COMMANDS:
        made = commands.add_parser(name, help=text)
        if argument is not None:
            made.add_argument(argument.lower(), metavar=argument, help="its id, or how that begins")
        made.add_argument("--config", default="config.json", help="configuration file (default: %(default)s)")
        made.add_argument("--player", metavar="NAME", help="whose node (default: the one that has been started here)")
        if name == "approve":
            made.add_argument("--yes", action="store_true", help="do not ask: it has been read")
        if argument is None:
            made.add_argument("--json", action="store_true", help="as JSON, for programs")
        made.set_defaults(command=command)
    data = commands.add_parser("data", help="show the types of data files, which scripts declare")
    data.add_argument("files", metavar="[NAME=]FILE", nargs="+", help="as for jmpc-node --data")
    data.set_defaults(command=_data.data)
    trace = commands.add_parser("trace", help="join the traces of all players of a run, for Perfetto")
    trace.add_argument("files", metavar="FILE", nargs="+", help="of jmpc-node --traces")
    trace.add_argument("--out", default="trace.json", help="the joined trace (default: %(default)s)")
    trace.set_defaults(command=_trace.trace)
    return parser
