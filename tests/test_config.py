import json
import threading
from pathlib import Path

import numpy as np
import pytest

import jmpc
from jmpc import admin
from jmpc.config import LocalConfig, Mode, Player, RemoteConfig, split_address
from jmpc.config._file import PROTOCOLS
from jmpc.errors import AuthenticationError, ConfigError
from jmpc.field_lines import lines_of_fields
from jmpc.net.keys import KeyRing
from jmpc.precision import Precision
from jmpc.protocols.families import FAMILIES

SEED = """{
    "server0": "10.0.0.10:4440",
    "server1": "10.0.0.11:4440",
    "server2": "10.0.0.12:4440",
    "data-owner": "10.0.0.20:4440",
    "model-owner": "10.0.0.30:4440"
}
"""
PLAYERS = {f"server{i}": {"address": f"127.0.0.1:{4440 + i}"} for i in range(3)}
KEY = "x" * 40


@pytest.fixture
def write(tmp_path):
    def write(data) -> str:
        path = tmp_path / "config.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return str(path)

    return write


def full(**fields):
    return {"players": PLAYERS | fields.pop("more", {}), **fields}


def test_the_seeds_file_loads_unchanged(write):
    config = RemoteConfig.load(write(SEED))
    assert list(config.players) == ["server0", "server1", "server2", "data-owner", "model-owner"]
    assert config.servers == ("server0", "server1", "server2")
    assert config.get_player("data-owner") == Player("data-owner", "10.0.0.20:4440", "owner")
    assert config.driver is None and config.me is None
    assert not config.loopback and not config.insecure
    assert config.endpoints["model-owner"] == "tcp://10.0.0.30:4440"


def test_a_script_may_say_which_player_it_is(write):
    config = RemoteConfig.load(write(SEED), player="model-owner")
    assert config.driver == config.me == "model-owner"
    with pytest.raises(ConfigError, match="known are"):
        RemoteConfig.load(write(SEED), player="nobody")


def test_the_repositorys_own_file_is_a_loopback_cluster():
    config = RemoteConfig.load(Path(__file__).parents[1] / "config.json")
    assert config.loopback and config.driver == config.me == "driver"
    assert {"model-owner", "data-owner-0", "input-provider"} <= set(config.players)


def test_the_full_form(write):
    more = {
        "alice": {"address": "[::1]:4440", "role": "server", "public_key": KEY},
        "bob": {"address": "localhost:4443", "listen": "0.0.0.0:4443"},
    }
    path = write(
        full(
            more=more,
            driver="bob",
            keys="secret",
            timeout=5,
            insecure=True,
            precision=20,
            policy={"max_equations": 7},
        )
    )
    config = RemoteConfig.load(path)
    assert config.servers == ("alice", "server0", "server1", "server2")
    assert config.driver == "bob" and config.get_player("bob").role == "driver"
    assert config.get_player("alice").public_key == KEY.encode()
    assert config.listen("bob") == "tcp://0.0.0.0:4443" and config.listen("alice") is None
    assert (config.timeout, config.insecure, config.precision) == (5.0, True, 20)
    assert config.policy == {"max_equations": 7}
    assert config.keys.name == "secret" and config.loopback
    assert config.key_ring("bob") is None
    assert RemoteConfig.load(path, insecure=False).insecure is False


def test_saved_configurations_load_as_equal(write, tmp_path):
    more = {"bob": {"address": "h.example:1", "listen": "[::]:1", "public_key": KEY}}
    for data in (SEED, full(more=more, driver="bob", policy={"drivers": ["bob"]})):
        config = RemoteConfig.load(write(data))
        (tmp_path / "deep").mkdir(exist_ok=True)
        config.save(tmp_path / "deep" / "copy.json")
        again = RemoteConfig.load(tmp_path / "deep" / "copy.json")
        assert again.keys.resolve() == config.keys.resolve()
        again.save(tmp_path / "again.json")
        config.save(tmp_path / "first.json")
        assert (tmp_path / "again.json").read_text() == (tmp_path / "first.json").read_text()
        assert dict(again.players) == dict(config.players) and again.driver == config.driver


