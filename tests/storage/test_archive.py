"""A player's saved parts: as bytes and back, found again, bounded."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.errors import PolicyError, StorageError
from jmpc.storage.archive import Archive, check_name
from jmpc.storage.saved import Saved, SavedVariable

RUN = bytes(range(16))
DTYPES = ["bool", "int8", "uint16", "uint64", "float16", "bfloat16", "float32", "float64"]


def saved(identity: int = 1, number: int = 1, size: int = 3) -> Saved:
    random = np.random.default_rng(identity)
    slots = {i: random.integers(0, 2, (size, i)).astype(jnp.dtype(dtype)) for i, dtype in enumerate(DTYPES)} | {
        -1: np.uint64(random.integers(1 << 63)).reshape(())
    }
    variables = (
        SavedVariable("variable/a", RUN, {"owner": frozenset({"driver", "owner"})}, slots),
        SavedVariable("variable/b", RUN[::-1], {}, {}),
    )
    return Saved(bytes([identity]) * 16, number, b"descriptor", variables)


def archive(folder: Path, most_bytes: int = 1 << 20, key: bytes = bytes(32)) -> Archive:
    return Archive("server0", folder, lambda: key, most_bytes)


def same(one: Saved, other: Saved) -> bool:
    assert (one.identity, one.number, one.descriptor) == (other.identity, other.number, other.descriptor)
    for a, b in zip(one.variables, other.variables, strict=True):
        assert (a.name, a.run, a.grants) == (b.name, b.run, b.grants) and a.slots.keys() == b.slots.keys()
        for i, x in a.slots.items():
            assert x.dtype == b.slots[i].dtype and x.shape == b.slots[i].shape
            assert x.tobytes() == b.slots[i].tobytes()
    return True


def test_all_types_come_back_bit_by_bit() -> None:
    assert same(saved(), Saved.decode(b"".join(saved().encode()), "here"))


def test_every_other_string_of_bytes_is_refused() -> None:
    data = b"".join(saved().encode())
    for changed in (data[:-1], data + b"x", data[1:], b"", data.replace(b"uint64", b"object"), data[:9] + data[10:]):
        with pytest.raises(StorageError, match="here is not what this version of jmpc saves"):
            Saved.decode(changed, "here")


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200), at=st.integers(0, 200), flip=st.integers(1, 255))
def test_decoding_answers_anything(data: bytes, at: int, flip: int) -> None:
    good = bytearray(b"".join(saved().encode()))
    good[at % len(good)] ^= flip
    for candidate in (data, bytes(good)):
        try:
            Saved.decode(candidate, "here")
        except StorageError:
            pass


def test_what_is_saved_is_found_until_something_else_is_kept(tmp_path: Path) -> None:
    here = archive(tmp_path)
    first, second = saved(1, 1), saved(2, 2)
    here.write("driver", "model", first)
    here.write("driver", "model", second)
    assert sorted(it.number for it in here.find("driver", "model")) == [1, 2]
    here.keep("driver", "model", bytes(16))  # which is not here
    assert same(here.read("driver", "model", first.identity), first)
    here.keep("driver", "model", second.identity)
    (found,) = here.find("driver", "model")
    assert same(found, second)
    with pytest.raises(StorageError, match="server0 cannot read"):
        here.read("driver", "model", first.identity)


def test_drivers_and_names_are_apart(tmp_path: Path) -> None:
    here = archive(tmp_path)
    here.write("driver", "model", saved())
    for driver, name in (("second-driver", "model"), ("driver", "mode")):
        with pytest.raises(StorageError, match="server0 has nothing that"):
            list(here.find(driver, name))
    with pytest.raises(StorageError, match=r"there is \['model'\]"):
        list(here.find("driver", "other"))
    for name in ("", "../model", "a/b", ".hidden", "x" * 65, "a\n", "ä"):
        with pytest.raises(StorageError, match="no name to save under"):
            check_name(name)


def test_a_file_that_was_moved_renamed_or_damaged_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here = archive(tmp_path)
    here.write("driver", "model", saved())
    (file,) = (tmp_path / "driver" / "model").iterdir()
    other = tmp_path / "driver" / "other"
    other.mkdir()
    (other / file.name).write_bytes(file.read_bytes())
    (tmp_path / "driver" / "model" / f"{'22' * 16}.shares").write_bytes(file.read_bytes())
    (tmp_path / "driver" / "model" / "nonsense.shares").write_bytes(b"")
    with pytest.raises(StorageError, match="stands in another file's place"):
        list(here.find("driver", "other"))
    (found,) = here.find("driver", "model")  # the others are told to the operator
    assert same(found, saved()) and "nonsense.shares is no file" in caplog.text and "22222" in caplog.text
    with pytest.raises(StorageError, match="another key"):
        list(archive(tmp_path, key=bytes(31) + b"x").find("driver", "model"))


def test_a_driver_fills_no_more_than_it_may(tmp_path: Path) -> None:
    here = archive(tmp_path, most_bytes=30_000)
    for identity in range(1, 4):
        here.write("driver", f"model{identity}", saved(identity, size=30))
    with pytest.raises(PolicyError, match="rule max_saved_bytes"):
        here.write("driver", "model4", saved(4, size=300))
    here.write("second-driver", "model", saved(5, size=30))
    many = archive(tmp_path / "many")
    for identity in range(1, 17):
        many.write("driver", "model", saved(identity, size=1))
    with pytest.raises(StorageError, match="16 files of 'model' that were never finished"):
        many.write("driver", "model", saved(17, size=1))
    many.keep("driver", "model", saved(16).identity)
    many.write("driver", "model", saved(17, size=1))
