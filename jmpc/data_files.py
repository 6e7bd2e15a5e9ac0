"""Tables and arrays in files as a player's data: CSV, Parquet, npy and npz.

What JAX computes with has 32 bits, so numbers of 64 bits are converted: reals are rounded, and an integer that does not
fit is an error, never another integer.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from jmpc.errors import ConfigError, InputError
from jmpc.providers import Provider

_NARROW: Final = {"float64": "float32", "complex128": "complex64", "int64": "int32", "uint64": "uint32"}
_ADVICE: Final = "leave it out with `columns`, or write a @jmpc.provider that makes numbers of it"


def data_file(
    path: str | Path,
    *,
    name: str | None = None,
    columns: Sequence[str] | None = None,
    public: bool = False,
    range: tuple[float, float] | None = None,
) -> Provider:
    """The data of a file as a provider, read anew in every run; its types are those of the file as it is now.

    Args:
      path: of a table (.csv, .csv.gz, .parquet), whose first line names its columns, or of arrays (.npy, .npz).
      name: what computations call it; the file's name without its ending unless said.
      columns: of a table or an npz file; all unless said.
      public, range: see `jmpc.provider`.

    Returns:
      A provider of one array (npy), or of a dict of arrays by name. Dates are days since 1970-01-01.

    Raises:
      ConfigError: there is no such file or column, or a column is not made of numbers, booleans or dates, or has
        gaps; naming the column, never what is in it.
    """
    path = Path(path)
    read = functools.partial(_read, path, columns)
    types = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), read())
    name = path.name.partition(".")[0] if name is None else name

    def bring(player: str) -> Any:
        try:
            return read()
        except ConfigError as error:
            raise InputError(player, f"{player}: the file of provider {name!r} cannot be used", str(error)) from error

    return Provider(name, types, bring, public, range)


def file_provider(argument: str) -> Provider:
    """`data_file` by an argument of a command, "FILE" or "NAME=FILE"."""
    name, equals, path = argument.partition("=")
    return data_file(path, name=name) if equals else data_file(argument)


def _read(path: Path, columns: Sequence[str] | None) -> Any:
    readers = {".csv": _csv, ".csv.gz": _csv, ".parquet": _parquet, ".npy": _npy, ".npz": _npz}
    ending = "".join(path.suffixes[-2:]) if path.name.endswith(".csv.gz") else path.suffix
    if ending not in readers:
        raise ConfigError(f"{path}: files that end in {', '.join(readers)} can be read, for others write a provider")
    try:
        return readers[ending](path, columns)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except ImportError:
        raise ConfigError(
            f"{path}: tables are read by pyarrow, which is not installed: pip install 'jmpc[data]'"
        ) from None
    except (OSError, ValueError, EOFError) as error:  # whose text may quote the data
        raise ConfigError(f"{path} cannot be read as {ending} ({type(error).__name__})") from None


def _npy(path: Path, columns: Sequence[str] | None) -> np.ndarray:
    if columns is not None:
        raise ConfigError(f"{path} is one array, without columns")
    return _numbers(np.load(path, allow_pickle=False), str(path))


def _npz(path: Path, columns: Sequence[str] | None) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: _numbers(arrays[name], f"{path}: {name}") for name in _chosen(path, arrays.files, columns)}


def _csv(path: Path, columns: Sequence[str] | None) -> dict[str, np.ndarray]:
    import pyarrow.csv

    return _table(path, pyarrow.csv.read_csv(path), columns)


def _parquet(path: Path, columns: Sequence[str] | None) -> dict[str, np.ndarray]:
    import pyarrow.parquet

    return _table(path, pyarrow.parquet.read_table(path), columns)


def _table(path: Path, table: Any, columns: Sequence[str] | None) -> dict[str, np.ndarray]:
    import pyarrow as pa

    if twice := sorted({name for name in table.column_names if table.column_names.count(name) > 1}):
        raise ConfigError(f"{path} has several columns {twice}")
    arrays = {}
    for name in _chosen(path, table.column_names, columns):
        column, kind = table[name], table[name].type
        where = f"{path}: column {name!r}"
        if column.null_count:
            raise ConfigError(f"{where} has gaps: {_ADVICE}, and a column of booleans that says where they are")
        if pa.types.is_date32(kind):
            column = column.cast(pa.int32())  # days since 1970-01-01
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise ConfigError(f"{where} is of type {kind}, neither numbers nor booleans nor dates: {_ADVICE}")
        numbers = column.to_numpy()
        if numbers.dtype.kind == "f" and (np.abs(numbers) >= 2.0**63).any():  # as which integers of more bits are read
            raise ConfigError(f"{where} has numbers of 2^63 and more: {_ADVICE}")
        arrays[name] = _numbers(numbers, where)
    return arrays


def _chosen(path: Path, there: Sequence[str], wanted: Sequence[str] | None) -> Sequence[str]:
    if wanted is None:
        return there
    if missing := [name for name in wanted if name not in there]:
        raise ConfigError(f"{path} has no {missing}; it has {list(there)}")
    return wanted


def _numbers(array: np.ndarray, where: str) -> np.ndarray:
    """The array in a type of at most 32 bits (64 for complex ones)."""
    if array.dtype.kind not in "biufc":
        raise ConfigError(f"{where} is of type {array.dtype}, neither numbers nor booleans: {_ADVICE}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    target = np.dtype(_NARROW.get(array.dtype.name, array.dtype))
    if target != array.dtype and target.kind in "iu" and array.size:
        limits = np.iinfo(target)
        if array.min() < limits.min or array.max() > limits.max:
            raise ConfigError(f"{where} has integers that do not fit into {target.name}: {_ADVICE}")
    return array.astype(target, copy=False)
