"""What `jmpc-node` waits for when it starts, and what it does not start with."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from network import inprocess

from jmpc.config import RemoteConfig
from jmpc.net.transport import Transport
from jmpc.player import _node, _parser, main

PROVIDERS = Path(__file__).with_name("my_data.py")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return inprocess.make(tmp_path).path


def arguments(config: Path, *more: str) -> list[str]:
    return ["data-owner", "--config", str(config), "--providers", str(PROVIDERS), *more]


def test_a_node_waits_for_whoever_is_still_at_its_address(config: Path) -> None:
    parsed = _parser().parse_args(arguments(config))
    endpoints = RemoteConfig.load(config).endpoints
    before = Transport("data-owner", endpoints, insecure=True)
    threading.Timer(1.5, before.close).start()
    node = _node(parsed)
    node.stop()
    assert before.closed and node.serve()


def test_it_does_not_wait_for_ever(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jmpc.player._ADDRESS_SECONDS", 0.1)
    with Transport("data-owner", RemoteConfig.load(config).endpoints, insecure=True):
        assert main(arguments(config)) == 2
    assert "is another data-owner running" in capsys.readouterr().err


def test_a_rule_for_an_input_that_is_not_there(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It would protect nothing: the input that its author meant is called otherwise."""
    policy = tmp_path / "policy.toml"
    policy.write_text('drivers = ["driver"]\n\n[inputs.vectro]\ncomputations = []\n\n[inputs."*"]\ncomputations = []\n')
    assert main(arguments(config, "--policy", str(policy))) == 2
    said = capsys.readouterr().err
    assert "policy.toml: there are rules for inputs ['vectro'], which data-owner does not have: [" in said
    assert "'vector'" in said
    data = json.loads(config.read_text())
    data["policy"]["inputs"] = {"vectro": {"computations": []}}  # of some other player's, perhaps
    config.write_text(json.dumps(data))
    node = _node(_parser().parse_args(arguments(config)))
    node.stop()
    assert node.serve() and "rules for inputs ['vectro']" in caplog.text


def test_a_folder_of_its_state_that_cannot_be_made(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "state").write_text("")
    assert main(arguments(config)) == 2
    assert 'let "state" in the configuration name a folder' in capsys.readouterr().err
