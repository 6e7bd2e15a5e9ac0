"""`jmpc-node NAME --config config.json`: one player as a process (also `python -m jmpc.player`)."""

from __future__ import annotations

import argparse
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jmpc.config import RemoteConfig
from jmpc.data_files import file_provider
from jmpc.errors import AddressTakenError, ConfigError, JmpcError
from jmpc.policy import Policy, read_rules
from jmpc.protocols.families import FAMILIES
from jmpc.providers import Registry
from jmpc.runtime.cache import use_compilation_cache
from jmpc.runtime.logs import configure_logs
from jmpc.runtime.node import Node

_log = logging.getLogger("jmpc.node")

_ADDRESS_SECONDS = 10  # that a node waits for its address


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a node until SIGTERM or Ctrl-C; returns the exit status."""
    arguments = _parser().parse_args(argv)
    configure_logs(arguments.log, as_json=arguments.json)
    try:
        node = _node(arguments)
    except JmpcError as error:
        print(f"jmpc-node: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: _stop(node, signum))
    if not node.serve():
        # Some provider, sink or compilation does not end, and its thread would keep the process.
        logging.shutdown()
        os._exit(1)
    return 0


def _node(arguments: argparse.Namespace) -> Node:
    # Without `player`: in a configuration without a driver that would make this node its own driver.
    config = RemoteConfig.load(arguments.config, insecure=arguments.insecure or None, environment={})
    rules = None if arguments.policy is None else read_rules(arguments.policy, config.players)
    policy = Policy.default(config, arguments.name, arguments.driver, rules)
    if not policy.drivers:
        _log.warning(
            "no driver is configured, so every computation will be refused: say whose computations %s takes with "
            '--driver NAME, or write "driver": NAME beside "players" into %s',
            arguments.name,
            arguments.config,
        )
    if arguments.name == config.driver:
        _log.warning(
            "%s is the configured driver: a script that acts as it cannot listen beside this node", config.driver
        )
    registry = Registry.load(arguments.providers, [file_provider(file) for file in arguments.data])
    if unknown := sorted(policy.inputs.keys() - registry.providers.keys() - {"*"}):
        text = (
            f"there are rules for inputs {unknown}, which {arguments.name} does not have: {sorted(registry.providers)}"
        )
        if rules is not None:
            raise ConfigError(f"{arguments.policy}: {text}. What a rule does not name, it does not protect")
        _log.warning("%s: %s", arguments.config, text)  # which may have rules for inputs of other players
    use_compilation_cache()
    traces = None if arguments.traces is None else Path(arguments.traces)
    make = functools.partial(Node, config, arguments.name, registry, FAMILIES[config.protocol], policy)
    return _at_its_address(functools.partial(make, metrics=arguments.metrics, traces=traces))


def _at_its_address(make: Callable[[], Node]) -> Node:
    """Waits a while for whoever is there: `jmpc-admin check`, or the node before this one that is just ending."""
    deadline = time.monotonic() + _ADDRESS_SECONDS
    while True:
        try:
            return make()
        except AddressTakenError as error:
            if time.monotonic() > deadline:
                raise
            _log.info("waiting: %s", error)
            time.sleep(1)


def _stop(node: Node, signum: int) -> None:
    """Ends the node; at once if it is asked twice."""
    node.stop()
    signal.signal(signum, signal.SIG_DFL)


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
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="table or arrays that computations may use under this name: .csv, .parquet, .npy, .npz (repeatable)",
    )
    parser.add_argument(
        "--policy", metavar="FILE.toml", help='what this player agrees to, instead of the configuration\'s "policy"'
    )
    parser.add_argument(
        "--driver",
        action="append",
        default=[],
        metavar="NAME",
        help="take computations of this player, too (repeatable; the configured driver's are taken anyway)",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="plain text; refused unless all players are on loopback"
    )
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="where Prometheus finds runs, seconds and bytes, in plain HTTP (off)"
    )
    parser.add_argument("--traces", metavar="FOLDER", help="write when each run computed, sent and waited (off)")
    parser.add_argument("--json", action="store_true", help="the log as lines of JSON")
    parser.add_argument("--log", default="info", choices=["debug", "info", "warning", "error"], help="log level")
    return parser


if __name__ == "__main__":
    sys.exit(main())
