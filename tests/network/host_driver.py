"""`python -m network.host_driver CONFIG`: a driver that does what lines of JSON on its standard input ask.

{"run": NAME, "times": 3} is answered with seconds of each run, or with the error that ended one; {"explain": NAME,
"latency": 0.01, "bandwidth": 1e6} with what `explain` says of such links.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from network import my_data

import jmpc

WIDTH = 50_000  # of four elements
ITERATIONS = 100


def deep(x, y):
    """Many rounds, few bytes."""
    return jax.nn.softmax(jax.nn.softmax(x * 0.1) * y * 0.1)


def wide(x, y):
    """Few rounds, many bytes: 200,000 comparisons, of which the smaller ones are counted."""
    return jnp.sum(jnp.tile(x, WIDTH) * 5 < jnp.tile(y, WIDTH), dtype=jnp.int32)


def long(x, y):
    """A loop of exchanges that goes on for some time."""
    return jax.lax.fori_loop(0, ITERATIONS, lambda _, z: jnp.where(z < 8, z + 1, z - x), y)


COMPUTATIONS: dict[str, Callable[..., Any]] = {fn.__name__: fn for fn in (deep, wide, long)}


class Driver:
    """A session, and the computations as values of it."""

    def __init__(self, config: str) -> None:
        jmpc.set_config(jmpc.RemoteConfig.load(config))
        inputs = my_data.vector("data-owner"), my_data.vector("model-owner")
        x = jmpc.define_private_input("data-owner", "vector", types=my_data.VECTOR)
        y = jmpc.define_private_input("model-owner", lambda: inputs[1], types=my_data.VECTOR)
        self._values = {name: jmpc.function(fn)(x, y).reveal() for name, fn in COMPUTATIONS.items()}
        self._expected = {name: np.asarray(fn(*inputs)) for name, fn in COMPUTATIONS.items()}

    def run(self, name: str, times: int) -> dict[str, Any]:
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            try:
                result = jmpc.run(self._values[name])
            except jmpc.JmpcError as error:
                return {"error": f"{type(error).__name__}: {error}", "after": time.perf_counter() - start}
            seconds.append(time.perf_counter() - start)
            np.testing.assert_allclose(result, self._expected[name], atol=1e-3)
        return {"seconds": seconds}

    def explain(self, name: str, latency: float, bandwidth: float) -> dict[str, Any]:
        account = jmpc.explain(self._values[name])
        forecast = account.on(jmpc.Link(latency, bandwidth))
        figures = {"rounds": account.rounds, "exchanges": forecast.exchanges[()], "bytes": forecast.bytes_in_a_row[()]}
        return figures | {"seconds": forecast.seconds}


def main() -> None:
    driver = Driver(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "run" in asked:
            answer = driver.run(asked["run"], asked["times"])
        else:
            answer = driver.explain(asked["explain"], asked["latency"], asked["bandwidth"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
