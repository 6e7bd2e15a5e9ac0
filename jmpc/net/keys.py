"""CURVE key pairs: on disk, in a player's key ring, and on its sockets.

    keys/NAME.public     mode 0644, may be copied to everybody
    keys/NAME.secret     mode 0600, stays with NAME

All of them and the directory belong to the user who runs the player, or to root, and nobody else
can write to them.

Each file is a one-line header that names the kind and the player, and 40 characters of z85. A
player presents its own pair and pins the public key of every other player: it accepts a connection
from a known key only, and that key, not anything that the connection says, decides who the sender
is.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from ..errors import AuthenticationError, ConfigError
from ..private_files import ANY, WRITE, check_directory, check_protected, make_folder, write_file

_Z85_BYTES: Final = 40
_ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"


@dataclass(frozen=True)
class KeyRing:
    """A player's own CURVE pair and the public keys it knows, all as 40 bytes of z85.

    Raises:
        AuthenticationError: something is no key, the pair does not belong together, or two players
            share a key.
    """

    own_public: bytes
    own_secret: bytes = field(repr=False)
    peers: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for name, key in self.peers.items():
            check_key(key, f"the public key of {name}")
        check_key(self.own_public, "the own public key")
        check_key(self.own_secret, "the own secret key")
        if zmq.curve_public(self.own_secret) != self.own_public:
            raise AuthenticationError(
                "the own secret key does not belong to the own public key: "
                "run `jmpc-admin keygen --player NAME --force`"
            )
        owners = {self.own_public: "this player"}
        for name, key in self.peers.items():
            # The key decides who a sender is, so it must say so unambiguously.
            if (other := owners.setdefault(key, name)) != name:
                raise AuthenticationError(f"{other} and {name} have the same public key: make a pair for each of them")

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        name: str,
        players: Iterable[str],
        public_keys: Mapping[str, bytes] | None = None,
    ) -> "KeyRing":
        """Read the key ring of `name`: its own pair, and the public key of each of `players`.

        Keys in `public_keys` (from the configuration) need no file, and must equal the file where
        there is one. A player whose key was revoked here is left out.

        Raises:
            AuthenticationError: a key is missing or malformed, or differs from the configured one.
            ConfigError: others can read the secret, or own or write to a key file or the directory.
        """
        folder, known = Path(directory), dict(public_keys or {})
        check_directory(folder)
        secret = read_key(folder, name, "secret")
        admitted = [player for player in {*players, name} if not revoked_file(folder, player).exists()]
        _check_there(folder, [player for player in admitted if player not in known])
        peers = {player: _public_key(folder, player, known.get(player)) for player in admitted}
        if name not in peers:
            raise AuthenticationError(f"the key of {name} was revoked here: make another with `jmpc-admin rotate-keys`")
        return cls(peers[name], secret, {player: key for player, key in peers.items() if player != name})

    def names(self) -> dict[bytes, str]:
        """The player that owns each public key, by the raw 32 bytes."""
        return {z85.decode(key): name for name, key in self.peers.items()}

    def arm_server(self, socket: zmq.Socket, domain: str) -> None:
        """Make a socket that binds a CURVE server whose clients `Authenticator` vouches for."""
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self.own_public, self.own_secret
        socket.zap_domain = domain.encode()
        # Without this libzmq lets every client in when nobody answers at the ZAP endpoint.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def arm_client(self, socket: zmq.Socket, server: str) -> None:
        """Make a socket that connects a CURVE client that talks to `server`'s key only."""
        socket.curve_publickey, socket.curve_secretkey = self.own_public, self.own_secret
        socket.curve_serverkey = self.peers[server]


class Authenticator:
    """Answers the ZAP requests of one ZeroMQ context: which public key is which player.

    It must be bound before the sockets it vouches for. Its owner polls `socket` and calls `answer`
    when it is readable. A connection is marked with its key; whose that is, is asked with every frame, so that a key
    that is admitted no longer says nothing more on connections that are open already.
    """

    def __init__(self, context: zmq.Context, domain: str, names: Mapping[bytes, str]) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ZAP_ENDPOINT)
        self._domain = domain.encode()
        self.admit(names)

    def admit(self, names: Mapping[bytes, str]) -> None:
        """From now on these keys, by their raw bytes, are those of these players, and no others are let in."""
        self._names = {z85.encode(key).decode(): name for key, name in names.items()}

    def name_of(self, mark: str) -> str | None:
        """The player whose key a connection was marked with; None if it is admitted no longer."""
        return self._names.get(mark)

    def answer(self) -> bool:
        """Reply to one waiting request; whether the client was let in."""
        request = self.socket.recv_multipart()
        mark = self._mark(request)
        status = (b"200", b"OK", mark.encode()) if mark else (b"400", b"unknown key", b"")
        sequence = request[1] if len(request) > 1 else b""
        self.socket.send_multipart([b"1.0", sequence, *status, b""])
        return mark is not None

    def _mark(self, request: list[bytes]) -> str | None:
        if len(request) != 7:
            return None
        version, _, domain, _, _, mechanism, key = request
        if (version, domain, mechanism) != (b"1.0", self._domain, b"CURVE") or len(key) != 32:
            return None
        mark = z85.encode(key).decode()
        return mark if mark in self._names else None


