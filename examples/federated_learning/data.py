"""Handwritten digits, split among owners who never see each other's."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

OWNERS = 3  # unless told


@dataclass(frozen=True)
class Images:
    """Pixels in [0, 1], float32 (number, pixels), and labels 0 to 9, int32 (number,)."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Images:
        return Images(self.pixels[rows], self.labels[rows])


@dataclass(frozen=True)
class Digits:
    """Disjoint training sets of the owners, and a validation set that none of them has."""

    shards: tuple[Images, ...]
    validation: Images


def load(directory: str | None = None, split: int = 0, owners: int = OWNERS) -> Digits:
    """Scikit-learn's bundled digits (1797 of 8x8), or MNIST in its IDX format from `directory`.

    `split` seeds which images are held out (a fifth of them; MNIST's own test set) and who of the `owners` has which.
    """
    shuffle = np.random.default_rng(split)
    if directory is None:
        images = _bundled()
        rows = shuffle.permutation(len(images))
        cut = len(images) * 4 // 5
        training, validation = images.take(rows[:cut]), images.take(rows[cut:])
    else:
        training, validation = _mnist(Path(directory), "train"), _mnist(Path(directory), "t10k")
        training = training.take(shuffle.permutation(len(training)))
    parts = np.array_split(np.arange(len(training)), owners)
    return Digits(tuple(training.take(part) for part in parts), validation)


def _bundled() -> Images:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return Images((bundle.data / 16).astype(np.float32), bundle.target.astype(np.int32))


def _mnist(directory: Path, kind: str) -> Images:
    pixels = _read_idx(directory / f"{kind}-images-idx3-ubyte")
    labels = _read_idx(directory / f"{kind}-labels-idx1-ubyte")
    flat = pixels.reshape(len(pixels), -1)
    return Images((flat / 255).astype(np.float32), labels.astype(np.int32))


def _read_idx(path: Path) -> np.ndarray:
    """An IDX file of bytes, plain or compressed."""
    packed = path.with_name(path.name + ".gz")
    if not path.exists() and not packed.exists():
        raise FileNotFoundError(f"neither {path} nor {packed.name} exists; the MNIST files in IDX format go there")
    raw = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    zeros, kind, rank = struct.unpack(">HBB", raw[:4])
    if zeros != 0 or kind != 8:
        raise ValueError(f"{path} is not an IDX file of bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
