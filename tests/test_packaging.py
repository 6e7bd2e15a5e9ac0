"""The distribution: complete, importable in every layout, and free of what jmpc promises never to do."""

import ast
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

from setuptools import find_packages

import jmpc
import jmpc.kernels

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted(
    path
    for folder in ("jmpc", "kernels")
    for path in (ROOT / folder).rglob("*.py")
    if path.resolve().is_relative_to(ROOT / folder)  # once, not again through the link
)
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in SOURCES}


def offenders(find: Callable[[ast.AST], set[str]]) -> dict[str, set[str]]:
    """What `find` finds, by file."""
    return {name: found for name, tree in TREES.items() if (found := find(tree))}


def imported(tree: ast.AST) -> set[str]:
    """The dotted names that a module imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def attributes(tree: ast.AST) -> set[str]:
    """Every dotted name that is used, e.g. jax.random.normal."""
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def called(tree: ast.AST) -> set[str]:
    """Every plain name that is called."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def starting(names: set[str], *modules: str) -> set[str]:
    return {n for n in names if any(n == m or n.startswith(m + ".") for m in modules)}


def test_the_sources_are_all_there():
    assert len(SOURCES) > 20 and "jmpc/_compat.py" in TREES and "kernels/__init__.py" in TREES


def test_kernels_are_part_of_jmpc():
    link = ROOT / "jmpc" / "kernels"
    assert link.is_symlink() and os.readlink(link) == "../kernels"
    assert Path(jmpc.kernels.__file__).resolve().parent.name == "kernels"
    assert jmpc.kernels.__name__ == "jmpc.kernels"


def test_every_folder_with_code_is_a_package_of_the_distribution():
    include = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    found = set(find_packages(ROOT, include=include))
    folders = {path.parent.relative_to(ROOT).parts for path in SOURCES}
    names = {".".join(parts if parts[0] == "jmpc" else ("jmpc", *parts)) for parts in folders}
    assert names <= found
    assert {name.split(".")[0] for name in found} == {"jmpc"}


def test_typing_marker_scripts_and_dependencies():
    assert (Path(jmpc.__file__).parent / "py.typed").exists()
    scripts = PROJECT["project"]["scripts"]
    assert scripts == {"jmpc-node": "jmpc.player:main", "jmpc-admin": "jmpc.admin:main"}
    assert "jax>=0.10.2,<0.13" in PROJECT["project"]["dependencies"]  # the releases that _compat knows


def test_only_compat_knows_the_private_parts_of_jax():
    found = offenders(lambda tree: starting(imported(tree) | attributes(tree), "jax._src", "jaxlib"))
    assert set(found) <= {"jmpc/_compat.py"}, found


def test_kernels_have_one_name():
    assert not offenders(lambda tree: starting(imported(tree), "kernels"))


def test_only_users_reach_the_debugger():
    found = offenders(lambda tree: starting(imported(tree) | attributes(tree), "jmpc.debug"))
    assert {name for name in found if not name.startswith("jmpc/debug/")} <= {"jmpc/__init__.py"}


def test_nothing_turns_data_into_code():
    modules = ("pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "runpy")
    assert not offenders(lambda tree: starting(imported(tree), *modules))
    assert not offenders(lambda tree: called(tree) & {"eval", "exec", "compile", "__import__"})
    assert not offenders(allowed_pickles)


def allowed_pickles(tree: ast.AST) -> set[str]:
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
    return {ast.unparse(k) for k in keywords if k.arg == "allow_pickle"} - {"allow_pickle=False"}


# Keys are a type of the user's programs, which the codec and the lowering have to name; nothing draws from one.
NAMES_OF_KEYS = {"wrap_key_data", "key_data", "key_dtype", "key_impl", "clone"}


def random_names(tree: ast.AST) -> set[str]:
    modules = ("random", "np.random", "numpy.random", "jax.random", "jr", "jrandom")
    used = starting(attributes(tree), *modules)
    draws = {name for name in used if name.split(".")[-1] not in {"random", *NAMES_OF_KEYS}}
    return draws | starting(imported(tree), "random", "numpy.random", "jax.random")


def test_no_mask_can_come_from_anything_but_the_keystream():
    assert not offenders(random_names)
