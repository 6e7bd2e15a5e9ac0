import hashlib
import hmac
import threading

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.errors import AgreementError, ChoreographyError, LinkTimeout, RunAborted
from jmpc.net import Header, Kind
from jmpc.net.handshake import Hello, agree, decode_hello, derive, encode_hello

RUN = bytes(range(16))
DIGEST = hashlib.sha256(b"computation").digest()
SERVERS = ("server0", "server1", "server2")
PLAYERS = (*SERVERS, "owner")
PAIRS = [frozenset({a, b}) for a in SERVERS for b in SERVERS if a < b]
SETS = [*PAIRS, frozenset({"owner", "server0", "server2"}), frozenset({"owner"})]


def agree_all(transports, arguments=lambda name: {}):
    """Run `agree` at every player; what it returned or raised."""
    results = {}

    def run(transport):
        name = transport.name
        asked = {"players": PLAYERS, "key_sets": SETS, "run": RUN, "digest": DIGEST, "timeout": 3}
        try:
            results[name] = agree(transport, name, **asked | arguments(name)).keys
        except Exception as error:
            results[name] = error
            transport.abort(asked["run"], "no agreement", set(PLAYERS) - {name})

    threads = [threading.Thread(target=run, args=(transport,)) for transport in transports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def players(inproc):
    transports = inproc(*PLAYERS)
    for transport in transports:
        transport.open_run(RUN, PLAYERS)
    return transports


def test_members_and_they_alone_get_equal_keys(players):
    results = agree_all(players)
    for key_set in SETS:
        keys = {results[name].get(key_set) for name in key_set}
        assert len(keys) == 1 and len(keys.pop()) == 32
    for name in PLAYERS:
        assert set(results[name]) == {key_set for key_set in SETS if name in key_set}
    distinct = {results[min(key_set)][key_set] for key_set in SETS}
    assert len(distinct) == len(SETS)


def test_every_run_has_fresh_keys(players):
    other = bytes(16)
    first = agree_all(players)
    second = agree_all(players, lambda name: {"run": other})
    assert first["server0"].keys() == second["server0"].keys()
    assert not set(first["server0"].values()) & set(second["server0"].values())


def test_contributions_go_to_members_only(players, monkeypatch):
    heard = []
    for transport in players:
        send = transport.send

        def spy(peer, header, *args, me=transport.name, send=send, **kwargs):
            if header.slot == (0,):
                heard.append((me, peer, decode_hello(header.body)))
            send(peer, header, *args, **kwargs)

        monkeypatch.setattr(transport, "send", spy)
    agree_all(players)
    assert len(heard) == len(PLAYERS) * (len(PLAYERS) - 1)
    for sender, receiver, hello in heard:
        assert not any(repr(item) in repr(hello) for item in hello.contributions)
        assert len(hello.contributions) == sum({sender, receiver} <= s for s in SETS)
    items = [item for _, _, hello in heard for item in hello.contributions]
    pairs = [(s, r, item) for s, r, hello in heard for item in hello.contributions]
    assert len(set(items)) == sum(len(s) for s in SETS if len(s) > 1)
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": bytes(32)}, "about to run"),
        ({"runtime": "jmpc 9"}, "install the same versions"),
        ({"players": SERVERS, "key_sets": PAIRS}, "expects the players"),
        ({"key_sets": SETS[1:]}, "expects the key sets"),
    ],
)
def test_who_differs_is_named(players, change, message):
    results = agree_all(players, lambda name: change if name == "server2" else {})
    for name in ("server0", "server1", "owner"):
        assert isinstance(results[name], (AgreementError, RunAborted))
        assert "server2" in str(results[name]) or results[name].player != name
    errors = [error for error in results.values() if isinstance(error, AgreementError)]
    assert any(message in str(error) for error in errors)
    assert isinstance(results["server2"], (AgreementError, RunAborted))


