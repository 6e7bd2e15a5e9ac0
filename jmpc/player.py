"""`jmpc-node NAME --config config.json`: one player as a process (also `python -m jmpc.player`)."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence

from jmpc.config import RemoteConfig
from jmpc.errors import JmpcError
from jmpc.protocols.rep3 import Rep3
from jmpc.providers import Registry
from jmpc.runtime.cache import use_compilation_cache
from jmpc.runtime.node import Node


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a node until SIGTERM or Ctrl-C; returns the exit status."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=arguments.log.upper(), format="%(levelname)s:%(name)s:%(message)s", stream=sys.stderr)
    logging.getLogger("jax").setLevel(logging.WARNING)
    try:
        config = RemoteConfig.load(arguments.config, player=arguments.name, insecure=arguments.insecure or None)
        use_compilation_cache()
        node = Node(config, arguments.name, Registry.load(arguments.providers), Rep3)
    except JmpcError as error:
        print(f"jmpc-node: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    node.serve()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jmpc-node", description="Run one player of a jmpc cluster.")
    parser.add_argument("name", help="which player of the configuration this process is")
    parser.add_argument("--config", default="config.json", help="configuration file (default: %(default)s)")
    parser.add_argument(
        "--providers",
        action="append",
        default=[],
        metavar="FILE.py",
        help="Python file with this player's data sources and sinks (repeatable)",
    )
    parser.add_argument("--insecure", action="store_true", help="plain text; refused unless all players are on loopback")
    parser.add_argument("--log", default="info", choices=["debug", "info", "warning", "error"], help="log level")
    return parser


if __name__ == "__main__":
    sys.exit(main())
