"""The networked mode with real processes, CURVE and a driver: what a user sees of it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network.conftest import PLAYERS, PROVIDERS, ROOT, TIMEOUT, Cluster
from network.inprocess import eventually, in_background, long_loop, private

import jmpc
from jmpc import player
from jmpc.admin import main as admin
from jmpc.api.run import current_session
from jmpc.config import RemoteConfig
from jmpc.errors import AuthenticationError, PeerError, RunAborted


def works() -> None:
    """The cluster answers the driver in force."""
    total = private("data-owner") + private("model-owner")
    np.testing.assert_allclose(jmpc.run(total.reveal()), 10 + 2 * np.arange(4), atol=1e-4)


def test_the_first_product_of_the_readme(remote: Cluster) -> None:
    w = jmpc.define_private_variable(jnp.ones((10, 10)))
    x = jmpc.define_private_input("data-owner", lambda: jnp.ones((5, 10)))
    y = jmpc.matmul(x, w)
    np.testing.assert_allclose(jmpc.run(y.reveal()), np.full((5, 10), 10.0), atol=1e-4)
    assert jmpc.run((x @ w).reveal("data-owner")) is None


def test_variables_live_across_runs(remote: Cluster) -> None:
    w = jmpc.define_private_variable(jnp.zeros(4))
    step = w.assign(w + private("data-owner") * 0.5)
    for _ in range(3):
        jmpc.run(step)
    np.testing.assert_allclose(jmpc.run(w.reveal()), 1.5 * np.arange(4), atol=1e-4)
    kept = jmpc.define_local_variable("model-owner", lambda: jnp.full((4,), 2.0))
    square = jmpc.define_local_computation("model-owner", lambda v: v * v, kept)
    jmpc.run(kept.assign(square))
    jmpc.run(kept.assign(square))
    np.testing.assert_allclose(jmpc.run(kept.reveal()), np.full(4, 16.0))


def test_complex_numbers_and_their_transforms(remote: Cluster) -> None:
    """From a node's provider, through its own complex code and the shares of three servers."""
    types = jax.ShapeDtypeStruct((4,), "complex64")
    z = jmpc.define_private_input("data-owner", "phasors", types=types)
    turned = jmpc.define_local_computation("data-owner", lambda z: jnp.fft.fft(z) * 1j, z)
    w = jmpc.define_private_input("model-owner", lambda: jnp.exp(1j * jnp.arange(4.0)))
    got = jmpc.run(jmpc.function(lambda z, w: jnp.fft.ifft(z) * w)(turned, w).reveal())
    np.testing.assert_allclose(got, 1j * np.exp(2j * np.arange(4)), atol=1e-4)


def test_results_reach_sinks_at_their_player(remote: Cluster) -> None:
    jmpc.run(jmpc.define_output("data-owner", private("data-owner") * 2.0, "show"))
    eventually(lambda: "SINK" in remote.log("data-owner").read_text())
    shown = re.search(r"SINK \[(.*)\]", remote.log("data-owner").read_text())
    assert shown is not None
    np.testing.assert_allclose([float(x) for x in shown[1].split(",")], 2 * np.arange(4), atol=1e-4)


def test_explain_counts_what_the_driver_sends(remote: Cluster) -> None:
    x = jmpc.define_private_variable(np.arange(6, dtype=np.float32))
    jmpc.run(x.reveal())
    fetch = [x.assign(x * jmpc.define_private_input("driver", lambda: np.ones(6, np.float32)))]
    account = jmpc.explain(fetch)
    transport = current_session().transport  # type: ignore[attr-defined]
    before = {peer: count.payload for peer, count in transport.sent.peers().items()}
    jmpc.run(fetch)
    assert account.bytes_sent("driver") == 2 * 6 * 8
    grown = {peer: count.payload - before.get(peer, 0) for peer, count in transport.sent.peers().items()}
    assert sum(grown.values()) == account.bytes_sent("driver")


def test_providers_are_told_the_iteration(remote: Cluster) -> None:
    row = private("data-owner", "row")
    sums = (row + private("model-owner", "row")).reveal()
    for iteration in (7, 3):
        np.testing.assert_allclose(jmpc.run(sums, iteration=iteration), np.full(4, 2 * iteration), atol=1e-4)
    with pytest.raises(RunAborted, match=r"provider 'row' .* this run has none: say which, jmpc.run\(..., iteration=i"):
        jmpc.run(sums)
    works()


