"""Run keys: fresh 32-byte secrets that a set of players share for one run, and for nothing else.

Every player sends every other one HELLO: the digest of what it is about to run, a nonce, and, for
each key set that both belong to, 32 fresh bytes that the members of the set alone get to see. Then

    key(set) = HKDF-SHA256(ikm  = the members' contributions, by player name,
                           salt = the players' nonces, by player name,
                           info = "jmpc/1", the set, the players, run id, digest, with lengths)

One honest member's contribution makes the key fresh. The nonces also give the run an identity that no other
run has, whatever its id. A second HELLO, between members only, carries
a tag of each key: a player that told different things to different players is found before any
share moves, not by a wrong result.

Some players may be *optional*: the run goes on if one does not say HELLO in time, says something else than the others,
or dies. So "the players" above are those that are required, and of a set with an optional member (it has one at most)
that one, too. The identity is then of the required players, all of whom had their nonce in it, and every key is still
as fresh as its members' contributions: nothing of another optional player goes into it. An optional player waits for
all required ones and for no other optional one, and stops if anything that it hears of them does not fit.

The second HELLO has a tag for every key with an optional member, apart from that of all other keys. Members that have
different keys, because the optional one told them different things, or one of them nothing, each take it to be
missing. An optional player gains nothing by that: it takes part in no key but its own, and those who lack one of these
use nothing of it (`jmpc.choreography.optional`). A required player that lies about an optional one can leave it out, as
it could by not forwarding anything; whether it is there is for the program to agree on, not for the handshake.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import (
    AgreementError,
    AuthenticationError,
    ChoreographyError,
    LinkTimeout,
    NotStarted,
    PeerError,
    RunAborted,
)
from .framing import RUN_BYTES, Header, Kind
from .transport import Transport
from .unpacking import unpack

KEY_BYTES: Final = 32
_LABEL: Final = b"jmpc/1"
_MAX_RUNTIME: Final = 200
_MAX_ELEMENTS: Final = 1 << 16  # players, and members of key sets
_BEATS: Final = 4  # in the time of a timeout, see `agree`
_NO_KEY: Final = bytes(KEY_BYTES)  # in the place of a tag

KeySet = frozenset[str]


@dataclass(frozen=True)
class Hello:
    """What one player says to another before a run.

    `contributions` are for the sets that both belong to, in order.
    """

    runtime: str
    digest: bytes
    nonce: bytes
    players: tuple[str, ...]
    key_sets: tuple[tuple[str, ...], ...]
    contributions: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True)
class Agreement:
    """What the players of a run have come to: the own keys, and what the run is known by afterwards.

    `identity` is 16 bytes that depend on a fresh nonce of every required player, so it is another one in every run.
    `missing` are the optional players that the run begins without, each with the reason; their keys are not there.
    """

    keys: dict[KeySet, bytes] = field(repr=False)
    identity: bytes
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Guests:
    """The players that a run can do without, and how long others wait for them.

    Args:
        players: all of them; no two share a key.
        expected: those that may come to this run; nobody waits for another.
        patience: seconds for which all of them together are waited for, in each of the two exchanges.
    """

    players: frozenset[str] = frozenset()
    expected: frozenset[str] = frozenset()
    patience: float = 0.0


def derive(
    contributions: Sequence[bytes],
    nonces: Mapping[str, bytes],
    key_set: KeySet,
    run: bytes,
    digest: bytes,
    *,
    purpose: bytes = b"key",
) -> bytes:
    """The 32-byte key of `key_set` for one run, from its members' contributions in name order.

    Raises:
        ChoreographyError: there is not one contribution of 32 bytes for each member, or a nonce is
            not 32 bytes.
    """
    if len(contributions) != len(key_set) or any(len(item) != KEY_BYTES for item in contributions):
        raise ChoreographyError(f"a key of {sorted(key_set)} takes {KEY_BYTES} bytes from each of its members")
    if any(len(nonce) != KEY_BYTES for nonce in nonces.values()):
        raise ChoreographyError(f"a nonce is {KEY_BYTES} bytes")
    names = sorted(nonces)
    info = [
        _LABEL,
        purpose,
        _join(name.encode() for name in sorted(key_set)),
        _join(name.encode() for name in names),
    ]
    return HKDF(
        algorithm=SHA256(),
        length=KEY_BYTES,
        salt=b"".join(nonces[name] for name in names),
        info=_join([*info, run, digest]),
    ).derive(b"".join(contributions))


def agree(
    transport: Transport,
    me: str,
    players: Collection[str],
    key_sets: Collection[KeySet],
    run: bytes,
    digest: bytes,
    timeout: float | None = None,
    *,
    runtime: str = "",
    guests: Guests = Guests(),
    beat: Callable[[], None] = lambda: None,
) -> Agreement:
    """Agree with all `players` on what is run: the key of each set that `me` belongs to, and the run's identity.

    The run must be open, so that an abort of another player is heard. `runtime` is the versions
    that must be equal; it is compared first, because it explains why digests differ. `beat` is called a few times in
    every timeout, as long as this player waits.

    Raises:
        AgreementError: a required player runs something else, expects other key sets, or says something
            malformed. The caller aborts the run.
        NotStarted: a required player ended the run before anything was sent.
        LinkTimeout, PeerError: a required player did not take part.
        ChoreographyError: a key set has members outside `players`, or two optional ones.
    """
    if len(digest) != KEY_BYTES:
        raise ChoreographyError(f"a digest is {KEY_BYTES} bytes, not {len(digest)}")
    order = _ordered(players, key_sets, guests.players)
    own = Hello(runtime, digest, secrets.token_bytes(KEY_BYTES), tuple(sorted(players)), _names(order), ())
    seconds = transport.timeout if timeout is None else timeout
    handshake = _Handshake(transport, me, own, order, run, guests, seconds, beat)
    try:
        handshake.exchange()
    except RunAborted as error:
        raise NotStarted(error.player, error.reason) from error
    handshake.confirm()
    return Agreement(handshake.keys(b"key"), handshake.identity, handshake.missing)


class _Handshake:
    """One player's, in one run."""

    def __init__(
        self,
        transport: Transport,
        me: str,
        own: Hello,
        order: Sequence[KeySet],
        run: bytes,
        guests: Guests,
        seconds: float,
        beat: Callable[[], None],
    ) -> None:
        self.transport, self.me, self.own, self.run = transport, me, own, run
        self.sets = [key_set for key_set in order if me in key_set]
        self.optional, self.seconds, self.beat = guests, seconds, beat
        self.required = [player for player in own.players if player not in guests.players]
        self.peers = [player for player in self.required if player != me]
        may_come = guests.expected & guests.players if me in self.required else frozenset()
        self.guests = sorted(may_come - {me})
        self.missing: dict[str, str] = {}
        fresh = {key_set: secrets.token_bytes(KEY_BYTES) for key_set in self.sets}
        self.contributions = {key_set: {me: item} for key_set, item in fresh.items()}
        self.nonces = {me: own.nonce}

    def exchange(self) -> None:
        """Say HELLO to all and hear it from all: all nonces, and all contributions to the own sets."""
        deadline = time.monotonic() + self.seconds
        for peer in (*self.peers, *self.guests):
            mine = [self.contributions[key_set][self.me] for key_set in self._shared(peer)]
            self._send(peer, (0,), encode_hello(self.own, mine), deadline)
        for peer in self.peers:
            self._take(peer, self._wait(peer, deadline))
        deadline = time.monotonic() + self.optional.patience
        for guest in self.guests:
            self._try(guest, lambda guest=guest: self._take(guest, self._wait(guest, deadline)))

    def confirm(self) -> None:
        """Compare all keys with the fellow members of their sets, without telling a key."""
        tags = self.keys(b"confirm")
        fellows = [peer for peer in self.peers if self._shared(peer)]
        guests = [guest for guest in self.guests if self._shared(guest)]
        # A fellow may have waited for optional players longer than this one.
        deadline = time.monotonic() + self.seconds + self.optional.patience
        for peer in (*fellows, *guests):
            self._send(peer, (1,), self._tags(tags, self.me, peer), deadline)
        for peer in fellows:
            self._compare(peer, self._wait(peer, deadline), tags)
        deadline = time.monotonic() + self.optional.patience
        for guest in guests:
            self._try(guest, lambda guest=guest: self._compare(guest, self._wait(guest, deadline), tags))

    def keys(self, purpose: bytes) -> dict[KeySet, bytes]:
        """Of all own sets whose members have all said HELLO, but for those with somebody missing."""
        made = {}
        for key_set in self.sets:
            items = self.contributions[key_set]
            if len(items) == len(key_set) and key_set.isdisjoint(self.missing):
                whose = {name: self.nonces[name] for name in (*self.required, *(key_set & self.optional.players))}
                told = [items[member] for member in sorted(key_set)]
                made[key_set] = derive(told, whose, key_set, self.run, self.own.digest, purpose=purpose)
        return made

    @property
    def identity(self) -> bytes:
        told = [self.nonces[name] for name in sorted(self.required)]
        return hashlib.sha256(_join([b"identity", self.run, self.own.digest, *told])).digest()[:RUN_BYTES]

    def _shared(self, peer: str) -> list[KeySet]:
        return [key_set for key_set in self.sets if peer in key_set]

    def _send(self, peer: str, slot: tuple[int, ...], body: bytes, deadline: float) -> None:
        header = Header(Kind.HELLO, self.run, slot, body=body)
        if peer not in self.guests:
            self.transport.send(peer, header, timeout=_left(deadline))
        elif peer not in self.missing:
            self._try(peer, lambda: self.transport.send(peer, header, timeout=0))

    def _wait(self, peer: str, deadline: float) -> Header:
        while True:
            left, some = _left(deadline), self.seconds / _BEATS
            try:
                return self.transport.wait_control(Kind.HELLO, self.run, peer, min(left, some))
            except LinkTimeout:
                if left <= some:
                    raise
            self.beat()

    def _try(self, guest: str, step: Callable[[], None]) -> None:
        """What an optional player does, or fails to do, concerns itself alone."""
        if guest in self.missing:
            return
        try:
            step()
        except (PeerError, AgreementError, AuthenticationError) as error:
            self.missing[guest] = str(error)

    def _take(self, peer: str, header: Header) -> None:
        shared = self._shared(peer)
        hello = _check_hello(peer, self.me, header, self.own, len(shared))
        self.nonces[peer] = hello.nonce
        for key_set, item in zip(shared, hello.contributions, strict=True):
            self.contributions[key_set][peer] = item

    # -- tags ------------------------------------------------------------------------------------------------

    def _tags(self, tags: Mapping[KeySet, bytes], sender: str, receiver: str) -> bytes:
        """What `sender` says: one tag of all keys of required players, one of each key with an optional member."""
        shared = [key_set for key_set in self.sets if {sender, receiver} <= key_set]
        common = [tags[key_set] for key_set in shared if key_set.isdisjoint(self.optional.players)]
        others = [tags.get(key_set) for key_set in self._apart(shared)]
        return _tag(sender, *common) + b"".join(_NO_KEY if tag is None else _tag(sender, tag) for tag in others)

    def _apart(self, sets: Sequence[KeySet]) -> list[KeySet]:
        return [key_set for key_set in sets if not key_set.isdisjoint(self.optional.players)]

    def _compare(self, peer: str, header: Header, tags: Mapping[KeySet, bytes]) -> None:
        """Whether a fellow member has the same keys; an optional player whose keys differ is missing."""
        expected, said = self._tags(tags, peer, self.me), header.body
        good = header.slot == (1,) and len(said) == len(expected)
        if not good or not hmac.compare_digest(said[:KEY_BYTES], expected[:KEY_BYTES]):
            raise AgreementError(f"{self.me} and {peer} derived different keys: some player told them different things")
        for number, key_set in enumerate(self._apart(self._shared(peer)), 1):
            (whose,) = key_set & self.optional.players
            part = slice(number * KEY_BYTES, (number + 1) * KEY_BYTES)
            if hmac.compare_digest(said[part], expected[part]) and said[part] != _NO_KEY:
                continue
            text = (
                f"{self.me} and {peer} have no common key with {whose}: it told them different things, or one nothing"
            )
            if whose in (self.me, peer):
                raise AgreementError(text)
            self.missing.setdefault(whose, text)


