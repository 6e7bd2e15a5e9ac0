"""JAX's persistent compilation cache, in a folder that only this user can read and write.

Secrets, keys and data are arguments of executables, never constants in them; but what a user computes is
their own business, and a cache that others can write would let them choose the code that runs.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import jax

from jmpc.errors import ConfigError

MOST_BYTES = 1 << 30  # some hundred thousand segments
_SUFFIX = "-cache"  # of JAX's files


def use_compilation_cache(folder: str | os.PathLike[str] | None = None) -> Path:
    """Keeps compiled programs across processes: later starts skip most of the compiling.

    This sets JAX's own configuration for the whole process, so it is never done unasked in a script; nodes
    do it.

    Args:
      folder: where; default `$XDG_CACHE_HOME/jmpc` or `~/.cache/jmpc`. Made with mode 0700.

    Raises:
      ConfigError: if the folder is a link, belongs to somebody else, or others may write to it.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(folder) if folder is not None else Path(base) / "jmpc"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise ConfigError(f"the compilation cache {path} must be a folder of this user's alone: chmod 700 {path}")
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


def prune_compilation_cache(most_bytes: int = MOST_BYTES) -> None:
    """Removes what was not used for longest, where all that is kept takes more than `most_bytes`.

    Whoever reads a file that is being removed compiles it again. Does nothing if no folder is in use.
    """
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not folder or not os.path.isdir(folder):
        return
    files = [path for path in Path(folder).iterdir() if path.name.endswith(_SUFFIX)]
    found = [(max(info.st_atime, info.st_mtime), info.st_size, path) for path in files if (info := _stat(path))]
    excess = sum(size for _, size, _ in found) - most_bytes
    for _, size, path in sorted(found):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # another node has been here
        return None
