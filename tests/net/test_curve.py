import socket
import time
from contextlib import contextmanager

import pytest
import zmq

from jmpc.errors import AuthenticationError, ConfigError, LinkTimeout
from jmpc.net import Header, KeyRing, Kind, Transport
from jmpc.net.framing import encode

RUN = bytes(range(16))
HELLO = Header(Kind.DATA, RUN, (0,))


@contextmanager
def stranger(endpoint: str, pair: tuple[bytes, bytes], server: bytes | None):
    """Says one frame to a player, under a's routing id, as a program that is not jmpc would."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.routing_id = b"a"
        if server is not None:
            socket.curve_publickey, socket.curve_secretkey = pair
            socket.curve_serverkey = server
        socket.connect(endpoint)
        socket.send_multipart([bytes(part) for part in encode(HELLO, [b"hello"])])
        yield


def test_a_known_key_is_who_it_belongs_to_whatever_the_routing_id_says(start, tcp_endpoints, key_rings):
    endpoints, rings = tcp_endpoints("a", "b", "c"), key_rings("a", "b", "c")
    b = start("b", endpoints, keys=rings["b"])
    b.open_run(RUN)
    pair = rings["c"].own_public, rings["c"].own_secret
    with stranger(endpoints["b"], pair, rings["b"].own_public):
        assert bytes(b.receive("c", RUN, (0,))[0]) == b"hello"
        with pytest.raises(LinkTimeout):
            b.receive("a", RUN, (0,), timeout=0.1)


@pytest.mark.parametrize("case", ["unknown key", "no key", "wrong server key"])
def test_strangers_are_not_heard(case, start, tcp_endpoints, key_rings):
    endpoints, rings = tcp_endpoints("a", "b"), key_rings("a", "b")
    b = start("b", endpoints, keys=rings["b"])
    b.open_run(RUN)
    known, server = rings["a"], rings["b"].own_public
    pair = known.own_public, known.own_secret
    if case == "unknown key":
        pair = zmq.curve_keypair()
    elif case == "no key":
        server = None
    else:
        server = zmq.curve_keypair()[0]
    with stranger(endpoints["b"], pair, server), pytest.raises(LinkTimeout):
        b.receive("a", RUN, (0,), timeout=0.4)
    assert b.received.peers() == {}
    if case == "unknown key":
        assert b.dropped["connection with an unknown key"] >= 1
    # A stranger at the door keeps nobody else out.
    a = start("a", endpoints, keys=rings["a"])
    a.send("b", HELLO, [b"hello"])
    assert bytes(b.receive("a", RUN, (0,))[0]) == b"hello"


def test_an_impostor_server_gets_nothing(start, tcp_endpoints, key_rings):
    endpoints, rings = tcp_endpoints("a", "b"), key_rings("a", "b")
    a = start("a", endpoints, keys=rings["a"])
    a.open_run(RUN)
    public, secret = zmq.curve_keypair()
    impostor = start("b", endpoints, keys=KeyRing(public, secret, rings["b"].peers))
    impostor.open_run(RUN)
    a.send("b", HELLO, [b"for b only"])
    with pytest.raises(LinkTimeout, match="without b's key"):
        a.receive("b", RUN, (0,), timeout=0.6)
    assert impostor.received.peers() == {}


def test_a_peer_that_refuses_this_key_is_reported_at_once(start, tcp_endpoints, key_rings):
    endpoints, rings = tcp_endpoints("a", "b"), key_rings("a", "b")
    other = key_rings("a")["a"]
    start("b", endpoints, keys=rings["b"])
    a = start("a", endpoints, keys=KeyRing(other.own_public, other.own_secret, rings["a"].peers))
    a.open_run(RUN)
    began = time.monotonic()
    with pytest.raises(AuthenticationError, match="b .* does not know the key of a"):
        a.send("b", HELLO)
        a.receive("b", RUN, (0,), timeout=20)
    assert time.monotonic() - began < 5


def test_keys_go_with_tcp_and_a_context_of_ones_own(context, tcp_endpoints, key_rings):
    ring = key_rings("a", "b")["a"]
    with pytest.raises(ConfigError, match="need no keys"):
        Transport("a", {"a": "inproc://a", "b": "inproc://b"}, keys=ring)
    with pytest.raises(ConfigError, match="its own context"):
        Transport("a", tcp_endpoints("a", "b"), keys=ring, context=context)
    with Transport("a", tcp_endpoints("a", "b", "c"), keys=ring) as transport:
        with pytest.raises(AuthenticationError, match="a has no key of c, or it was revoked"):
            transport.send("c", Header(Kind.PING))


def test_keys_allow_addresses_that_are_not_loopback(start, tcp_endpoints, key_rings):
    endpoints = tcp_endpoints("a") | {"b": "tcp://192.0.2.1:4440"}
    start("a", endpoints, keys=key_rings("a", "b")["a"])


def test_a_player_whose_key_was_refused_is_tried_again(start, tcp_endpoints, key_rings):
    """libzmq gives such a connection up for good; the peer may have got the key since."""
    endpoints, rings = tcp_endpoints("a", "b"), key_rings("a", "b")
    strange = KeyRing(rings["b"].own_public, rings["b"].own_secret, {"a": zmq.curve_keypair()[0]})
    a = start("a", endpoints, keys=rings["a"])
    b = start("b", endpoints, keys=strange)
    status = Header(Kind.STATUS, RUN)
    with pytest.raises(AuthenticationError, match="does not know the key of a"):
        a.send("b", status)  # which may be refused itself, if the link is quick
        a.wait_control(Kind.STATUS, RUN, "b", timeout=5)
    b.close()
    b = start("b", endpoints, keys=rings["b"])
    deadline = time.monotonic() + 5
    while (found := b.control({Kind.STATUS}, timeout=0.2)) is None and time.monotonic() < deadline:
        try:
            a.send("b", status, timeout=0.2)
        except AuthenticationError:  # until the old link is closed
            pass
    assert found == ("a", status)


@pytest.mark.parametrize("stranger", ["http", "plain text", "silent"])
def test_a_link_that_a_stranger_has_answered_comes_to_life_again(stranger, start, tcp_endpoints, key_rings):
    """Whoever took the port of a player that was away: libzmq gives up for good where it is spoken to wrongly."""
    endpoints, rings = tcp_endpoints("a", "b"), key_rings("a", "b")
    a = start("a", endpoints, keys=rings["a"])
    status = Header(Kind.STATUS, RUN)
    port = int(endpoints["b"].rpartition(":")[2])
    with zmq.Context() as context:
        if stranger == "plain text":
            taken = context.socket(zmq.ROUTER)
            taken.linger = 0
            taken.bind(endpoints["b"])
        else:
            taken = socket.create_server(("127.0.0.1", port))
        a.send("b", status)
        if stranger != "plain text":
            connection, _ = taken.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" if stranger == "http" else b"")
            connection.close()
        time.sleep(1.5)
        taken.close()
    assert "Somebody answers there, but without b's key, or in plain text" in a.hint("b")
    b = start("b", endpoints, keys=rings["b"])
    deadline = time.monotonic() + 10
    while (found := b.control({Kind.STATUS}, timeout=0.2)) is None and time.monotonic() < deadline:
        a.send("b", status)
    assert found == ("a", status)