def test_servers_are_in_the_same_order_in_every_file(write):
    names = ["server10", "server2", "server1"]
    config = RemoteConfig.load(write({n: f"127.0.0.1:{i + 1}" for i, n in enumerate(names)}))
    assert config.servers == ("server1", "server2", "server10")


FLAT = {name: fields["address"] for name, fields in PLAYERS.items()}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"server0": "a:1",\n  oops}', "line 2, column 3: not JSON"),
        ('{"server0": "a:1", "server0": "b:1"}', r"\['server0'\] are named twice"),
        ("[1]", "JSON object is expected, not a list"),
        ('{"timeout": NaN}', "NaN"),
        ("[" * 100_000, "not JSON"),
        ({}, "3 servers are needed .* there are 0"),
        ({"server0": "a:1", "server1": "a:2"}, "3 servers are needed .* there are 2"),
        (FLAT | {"owner": 4440}, "owner is an address"),
        (FLAT | {"timeout": 30}, 'belongs to the full form, beside "players"'),
        (FLAT | {"owner": "localhost:4440"}, "server0 and owner have the same address"),
        (FLAT | {"owner": "10.0.0.1"}, "players.owner.address: '10.0.0.1' is no address"),
        (FLAT | {"owner": "10.0.0.1:0"}, "port from 1"),
        (FLAT | {"owner": "10.0.0.1:65536"}, "port from 1"),
        (FLAT | {"owner": "10.0.0.1:+1"}, "port from 1"),
        (FLAT | {"owner": "10.0.0.256:1"}, "neither a host name nor an IP"),
        (FLAT | {"owner": "::1:4440"}, "brackets"),
        (FLAT | {"owner": "-bad-.example:1"}, "neither a host name"),
        (FLAT | {"owner": "tcp://10.0.0.1:1"}, "neither a host name|no address"),
        (FLAT | {"owner": "0.0.0.0:1"}, "goes in listen"),
        (FLAT | {"../owner": "10.0.0.1:1"}, "no name for a player"),
        (FLAT | {"": "10.0.0.1:1"}, "no name for a player"),
        ({"players": "server0"}, "players is an object"),
        (full(extra=1), r"line \d+: extra is no field; known are"),
        ({"playres": full()["players"]}, r'playres is an address "host:port", not an object \(is players meant\?\)'),
        (full(more={"a": "127.0.0.1:1"}), "players.a is an object"),
        (full(more={"a": {}}), "players.a has no address"),
        (full(more={"a": {"address": 1}}), "players.a.address is a string"),
        (full(more={"a": {"address": "h:1", "port": 1}}), r"line \d+: players.a.port is no field"),
        (full(more={"a": {"address": "h:1", "role": "boss"}}), "players.a.role is one of"),
        (
            full(more={"a": {"address": "h:1", "public_key": "short"}}),
            "a.public_key is not a CURVE",
        ),
        (full(more={"a": {"address": "h:1", "listen": "h"}}), "players.a.listen"),
        (full(driver="nobody"), "driver is 'nobody', which is no player"),
        (full(driver=[]), "which is no player"),
        (
            full(
                more={n: {"address": f"{n}:1", "role": "driver"} for n in "ab"},
            ),
            "cannot all be the driver",
        ),
        (full(keys=3), "keys is the path"),
        (full(timeout=0), "timeout is a positive"),
        (full(timeout=True), "timeout is a positive"),
        (full(timeout="30"), "timeout is a positive"),
        (full(insecure="yes"), "insecure is true or false"),
        (full(precision=0), "precision is a number"),
        (full(policy=[]), "policy is an object"),
        (full(policy={"drivers": ["nobody"]}), "policy.drivers names"),
        (full(policy={"max_equations": -1}), "policy.max_equations is a whole number"),
        (full(policy={"max_everything": 1}), "unknown policy rules"),
        (full(more={"a": {"address": "10.0.0.1:1"}}, insecure=True), r"insecure .* \['a'\]"),
    ],
)
def test_mistakes_are_named_with_file_and_field(write, data, message):
    path = write(data)
    with pytest.raises(ConfigError, match=message) as caught:
        RemoteConfig.load(path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{\n"players": {\n "a": {\n  "address": 1}}}', "line 4: players.a.address is"),
        ('{"players": {\n "a": {"address": "h:1",\n "port": 1}}}', "line 3: players.a.port is no field"),
        ('{"players": {"a.b": {"address": "h:1"},\n "a.b.c": {}}}', "line 2: players.a.b.c has"),
        ('{"timeout": 3,\n\n "players": {}, "policy":\n {"x": 1}}', None),
        ('{"players": {}, "driver":\n "x"}', "line 1: driver is"),
        ('{"server0":\n 3}', "line 1: server0 is"),
        ('{"a\\"b": "h:1",\n "server0":\n 3}', None),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, text, place):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        RemoteConfig.load(path)
    assert str(caught.value).startswith(f"{path}, {place}" if place else f"{path}: ")