def test_a_player_that_says_different_things_is_found(players, monkeypatch):
    liar = players[3]
    send = liar.send

    def lie(peer, header, *args, **kwargs):
        if header.slot == (0,) and peer == "server1":
            hello = decode_hello(header.body)
            changed = Hello(hello.runtime, hello.digest, bytes(32), hello.players, hello.key_sets, ())
            header = Header(Kind.HELLO, RUN, (0,), body=encode_hello(changed, hello.contributions))
        send(peer, header, *args, **kwargs)

    monkeypatch.setattr(liar, "send", lie)
    results = agree_all(players)
    assert any("derived different keys" in str(error) for error in results.values())
    for name in SERVERS:
        assert isinstance(results[name], (AgreementError, RunAborted))


def test_a_player_that_does_not_come_is_named(players):
    results = agree_all(players[:3], lambda name: {"timeout": 0.3})
    waited = [error for error in results.values() if isinstance(error, LinkTimeout)]
    assert waited and all(error.player == "owner" for error in waited)


def test_a_digest_and_key_sets_are_checked_before_anything_is_sent(players):
    with pytest.raises(ChoreographyError, match="digest"):
        agree(players[0], "server0", PLAYERS, SETS, RUN, b"short")
    with pytest.raises(ChoreographyError, match="within the players"):
        agree(players[0], "server0", SERVERS, SETS, RUN, DIGEST)
    assert players[0].sent.peers() == {}


def test_derive_is_hkdf_of_everything_in_the_order_of_names():
    def join(*parts):
        sizes = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return len(parts).to_bytes(4, "big") + sizes

    items, nonces = [b"\1" * 32, b"\2" * 32], {"c": b"c" * 32, "b": b"b" * 32, "a": b"a" * 32}
    info = join(b"jmpc/1", b"key", join(b"a", b"c"), join(b"a", b"b", b"c"), RUN, DIGEST)
    salt = b"a" * 32 + b"b" * 32 + b"c" * 32
    extracted = hmac.digest(salt, items[0] + items[1], "sha256")
    expected = hmac.digest(extracted, info + b"\1", "sha256")
    assert derive(items, nonces, frozenset("ac"), RUN, DIGEST) == expected


def test_derive_depends_on_every_argument():
    base = (
        [b"\1" * 32, b"\2" * 32],
        {"a": b"a" * 32, "b": b"b" * 32},
        frozenset("ab"),
        RUN,
        DIGEST,
    )
    changes = [
        ([b"\1" * 32, b"\3" * 32], *base[1:]),
        (base[0], {"a": b"a" * 32, "b": b"c" * 32}, *base[2:]),
        (base[0], {"a": b"a" * 32, "c": b"b" * 32}, *base[2:]),
        (*base[:2], frozenset("ac"), *base[3:]),
        (*base[:3], bytes(16), DIGEST),
        (*base[:4], bytes(32)),
    ]
    keys = {derive(*arguments) for arguments in [base, *changes]}
    assert len(keys) == len(changes) + 1
    assert derive(*base, purpose=b"confirm") not in keys


@pytest.mark.parametrize(
    ("items", "nonce"),
    [([bytes(32)], bytes(32)), ([bytes(32), b""], bytes(32)), ([bytes(32)] * 2, b"")],
)
def test_derive_refuses_short_material(items, nonce):
    with pytest.raises(ChoreographyError):
        derive(items, {"a": nonce}, frozenset("ab"), RUN, DIGEST)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=100) | st.lists(st.binary(max_size=32) | st.text(max_size=9)).map(msgpack.packb))
def test_any_bytes_give_a_hello_or_an_agreement_error(body):
    try:
        decode_hello(body)
    except AgreementError:
        pass


def test_a_malformed_hello_is_blamed_on_its_sender(inproc):
    a, b = inproc("a", "b")
    b.send("a", Header(Kind.HELLO, RUN, (0,), body=b"nonsense"))
    with pytest.raises(AgreementError, match="b sent a a HELLO"):
        agree(a, "a", ["a", "b"], [], RUN, DIGEST)
