"""What all examples share: their command line, and where their plots go."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import jmpc


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every example has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--config", help="configuration of running jmpc-nodes; without it everything is simulated here")
    made.add_argument("--mode", choices=["fused", "threads"], default="fused", help="how to simulate")
    made.add_argument("--insecure", action="store_true", help="plain text to the nodes (loopback only)")
    made.add_argument("--out", default="", help="folder for plots (default: out/ beside the example)")
    return made


def configure(arguments: argparse.Namespace) -> None:
    """Sets the configuration that the command line asks for."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(name)s:%(message)s")
    logging.getLogger("jax").setLevel(logging.WARNING)
    jmpc.use_compilation_cache()
    if arguments.config:
        jmpc.set_config(jmpc.RemoteConfig.load(arguments.config, insecure=arguments.insecure or None))
    else:
        jmpc.set_config(jmpc.LocalConfig(mode=arguments.mode))


def plot(
    arguments: argparse.Namespace,
    script: str,
    name: str,
    x: Sequence[float],
    curves: dict[str, Sequence[float]],
    axes: tuple[str, str],
) -> Path:
    """Draws curves over `x` as a PNG beside the example and returns where it is."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder = Path(arguments.out) if arguments.out else Path(script).parent / "out"
    folder.mkdir(parents=True, exist_ok=True)
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for label, y in curves.items():
        axis.plot(x, y, label=label)
    axis.set_xlabel(axes[0])
    axis.set_ylabel(axes[1])
    axis.legend()
    axis.grid(alpha=0.3)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
