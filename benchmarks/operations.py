"""`python -m benchmarks.operations`: rounds, bytes and seconds of single operations, fused and over sockets.

Operands are variables, so that a run is the operation and nothing else. Seconds are medians of runs after the
first; the first, which compiles, is given apart. `--network` adds three nodes and a driver as processes on
loopback with CURVE.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import jmpc
from jmpc.admin import main as admin

SERVERS = ("server0", "server1", "server2")


def operations(small: bool) -> dict[str, tuple[Callable, tuple[int, ...]]]:
    """Name to the function and the shape of both operands."""
    size, count = (128, 10_000) if small else (1024, 1_000_000)
    return {
        f"matmul {size}": (jnp.matmul, (size, size)),
        f"{count:.0e} multiplications": (jnp.multiply, (count,)),
        f"{count:.0e} less-than": (jnp.less, (count,)),
    }


def measure(small: bool, repeats: int) -> None:
    """Prints a row for each operation under the configuration in force."""
    random = np.random.default_rng(0)
    for name, (fn, shape) in operations(small).items():
        x, y = (jmpc.define_private_variable(random.uniform(-8, 8, shape).astype(np.float32)) for _ in range(2))
        result = jmpc.function(fn)(x, y)
        kept = jmpc.define_private_variable(jnp.zeros(shape, result.dtype))
        step = kept.assign(result)
        account = jmpc.explain([step])
        times = []
        for _ in range(1 + repeats):
            start = time.perf_counter()
            jmpc.run(step)
            times.append(time.perf_counter() - start)
        figures = f"{account.rounds:6d} {account.bytes_sent() / 1e6:12.2f}"
        print(f"{name:24s} {figures} {times[0]:10.2f} {statistics.median(times[1:]):10.3f}", flush=True)


def header(title: str) -> None:
    print(f"\n{title}\n{'':24s} {'rounds':>6s} {'MB, all':>12s} {'first, s':>10s} {'median, s':>10s}")


@contextmanager
def cluster(players: tuple[str, ...], *options: str) -> Iterator[Path]:
    """Nodes on loopback with fresh keys, for as long as the context lasts; the path of their configuration."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "config.json"
        config.write_text(json.dumps({name: f"127.0.0.1:{_free_port()}" for name in (*players, "driver")}))
        with redirect_stdout(StringIO()):
            admin(["keygen", "--config", str(config)])
        root = str(Path(__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": root}
        for name in players:
            command = [sys.executable, "-m", "jmpc.player", name, "--config", str(config), *options, "--log", "warning"]
            node = subprocess.Popen(command, env=environment, cwd=root)
            stack.callback(node.wait)
            stack.callback(node.terminate)
        yield config


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="sizes for a quick look")
    parser.add_argument("--network", action="store_true", help="also over sockets, with one process for each server")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    header("fused, one process")
    jmpc.set_config(jmpc.LocalConfig())
    measure(options.small, options.repeats)
    if options.network:
        with cluster(SERVERS) as config:
            header("networked, three servers and the driver on loopback, CURVE")
            jmpc.set_config(jmpc.RemoteConfig.load(config))
            measure(options.small, options.repeats)
            jmpc.set_config(jmpc.LocalConfig())


if __name__ == "__main__":
    main()
