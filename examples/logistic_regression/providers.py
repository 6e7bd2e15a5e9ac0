"""What the two data owners' nodes bring to the logistic regression.

jmpc-node data-owner-0 --config config.json --providers examples/logistic_regression/providers.py
"""

from __future__ import annotations

import data
import jax

import jmpc
from jmpc.providers import Provider


def make(split: int = 0) -> tuple[Provider, Provider]:
    """The providers of columns, and of labels (which the second owner has)."""
    first, second, labels = data.load(split)
    columns = {"data-owner-0": first, "data-owner-1": second}

    def types(example: data.Columns):
        return tuple(jax.ShapeDtypeStruct(x.shape, "float32") for x in (example.training, example.held_out))

    @jmpc.provider(types=types(first))
    def cancer_columns(player: str):
        return columns[player].training, columns[player].held_out

    @jmpc.provider(types=types(labels))
    def cancer_labels(player: str):
        return labels.training, labels.held_out

    return cancer_columns, cancer_labels


cancer_columns, cancer_labels = make()