def test_errors_keep_data_out_of_messages_and_logs(remote: Cluster) -> None:
    for provider in ("broken", "not_finite"):
        with pytest.raises(RunAborted, match="data-owner") as caught:
            jmpc.run((private("data-owner", provider) * private("model-owner")).reveal())
        assert "424242" not in str(caught.value)
    for name in PLAYERS:
        log = remote.log(name).read_text()
        # The operator of the owner sees its own provider's traceback; nobody else learns more than its name.
        assert ("424242" in log) == (name == "data-owner"), log
    works()


def test_a_policy_is_each_nodes_own(remote: Cluster) -> None:
    with pytest.raises(RunAborted, match="rule reveal_to"):
        jmpc.run((private("data-owner") + private("model-owner")).reveal("model-owner"))
    works()


def test_an_unreachable_player_is_named(remote: Cluster) -> None:
    hasty = dataclasses.replace(jmpc.RemoteConfig.load(remote.config), timeout=2.5)
    jmpc.set_config(hasty)
    start = time.monotonic()
    with pytest.raises(PeerError, match=r"silent did not take the computation.*is jmpc-node silent running") as caught:
        jmpc.run(private("silent").reveal())
    assert caught.value.player == "silent" and time.monotonic() - start < 2.5 + 2
    works()


def test_a_driver_with_another_key_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    """Its nodes do not know it; and what answers with another key than the driver knows is no node."""
    shutil.copytree(cluster.folder / "keys", tmp_path / "keys")
    data = json.loads(cluster.config.read_text()) | {"timeout": 1.5}
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert admin(["keygen", "--config", str(tmp_path / "config.json"), "--player", "driver", "--force"]) == 0
    try:
        jmpc.set_config(jmpc.RemoteConfig.load(tmp_path / "config.json"))
        with pytest.raises(AuthenticationError, match=r"does not know the key of driver: give it driver.public"):
            works()
        shutil.copy(cluster.folder / "keys" / "driver.secret", tmp_path / "keys" / "driver.secret")
        shutil.copy(cluster.folder / "keys" / "driver.public", tmp_path / "keys" / "driver.public")
        assert admin(["keygen", "--config", str(tmp_path / "config.json"), "--player", "server0", "--force"]) == 0
        jmpc.set_config(jmpc.RemoteConfig.load(tmp_path / "config.json"))
        with pytest.raises(PeerError, match="without server0's key"):
            works()
    finally:
        jmpc.set_config(jmpc.LocalConfig())


def test_a_killed_server_ends_the_run_everywhere(remote: Cluster) -> None:
    w = jmpc.define_private_variable(jnp.ones(4))
    jmpc.run(w.assign(w + private("data-owner")))
    end = _begun(long_loop().reveal())
    eventually(lambda: _computes(remote, "server0") and _computes(remote, "server1"), 60)
    remote.kill("server1")
    start = time.monotonic()
    error = end()
    assert isinstance(error, PeerError) and error.player == "server1", error
    assert time.monotonic() - start < TIMEOUT + 2
    survivors = ("server0", "server2", "data-owner")  # of the players of this run
    eventually(lambda: all("server1" in _last_failure(remote, name) for name in survivors), TIMEOUT + 2)
    remote.start("server1")
    eventually(lambda: in_background(works)() is None, 30)
    with pytest.raises(RunAborted, match="server1 has lost 'variable/.*assign it again"):
        jmpc.run(w.reveal())
    jmpc.run(w.assign(w.initial))
    np.testing.assert_allclose(jmpc.run(w.reveal()), np.ones(4), atol=1e-5)
    jmpc.set_config(jmpc.RemoteConfig.load(remote.config))  # a new script
    works()
    assert remote.alive()


def _last_failure(cluster: Cluster, name: str) -> str:
    found = re.findall(r"run \w+ of driver failed: (.*)", cluster.log(name).read_text())
    return found[-1] if found else ""


def _begun(fetch: jmpc.Value) -> Callable[[], BaseException | None]:
    """Runs `fetch` in the background; returns when all nodes have been ready for it."""
    jmpc.explain(fetch)  # the driver knows it now
    *_, (known, _) = current_session()._known._entries.values()  # type: ignore[attr-defined]
    end = in_background(lambda: jmpc.run(fetch))
    eventually(lambda: known.invitation is not None, 60)
    return end


def _computes(cluster: Cluster, name: str) -> bool:
    """Whether a node is at work: its processor time grows."""

    def used() -> int:
        return int(Path(f"/proc/{cluster.processes[name].pid}/stat").read_text().split()[13])

    before = used()
    time.sleep(0.4)
    return used() - before > 5


