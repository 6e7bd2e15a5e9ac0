"""The commands and their arguments."""

import argparse
import sys
from collections.abc import Sequence

from ..errors import JmpcError
from . import _check, _data, _keys, _node


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
    keygen.add_argument("--player", metavar="NAME", help="make this player's pair only, where it runs")
    keygen.add_argument(
        "--force",
        action="store_true",
        help="replace keys that exist; peers must then get the new ones",
    )
    keygen.set_defaults(command=_keys.keygen)
    check = commands.add_parser("check", help="check a configuration, the keys that are here, and the other players")
    check.add_argument("config", metavar="CONFIG", nargs="?", default="config.json")
    check.add_argument("--player", metavar="NAME", help="who asks the others (default: the one whose secret is here)")
    check.add_argument("--timeout", type=float, default=5.0, help="seconds for the others' answers (default: 5)")
    check.set_defaults(command=_check.check)
    for name, command, text in (
        ("status", _node.status, "show what a node on this machine is doing"),
        ("audit", _node.audit, "show every run that a node took part in, and what was opened to whom"),
        ("cancel", _node.cancel, "end a run that a node takes part in, everywhere"),
    ):
        made = commands.add_parser(name, help=text)
        if name == "cancel":
            made.add_argument("run", metavar="RUN", help="its id, or how it begins, as `jmpc-admin status` shows it")
        made.add_argument("--config", default="config.json", help="configuration file (default: %(default)s)")
        made.add_argument("--player", metavar="NAME", help="whose node (default: the one that has been started here)")
        if name != "cancel":
            made.add_argument("--json", action="store_true", help="as JSON, for programs")
        made.set_defaults(command=command)
    data = commands.add_parser("data", help="show the types of data files, which scripts declare")
    data.add_argument("files", metavar="[NAME=]FILE", nargs="+", help="as for jmpc-node --data")
    data.set_defaults(command=_data.data)
    return parser