def generate(players: Iterable[str], directory: str | os.PathLike[str], *, force: bool = False) -> list[Path]:
    """Make a key pair for each of `players` and write it; the paths written.

    Raises:
        ConfigError: a file is there already and `force` is not given (nothing is written then), the
            directory cannot be written, or others own it or can write to it.
    """
    folder = Path(directory)
    pairs = [(folder / f"{name}.public", folder / f"{name}.secret", name) for name in players]
    present = [str(path) for *paths, _ in pairs for path in paths if path.exists()]
    if present and not force:
        more = f" and {len(present) - 1} more files exist" if len(present) > 1 else " exists"
        raise ConfigError(f"{present[0]}{more} already: keep them, or replace them with --force")
    check_directory(folder)
    try:
        make_folder(folder)
        for public_path, secret_path, name in pairs:
            public, secret = zmq.curve_keypair()
            write_file(secret_path, f"{_header('secret', name)}\n".encode() + secret + b"\n", 0o600)
            write_file(public_path, f"{_header('public', name)}\n".encode() + public + b"\n", 0o644)
    except OSError as error:
        raise ConfigError(f"cannot write keys to {folder}: {error.strerror}") from error
    return [path for *paths, _ in pairs for path in paths]


def revoked_file(folder: Path, name: str) -> Path:
    """What stands in the place of a public key that was revoked: the key, which is used no more."""
    return folder / f"{name}.revoked"


def revoke(folder: Path, name: str) -> None:
    """Has a player's key be used no more here.

    Raises:
        ConfigError: it cannot be written.
    """
    public = folder / f"{name}.public"
    check_directory(folder)
    try:
        data = public.read_bytes() if public.exists() else b""  # in the configuration
        write_file(revoked_file(folder, name), data, 0o644)
        public.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from error


def rotate(folder: Path, name: str) -> list[Path]:
    """Makes a new pair for a player, and keeps the old one as `NAME.secret.old` and `NAME.public.old`.

    Raises:
        ConfigError: it cannot be written.
        AuthenticationError: there is none.
    """
    kinds = ("secret", "public")
    for kind in kinds:
        read_key(folder, name, kind)
    for kind in kinds:
        os.replace(folder / f"{name}.{kind}", folder / f"{name}.{kind}.old")
    revoked_file(folder, name).unlink(missing_ok=True)
    return generate([name], folder)


def read_key(folder: Path, name: str, kind: str) -> bytes:
    """The z85 key in `NAME.public` or `NAME.secret`.

    Raises:
        AuthenticationError: the file is missing, malformed or of another player.
        ConfigError: others own it, can write to it or, if it is secret, read it.
    """
    path = folder / f"{name}.{kind}"
    check_protected(path, ANY if kind == "secret" else WRITE)
    try:
        header, key = path.read_text("ascii").split("\n")[:2]
    except FileNotFoundError:
        raise AuthenticationError(f"{path} is missing: {_how_to_get(name, kind)}") from None
    except (OSError, ValueError) as error:
        raise AuthenticationError(
            f"{path} is no key file ({type(error).__name__}): {_how_to_get(name, kind)}"
        ) from None
    if header != _header(kind, name):
        raise AuthenticationError(f"{path} does not begin with {_header(kind, name)!r}: {_how_to_get(name, kind)}")
    check_key(key.encode(), str(path))
    return key.encode()


def fingerprint(key: bytes) -> str:
    """A public key, for people to compare: 64 bits of its SHA-256."""
    digits = hashlib.sha256(key).hexdigest()[:16]
    return " ".join(digits[i : i + 4] for i in range(0, 16, 4))


def check_key(key: bytes, what: str) -> None:
    """Check that `key` is 40 bytes of z85.

    Raises:
        AuthenticationError: it is not; the message says `what` it is, never the key.
    """
    try:
        good = type(key) is bytes and len(key) == _Z85_BYTES and len(z85.decode(key)) == 32
    except Exception:  # z85.decode lets KeyError and struct.error out
        good = False
    if not good:
        raise AuthenticationError(f"{what} is not a CURVE key: 40 characters of z85 are expected")


def _check_there(folder: Path, names: Iterable[str]) -> None:
    if len(missing := sorted(name for name in names if not (folder / f"{name}.public").exists())) > 1:
        raise AuthenticationError(
            f"{folder} has no public keys of {', '.join(missing)}: copy NAME.public from each of them, "
            "or make the keys of a loopback cluster with `jmpc-admin keygen`"
        )


def _public_key(folder: Path, name: str, configured: bytes | None) -> bytes:
    if configured is None:
        return read_key(folder, name, "public")
    if (folder / f"{name}.public").exists() and read_key(folder, name, "public") != configured:
        raise AuthenticationError(
            f"the public key of {name} in {folder} is not the one in the configuration: ask {name} which is right"
        )
    return configured


def _header(kind: str, name: str) -> str:
    note = "may be shared" if kind == "public" else "never leaves this player"
    return f"# jmpc {kind} key of {name}, CURVE z85, {note}"


def _how_to_get(name: str, kind: str) -> str:
    if kind == "public":
        return f"copy it from {name}, or make the keys of a loopback cluster with `jmpc-admin keygen`"
    return f"make it where {name} runs with `jmpc-admin keygen --player {name}`"