def test_lines_of_fields():
    text = '{"a": [{"b": 1},\n {"c": "x:\\"{"}],\n "d": {"e":\n {}}, "f": null}'
    assert lines_of_fields(text) == {"a": 1, "a.b": 1, "a.c": 2, "d": 3, "d.e": 3, "f": 4}


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        RemoteConfig.load(tmp_path / "none.json")


def test_split_address():
    assert split_address("[::1]:80") == ("[::1]", 80)
    assert split_address("node-1.example:4440") == ("node-1.example", 4440)


def test_local_players_are_created_as_they_are_named():
    config = LocalConfig()
    assert list(config.players) == ["server0", "server1", "server2", "driver"]
    assert config.get_player("data-owner").role == "owner"
    assert config.get_player("data-owner") is config.get_player("data-owner")
    assert "data-owner" in config.players and config.driver == "driver"
    assert config.mode is Mode.FUSED and LocalConfig(mode="threads").mode is Mode.THREADS


def test_local_players_may_be_named_by_many_threads():
    config = LocalConfig()
    named = []
    threads = [threading.Thread(target=lambda: named.append(config.get_player("x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(player) for player in named}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"servers": ("a", "b")}, "3 servers"),
        ({"servers": ("a", "b", "a")}, "twice"),
        ({"driver": "server0"}, "twice"),
        ({"driver": "a/b"}, "no name"),
        ({"mode": "quantum"}, "'fused', 'threads'"),
        ({"precision": 64}, "precision"),
    ],
)
def test_local_mistakes(arguments, message):
    with pytest.raises(ConfigError, match=message):
        LocalConfig(**arguments)


def test_keygen_makes_a_loopback_cluster_and_check_is_content(write, tmp_path, capsys):
    path = write(full())
    assert admin.main(["check", path]) == 1
    assert "missing" in capsys.readouterr().out
    assert admin.main(["keygen", "--config", path]) == 0
    assert admin.main(["check", path]) == 0
    output = capsys.readouterr().out
    assert "server1" in output and "127.0.0.1:4441" in output and "CURVE" in output
    config = RemoteConfig.load(path)
    ring = config.key_ring("server0")
    assert isinstance(ring, KeyRing) and set(ring.peers) == {"server1", "server2"}
    assert ring.own_secret.decode() not in output
    assert admin.main(["keygen", "--config", path]) == 1
    assert "--force" in capsys.readouterr().err


def test_keygen_for_one_player_makes_its_pair_only(write, tmp_path, capsys):
    path = write(full())
    keys = tmp_path / "mine"
    assert admin.main(["keygen", "--config", path, "--keys", str(keys), "--player", "server1"]) == 0
    assert sorted(p.name for p in keys.iterdir()) == ["server1.public", "server1.secret"]
    assert admin.main(["keygen", "--config", path, "--player", "nobody"]) == 1
    assert "known are" in capsys.readouterr().err


def test_check_reports_unprotected_and_mixed_up_keys(write, tmp_path, capsys):
    path = write(full())
    admin.main(["keygen", "--config", path])
    keys = tmp_path / "keys"
    (keys / "server0.secret").chmod(0o644)
    text = (keys / "server1.public").read_text().replace("server1", "server2")
    (keys / "server2.public").write_text(text)
    assert admin.main(["check", path]) == 1
    errors = capsys.readouterr().err
    assert "chmod 600" in errors and "same public key" in errors
    with pytest.raises(AuthenticationError):
        RemoteConfig.load(path).key_ring("server1")


def test_check_of_a_bad_file(write, capsys):
    assert admin.main(["check", write("{")]) == 1
    assert "not JSON" in capsys.readouterr().err


def test_a_precision_is_a_number_or_itself(write, tmp_path):
    players = RemoteConfig.load(write(full())).players
    for fraction in (8, 24, 30):
        for precision in (fraction, Precision(fraction)):
            config = RemoteConfig(players, precision=precision)
            assert LocalConfig(precision=precision).precision == config.precision == fraction
            config.save(tmp_path / "saved.json")
            assert RemoteConfig.load(tmp_path / "saved.json").precision == fraction
    for wrong in (7, 31, 18.0, True, "18", None):
        with pytest.raises(ConfigError, match="RemoteConfig: precision is .* from 8 to 30, not"):
            RemoteConfig(players, precision=wrong)
        with pytest.raises(ConfigError, match="LocalConfig: precision"):
            LocalConfig(precision=wrong)


def test_precisions_of_a_simulation():
    x = np.float32([0.1])
    for precision in (8, Precision(8)):
        assert jmpc.simulate(lambda x: x, precision=precision)(x) == 26 / 256
    with pytest.raises(ValueError, match="a precision of 40 fractional bits: between 8 and 30"):
        jmpc.simulate(lambda x: x, precision=40)


def test_protocol_limits_and_bulk_ports(tmp_path):
    players = {name: {"address": f"127.0.0.1:{4440 + i}"} for i, name in enumerate(["server0", "server1", "server2"])}
    players["server0"] |= {"listen": "0.0.0.0:7000", "bulk_port": 4450}
    players["server1"] |= {"bulk_port": 4451}
    data = {"players": players, "protocol": "rep3", "limits": {"max_frame_bytes": 1 << 20, "early_seconds": 2.5}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(data))
    config = RemoteConfig.load(path)
    assert config.protocol == "rep3"
    assert (config.limits.max_frame_bytes, config.limits.early_seconds) == (1 << 20, 2.5)
    assert config.bulk_endpoints == {"server0": "tcp://127.0.0.1:4450", "server1": "tcp://127.0.0.1:4451"}
    assert config.bulk_listen("server0") == "tcp://0.0.0.0:4450" and config.bulk_listen("server1") is None
    config.save(tmp_path / "saved.json")
    assert RemoteConfig.load(tmp_path / "saved.json") == config


@pytest.mark.parametrize(
    "change, message",
    [
        ({"protocol": "rep5"}, r"line \d+: protocol is one of \['rep3'\], not 'rep5'"),
        ({"limits": [1]}, r"limits is an object with a number per limit, not a list"),
        ({"limits": {"max_frames": 1}}, r"line \d+: limits.max_frames is no field \(is max_frame_bytes meant\?\)"),
        ({"limits": {"max_parts": 1.5}}, r"line \d+: limits.max_parts is a whole number, more than 0, not 1.5"),
        ({"limits": {"max_frame_bytes": 100}}, r"limits.max_frame_bytes is less than 65536"),
        ({"server0": {"bulk_port": "4450"}}, r"players.server0.bulk_port is a port from 1 to 65535, not '4450'"),
        ({"server0": {"bulk_port": 4441}}, r"server0 and server1 have the same address 127.0.0.1:4441"),
        ({"server0": {"bulk_port": 4440}}, r"players.server0.bulk_port is another one than that of its address"),
    ],
)
def test_protocol_limits_and_bulk_ports_that_are_refused(tmp_path, change, message):
    players = {name: {"address": f"127.0.0.1:{4440 + i}"} for i, name in enumerate(["server0", "server1", "server2"])}
    players["server0"] |= change.pop("server0", {})
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"players": players, **change}, indent=1))
    with pytest.raises(ConfigError, match=message):
        RemoteConfig.load(path)


def test_every_protocol_that_a_file_may_name_is_there():
    assert set(PROTOCOLS) == set(FAMILIES)
