"""Every player a process that runs the same script, with keys and without a driver: what each of them sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network import inprocess
from network.conftest import ROOT, TIMEOUT

import jmpc
from jmpc.admin import main as admin
from jmpc.config import RemoteConfig
from jmpc.errors import ConfigError

SCRIPT = Path(__file__).parent / "everybody.py"
PLAYERS = ("server0", "server1", "server2", "lead", "owner")  # the fourth is the first that is no server


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ports = inprocess.free_ports(len(PLAYERS))
    path = tmp_path_factory.mktemp("everywhere") / "config.json"
    players = {name: {"address": f"127.0.0.1:{port}"} for name, port in zip(PLAYERS, ports, strict=True)}
    path.write_text(json.dumps({"players": players, "timeout": TIMEOUT}))
    assert admin(["keygen", "--config", str(path)]) == 0
    return path


def everywhere(config: Path, part: str) -> dict[str, dict[str, Any]]:
    """What each player's script tells, by what it is of, when all have ended; the last, of what comes repeatedly."""
    common = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(config.parent / "cache")}
    started = {
        name: subprocess.Popen(
            [sys.executable, SCRIPT, config, part], env=common | {"JMPC_PLAYER": name}, stdout=subprocess.PIPE
        )
        for name in PLAYERS
    }
    try:
        said = {name: process.communicate(timeout=250)[0] for name, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
    return {name: dict(map(json.loads, text.splitlines())) for name, text in said.items()}


@pytest.fixture(scope="module")
def first(config: Path) -> dict[str, dict[str, Any]]:
    return everywhere(config, "first")


@pytest.fixture(scope="module")
def second(config: Path, first: Any) -> dict[str, dict[str, Any]]:
    """All have been started again."""
    return everywhere(config, "second")


def test_each_player_gets_what_is_opened_to_it(first: dict[str, dict[str, Any]]) -> None:
    assert all("end" in said for said in first.values())
    total = pytest.approx(1 + 3 * np.arange(4), abs=1e-4)
    lead, owner = first["lead"]["total"], first["owner"]["total"]
    assert lead == [total, None, None] and owner == [None, total, 3.0]
    assert [name for name, said in first.items() if "called" in said] == ["owner"]
    sinks = {name: said["sink"] for name, said in first.items() if "sink" in said}
    assert sinks == {"owner": pytest.approx(2 + 6 * np.arange(4), abs=1e-4)}
    assert len({json.dumps(said["explained"]) for said in first.values()}) == 1


def test_an_error_at_one_player_is_raised_at_all_and_nothing_is_committed(first: dict[str, dict[str, Any]]) -> None:
    for name, said in first.items():
        kind, text, cause = said["error"]
        assert (kind, cause) == (("InputError", "ValueError") if name == "owner" else ("RunAborted", ""))
        assert "owner" in text and "424242" not in text
    assert first["lead"]["after"] == pytest.approx(1 + 4 * np.arange(4), abs=1e-4)


def test_scripts_that_differ_are_told_where(first: dict[str, dict[str, Any]]) -> None:
    for said in first.values():
        kind, text, _ = said["diverged"]
        assert kind == "AgreementError" and "the scripts of lead and server1 are not at the same" in text
        assert text.count("everybody.py:") == 2


def test_policies_are_kept(first: dict[str, dict[str, Any]]) -> None:
    """Although all scripts ask for it: nobody has allowed servers to see inputs."""
    assert {said["forbidden"][0] for said in first.values()} == {"PolicyError", "RunAborted"}
    assert all("rule reveal_to" in said["forbidden"][1] for said in first.values())


def test_what_was_saved_is_there_after_all_were_started_again(second: dict[str, dict[str, Any]]) -> None:
    for said in second.values():
        assert said["loaded"] == ["kept", "steps", "total"] and said["steps"] == 4
    assert second["lead"]["total"] == [pytest.approx(1 + 4 * np.arange(4), abs=1e-4), None]
    assert second["owner"]["total"] == [None, 4.0]
    assert second["lead"]["anew"] == pytest.approx(np.arange(4), abs=1e-4)


def test_who_is_killed_is_named_by_all(second: dict[str, dict[str, Any]]) -> None:
    survivors = [name for name in PLAYERS if name != "server2"]
    assert all(second[name]["follower"][0] == "PeerError" for name in survivors)
    assert all("server2" in second[name]["follower"][1] for name in survivors)
    survivors.remove("lead")
    assert all(second[name]["lead"][0] == "PeerError" and "lead" in second[name]["lead"][1] for name in survivors)
    assert all("end" in second[name] for name in survivors) and "end" not in second["lead"]


# -- configurations ------------------------------------------------------------------------------------------------


def test_the_environment_says_which_player_a_script_is(config: Path, tmp_path: Path) -> None:
    mine = RemoteConfig.load(config, environment={"JMPC_PLAYER": "server1"})
    assert (mine.me, mine.driver, mine.everywhere) == ("server1", "lead", True)
    with pytest.raises(ConfigError, match=r"JMPC_PLAYER is 'nobody': .* has the players \['server0'"):
        RemoteConfig.load(config, environment={"JMPC_PLAYER": "nobody"})
    said = RemoteConfig.load(config, player="owner", environment={"JMPC_PLAYER": "nobody"})
    assert (said.me, said.driver, said.everywhere) == ("owner", "owner", False)
    assert RemoteConfig.load(config, environment={}).me is None
    mine.save(tmp_path / "written.json")
    assert "everywhere" not in json.loads((tmp_path / "written.json").read_text())


def test_who_leads(tmp_path: Path) -> None:
    servers = {f"server{i}": f"h:{4440 + i}" for i in (2, 0, 1)}
    path = tmp_path / "config.json"
    for more, lead in (({}, "server0"), ({"b": "h:1", "a": "h:2"}, "b"), ({"b": "h:1", "driver": "h:2"}, "driver")):
        path.write_text(json.dumps(servers | more))
        assert RemoteConfig.load(path, environment={"JMPC_PLAYER": "server1"}).driver == lead


def test_a_function_of_another_player_needs_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JMPC_PLAYER", "server0")
    pure = jmpc.define_private_input("owner", lambda: jax_numbers())
    assert pure.shape == (3,)
    for impure in (lambda: np.load("patients.npy"), lambda: [float(jax_numbers()[0])], lambda: 1 / 0):
        with pytest.raises(TypeError, match=r"which only 'owner' is to call.*types=") as caught:
            jmpc.define_private_input("owner", impure)
        assert caught.value.__cause__ is not None


def jax_numbers() -> Any:
    import jax.numpy as jnp

    return jnp.ones(3)
