"""`python -m benchmarks.truncation`: that truncation is never wrong, on as many samples as you like (default 1e8).

Values have log-uniform magnitudes up to the end of the range, +-(2^62 - 2^18), with the ends among them; shares
are fresh and random. Every result must be the floor or one above, and the mean error within three standard
errors of zero. Half of the samples go through `truncate` of a value, half through multiply-and-truncate.
"""

import argparse
import math
import secrets
from collections.abc import Callable

import jax
import numpy as np
from tqdm import tqdm

from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.schedule import schedule
from jmpc.choreography.trace import trace
from jmpc.protocols.base import Ring
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.keystream import HostKeystream
from jmpc.runtime.machine import Machine

PARTIES = ("server0", "server1", "server2")
SHIFT = 18
LARGEST = (1 << 62) - (1 << SHIFT) - 1


def machine(fn: Callable[..., Ring], operands: int, size: int) -> Callable[..., np.ndarray]:
    """`fn` on rep3 sharings, fused: signed values in, signed values out, shares and keys fresh in every call."""
    aval = jax.ShapeDtypeStruct((size,), np.uint64)

    def choreography(*slots: jax.Array) -> list[jax.Array]:
        return list(fn(Rep3(PARTIES), *(Ring(slots[i : i + 3]) for i in range(0, 3 * operands, 3))).slots)

    traced = trace(choreography, [aval] * 3 * operands, Rep3(PARTIES).slot_holders * operands, PARTIES)
    everything = {PARTIES[0]: range(3)}
    program = schedule(traced.closed, None, (), everything, cut_messages=False).program(TOGETHER)
    compiler = Compiler()

    def run(*values: np.ndarray) -> np.ndarray:
        slots = [slot for value in values for slot in _shares(value)]
        env = dict(zip(traced.closed.jaxpr.constvars, traced.closed.consts, strict=True))
        env |= dict(zip(traced.closed.jaxpr.invars, slots, strict=True))
        keys = {key: secrets.token_bytes(32) for key in traced.keys}
        outs = Machine(compiler, HostKeystream(keys)).run(program, env)
        return sum(np.asarray(out) for out in outs).view(np.int64)

    return run


def _shares(values: np.ndarray) -> list[np.ndarray]:
    first, second = np.frombuffer(secrets.token_bytes(16 * values.size), np.uint64).reshape(2, -1)
    return [first, second, values.view(np.uint64) - first - second]


def samples(random: np.random.Generator, size: int) -> np.ndarray:
    """Log-uniform magnitudes of both signs, and the ends of the range."""
    magnitude = np.minimum(np.exp2(random.uniform(0, 62, size)), float(LARGEST)).astype(np.int64)
    values = np.minimum(magnitude, LARGEST) * random.choice(np.array([-1, 1]), size)
    values[:8] = [0, 1, -1, LARGEST, LARGEST - 1, -LARGEST, -(1 << 62) + (1 << SHIFT), (1 << SHIFT) - 1]
    return values


def factors(random: np.random.Generator, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose product is about `values`, never beyond."""
    divisor = np.floor(np.exp2(random.uniform(0, 40, values.size))).astype(np.int64)
    return np.sign(values) * (np.abs(values) // divisor), divisor


class Tally:
    """What has been seen of one operation."""

    def __init__(self) -> None:
        self.samples, self.wrong, self.error, self.variance = 0, 0, 0.0, 0.0

    def add(self, results: np.ndarray, exact: np.ndarray) -> None:
        up = results - (exact >> SHIFT)
        part = (exact & ((1 << SHIFT) - 1)) / 2.0**SHIFT  # the chance of rounding up
        self.samples += exact.size
        self.wrong += int(((up != 0) & (up != 1)).sum())
        self.error += float((up - part).sum())
        self.variance += float((part * (1 - part)).sum())

    def __str__(self) -> str:
        sigmas = self.error / math.sqrt(self.variance) if self.variance else 0.0
        bias = self.error / self.samples
        return f"{self.samples:.3g} samples, {self.wrong} wrong, mean error {bias:+.2e} ulp ({sigmas:+.2f} sigma)"

    @property
    def passes(self) -> bool:
        return self.wrong == 0 and abs(self.error) <= 3 * math.sqrt(self.variance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=float, default=1e8, help="in total")
    parser.add_argument("--chunk", type=int, default=1_000_000)
    options = parser.parse_args()
    truncate = machine(lambda p, x: p.truncate(x, SHIFT), 1, options.chunk)
    multiply = machine(lambda p, x, y: p.truncate(p.multiply(x, y), SHIFT), 2, options.chunk)
    random, values, products = np.random.default_rng(), Tally(), Tally()
    for _ in tqdm(range(max(1, round(options.samples / options.chunk / 2))), unit="chunk pair"):
        x = samples(random, options.chunk)
        values.add(truncate(x), x)
        left, right = factors(random, samples(random, options.chunk))
        products.add(multiply(left, right), left * right)
    print("truncate         ", values)
    print("multiply-truncate", products)
    if not (values.passes and products.passes):
        raise SystemExit("FAILED: a result is neither floor nor floor + 1, or the mean is biased")


if __name__ == "__main__":
    main()
