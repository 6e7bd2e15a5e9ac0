"""Run keys: fresh 32-byte secrets that a set of players share for one run, and for nothing else.

Every player sends every other one HELLO: the digest of what it is about to run, a nonce, and, for
each key set that both belong to, 32 fresh bytes that the members of the set alone get to see. Then

    key(set) = HKDF-SHA256(ikm  = the members' contributions, by player name,
                           salt = all players' nonces, by player name,
                           info = "jmpc/1", the set, all players, run id, digest, with lengths)

One honest member's contribution makes the key fresh. The nonces also give the run an identity that no other
run has, whatever its id. A second HELLO, between members only, carries
a tag of each key: a player that told different things to different players is found before any
share moves, not by a wrong result.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import AgreementError, ChoreographyError, NotStarted, RunAborted
from .framing import RUN_BYTES, Header, Kind
from .transport import Transport
from .unpacking import unpack

KEY_BYTES: Final = 32
_LABEL: Final = b"jmpc/1"
_MAX_RUNTIME: Final = 200
_MAX_ELEMENTS: Final = 1 << 16  # players, and members of key sets

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

    `identity` is 16 bytes that depend on a fresh nonce of every player, so it is another one in every run.
    """

    keys: dict[KeySet, bytes] = field(repr=False)
    identity: bytes


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
) -> Agreement:
    """Agree with all `players` on what is run: the key of each set that `me` belongs to, and the run's identity.

    The run must be open, so that an abort of another player is heard. `runtime` is the versions
    that must be equal; it is compared first, because it explains why digests differ.

    Raises:
        AgreementError: a player runs something else, expects other key sets, or says something
            malformed. The caller aborts the run.
        NotStarted: a player ended the run before anything was sent.
        LinkTimeout, PeerError: a player did not take part.
        ChoreographyError: a key set has members outside `players`.
    """
    if len(digest) != KEY_BYTES:
        raise ChoreographyError(f"a digest is {KEY_BYTES} bytes, not {len(digest)}")
    order = _ordered(players, key_sets)
    nonce = secrets.token_bytes(KEY_BYTES)
    own = Hello(runtime, digest, nonce, tuple(sorted(players)), _names(order), ())
    fresh = {key_set: secrets.token_bytes(KEY_BYTES) for key_set in order if me in key_set}
    deadline = time.monotonic() + (transport.timeout if timeout is None else timeout)
    try:
        nonces, contributions = _exchange(transport, me, own, fresh, run, deadline)
    except RunAborted as error:
        raise NotStarted(error.player, error.reason) from error

    def keys(purpose: bytes) -> dict[KeySet, bytes]:
        return {
            key_set: derive(
                [items[member] for member in sorted(key_set)],
                nonces,
                key_set,
                run,
                digest,
                purpose=purpose,
            )
            for key_set, items in contributions.items()
        }

    _confirm(transport, me, keys(b"confirm"), run, deadline)
    told = [nonces[name] for name in sorted(nonces)]
    return Agreement(keys(b"key"), hashlib.sha256(_join([b"identity", run, digest, *told])).digest()[:RUN_BYTES])


def _exchange(
    transport: Transport,
    me: str,
    own: Hello,
    fresh: Mapping[KeySet, bytes],
    run: bytes,
    deadline: float,
) -> tuple[dict[str, bytes], dict[KeySet, dict[str, bytes]]]:
    """Say HELLO to all and hear it from all: all nonces, and all contributions to the own sets."""
    peers = [player for player in own.players if player != me]
    shared = {peer: [key_set for key_set in fresh if peer in key_set] for peer in peers}
    for peer in peers:
        body = encode_hello(own, [fresh[key_set] for key_set in shared[peer]])
        transport.send(peer, Header(Kind.HELLO, run, (0,), body=body), timeout=_left(deadline))
    nonces = {me: own.nonce}
    contributions = {key_set: {me: item} for key_set, item in fresh.items()}
    for peer in peers:
        header = transport.wait_control(Kind.HELLO, run, peer, _left(deadline))
        hello = _check_hello(peer, me, header, own, len(shared[peer]))
        nonces[peer] = hello.nonce
        for key_set, item in zip(shared[peer], hello.contributions, strict=True):
            contributions[key_set][peer] = item
    return nonces, contributions


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


def _confirm(transport: Transport, me: str, tags: Mapping[KeySet, bytes], run: bytes, deadline: float) -> None:
    """Compare all keys with the fellow members of their sets, without telling a key."""
    fellows = sorted({player for key_set in tags for player in key_set} - {me})
    for peer in fellows:
        body = _tag(tags, me, peer)
        transport.send(peer, Header(Kind.HELLO, run, (1,), body=body), timeout=_left(deadline))
    for peer in fellows:
        header = transport.wait_control(Kind.HELLO, run, peer, _left(deadline))
        if header.slot != (1,) or not hmac.compare_digest(header.body, _tag(tags, peer, me)):
            raise AgreementError(f"{me} and {peer} derived different keys: some player told them different things")


def _tag(tags: Mapping[KeySet, bytes], sender: str, receiver: str) -> bytes:
    shared = [tag for key_set, tag in tags.items() if {sender, receiver} <= key_set]
    # The sender's name goes in, so that a tag cannot be sent back as an answer.
    return hashlib.sha256(_join([sender.encode(), *shared])).digest()


def _ordered(players: Collection[str], key_sets: Collection[KeySet]) -> list[KeySet]:
    for key_set in key_sets:
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
