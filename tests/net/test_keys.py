import os
import stat
from pathlib import Path

import pytest
import zmq

from jmpc.errors import AuthenticationError, ConfigError
from jmpc.net.keys import KeyRing, generate

PLAYERS = ("server0", "server1", "data-owner")


@pytest.fixture
def folder(tmp_path):
    generate(PLAYERS, tmp_path / "keys")
    return tmp_path / "keys"


def test_generated_keys_load_and_agree(folder):
    rings = {name: KeyRing.load(folder, name, PLAYERS) for name in PLAYERS}
    for name, ring in rings.items():
        assert set(ring.peers) == set(PLAYERS) - {name}
        for peer, key in ring.peers.items():
            assert key == rings[peer].own_public
        assert sorted(ring.names().values()) == sorted(ring.peers)


def test_secrets_are_for_the_owner_only(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "server0.secret").stat().st_mode) == 0o600
    assert not list(folder.glob("*.new"))


def test_secrets_are_not_shown(folder):
    ring = KeyRing.load(folder, "server0", PLAYERS)
    assert ring.own_secret.decode() not in repr(ring)


def test_existing_keys_are_kept_unless_forced(folder):
    before = (folder / "server0.secret").read_bytes()
    with pytest.raises(ConfigError, match="--force"):
        generate([*PLAYERS, "new"], folder)
    assert (folder / "server0.secret").read_bytes() == before
    assert not (folder / "new.secret").exists()
    generate(["server0"], folder, force=True)
    assert (folder / "server0.secret").read_bytes() != before
    KeyRing.load(folder, "server0", PLAYERS)


POSIX = pytest.mark.skipif(os.name != "posix", reason="modes and owners are a POSIX matter")


@POSIX
@pytest.mark.parametrize(
    ("file", "mode", "remedy"),
    [
        ("server0.secret", 0o640, "chmod 600"),
        ("server0.secret", 0o620, "chmod 600"),
        ("server0.public", 0o664, "chmod go-w"),
        ("server1.public", 0o646, "chmod go-w"),
        ("", 0o770, "chmod go-w"),
    ],
)
def test_files_and_directories_that_others_can_change_are_refused(folder, file, mode, remedy):
    (folder / file).chmod(mode)
    with pytest.raises(ConfigError, match=f"{remedy} {folder / file}`"):
        KeyRing.load(folder, "server0", PLAYERS)
    if not file:
        with pytest.raises(ConfigError, match=remedy):
            generate(["new"], folder)


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444])
def test_public_keys_may_be_read_by_others(folder, mode):
    (folder / "server1.public").chmod(mode)
    KeyRing.load(folder, "server0", PLAYERS)


@POSIX
@pytest.mark.parametrize("file", ["server0.secret", "server1.public", ""])
def test_files_and_directories_of_another_user_are_refused(folder, file, monkeypatch):
    path, mine, real = folder / file, os.getuid(), Path.stat

    def stat_of(self, **options):
        info = real(self, **options)
        owner = 4321 if self == path else info.st_uid
        return os.stat_result([*info[:4], owner, *info[5:]])

    monkeypatch.setattr(Path, "stat", stat_of)
    with pytest.raises(ConfigError, match=f"uid 4321.*`chown {mine} {path}`"):
        KeyRing.load(folder, "server0", PLAYERS)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("server0.secret", None, "keygen --player server0"),
        ("server1.public", None, "copy it from server1"),
        ("server1.public", lambda text: text[:-5], "not a CURVE key"),
        ("server1.public", lambda text: text.splitlines()[1], "is no key file"),
        ("server1.public", lambda text: text.replace("server1", "server2"), "does not begin"),
        ("server1.public", lambda text: "\u00e9" + text, "is no key file"),
    ],
)
def test_unusable_files_say_what_to_do(folder, file, damage, message):
    path = folder / file
    text = path.read_text()
    path.unlink()
    if damage is not None:
        path.write_text(damage(text))
    with pytest.raises(AuthenticationError, match=message) as caught:
        KeyRing.load(folder, "server0", PLAYERS)
    assert text.splitlines()[1] not in str(caught.value)


def test_all_public_keys_that_are_missing_are_named_at_once(folder):
    for name in ("server1", "data-owner"):
        (folder / f"{name}.public").unlink()
    with pytest.raises(AuthenticationError, match="no public keys of data-owner, server1: copy NAME.public from each"):
        KeyRing.load(folder, "server0", PLAYERS)


def test_a_pair_must_belong_together(folder):
    mine, other = zmq.curve_keypair(), zmq.curve_keypair()
    with pytest.raises(AuthenticationError, match="does not belong"):
        KeyRing(mine[0], other[1], {})


def test_two_players_never_share_a_key():
    mine, other = zmq.curve_keypair(), zmq.curve_keypair()
    with pytest.raises(AuthenticationError, match="a and b have the same"):
        KeyRing(*mine, {"a": other[0], "b": other[0]})
    with pytest.raises(AuthenticationError, match="same public key"):
        KeyRing(*mine, {"a": mine[0]})


def test_configured_keys_stand_in_for_files_and_must_equal_them(folder):
    public = KeyRing.load(folder, "server1", PLAYERS).own_public
    (folder / "server1.public").unlink()
    ring = KeyRing.load(folder, "server0", PLAYERS, {"server1": public})
    assert ring.peers["server1"] == public
    other = zmq.curve_keypair()[0]
    with pytest.raises(AuthenticationError, match="not the one in the configuration"):
        KeyRing.load(folder, "server0", PLAYERS, {"server1": public, "data-owner": other})
