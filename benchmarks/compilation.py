"""`python -m benchmarks.compilation`: how long it takes until large networks run, with all weights and inputs secret.

Every model is run by a new process, twice: cold with an empty compilation cache, then warm. "Prepared" is tracing,
lowering and scheduling; "first result" is the whole until the result is there, Python's start not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import models

_SIZES = {"ResNet-18, 32 x 32": (1, 32, 32, 3), "transformer, 4 layers": (64, 128)}


def _model(name: str) -> tuple[Callable[..., Any], Any]:
    random = np.random.default_rng(0)
    if name.startswith("ResNet"):
        return models.apply_resnet18, models.resnet18(random)
    return models.apply_transformer, models.transformer(random)


def _measured(name: str) -> dict[str, float]:
    """Seconds, rounds and megabytes of one model, in this process."""
    import jax

    import jmpc

    jmpc.use_compilation_cache()
    function, parameters = _model(name)
    x = np.random.default_rng(1).standard_normal(_SIZES[name]).astype(np.float32)
    plain = np.asarray(jax.jit(function)(parameters, x))
    weights = jax.tree.map(jmpc.define_private_variable, parameters)
    start = time.perf_counter()
    fetch = jmpc.function(function)(weights, jmpc.define_private_input("driver", lambda: x)).reveal()
    account = jmpc.explain(fetch)
    prepared = time.perf_counter() - start
    result = np.asarray(jmpc.run(fetch))
    first = time.perf_counter() - start
    start = time.perf_counter()
    jmpc.run(fetch)
    again = time.perf_counter() - start
    return {
        "prepared": prepared,
        "first result": first,
        "again": again,
        "rounds": account.rounds,
        "MB": account.bytes_sent() / 1e6,
        "error": float(np.abs(result - plain).max()),
        "largest": float(np.abs(plain).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(_SIZES))
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(_measured(options.inside)))
        return
    print(
        f"{'':24s} {'':6s}{'prepared, s':>12s}{'first, s':>10s}{'again, s':>10s}{'rounds':>8s}{'MB':>8s}  largest error"
    )
    for name in options.names:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                row = _run(name, cache)
                times = f"{row['prepared']:12.1f}{row['first result']:10.1f}{row['again']:10.2f}"
                size = f"{row['rounds']:8.0f}{row['MB']:8.0f}"
                print(f"{name:24s} {state:6s}{times}{size}  {row['error']:.1e} of {row['largest']:.2g}", flush=True)


def _run(name: str, cache: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.compilation", "--inside", name]
    environment = os.environ | {"XDG_CACHE_HOME": cache}
    ended = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
