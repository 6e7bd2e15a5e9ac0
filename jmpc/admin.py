"""`jmpc-admin`: make keys, check a configuration before it is used, and look at data files.

jmpc-admin keygen                      all key pairs of the players in config.json, for a cluster on one machine
jmpc-admin keygen --player server0     this player's pair only, on the machine where it runs
jmpc-admin check config.json           is the file sound, and which keys are here
jmpc-admin data patients.csv           what a script has to say to use the file: its name and its types
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from .config import RemoteConfig
from .data_files import file_provider
from .errors import JmpcError
from .net.keys import KeyRing, generate, read_key


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it went well, 1 if not."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except JmpcError as error:
        print(f"jmpc-admin: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jmpc-admin", description="Keys, configurations and data of jmpc players.")
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
    keygen.set_defaults(command=_keygen)
    check = commands.add_parser("check", help="check a configuration and the keys that are here")
    check.add_argument("config", metavar="CONFIG", nargs="?", default="config.json")
    check.set_defaults(command=_check)
    data = commands.add_parser("data", help="show the types of data files, which scripts declare")
    data.add_argument("files", metavar="[NAME=]FILE", nargs="+", help="as for jmpc-node --data")
    data.set_defaults(command=_data)
    return parser


def _keygen(arguments: argparse.Namespace) -> int:
    config = RemoteConfig.load(arguments.config)
    directory = Path(arguments.keys or config.keys)
    names = list(config.players) if arguments.player is None else [config.get_player(arguments.player).name]
    paths = generate(names, directory, force=arguments.force)
    print(f"made {len(paths)} files in {directory}, the key pairs of {', '.join(names)}")
    if arguments.player is not None:
        print(f"Give {directory / arguments.player}.public to all others; the secret stays here.")
    elif not config.loopback:
        print("Players on other machines should make their own: jmpc-admin keygen --player NAME")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    config = RemoteConfig.load(arguments.config)
    rows = [("player", "role", "address", "public key", "secret key")]
    problems: list[str] = []
    for player in config.players.values():
        public = "in config" if player.public_key else _state(config, player.name, "public", problems)
        secret = _state(config, player.name, "secret", problems)
        if secret == "ok":
            problems += _ring_problems(config, player.name)
        rows.append((player.name, player.role, player.address, public, secret))
    _print_table(rows)
    print(
        f"driver: {config.driver or 'none, so that nodes need --driver NAME'}; "
        f"links: {'plain text, loopback only' if config.insecure else 'CURVE'}"
    )
    if config.insecure:
        return 0
    for problem in dict.fromkeys(problems):
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _data(arguments: argparse.Namespace) -> int:
    for file in arguments.files:
        provider = file_provider(file)
        leaves, _ = jax.tree.flatten_with_path(provider.types)
        rows = [
            (f"    {jax.tree_util.keystr(path, simple=True)}", f"{leaf.dtype}{list(leaf.shape)}")
            for path, leaf in leaves
        ]
        print(f"{provider.name}:")
        _print_table(rows)
    return 0


def _state(config: RemoteConfig, name: str, kind: str, problems: list[str]) -> str:
    # Only its own machine has a player's secret, so that one that is not here is nothing to
    # complain of.
    if kind == "secret" and not (config.keys / f"{name}.secret").exists():
        return "not here"
    try:
        read_key(config.keys, name, kind)
    except JmpcError as error:
        problems.append(str(error))
        return "missing" if not (config.keys / f"{name}.{kind}").exists() else "unusable"
    return "ok"


def _ring_problems(config: RemoteConfig, name: str) -> list[str]:
    public = {player.name: player.public_key for player in config.players.values() if player.public_key}
    try:
        KeyRing.load(config.keys, name, config.players, public)
    except JmpcError as error:
        return [str(error) if str(error).startswith(str(config.keys)) else f"{name}: {error}"]
    return []


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
