"""Files that only their player can read, and that show any change."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.errors import ConfigError, StorageError
from jmpc.storage import sealed
from jmpc.storage.key import storage_key
from jmpc.storage.sealed import seal

KEY = bytes(range(32))
PIECE = 64  # so that a small file has several


def unseal(path: Path, key: bytes, place: str) -> bytes:
    return b"".join(sealed.unseal(path, key, place))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_PIECE_BYTES", PIECE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1000])
def test_what_is_sealed_comes_back(path: Path, size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    seal(path, KEY, "place", [data[:10], memoryview(data[10:])])
    assert unseal(path, KEY, "place") == data
    assert path.stat().st_mode & 0o777 == 0o600 and [p.name for p in path.parent.iterdir()] == ["file"]
    assert data[:40] not in path.read_bytes() or size < 40


def test_every_bit_counts_and_so_does_the_end(path: Path) -> None:
    seal(path, KEY, "place", [bytes(3 * PIECE)])
    whole = path.read_bytes()
    for changed in (
        *(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :] for i in range(len(whole))),
        *(whole[:i] for i in range(len(whole))),
        whole + b"x",
        whole[:48] + whole[48 + PIECE + 16 :],  # without its first piece
        whole[: 48 + PIECE + 16] * 2,
    ):
        path.write_bytes(changed)
        with pytest.raises(StorageError, match="changed or cut off"):
            unseal(path, KEY, "place")
    path.write_bytes(whole)
    assert unseal(path, KEY, "place") == bytes(3 * PIECE)


def test_another_key_and_another_place(path: Path) -> None:
    seal(path, KEY, "place", [b"data"])
    for key, place in ((bytes(32), "place"), (KEY, "elsewhere")):
        with pytest.raises(StorageError, match="another key"):
            unseal(path, key, place)


def test_no_two_files_are_sealed_alike(path: Path) -> None:
    seen = set()
    for _ in range(3):
        seal(path, KEY, "place", [bytes(100)])
        seen.add(path.read_bytes()[48:])
    assert len(seen) == 3


def test_what_has_come_is_authentic_before_all_has_come(path: Path) -> None:
    seal(path, KEY, "place", [bytes(3 * PIECE)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    pieces = sealed.unseal(path, KEY, "place")
    assert next(pieces) == next(pieces) == bytes(PIECE)
    with pytest.raises(StorageError):
        next(pieces)


def test_a_file_is_there_at_once_or_not_at_all(path: Path) -> None:
    seal(path, KEY, "place", [b"first"])

    def broken():
        yield b"second"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        seal(path, KEY, "place", broken())
    assert unseal(path, KEY, "place") == b"first" and len(list(path.parent.iterdir())) == 1


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_anything_else_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "anything"
    for head in (b"", sealed._MAGIC):
        path.write_bytes(head + data)
        with pytest.raises(StorageError):
            unseal(path, KEY, "place")


def test_a_storage_key_is_made_once_and_is_its_players_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    key = storage_key(folder, "server0")
    file = folder / "server0.storage"
    assert storage_key(folder, "server0") == key and len(key) == 32 and file.stat().st_mode & 0o777 == 0o600
    assert storage_key(folder, "server1") != key and key.hex() not in repr(file)
    (folder / "server1.storage").write_bytes(file.read_bytes())
    with pytest.raises(StorageError, match="no storage key of server1"):
        storage_key(folder, "server1")
    file.write_text("nonsense")
    with pytest.raises(StorageError, match="no storage key of server0"):
        storage_key(folder, "server0")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        storage_key(folder, "server0")


def test_only_one_key_is_made_whoever_makes_one(tmp_path: Path) -> None:
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        with ThreadPoolExecutor(4) as pool:
            keys = set(pool.map(lambda _, folder=folder: storage_key(folder, "server0"), range(4)))
        assert len(keys) == 1 and keys == {storage_key(folder, "server0")}
        assert sorted(path.name for path in folder.iterdir()) == ["server0.storage"]