def encode_hello(hello: Hello, contributions: Sequence[bytes]) -> bytes:
    """The body of a HELLO frame with these contributions."""
    fields = (
        hello.runtime,
        hello.digest,
        hello.nonce,
        hello.players,
        hello.key_sets,
        tuple(contributions),
    )
    return msgpack.packb(fields)


def decode_hello(body: bytes) -> Hello:
    """The HELLO in a frame's body.

    Raises:
        AgreementError: it is not well-formed; never anything else.
    """
    fields = _unpack(body)
    if type(fields) is not tuple or len(fields) != 6:
        raise AgreementError("a HELLO has six fields")
    runtime, digest, nonce, players, key_sets, contributions = fields
    good = (
        type(runtime) is str
        and len(runtime) <= _MAX_RUNTIME
        and _is_key(digest)
        and _is_key(nonce)
        and _is_tuple_of(players, str)
        and _is_tuple_of(key_sets, tuple)
        and all(_is_tuple_of(key_set, str) for key_set in key_sets)
        and _is_tuple_of(contributions, bytes)
        and all(map(_is_key, contributions))
    )
    if not good:
        raise AgreementError("a HELLO with a field of the wrong type or length")
    return Hello(*fields)


def _check_hello(peer: str, me: str, header: Header, own: Hello, shared: int) -> Hello:
    try:
        hello = decode_hello(header.body)
    except AgreementError as error:
        raise AgreementError(f"{peer} sent {me} {error}") from None
    if header.slot != (0,):
        raise AgreementError(f"{peer} sent {me} a HELLO out of turn")
    if hello.runtime != own.runtime:
        raise AgreementError(f"{peer} runs {hello.runtime!r}, {me} runs {own.runtime!r}: install the same versions")
    if hello.players != own.players:
        raise AgreementError(f"{peer} expects the players {hello.players}, {me} expects {own.players}")
    if not hmac.compare_digest(hello.digest, own.digest):
        raise AgreementError(
            f"{peer} is about to run computation {hello.digest.hex()[:16]}, "
            f"{me} {own.digest.hex()[:16]}: "
            "they differ in program, protocol, policy-relevant inputs or versions; nothing was sent"
        )
    if hello.key_sets != own.key_sets:
        raise AgreementError(f"{peer} expects the key sets {hello.key_sets}, {me} expects {own.key_sets}")
    if len(hello.contributions) != shared:
        raise AgreementError(f"{peer} sent {me} {len(hello.contributions)} key contributions, expected {shared}")
    return hello