def test_a_node_that_is_stopped_during_a_run_says_so(remote: Cluster) -> None:
    works()
    end = _begun(long_loop().reveal())
    eventually(lambda: _computes(remote, "server1"), 60)
    start = time.monotonic()
    assert remote.terminate("server1") == 0
    error = end()
    assert isinstance(error, RunAborted) and error.player == "server1", error
    assert "jmpc-node server1 was stopped" in str(error) and time.monotonic() - start < TIMEOUT + 2
    assert remote.alive()
    remote.start("server1")
    eventually(lambda: in_background(works)() is None, 30)


def test_a_node_that_is_killed_between_done_and_commit(remote: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its part of the variable is lost, and said to be; the run itself has ended well."""
    w = jmpc.define_private_variable(jnp.ones(4))
    step = w.assign(w + private("data-owner"))
    jmpc.run(step)
    session = current_session()
    commit = session._commit  # type: ignore[attr-defined]

    def kill_first(*args: Any) -> None:  # all parts are done
        remote.kill("server2")
        commit(*args)

    monkeypatch.setattr(session, "_commit", kill_first)
    jmpc.run(step)
    monkeypatch.undo()
    with pytest.raises(PeerError) as caught:
        jmpc.run(w.reveal())
    assert caught.value.player == "server2"
    remote.start("server2")
    eventually(lambda: in_background(works)() is None, 30)
    with pytest.raises(RunAborted, match="server2 has lost 'variable/.*was restarted.*assign it again"):
        jmpc.run(w.reveal())
    jmpc.run(w.assign(w.initial))
    np.testing.assert_allclose(jmpc.run(w.reveal()), np.ones(4), atol=1e-5)
    assert remote.alive()


def test_an_operator_stops_nodes(remote: Cluster) -> None:
    works()
    assert remote.terminate("server2", signal.SIGINT) == 0
    with pytest.raises(PeerError) as caught:
        works()
    assert caught.value.player == "server2"
    remote.start("server2")
    eventually(lambda: in_background(works)() is None, 30)


# -- the command ---------------------------------------------------------------------------------------------------

FIVE = {name: f"127.0.0.1:{4440 + i}" for i, name in enumerate(PLAYERS)}


def test_a_node_of_a_file_without_a_driver_is_not_its_own_driver(tmp_path: Path, caplog, monkeypatch) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FIVE))
    assert admin(["keygen", "--config", str(path)]) == 0
    made = []
    monkeypatch.setattr(
        player, "Node", lambda config, name, registry, protocol, policy, **_: made.append((config, policy))
    )
    monkeypatch.setattr(player, "use_compilation_cache", lambda: None)
    player._node(player._parser().parse_args(["server0", "--config", str(path)]))
    assert "every computation will be refused" in caplog.text and "--driver NAME" in caplog.text
    player._node(player._parser().parse_args(["server0", "--config", str(path), "--driver", "model-owner"]))
    (config, alone), (_, told) = made
    assert config.driver is None and alone.drivers == set() and told.drivers == {"model-owner"}
    assert RemoteConfig.load(path, player="model-owner").me == "model-owner"  # as the script says


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "no player 'nobody' in the configuration; known are"),
        (["server0", "--driver", "nobody"], "no player 'nobody'"),
        (["server0", "--config", "missing.json"], "missing.json does not exist"),
        (["server0", "--providers", "missing.py"], "providers file missing.py does not exist"),
        (["server0"], "jmpc-admin keygen"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(player, "use_compilation_cache", lambda: None)
    Path("config.json").write_text(json.dumps(FIVE | {"driver": "127.0.0.1:4460"}))
    assert player.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_second_node_of_a_name_is_refused(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "jmpc.player", "server0", "--config", cluster.config, "--providers", PROVIDERS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "is another server0 running" in done.stderr


def test_a_script_that_ends_leaves_nothing_behind(cluster: Cluster) -> None:
    """Without closing anything: what it wanted done is done, and its nodes forget its variables."""
    script = (
        "import jmpc, jax\n"
        f"jmpc.set_config(jmpc.RemoteConfig.load({str(cluster.config)!r}))\n"
        "types = jax.ShapeDtypeStruct((4,), 'float32')\n"
        "x = jmpc.define_private_input('data-owner', 'vector', types=types)\n"
        "v = jmpc.define_private_variable(x * 1.0)\n"
        "jmpc.run(v.assign(v * 21.0))\n"
        "jmpc.run(jmpc.define_output('data-owner', v, 'show'))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
    eventually(lambda: "SINK [0.0, 2" in cluster.log("data-owner").read_text())
    for name in ("server0", "server1", "server2"):
        eventually(lambda name=name: "forgets the variables of driver" in cluster.log(name).read_text())
