"""`python -m benchmarks`: every benchmark, one after another; each is also a command of its own."""

import subprocess
import sys

MODULES = {
    "ring_dot": [],
    "keystream": [],
    "operations": ["--network"],
    "examples": [],
    "truncation": [],
    "gpu": ["--no-federated"],
}


def main() -> None:
    for name, arguments in MODULES.items():
        print(f"\n== python -m benchmarks.{name} {' '.join(arguments)}".rstrip(), flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True)


if __name__ == "__main__":
    main()
