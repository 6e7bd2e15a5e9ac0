"""`jmpc-admin data`."""

import argparse

import jax

from ..data_files import file_provider
from ._table import print_table


def data(arguments: argparse.Namespace) -> int:
    """Shows the types of data files."""
    for file in arguments.files:
        provider = file_provider(file)
        leaves, _ = jax.tree.flatten_with_path(provider.types)
        print(f"{provider.name}:")
        print_table(
            [
                (f"    {jax.tree_util.keystr(path, simple=True)}", f"{leaf.dtype}{list(leaf.shape)}")
                for path, leaf in leaves
            ]
        )
    return 0
