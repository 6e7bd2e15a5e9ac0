"""Tables and arrays in files as data of a player."""

from __future__ import annotations

import datetime
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import jmpc
from jmpc.admin import main as admin
from jmpc.data_files import file_provider
from jmpc.errors import ConfigError, InputError

CSV = """age,weight,smoker,born,name,gap
31,70.5,true,1990-01-02,Ann,1
45,80.25,false,1970-01-11,Bob,
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "patients.csv"
    path.write_text(CSV)
    return path


NUMBERS = ["age", "weight", "smoker", "born"]


def check(values: dict[str, np.ndarray]) -> None:
    assert {name: x.dtype.name for name, x in values.items()} == {
        "age": "int32",
        "weight": "float32",
        "smoker": "bool",
        "born": "int32",
    }
    assert [x.tolist() for x in values.values()] == [[31, 45], [70.5, 80.25], [True, False], [7306, 10]]


def test_a_table_as_private_input(table: Path) -> None:
    provider = jmpc.data_file(table, columns=NUMBERS)
    assert provider.name == "patients" and not provider.public
    check(provider("owner"))
    values = jmpc.define_private_input("owner", provider)
    assert set(values) == set(NUMBERS)
    mean = jmpc.run((values["weight"] * values["smoker"]).sum().reveal())
    assert abs(mean - 70.5) < 1e-4


def test_the_same_as_parquet_and_compressed(tmp_path: Path) -> None:
    born = pa.array([datetime.date(1990, 1, 2), datetime.date(1970, 1, 11)])
    columns = {"age": [31, 45], "weight": [70.5, 80.25], "smoker": [True, False], "born": born}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "p.parquet")
    check(jmpc.data_file(tmp_path / "p.parquet")("owner"))
    with pa.output_stream(tmp_path / "q.csv.gz", compression="gzip") as file:
        file.write("\n".join(",".join(line.split(",")[:4]) for line in CSV.splitlines()).encode())
    check(jmpc.data_file(tmp_path / "q.csv.gz")("owner"))
    assert jmpc.data_file(tmp_path / "q.csv.gz").name == "q"


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(6.0).reshape(2, 3).astype(">f8"))
    np.savez(tmp_path / "two.npz", a=np.arange(3), b=np.ones(2, np.int8), c=np.array([1 + 2j]))
    one, two = jmpc.data_file(tmp_path / "one.npy"), jmpc.data_file(tmp_path / "two.npz", columns=["b", "c"])
    assert one.types == jax.ShapeDtypeStruct((2, 3), np.float32)
    np.testing.assert_array_equal(one("owner"), np.arange(6.0).reshape(2, 3))
    assert {name: x.dtype.name for name, x in two("owner").items()} == {"b": "int8", "c": "complex64"}


def test_types_that_do_not_fit_are_named_without_what_is_in_them(tmp_path: Path, table: Path) -> None:
    np.save(tmp_path / "large.npy", np.array([1 << 31]))
    np.save(tmp_path / "fits.npy", np.array([(1 << 31) - 1, -1 << 31]))
    np.save(tmp_path / "words.npy", np.array(["424242"]))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    assert jmpc.data_file(tmp_path / "fits.npy")("o").tolist() == [(1 << 31) - 1, -1 << 31]
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    (tmp_path / "broken.csv").write_text("a,b\n1\n424242,3,4\n")
    (tmp_path / "data.json").write_text("{}")
    (tmp_path / "broken.parquet").write_text("424242")
    for path, options, message in (
        (table, {}, "column 'name' is of type string, neither"),
        (table, {"columns": ["gap"]}, "column 'gap' has gaps: leave it out"),
        (table, {"columns": ["agee"]}, r"has no \['agee'\]; it has \['age',"),
        (tmp_path / "large.npy", {}, "integers that do not fit into int32"),
        (tmp_path / "words.npy", {}, "neither numbers nor booleans"),
        (tmp_path / "objects.npy", {}, r"cannot be read as .npy \(ValueError\)"),
        (tmp_path / "fits.npy", {"columns": ["a"]}, "one array, without columns"),
        (tmp_path / "twice.csv", {}, r"several columns \['a'\]"),
        (tmp_path / "broken.csv", {}, r"cannot be read as .csv \(ArrowInvalid\)"),
        (tmp_path / "broken.parquet", {}, "cannot be read as .parquet"),
        (tmp_path / "data.json", {}, "files that end in .csv"),
        (tmp_path / "missing.csv", {}, "does not exist"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            jmpc.data_file(path, **options)
        assert "424242" not in str(caught.value)


def test_a_file_is_read_in_every_run_and_keeps_its_types(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(3))
    x = jmpc.define_private_input("owner", jmpc.data_file(tmp_path / "x.npy"))
    total = x.sum().reveal()
    assert abs(jmpc.run(total) - 3) < 1e-4
    np.save(tmp_path / "x.npy", np.full(3, 2.0))
    assert abs(jmpc.run(total) - 6) < 1e-4
    np.save(tmp_path / "x.npy", np.ones(4))
    with pytest.raises(InputError, match=r"does not give float32\[3\]"):
        jmpc.run(total)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(InputError, match="the file of provider 'x' cannot be used") as caught:
        jmpc.run(total)
    assert str(tmp_path) not in caught.value.message  # which the others see


def test_commands(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    assert file_provider(f"mine={tmp_path / 'x.npy'}").name == "mine"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(",".join(line.split(",")[:2]) for line in lines))
    assert admin(["data", str(table), f"mine={tmp_path / 'x.npy'}"]) == 0
    said = capsys.readouterr().out.split()
    assert said == ["patients:", "age", "int32[2]", "weight", "float32[2]", "mine:", "float32[3,", "2]"]
    assert admin(["data", str(tmp_path / "none.npy")]) == 1
    assert "does not exist" in capsys.readouterr().err
