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
