"""The arrays of a pytree with their names, so that those who declare it apart from each other mean the same ones."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from typing import Any, Final

import jax
from jax.tree_util import GetAttrKey, KeyPath, keystr

from jmpc.complexes import parts

LONGEST_NAME: Final = 128  # characters
_HALVES: Final = [(GetAttrKey("real"),), (GetAttrKey("imag"),)]


def named_parts(tree: Any) -> list[tuple[str, Any]]:
    """Every leaf with its path in the tree; a complex one is two."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = [(path, parts(leaf)) for path, leaf in leaves]
    return [
        (_name((*path, *ending)), part)
        for path, found in named
        for ending, part in zip(_HALVES if len(found) > 1 else [()], found, strict=True)
    ]


def names_of(tree: Any) -> tuple[str, ...]:
    """The names of its arrays, in order."""
    return tuple(name for name, _ in named_parts(tree))


def listed(names: Iterable[str], types: Iterable[Any]) -> str:
    """Types of arrays, each with its name, as far as there are any."""
    rows = itertools.zip_longest(names, map(str, types), fillvalue="")
    return ", ".join(" ".join(filter(None, row)) for row in rows)


def _name(path: KeyPath) -> str:
    """One that can travel and be shown: long ones end in a digest of the whole."""
    text = keystr(path)
    if len(text) <= LONGEST_NAME and text.isprintable():
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return "".join(char if char.isprintable() else "?" for char in text)[: LONGEST_NAME - 20] + f"... {digest}"
