import json

import pytest

from jmpc.config import RemoteConfig
from jmpc.errors import ConfigError, PolicyError
from jmpc.policy import Policy, Release

PLAYERS = ["server0", "server1", "server2", "alice", "bob", "driver"]


@pytest.fixture
def load(tmp_path):
    def load(policy=None, names=PLAYERS):
        players = {name: {"address": f"127.0.0.1:{i + 1}"} for i, name in enumerate(names)}
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"players": players, "policy": policy or {}}))
        return RemoteConfig.load(path)

    return load


def release(dst: str, *inputs: str) -> Release:
    return Release("server0", dst, "reveal of y", frozenset(inputs))


def test_the_driver_may_submit_and_nobody_else(load):
    policy = Policy.default(load(), "server0")
    policy.check_submitter("driver")
    for name in ("alice", "server0", "stranger"):
        with pytest.raises(PolicyError, match="rule drivers"):
            policy.check_submitter(name)


def test_without_a_driver_nobody_may_submit(load):
    policy = Policy.default(load(names=PLAYERS[:-1]), "server0")
    with pytest.raises(PolicyError, match="from nobody.*policy.drivers"):
        policy.check_submitter("alice")


def test_owners_and_driver_may_receive_and_servers_may_not(load):
    policy = Policy.default(load(), "alice")
    policy.check_release([release("bob", "alice"), release("driver", "alice", "bob")])
    with pytest.raises(PolicyError, match=r"rule reveal_to.*server0 to server1"):
        policy.check_release([release("bob", "alice"), release("server1", "alice")])


def test_a_player_guards_its_own_inputs_only(load):
    policy = Policy.default(load({"reveal_to": ["alice"]}), "alice")
    policy.check_release([release("server1", "bob"), release("server1"), release("alice", "alice")])
    with pytest.raises(PolicyError):
        policy.check_release([release("bob", "alice")])


def test_all_refused_releases_are_listed(load):
    policy = Policy.default(load({"reveal_to": []}), "alice")
    account = [release("bob", "alice"), release("alice", "alice"), release("driver", "alice")]
    with pytest.raises(PolicyError, match="to bob.*to driver.*nobody") as caught:
        policy.check_release(iter(account))
    assert "to alice)" not in str(caught.value)


def test_a_policy_for_each_owner(load):
    config = load({"reveal_to": {"alice": ["bob"]}, "drivers": ["bob", "driver"]})
    assert Policy.default(config, "alice").reveal_to == {"bob"}
    assert Policy.default(config, "bob").reveal_to == {"alice", "bob", "driver"}
    Policy.default(config, "server1").check_submitter("bob")


def test_sizes(load):
    policy = Policy.default(load({"max_equations": 10}), "server0")
    policy.check_size(equations=10, computation_bytes=1, loop_iterations=1, memory_bytes=1)
    with pytest.raises(PolicyError, match=r"11 \(rule max_equations\): at most 10"):
        policy.check_size(equations=11)


def test_a_player_that_is_not_configured(load):
    with pytest.raises(ConfigError, match="known are"):
        Policy.default(load(), "mallory")


@pytest.mark.parametrize(
    "policy",
    [
        {"drivers": "driver"},
        {"drivers": [1]},
        {"reveal_to": {"mallory": []}},
        {"reveal_to": {"alice": "bob"}},
        {"reveal_to": ["mallory"]},
        {"max_memory_bytes": 1.5},
        {"max_memory_bytes": True},
        {"me": "alice"},
    ],
)
def test_malformed_policies(load, policy):
    with pytest.raises(ConfigError, match="policy"):
        load(policy)
