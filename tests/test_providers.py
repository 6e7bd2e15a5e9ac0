"""Registering a player's data sources and sinks."""

import textwrap

import jax
import numpy as np
import pytest

import jmpc
from jmpc.computation import ArrayType
from jmpc.errors import ConfigError, InputError
from jmpc.providers import Provider, Registry, Sink

TYPES = {"x": jax.ShapeDtypeStruct((2,), "float32"), "n": jax.ShapeDtypeStruct((), "int32")}


@pytest.fixture
def load(tmp_path):
    def load(*sources: str) -> Registry:
        paths = []
        for number, source in enumerate(sources):
            paths.append(tmp_path / f"my_data_{number}.py")
            paths[-1].write_text(textwrap.dedent(source))
        return Registry.load(paths)

    return load


HEADER = """
    import jax, numpy as np
    import jmpc
"""
BATCH = """
    @jmpc.provider(types=jax.ShapeDtypeStruct((3,), "float32"))
    def batch(player):
        return np.ones(3, np.float32)
"""


def test_a_provider_is_called_with_the_players_name():
    @jmpc.provider(types=TYPES)
    def data(player):
        return {"x": np.full(2, len(player), np.float32), "n": 3}

    assert isinstance(data, Provider) and data.name == "data" and not data.public
    assert data("alice")["x"].tolist() == [5.0, 5.0]
    assert data.array_types == (ArrayType((), "int32"), ArrayType((2,), "float32"))  # leaves in jax's order


def test_a_provider_may_ask_for_the_iteration():
    @jmpc.provider(types=jax.ShapeDtypeStruct((), "int32"))
    def row(player: str, iteration: int):
        return 100 * len(player) + iteration

    assert row.by_iteration and row("bob", 7) == 307
    with pytest.raises(InputError, match=r"^bob: provider 'row' .* this run has none: say which, jmpc.run\(..., iter"):
        row("bob")
    assert not jmpc.provider(types=TYPES)(max).by_iteration  # does not say what it takes
    for wrong, said in [
        (lambda: 1, r"\(player\) or \(player, iteration\), not \(\)"),
        (lambda iteration: 1, "missing|multiple values"),
        (lambda player, row: 1, "'row'"),
        (lambda player, iteration=0: 1, "default"),
    ]:
        with pytest.raises(TypeError, match=said):
            jmpc.provider(types=TYPES)(wrong)


def test_batches_of_an_iteration_in_simulation():
    @jmpc.provider(types=jax.ShapeDtypeStruct((2,), "float32"))
    def row(player: str, iteration: int):
        return np.full(2, iteration, np.float32)

    product = (jmpc.define_private_input("alice", row) * jmpc.define_private_input("bob", row)).reveal()
    for iteration in (3, np.int64(2), 3):
        np.testing.assert_allclose(jmpc.run(product, iteration=iteration), int(iteration) ** 2, atol=1e-4)
    with pytest.raises(InputError, match="provider 'row'"):
        jmpc.run(product)
    start = jmpc.define_private_variable(jmpc.define_private_input("alice", row))
    np.testing.assert_allclose(jmpc.run(start.reveal(), iteration=9), 9, atol=1e-4)
    for wrong in (-1, 1 << 63):
        with pytest.raises(ValueError, match=r"numbered from 0 to 2\^63 - 1"):
            jmpc.run(product, iteration=wrong)
    with pytest.raises(TypeError, match="an iteration is an integer, not float"):
        jmpc.run(product, iteration=0.5)


def test_types_may_be_given_by_arrays():
    made = jmpc.provider(types=np.zeros((2, 3), np.int32), name="rows", public=True)(lambda player: None)
    assert made.name == "rows" and made.public
    assert made.array_types == (ArrayType((2, 3), "int32"),)


def test_a_sink_takes_arrays():
    seen = []
    made = jmpc.sink(seen.append)
    assert isinstance(made, Sink) and made.name == "append"
    made(1)
    assert seen == [1]


def test_files_are_loaded_with_everything_they_define(load):
    registry = load(HEADER + BATCH, HEADER + "    @jmpc.sink\n    def save(*arrays): pass\n")
    assert list(registry.providers) == ["batch"] and list(registry.sinks) == ["save"]
    assert registry.providers["batch"]("alice").tolist() == [1.0, 1.0, 1.0]


def test_a_file_may_import_its_neighbours_and_define_dataclasses(tmp_path):
    (tmp_path / "neighbour_of_providers.py").write_text("SIZE = 3\n")
    text = (
        "from __future__ import annotations\nimport dataclasses\nfrom neighbour_of_providers import SIZE\n"
        "import jax, jmpc\n\n@dataclasses.dataclass\nclass Row:\n    size: int = SIZE\n\n"
        "@jmpc.provider(types=jax.ShapeDtypeStruct((Row().size,), 'float32'))\ndef rows(player): ...\n"
    )
    (tmp_path / "file.py").write_text(text)
    assert Registry.load([tmp_path / "file.py"]).providers["rows"].array_types == (ArrayType((3,), "float32"),)


def test_a_provider_that_two_files_import_is_one(tmp_path):
    (tmp_path / "shared_providers.py").write_text(textwrap.dedent(HEADER + BATCH))
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text("from shared_providers import batch\n")
    assert list(Registry.load([tmp_path / "one.py", tmp_path / "two.py"]).providers) == ["batch"]


def test_two_entries_of_one_name_are_refused(load):
    with pytest.raises(ConfigError, match="a second provider is called 'batch'"):
        load(HEADER + BATCH, HEADER + BATCH)


def test_files_that_are_missing_or_no_python(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        Registry.load([tmp_path / "missing.py"])
    (tmp_path / "data.txt").write_text("")
    with pytest.raises(ConfigError, match="must end in .py"):
        Registry.load([tmp_path / "data.txt"])
