"""`python -m benchmarks.examples`: cold and warm start of each example, as a whole process.

Cold: with an empty compilation cache. Warm: the same command again. Both include starting Python and JAX.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = {
    "matmul": [],
    "simple_average": [],
    "federated_learning": ["--quiet"],
    "logistic_regression": ["--quiet"],
    "private_inference": [],
}


def seconds(name: str, arguments: list[str], cache: str) -> float:
    """Wall time of one run of an example."""
    script = ROOT / "examples" / name / "run.py"
    environment = os.environ | {"XDG_CACHE_HOME": cache, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    subprocess.run([sys.executable, script, *arguments], env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(EXAMPLES))
    options = parser.parse_args()
    print(f"{'example':24s} {'cold, s':>10s} {'warm, s':>10s}")
    for name in options.names:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (seconds(name, EXAMPLES[name], cache) for _ in range(2))
        print(f"{name:24s} {cold:10.1f} {warm:10.1f}", flush=True)


if __name__ == "__main__":
    main()
