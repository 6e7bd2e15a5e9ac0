import json

import pytest

from jmpc.choreography.releases import ReleaseAccount
from jmpc.config import RemoteConfig
from jmpc.errors import ConfigError, PolicyError
from jmpc.net.authors import Signature
from jmpc.policy import Policy, read_rules

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


KEY = "ab" * 32


def test_a_policy_file_says_the_same_and_more(load, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(
        f"""
drivers = ["bob"]
min_owners = 2
max_equations = 7

[reveal_to]
alice = ["bob"]

[authors]
carol = "{KEY}"

[inputs.patients]
authors = ["carol"]

[inputs."*"]
computations = ["{KEY}"]
"""
    )
    config = load({"drivers": ["alice"]})
    policy = Policy.default(config, "alice", rules=read_rules(path, config.players))
    assert policy.drivers == {"bob"} and policy.max_equations == 7 and policy.min_owners == 2
    assert policy.authors == {"carol": bytes.fromhex(KEY)} and policy.receivers == {"bob"}
    policy.check_inputs(["others"], bytes.fromhex(KEY), Signature())
    for name in ("others", "patients"):
        with pytest.raises(PolicyError, match=f"rule inputs.{name}.*it is not signed"):
            policy.check_inputs(["patients", "others"][name == "others" :], bytes(32), Signature())
    with pytest.raises(PolicyError, match="it is signed by carol, and takes computations of carol"):
        policy.check_inputs(["patients"], bytes(32), Signature("carol", bytes(64)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drivers = 1\nx x", "not TOML: .*line 2"),
        ("drivers = ['mallory']", "policy.drivers names"),
        ("max_equations = -1", "policy.max_equations is a whole number"),
        ("colour = 1", "unknown policy rules"),
        ("[authors]\ncarol = 'short'", "policy.authors.carol is an Ed25519 public key"),
        ("authors = 1", "policy.authors is a table"),
        ("inputs = 1", "policy.inputs is a table"),
        ("[inputs.x]\nauthors = ['carol']", r"names \['carol'\], whose keys are not in authors"),
        ("[inputs.x]\ncomputations = ['12']", "'12' is no identity, 64"),
        ("[inputs.x]\nplayers = []", r'"computations", "authors" or both, not \[.players.\]'),
        ("[inputs.x]", '"computations", "authors" or both'),
        ("[inputs.x]\nauthors = 'carol'", "policy.inputs.x.authors is a list of texts"),
    ],
)
def test_what_is_wrong_in_a_policy_file_is_named(load, tmp_path, text, message):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_rules(path, load().players)
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rules(tmp_path / "missing.toml", load().players)


def test_what_is_opened_derives_from_enough_owners(load):
    policy = Policy.default(load({"min_owners": 2}), "server0")
    policy.check_owners([release("driver", "alice", "bob"), release("bob", "bob"), release("driver")])
    parts = [release("driver", "alice", why="sum"), release("driver", "bob", why="sum")]  # of one value
    policy.check_owners(parts)
    for account in ([release("driver", "alice")], [release("bob", "alice", "bob")]):
        with pytest.raises(PolicyError, match="rule min_owners.*at least 2 others.*reveal of y"):
            policy.check_owners(account)


def test_of_owners_that_may_be_missing_those_that_must_deliver_are_counted(load):
    everybody = [release("driver", "alice", "bob", "carol"), release("bob", "alice", "bob", "carol")]
    usual = Policy.default(load(), "server0")
    for spare in (1, 2, 5):  # one owner may be all that is left: then bob sees his own, or that of one other
        usual.check_owners(everybody, lambda owners, spare=spare: spare)
        usual.check_kept([("here", frozenset({"alice", "bob"}))], lambda owners, spare=spare: spare)
    policy = Policy.default(load({"min_owners": 2}), "server0")
    policy.check_owners(everybody[:1], lambda owners: 1)
    policy.check_owners(everybody, lambda owners: 0)
    for account, spare in ((everybody[:1], 2), (everybody[1:], 1), (everybody[1:], 2)):
        with pytest.raises(PolicyError, match="rule min_owners"):
            policy.check_owners(account, lambda owners, spare=spare: spare)
    kept = [("line 1", frozenset({"alice", "bob", "carol"})), ("line 1", frozenset({"alice", "bob"}))]
    policy.check_kept(kept[:1], lambda owners: 0)
    with pytest.raises(PolicyError, match=r"rule min_owners\).* at least 3 players.*: line 1 of 2\. "):
        policy.check_kept(kept, lambda owners: 0)
    with pytest.raises(PolicyError, match="line 1 of 2"):
        policy.check_kept(kept[:1], lambda owners: 1)


def test_what_is_approved_goes_by_the_owners_word_alone(load):
    policy = Policy.default(load({"reveal_to": [], "min_owners": 3}), "server0")
    grants = {"alice": frozenset({"driver"}), "bob": frozenset()}
    policy.check_release([release("driver", "alice")], grants, approved=True)
    with pytest.raises(PolicyError, match="against the rules of bob"):
        policy.check_release([release("driver", "alice", "bob")], grants, approved=True)
    with pytest.raises(PolicyError):
        policy.check_release([release("driver", "alice")], None, approved=True)
