"""`python -m benchmarks.keystream`: ChaCha20 on the host and in a jitted function, bytes per second.

The host's is timed beside a bare loop around the same cipher, for a large array and for a single block.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from jmpc.kernels import chacha20, keystream

_KEY = bytes(range(32))


def bare(out: np.ndarray) -> None:
    """The same bytes as one call of the cipher on as many zeros."""
    cipher = Cipher(algorithms.ChaCha20(_KEY, bytes(16)), mode=None).encryptor()
    cipher.update_into(bytes(out.nbytes), memoryview(out).cast("B"))


def bare_loop(out: np.ndarray) -> None:
    """The same bytes by a bare loop over chunks of 1 MiB."""
    cipher = Cipher(algorithms.ChaCha20(_KEY, bytes(16)), mode=None).encryptor()
    target, zeros = memoryview(out).cast("B"), memoryview(bytes(1 << 20))
    for start in range(0, len(target), len(zeros)):
        chunk = target[start : start + len(zeros)]
        cipher.update_into(zeros[: len(chunk)], chunk)


def medians(found: dict[str, Callable[[], object]], rounds: int, repeat: int) -> dict[str, float]:
    """The median seconds of one call of each candidate, all taking turns; who comes after whom changes."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for run in found.values():
        run()
    order = random.Random(0)
    for _ in range(rounds):
        for name, run in order.sample(list(found.items()), len(found)):
            start = time.perf_counter()
            for _ in range(repeat):
                run()
            times[name].append((time.perf_counter() - start) / repeat)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    size = options.mebibytes << 17
    out, small = np.zeros(size, np.uint64), np.zeros(8, np.uint64)
    generator = keystream.Keystream(_KEY)
    words = chacha20.key_words(_KEY)
    draw = jax.jit(chacha20.keystream, static_argnums=(3, 4))

    def in_graph() -> jax.Array:
        return draw(words, np.uint32(1), np.uint64(2), (size,), np.uint64).block_until_ready()

    large = {
        "keystream.fill": lambda: keystream.fill(_KEY, 1, 2, out),
        "bare cipher, 1 MiB chunks": lambda: bare_loop(out),
        "bare cipher, one call": lambda: bare(out),
        "in a jitted function": in_graph,
    }
    tiny = {
        "Keystream.fill": lambda: generator.fill(1, 2, small),
        "keystream.fill": lambda: keystream.fill(_KEY, 1, 2, small),
        "bare cipher": lambda: bare(small),
    }
    with jax.enable_x64(True):
        np.testing.assert_array_equal(in_graph(), keystream.generate(_KEY, 1, 2, (size,), np.uint64))
        print(f"{options.mebibytes} MiB on {jax.devices()[0].device_kind}       GB/s")
        for name, value in medians(large, options.rounds, 1).items():
            print(f"{name:28s} {out.nbytes / value / 1e9:8.2f}")
    print("\none block of 64 bytes     microseconds")
    for name, value in medians(tiny, options.rounds, 1000).items():
        print(f"{name:28s} {value * 1e6:8.2f}")


if __name__ == "__main__":
    main()
