"""Breast cancer data, its columns split between two owners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRAINING = 455  # of 569 rows


@dataclass(frozen=True)
class Columns:
    """One owner's columns of all rows, float32 (rows, columns); the first `TRAINING` rows are for training."""

    values: np.ndarray

    @property
    def training(self) -> np.ndarray:
        return self.values[:TRAINING]

    @property
    def held_out(self) -> np.ndarray:
        return self.values[TRAINING:]


def load(split: int = 0) -> tuple[Columns, Columns, Columns]:
    """The first owner's 15 columns, the second owner's 15, and the labels (one column, 0 or 1).

    Each owner standardises its own columns with the mean and deviation of its own training rows.
    """
    from sklearn.datasets import load_breast_cancer

    bundle = load_breast_cancer()
    rows = np.random.default_rng(split).permutation(len(bundle.target))
    features, labels = bundle.data[rows], bundle.target[rows]
    features = (features - features[:TRAINING].mean(0)) / features[:TRAINING].std(0)
    features = np.clip(features, -8, 8).astype(np.float32)
    return Columns(features[:, :15]), Columns(features[:, 15:]), Columns(labels[:, None].astype(np.float32))
