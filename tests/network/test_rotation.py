"""Keys that are exchanged and revoked while nodes run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from network import inprocess
from network.inprocess import EVERYBODY, Nodes

from jmpc.admin import main as admin
from jmpc.errors import JmpcError
from jmpc.net.keys import KeyRing, generate
from jmpc.net.ping import Pong, ping
from jmpc.net.transport import Transport


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path, insecure=False)
    made.start(*EVERYBODY)
    yield made
    made.stop()


def command(nodes: Nodes, *words: str) -> int:
    return admin([words[0], "--config", str(nodes.path), *words[1:]])


def test_a_revoked_player_is_cut_off_at_once_and_comes_back_with_a_new_key(
    nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = nodes.path.parent / "keys"
    with nodes.session("second-driver") as old, nodes.session() as session:
        inprocess.works(old)
        assert command(nodes, "revoke", "second-driver") == 0
        assert "jmpc-node server0 has read the keys of" in capsys.readouterr().out
        assert (keys / "second-driver.revoked").exists() and not (keys / "second-driver.public").exists()
        before = nodes.shared_bytes()
        with pytest.raises(JmpcError):
            inprocess.works(old)  # on the connections that it has
        assert nodes.shared_bytes() == before
        inprocess.works(session)
        assert admin(["check", str(nodes.path)]) == 0 and "revoked" in capsys.readouterr().out
    nodes.stop("server0")
    nodes.start("server0")  # also after a restart
    with nodes.session() as session:
        inprocess.works(session)
    generate(["second-driver"], keys, force=True)
    (keys / "second-driver.revoked").unlink()
    assert command(nodes, "reload") == 0
    with nodes.session("second-driver") as new:
        inprocess.works(new)


def test_a_pair_is_exchanged_for_another(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    keys = nodes.path.parent / "keys"
    old = (keys / "model-owner.public").read_text()
    assert command(nodes, "rotate-keys", "--player", "model-owner") == 0
    assert (keys / "model-owner.public.old").read_text() == old != (keys / "model-owner.public").read_text()
    assert (keys / "model-owner.secret").stat().st_mode & 0o777 == 0o600
    assert command(nodes, "reload") == 0
    assert "restart jmpc-node model-owner to use it" in capsys.readouterr().out
    nodes.stop("model-owner")
    nodes.start("model-owner")
    with nodes.session() as session:
        inprocess.works(session)
    assert command(nodes, "rotate-keys", "--player", "nobody") == 1


def test_who_has_the_old_key_only_is_not_let_in(nodes: Nodes) -> None:
    config = nodes.config()
    nodes.stop("model-owner")
    stolen = config.key_ring("model-owner")
    assert isinstance(stolen, KeyRing)
    with Transport("model-owner", config.endpoints, keys=stolen, timeout=3.0, linger=0.1) as thief:
        (answer,) = ping(thief, ["server0"], 3.0).values()
        assert isinstance(answer, Pong)
        assert command(nodes, "revoke", "model-owner") == 0
        (answer,) = ping(thief, ["server0"], 1.0).values()
        assert isinstance(answer, JmpcError)
    (config.keys / "model-owner.revoked").unlink()
    generate(["model-owner"], config.keys, force=True)
    nodes.start("model-owner")
