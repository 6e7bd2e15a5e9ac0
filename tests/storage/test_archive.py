"""A player's saved parts: as bytes and back, found again, bounded."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.errors import PolicyError, StorageError
from jmpc.storage.archive import Archive, check_name
from jmpc.storage.saved import Head, Reader, Saved, SavedVariable

RUN = bytes(range(16))
DTYPES = ["bool", "int8", "uint16", "uint64", "float16", "bfloat16", "float32", "float64"]


def saved(number: int = 1, size: int = 3) -> Saved:
    random = np.random.default_rng(number)
    slots = {i: random.integers(0, 2, (size, i)).astype(jnp.dtype(dtype)) for i, dtype in enumerate(DTYPES)}
    slots[-1] = np.uint64(random.integers(1 << 63)).reshape(())
    types = {i: jax.ShapeDtypeStruct(x.shape, x.dtype) for i, x in slots.items()}
    variables = (
        SavedVariable("variable/a", RUN, {"owner": frozenset({"driver", "owner"})}, "float32[3] at 18 bits", types),
        SavedVariable("variable/b", RUN[::-1], {}, "", {}),
    )
    head = Head(bytes([number]) * 16, number, b"descriptor", variables)
    return Saved(head, {"variable/a": slots, "variable/b": {}})


def version(of: Saved) -> tuple[int, bytes]:
    return of.head.number, of.head.identity


def archive(folder: Path, most_bytes: int = 1 << 20, key: bytes = bytes(32)) -> Archive:
    return Archive("server0", folder, lambda: key, most_bytes)


def read(here: Archive, of: Saved, name: str = "model") -> Saved:
    return here.read("driver", name, version(of), lambda head: None, of.arrays)


def same(one: Saved, other: Saved) -> bool:
    assert one.head == other.head
    for name, slots in one.arrays.items():
        assert slots.keys() == other.arrays[name].keys()
        for i, x in slots.items():
            y = other.arrays[name][i]
            assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    return True


def decode(data: bytes, step: int = 1 << 20) -> Saved:
    reader = Reader(data[i : i + step] for i in range(0, len(data), step))
    return reader.arrays(head := reader.head(), [it.name for it in head.variables])


@pytest.mark.parametrize("step", [1, 7, 64, 1 << 20])
def test_all_types_come_back_bit_by_bit(step: int) -> None:
    assert same(saved(), decode(b"".join(saved().encode()), step))
    assert saved().head.nbytes == sum(x.nbytes for x in saved().arrays["variable/a"].values())


def test_every_other_string_of_bytes_is_refused() -> None:
    data = b"".join(saved().encode())
    for changed in (data[:-1], data + b"x", data[1:], b"", data.replace(b"uint64", b"object"), data[:9] + data[10:]):
        with pytest.raises(StorageError, match="not what this version of jmpc saves"):
            decode(changed)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200), at=st.integers(0, 200), flip=st.integers(1, 255))
def test_decoding_answers_anything(data: bytes, at: int, flip: int) -> None:
    good = bytearray(b"".join(saved().encode()))
    good[at % len(good)] ^= flip
    for candidate in (data, bytes(good)):
        try:
            decode(candidate)
        except StorageError:
            pass


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    here, good = archive(tmp_path, most_bytes=1 << 30), saved()
    large = Saved(Head(good.head.identity, 1, bytes(1 << 27), good.head.variables), good.arrays)
    with pytest.raises(StorageError, match="not what this version of jmpc saves"):
        here.write("driver", "model", large)
    assert not list(tmp_path.rglob("*.*"))


def test_what_is_saved_is_there_until_something_newer_is_kept(tmp_path: Path) -> None:
    here, (first, second, third) = archive(tmp_path), map(saved, (1, 2, 3))
    for it in (second, first, third):
        here.write("driver", "model", it)
    assert here.versions("driver", "model") == [version(first), version(second), version(third)]
    assert here.read_head("driver", "model", version(first)) == first.head
    here.keep("driver", "model", version(second))
    assert here.versions("driver", "model") == [version(second), version(third)]  # one that others may still write
    assert same(read(here, second), second) and same(read(here, third), third)
    for gone in (version(first), (2, bytes(16))):
        with pytest.raises(StorageError, match="does not have what was saved as 'model' any more"):
            here.keep("driver", "model", gone)
    with pytest.raises(StorageError, match="server0 cannot read"):
        read(here, first)


def test_arrays_are_not_read_before_they_are_judged(tmp_path: Path) -> None:
    here = archive(tmp_path)
    here.write("driver", "model", saved())

    def refuse(head: Head) -> None:
        raise PolicyError(f"{head.nbytes} bytes")

    with pytest.raises(PolicyError, match=f"{saved().head.nbytes} bytes"):
        here.read("driver", "model", version(saved()), refuse, ())


def test_drivers_and_names_are_apart(tmp_path: Path) -> None:
    here = archive(tmp_path)
    here.write("driver", "model", saved())
    assert not here.versions("second-driver", "model") and not here.versions("driver", "mode")
    for name in ("", "../model", "a/b", ".hidden", "x" * 65, "a\n", "ä"):
        with pytest.raises(StorageError, match="no name to save under"):
            check_name(name)


def test_a_file_that_was_moved_renamed_or_damaged_is_not_read(tmp_path: Path) -> None:
    here = archive(tmp_path)
    here.write("driver", "model", saved())
    (file,) = (tmp_path / "driver" / "model").iterdir()
    other = tmp_path / "driver" / "other"
    other.mkdir()
    (other / file.name).write_bytes(file.read_bytes())
    renamed = file.with_name(file.name.replace("0001-", "0002-"))
    renamed.write_bytes(file.read_bytes())
    (file.parent / "nonsense.shares").write_bytes(b"")
    (tmp_path / "driver" / "stray").touch()
    assert here.versions("driver", "model") == [version(saved()), (2, saved().head.identity)]
    with pytest.raises(StorageError, match="server0: .*stands in another file's place"):
        read(here, saved(), "other")
    with pytest.raises(StorageError, match="stands in another file's place"):
        here.read_head("driver", "model", (2, saved().head.identity))
    with pytest.raises(StorageError, match="another key") as caught:
        read(archive(tmp_path, key=bytes(31) + b"x"), saved())
    assert str(tmp_path) not in str(caught.value)  # which its driver sees
    assert same(read(here, saved()), saved())


def test_a_driver_fills_no_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = archive(tmp_path / "little", most_bytes=40_000)
    for number in range(1, 4):
        here.write("driver", f"model{number}", saved(number, size=30))
    with pytest.raises(PolicyError, match="rule max_saved_bytes"):
        here.write("driver", "model4", saved(4, size=300))
    here.write("second-driver", "model", saved(5, size=30))
    many = archive(tmp_path / "many")
    for number in range(1, 17):
        many.write("driver", "model", saved(number, size=1))
    with pytest.raises(StorageError, match="16 files of 'model' that were never finished"):
        many.write("driver", "model", saved(17, size=1))
    many.keep("driver", "model", version(saved(16)))
    many.write("driver", "model", saved(17, size=1))
    monkeypatch.setattr("jmpc.storage.archive._MOST_NAMES", 1)
    with pytest.raises(StorageError, match="keeps 1 names of driver at most"):
        many.write("driver", "another", saved())
    monkeypatch.setattr("jmpc.storage.archive._SPARE_BYTES", 1 << 60)
    with pytest.raises(StorageError, match="its disk is nearly full"):
        many.write("driver", "model", saved(18))


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    archive(tmp_path).write("driver", "model", saved())
    (left,) = list((tmp_path / "driver" / "model").iterdir())
    torn = left.with_name(left.name + ".12345678.new")
    torn.write_bytes(b"half")
    archive(tmp_path)
    assert list((tmp_path / "driver" / "model").iterdir()) == [left]


def test_a_disk_that_takes_no_more_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = archive(tmp_path)
    here.write("driver", "model", saved(1))

    def full(self: Saved) -> Iterator[bytes]:
        yield b"some"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Saved, "encode", full)
    with pytest.raises(StorageError, match="server0 cannot save 'model' .No space left"):
        here.write("driver", "model", saved(2))
    monkeypatch.undo()
    assert here.versions("driver", "model") == [version(saved(1))] and same(read(here, saved(1)), saved(1))
