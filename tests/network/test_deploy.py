"""docs/deploy.md, command by command: three operators who have nothing of each other's but public keys."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from network.conftest import ROOT
from network.inprocess import free_ports

_BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_AGES = {"hospital-a": [30, 40, 50, 60, 71], "hospital-b": [20, 21, 22, 81]}


@pytest.fixture(scope="module")
def page() -> dict[tuple[str, str], str]:
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    return {(language, name): body for language, name, body in _BLOCK.findall(text)}


@pytest.fixture
def operators(tmp_path: Path, page: dict[tuple[str, str], str]) -> Iterator[dict[str, Operator]]:
    config = page["json", "config.json"]
    for address, port in zip(re.findall(r"10\.0\.0\.\d+:\d+", config), free_ports(6), strict=True):
        config = config.replace(f'"{address}"', f'"127.0.0.1:{port}"')
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("jmpc-node", "jmpc.player"), ("jmpc-admin", "jmpc.admin"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {f"-m {module}" if module else ""} "$@"\n')
        (programs / name).chmod(0o755)
    made = {}
    for name in ("hospital-a", "hospital-b", "research"):
        operator = made[name] = Operator(tmp_path / name, programs, page["sh", name].splitlines())
        operator.write("config.json", config)
    policy = page["toml", "hospital-a.toml"]
    made["hospital-a"].write("hospital-a.toml", policy)
    made["hospital-b"].write("hospital-b.toml", policy)
    for name, ages in _AGES.items():
        made[name].write("patients.csv", "age\n" + "".join(f"{age}\n" for age in ages))
    made["research"].write("mean_age.py", page["python", "mean_age.py"])
    yield made
    for operator in made.values():
        operator.stop()


class Operator:
    """A folder, and the commands that its operator types there."""

    def __init__(self, folder: Path, programs: Path, commands: list[str]) -> None:
        self.folder, self.commands = folder, commands
        (folder / "received").mkdir(parents=True)
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        self._environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "c")}
        self._nodes: dict[Path, subprocess.Popen] = {}  # by their logs

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def type(self, command: str) -> str:
        """What it prints; a node is left running."""
        if command.endswith("&"):
            words = shlex.split(command.removesuffix("&"))
            log = self.folder / f"{words[1]}.log"
            with log.open("w") as file:
                self._nodes[log] = subprocess.Popen(
                    words, cwd=self.folder, env=self._environment, stdout=file, stderr=file
                )
            return ""
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def wait(self) -> None:
        """Until all nodes listen."""
        deadline = time.monotonic() + 90
        for log, node in self._nodes.items():
            while "listens at" not in log.read_text():
                assert node.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        for node in self._nodes.values():
            node.terminate()
        for node in self._nodes.values():
            node.wait(20)


def test_from_nothing_to_a_result(operators: dict[str, Operator]) -> None:
    def everybody(which: str) -> dict[str, str]:
        return {
            name: operator.type(command)
            for name, operator in operators.items()
            for command in operator.commands
            if command.startswith(which)
        }

    assert all(len(operator.commands) <= 8 for operator in operators.values())
    assert all(operator.commands[0].startswith("pip install") for operator in operators.values())
    fingerprints = {
        name: re.findall(r"(?:[0-9a-f]{4} ){3}[0-9a-f]{4}", said)
        for name, said in everybody("jmpc-admin keygen").items()
    }
    for sender in operators.values():
        for key in (sender.folder / "keys").glob("*.public"):
            for receiver in operators.values():
                if receiver is not sender:
                    (receiver.folder / "received" / key.name).write_bytes(key.read_bytes())
    everybody("cp ")
    everybody("jmpc-node ")
    for operator in operators.values():
        operator.wait()
    for said in everybody("jmpc-admin check").values():
        assert all(mark in said for marks in fingerprints.values() for mark in marks)
        assert said.count("yes, ") >= 4
    assert "age  int32[5]" in operators["hospital-a"].type("jmpc-admin data patients.csv")
    said = everybody("python ")["research"]
    assert abs(float(said.removeprefix("mean age ")) - sum(map(sum, _AGES.values())) / 9) < 1e-3
    for operator in operators.values():
        secrets = {path.name for path in (operator.folder / "keys").glob("*.secret")}
        players = set(re.findall(r"--player (\S+)", operator.commands[1]))
        assert secrets == {f"{player}.secret" for player in players}
    typed = [command for operator in operators.values() for command in operator.commands]
    assert {command.split()[0] for command in typed} == {"pip", "jmpc-admin", "cp", "jmpc-node", "python"}


def test_the_unit_and_the_containers_start_what_there_is() -> None:
    """Their options are those of jmpc-node, and what they copy and mount is there."""
    unit = (ROOT / "deploy" / "jmpc-node@.service").read_text("utf-8")
    assert re.search(r"^ExecStart=\S+/jmpc-node %i --config config.json \$JMPC_ARGUMENTS$", unit, re.MULTILINE)
    assert "LimitCORE=0" in unit and "KillSignal=SIGTERM" in unit
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    assert 'ENTRYPOINT ["jmpc-node"]' in dockerfile and "USER jmpc" in dockerfile
    compose = (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
    said = subprocess.run([sys.executable, "-m", "jmpc.player", "--help"], cwd=ROOT, capture_output=True, text=True)
    for option in set(re.findall(r"--[a-z]+", re.sub(r"#.*", "", compose) + "--config --policy --data")):
        assert option in said.stdout, option