def _tag(sender: str, *tags: bytes) -> bytes:
    # The sender's name goes in, so that a tag cannot be sent back as an answer.
    return hashlib.sha256(_join([sender.encode(), *tags])).digest()


def _ordered(players: Collection[str], key_sets: Collection[KeySet], optional: Collection[str]) -> list[KeySet]:
    for key_set in key_sets:
        if len(key_set & set(optional)) > 1:
            raise ChoreographyError(f"key set {sorted(key_set)} has two members that a run can do without")
        if not key_set or not key_set <= set(players):
            raise ChoreographyError(f"key set {sorted(key_set)} is empty or not within the players {sorted(players)}")
    return sorted(set(key_sets), key=sorted)


def _names(key_sets: Collection[KeySet]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(sorted(key_set)) for key_set in key_sets)


def _join(parts: Any) -> bytes:
    """Parts with their number and lengths, so that different lists never give the same bytes."""
    parts = list(parts)
    return len(parts).to_bytes(4, "big") + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _unpack(body: bytes) -> Any:
    try:
        return unpack(body, most_elements=_MAX_ELEMENTS, use_list=False, max_map_len=0)
    except ValueError as error:
        raise AgreementError(f"a HELLO that is {error}") from None


def _is_key(value: Any) -> bool:
    return type(value) is bytes and len(value) == KEY_BYTES


def _is_tuple_of(value: Any, kind: type) -> bool:
    return type(value) is tuple and all(type(item) is kind for item in value)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
