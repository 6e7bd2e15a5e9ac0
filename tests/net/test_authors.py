"""Who vouches for a computation."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jmpc.admin import main as admin
from jmpc.errors import AuthenticationError, ConfigError, FrameError
from jmpc.net.authors import Author, Signature, generate

IDENTITY = bytes(range(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_a_signature_is_of_one_author_for_one_computation(folder: Path) -> None:
    alice, bob = (bytes.fromhex(generate(folder, name)) for name in ("alice", "bob"))
    signature = Author.load(folder, "alice").sign(IDENTITY)
    assert Signature.decode(signature.encode()) == signature and len(signature.encode()) < 256
    assert signature.is_by({"alice": alice, "bob": bob}, IDENTITY)
    assert not signature.is_by({"alice": bob}, IDENTITY)
    assert not signature.is_by({"bob": alice}, IDENTITY)
    assert not signature.is_by({"alice": alice}, IDENTITY[::-1])
    assert not signature.is_by({}, IDENTITY) and not Signature().is_by({"": alice}, IDENTITY)
    changed = Signature("alice", bytes(64))
    assert not changed.is_by({"alice": alice}, IDENTITY)


def test_keys_are_made_once_and_stay_private(folder: Path) -> None:
    public = generate(folder, "alice")
    secret = folder / "alice.author"
    assert secret.stat().st_mode & 0o777 == 0o600 and (folder / "alice.author.public").read_text().strip() == public
    assert secret.read_text().split("\n")[1] not in repr(Author.load(folder, "alice"))
    with pytest.raises(ConfigError, match="--force"):
        generate(folder, "alice")
    assert generate(folder, "alice", force=True) != public
    with pytest.raises(AuthenticationError, match="jmpc-admin keygen --author bob"):
        Author.load(folder, "bob")
    (folder / "bob.author").write_text(secret.read_text())
    (folder / "bob.author").chmod(0o600)
    with pytest.raises(AuthenticationError, match="no author key of bob"):
        Author.load(folder, "bob")
    secret.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Author.load(folder, "alice")


@given(data=st.binary(max_size=200))
def test_anything_else_is_refused(data: bytes) -> None:
    try:
        assert len(Signature.decode(data).data) in (0, 64)
    except FrameError:
        pass


def test_the_command_prints_what_goes_into_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"server0": "127.0.0.1:1", "server1": "127.0.0.1:2", "server2": "127.0.0.1:3"}')
    assert admin(["keygen", "--config", str(config), "--author", "alice"]) == 0
    public = (tmp_path / "keys" / "alice.author.public").read_text().strip()
    assert f'[authors]\nalice = "{public}"' in capsys.readouterr().out
