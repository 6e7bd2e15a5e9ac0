"""`python -m benchmarks.gpu`: what an accelerator is for; runs unchanged, with smaller sizes, on a CPU.

Ring dot in int8 TOPS (36 int8 products of the same size for each ring product) against the device's peak,
keystream made in the graph, 1e7 signs of all three parties fused, and the federated example fused.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jmpc.kernels import chacha20, matmul
from jmpc.protocols.base import Ring
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.device_keystream import keystream_for
from jmpc.runtime.machine import Machine

PARTIES = ("server0", "server1", "server2")
INT8_PRODUCTS = 36
PEAK_INT8_TOPS = {"H100": 1979.0, "H200": 1979.0, "A100": 624.0}  # dense, of the vendor's data sheets


def median(run: Callable[[], object], repeats: int = 5) -> float:
    """Median seconds after a first run that compiles."""
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def ring_dot(size: int) -> None:
    random = np.random.default_rng(0)
    x, y = (jax.device_put(random.integers(0, 1 << 64, (size, size), np.uint64)) for _ in range(2))
    product = jax.jit(matmul)
    taken = median(lambda: product(x, y))
    speed = f"{size**3 / taken / 1e9:.1f} G ring products a second"
    print(f"ring dot {size}: {taken * 1e3:.2f} ms, {speed}{_tops(size, taken)}")


def _tops(size: int, taken: float) -> str:
    """The int8 operations behind a ring product; a CPU does it in floating point."""
    if jax.default_backend() == "cpu":
        return ""
    tops = 2 * size**3 * INT8_PRODUCTS / taken / 1e12
    kind = jax.devices()[0].device_kind
    peak = next((value for name, value in PEAK_INT8_TOPS.items() if name in kind), None)
    return f", {tops:.1f} int8 TOPS" + (f", {100 * tops / peak:.0f} % of the peak" if peak else "")


def keystream(megabytes: int) -> None:
    key, count = jnp.asarray(chacha20.key_words(bytes(32))), megabytes * (1 << 20) // 8
    draw = jax.jit(lambda operation: chacha20.keystream(key, operation, np.uint64(0), (count,), np.uint64))
    taken = median(lambda: draw(np.uint32(1)))
    print(f"keystream in the graph: {count * 8 / taken / 1e9:.2f} GB/s")


def signs(count: int) -> None:
    from jmpc.choreography.needs import TOGETHER
    from jmpc.choreography.schedule import schedule
    from jmpc.choreography.trace import trace

    def choreography(*slots: jax.Array) -> list[jax.Array]:
        return list(Rep3(PARTIES).sign(Ring(slots)).slots)

    aval = jax.ShapeDtypeStruct((count,), np.uint64)
    traced = trace(choreography, [aval] * 3, Rep3(PARTIES).slot_holders, PARTIES)
    program = schedule(traced.closed, None, (), {PARTIES[0]: range(3)}, cut_messages=False).program(TOGETHER)
    random = np.random.default_rng(0)
    slots = [jax.device_put(random.integers(0, 1 << 64, count, np.uint64)) for _ in range(3)]
    env = dict(zip(traced.closed.jaxpr.constvars, traced.closed.consts, strict=True))
    env |= dict(zip(traced.closed.jaxpr.invars, slots, strict=True))
    keys = {key: bytes([row]) * 32 for row, key in enumerate(traced.keys)}  # timing only, on random words
    compiler = Compiler()
    taken = median(lambda: Machine(compiler, keystream_for(keys)).run(program, env))
    print(f"{count:.0e} signs of 64 bits, three parties fused, keystream included: {taken:.3f} s")


def federated() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, root / "examples" / "federated_learning" / "run.py", "--quiet"]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True)
    taken = time.perf_counter() - start
    accuracy = next(line for line in done.stdout.splitlines() if "accuracy" in line)
    print(f"federated example, 2000 iterations, fused, with start and plaintext twin: {taken:.1f} s; {accuracy}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-federated", action="store_true", help="leave the example out")
    options = parser.parse_args()
    small = jax.default_backend() == "cpu"
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    with jax.enable_x64(True):
        for size in (256, 512) if small else (1024, 2048, 4096, 8192):
            ring_dot(size)
        keystream(16 if small else 1024)
        signs(100_000 if small else 10_000_000)
    if not options.no_federated:
        federated()


if __name__ == "__main__":
    main()
