"""The folder of compiled programs: this user's alone, and bounded."""

import os
from pathlib import Path

import jax
import pytest

from jmpc.errors import ConfigError
from jmpc.runtime.cache import prune_compilation_cache, use_compilation_cache


@pytest.fixture
def kept():
    """JAX's own configuration, put back afterwards."""
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_folder_is_this_users_alone(tmp_path: Path, kept: None) -> None:
    assert use_compilation_cache(tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "new")
    for name in ("open", "link"):
        with pytest.raises(ConfigError, match="chmod 700"):
            use_compilation_cache(tmp_path / name)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, kept: None) -> None:
    folder = use_compilation_cache(tmp_path / "cache")
    for age, name in enumerate(["new", "used", "old", "older"]):
        (folder / f"{name}-cache").write_bytes(bytes(100))
        os.utime(folder / f"{name}-cache", (1e9 - age, 1e9 - age))
    os.utime(folder / "used-cache", (2e9, 1e9))  # read since
    (folder / "something else").write_bytes(bytes(100))
    prune_compilation_cache(400)
    assert len(list(folder.iterdir())) == 5
    prune_compilation_cache(250)
    assert sorted(path.name for path in folder.iterdir()) == ["new-cache", "something else", "used-cache"]
    prune_compilation_cache(100)
    assert sorted(path.name for path in folder.iterdir()) == ["something else", "used-cache"]


def test_without_a_folder_there_is_nothing_to_do(kept: None) -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    prune_compilation_cache(0)
