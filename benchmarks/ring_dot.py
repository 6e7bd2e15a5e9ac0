"""`python -m benchmarks.ring_dot`: the ring product of square matrices beside what it competes with.

All candidates take turns in one run, so that they meet the same machine; times are medians. The slow
ones, XLA's and numpy's own uint64 products, run fewer times, and numpy's only up to 512.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.kernels import matmul

_LARGEST_FOR_NUMPY = 512


def candidates(size: int) -> dict[str, Callable[[], object]]:
    """What is timed: functions that return when their product is there."""
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 1 << 64, (2, size, size), np.uint64)
    on_device = jnp.asarray(x), jnp.asarray(y)
    floats = jnp.asarray(generator.standard_normal((12, size, size)))
    pairs = tuple(zip(floats[:6], floats[6:], strict=True))
    ring = jax.jit(matmul)
    xla = jax.jit(lax.dot)
    six = jax.jit(lambda pairs: [lax.dot(a, b) for a, b in pairs])
    found = {
        "ring dot": lambda: jax.block_until_ready(ring(*on_device)),
        "XLA uint64 dot": lambda: jax.block_until_ready(xla(*on_device)),
        "one float64 dot": lambda: jax.block_until_ready(xla(*pairs[0])),
        "six float64 dots": lambda: jax.block_until_ready(six(pairs)),
    }
    if size <= _LARGEST_FOR_NUMPY:
        found["numpy uint64 matmul"] = lambda: x @ y
    rows = slice(0, min(size, 4))
    np.testing.assert_array_equal(np.asarray(ring(*on_device))[rows], x[rows] @ y)
    return found


def measure(found: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each candidate."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for run in found.values():
        run()
    for turn in range(rounds):
        for name, run in found.items():
            slow = "uint64" in name
            if slow and turn >= 3:
                continue
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, median of {options.rounds}")
    for size in options.sizes:
        with jax.enable_x64(True):
            seconds = measure(candidates(size), options.rounds)
        ring = seconds["ring dot"]
        print(f"\n{size} x {size} x {size}        ms    Gop/s   time / ring dot")
        for name, value in seconds.items():
            speed = size**3 / value / 1e9
            print(f"{name:20s} {value * 1e3:10.2f} {speed:8.2f} {value / ring:10.2f}")


if __name__ == "__main__":
    main()
