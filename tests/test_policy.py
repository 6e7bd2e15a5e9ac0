import json

import pytest

from jmpc.choreography.releases import ReleaseAccount
from jmpc.config import RemoteConfig
from jmpc.errors import ConfigError, PolicyError
from jmpc.policy import Policy

PLAYERS = ["server0", "server1", "server2", "alice", "bob", "driver"]


@pytest.fixture
def load(tmp_path):
    def load(policy=None, names=PLAYERS, **fields):
        players = {name: {"address": f"127.0.0.1:{i + 1}"} for i, name in enumerate(names)}
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"players": players, "policy": policy or {}, **fields}))
        return RemoteConfig.load(path)

    return load


def release(dst: str, *inputs: str, why: str = "reveal of y") -> ReleaseAccount:
    return ReleaseAccount("server0", dst, why, "train.py:7 (step)", (3,), frozenset(inputs))


def test_the_driver_may_submit_and_nobody_else(load):
    policy = Policy.default(load(), "server0")
    policy.check_submitter("driver")
    for name in ("alice", "server0", "stranger"):
        with pytest.raises(PolicyError, match="rule drivers.*from driver"):
            policy.check_submitter(name)


def test_without_a_driver_nobody_may_submit_and_the_refusal_says_what_to_write(load):
    policy = Policy.default(load(names=PLAYERS[:-1]), "server0")
    with pytest.raises(PolicyError, match=r"names no driver.*--driver alice.*\"driver\": \"alice\"") as caught:
        policy.check_submitter("alice")
    assert '"policy": {"drivers": ["alice"]}' in str(caught.value)
    load({"drivers": ["alice"]}, names=PLAYERS[:-1])  # what it says to write is what a configuration takes
    assert Policy.default(load(names=PLAYERS[:-1], driver="alice"), "server0").drivers == {"alice"}


def test_an_operator_may_name_drivers_beside_the_configured_one(load):
    assert Policy.default(load(), "server0", ["alice"]).drivers == {"alice", "driver"}
    assert Policy.default(load({"drivers": ["bob"]}), "server0", ["alice"]).drivers == {"alice", "bob"}
    with pytest.raises(ConfigError, match="known are"):
        Policy.default(load(), "server0", ["mallory"])


def test_owners_and_driver_may_receive_and_servers_may_not(load):
    policy = Policy.default(load(), "alice")
    policy.check_release([release("bob", "alice"), release("driver", "alice", "bob")])
    with pytest.raises(PolicyError, match=r"rule reveal_to.*server0 to server1, train.py:7.*rules of alice"):
        policy.check_release([release("bob", "alice"), release("server1", "alice")])


def test_every_player_guards_the_inputs_of_all(load):
    config = load({"reveal_to": {"alice": ["alice"]}})
    for name in ("server2", "alice", "bob"):
        policy = Policy.default(config, name)
        policy.check_release([release("alice", "alice", "bob"), release("driver", "bob"), release("server1")])
        with pytest.raises(PolicyError, match="against the rules of alice"):
            policy.check_release([release("driver", "alice", "bob")])
        with pytest.raises(PolicyError, match="against the rules of alice, bob"):
            policy.check_release([release("server1", "alice", "bob")])


def test_an_owner_may_see_what_derives_from_its_own_inputs(load):
    policy = Policy.default(load({"reveal_to": []}), "alice")
    policy.check_release([release("alice", "alice")])
    with pytest.raises(PolicyError, match="rules of bob"):
        policy.check_release([release("alice", "alice", "bob")])


def test_all_refused_releases_are_listed(load):
    policy = Policy.default(load({"reveal_to": []}), "alice")
    account = [release("bob", "alice"), release("alice", "alice"), release("driver", "alice")]
    with pytest.raises(PolicyError, match="to bob.*to driver") as caught:
        policy.check_release(iter(account))
    assert "to alice," not in str(caught.value)


def test_a_policy_for_each_owner(load):
    config = load({"reveal_to": {"alice": ["bob"]}, "drivers": ["bob", "driver"]})
    policy = Policy.default(config, "bob")
    assert policy.reveal_to["alice"] == {"bob"}
    assert policy.reveal_to["bob"] == {"alice", "bob", "driver"}
    policy.check_submitter("bob")


def test_sizes(load):
    policy = Policy.default(load({"max_equations": 10}), "server0")
    policy.check_size(max_equations=10, max_computation_bytes=1, max_loop_iterations=1, max_memory_bytes=1)
    with pytest.raises(PolicyError, match=r"11 equations, at most 10 \(rule max_equations\)"):
        policy.check_size(max_equations=11)


def test_memory_limits_are_those_of_the_machine(load):
    policy = Policy.default(load(), "server0")
    assert 1 << 26 < policy.max_stored_bytes <= policy.max_memory_bytes
    with pytest.raises(PolicyError, match="max_memory_bytes"):
        policy.check_size(max_memory_bytes=1 << 60)


def test_a_player_that_is_not_configured(load):
    with pytest.raises(ConfigError, match="known are"):
        Policy.default(load(), "mallory")


def test_unknown_rules_are_refused(load):
    with pytest.raises(ConfigError, match="unknown policy rules.*known are.*max_run_seconds"):
        load({"me": "alice"})
    with pytest.raises(ConfigError, match="whole number"):
        load({"max_run_seconds": 1.5})
