import hashlib
import hmac
import threading
import time

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmpc.errors import AgreementError, ChoreographyError, LinkTimeout, PeerError, RunAborted
from jmpc.net import Header, Kind, handshake
from jmpc.net.handshake import Guests, Hello, agree, decode_hello, derive, encode_hello

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


# -- players that a run can do without ----------------------------------------------------------------------------

GUESTS = ("alice", "bob")
ALL = (*SERVERS, "owner", *GUESTS)
WITH_GUESTS = [*PAIRS, *(frozenset({guest, *pair}) for guest in GUESTS for pair in ("server0 server1".split(),))]
WITH_GUESTS += [frozenset({guest, "server0", "server2"}) for guest in GUESTS]


@pytest.fixture
def everybody(inproc):
    transports = inproc(*ALL)
    for transport in transports:
        mine = set(ALL) - (set(GUESTS) - {transport.name})
        transport.open_run(RUN, ALL if transport.name not in GUESTS else mine, set(GUESTS) - {transport.name})
    return transports


def agree_with_guests(transports, expected=GUESTS, patience=1.0):
    """What `agree` returned or raised at every player that has a transport here."""
    results = {}

    def run(transport):
        name, guests = transport.name, Guests(frozenset(GUESTS), frozenset(expected), patience)
        try:
            results[name] = agree(transport, name, ALL, WITH_GUESTS, RUN, DIGEST, 3, guests=guests)
        except Exception as error:
            results[name] = error
            transport.abort(RUN, "no agreement", set(ALL) - {name})

    threads = [threading.Thread(target=run, args=(transport,)) for transport in transports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def without(transports, *names):
    return [transport for transport in transports if transport.name not in names]


def check_agreement(results, *there):
    """All required players have one identity, and common keys with those guests that are there, and with no others."""
    required = [results[name] for name in (*SERVERS, "owner")]
    assert len({agreement.identity for agreement in required}) == 1
    for key_set in WITH_GUESTS:
        if key_set & set(GUESTS) <= set(there):
            keys = {results[name].keys[key_set] for name in key_set}
            assert len(keys) == 1
        else:
            assert not any(key_set in results[name].keys for name in key_set & set(SERVERS))
    missing = set(GUESTS) - set(there)
    assert all(set(results[name].missing) <= missing for name in (*SERVERS, "owner"))


def test_guests_have_keys_of_their_own(everybody):
    results = agree_with_guests(everybody)
    check_agreement(results, *GUESTS)
    assert all(results[guest].identity == results["owner"].identity for guest in GUESTS)
    assert not any(results["alice"].keys.keys() & results["bob"].keys.keys())


def test_a_guest_that_does_not_come_is_missing(everybody):
    check_agreement(agree_with_guests(without(everybody, "bob"), patience=0.3), "alice")


def test_nobody_waits_for_a_guest_that_is_not_expected(everybody):
    start = time.monotonic()
    check_agreement(agree_with_guests(without(everybody, "bob"), expected=["alice"], patience=60.0), "alice")
    assert time.monotonic() - start < 2


def test_nothing_of_a_guest_goes_into_the_keys_of_others(everybody, monkeypatch):
    """With or without one, and whatever it says: the salts of all other keys are the same."""
    salts = []
    derived = handshake.derive

    def noted(contributions, nonces, key_set, *args, **kwargs):
        salts.append((key_set, frozenset(nonces)))
        return derived(contributions, nonces, key_set, *args, **kwargs)

    monkeypatch.setattr(handshake, "derive", noted)
    agree_with_guests(everybody)
    for key_set, names in salts:
        assert names == {*SERVERS, "owner"} | (key_set & set(GUESTS))


def liar(transports, change):
    """The HELLOs of bob are changed on their way to server0."""
    transport = next(transport for transport in transports if transport.name == "bob")
    send = transport.send

    def lie(peer, header, *args, **kwargs):
        if peer == "server0" and (body := change(header)) is not None:
            header = Header(Kind.HELLO, RUN, header.slot, body=body)
        send(peer, header, *args, **kwargs)

    transport.send = lie


def _other_digest(header):
    if header.slot == (0,):
        hello = decode_hello(header.body)
        return encode_hello(Hello(hello.runtime, bytes(32), *_rest(hello)), hello.contributions)


def _rest(hello):
    return hello.nonce, hello.players, hello.key_sets, ()


def _other_contribution(header):
    if header.slot == (0,):
        hello = decode_hello(header.body)
        return encode_hello(hello, [bytes(32), *hello.contributions[1:]])


def _other_nonce(header):
    if header.slot == (0,):
        hello = decode_hello(header.body)
        changed = Hello(hello.runtime, hello.digest, bytes(32), hello.players, hello.key_sets, ())
        return encode_hello(changed, hello.contributions)


@pytest.mark.parametrize(
    "change",
    [
        _other_digest,
        _other_contribution,
        _other_nonce,
        lambda header: b"nonsense" if header.slot == (0,) else None,
        lambda header: b"nonsense" if header.slot == (1,) else None,
        lambda header: bytes(96) if header.slot == (1,) else None,
    ],
)
def test_a_guest_that_tells_servers_different_things_leaves_out_itself(everybody, change):
    liar(everybody, change)
    results = agree_with_guests(everybody, patience=0.5)
    for name in (*SERVERS, "owner", "alice"):
        assert not isinstance(results[name], Exception), results[name]
    assert "bob" in results["server0"].missing
    assert (
        results["alice"].keys.items()
        <= {**results["server0"].keys, **results["server2"].keys, **results["server1"].keys}.items()
    )
    both = frozenset({"bob", "server0", "server2"})
    assert both not in results["server0"].keys, "a server that doubts it has no key with it"


def test_a_guest_that_ends_the_run_ends_its_own(everybody):
    bob = next(transport for transport in everybody if transport.name == "bob")
    for peer in (*SERVERS, "owner", "alice"):
        bob.send(peer, Header(Kind.ABORT, RUN, body=b"enough"))
    start = time.monotonic()
    check_agreement(agree_with_guests(without(everybody, "bob"), patience=60.0), "alice")
    assert time.monotonic() - start < 2, "and nobody waits for it"


def test_a_required_player_that_does_not_come_is_as_ever(everybody):
    results = agree_with_guests(without(everybody, "server2"), patience=0.2)
    assert all(isinstance(results[name], PeerError | RunAborted) for name in ("server0", "server1", "owner", *GUESTS))


def test_no_key_has_two_guests(everybody):
    with pytest.raises(ChoreographyError, match="two members that a run can do without"):
        agree(everybody[0], "server0", ALL, [frozenset(ALL)], RUN, DIGEST, guests=Guests(frozenset(GUESTS)))
