"""Every error that jmpc raises on purpose.

A message names the player it is about, says what was expected, what came and what to do about it.
It never contains a secret: not an input's value, not a share, not a key.
"""

from collections.abc import Sequence


class JmpcError(Exception):
    """Base of every error that jmpc raises on purpose."""


class ConfigError(JmpcError):
    """The configuration is wrong: names the file and the field."""


class AddressTakenError(ConfigError):
    """Somebody listens already where a player is to."""


class PolicyError(JmpcError):
    """A player's policy refuses a computation: names the rule."""


class StorageError(JmpcError):
    """What was saved cannot be loaded: changed, cut off, of another player, or of another time than the others'."""


class ChoreographyError(JmpcError):
    """A computation is no choreography: no player holds all operands, a send to nobody."""


class TraceError(JmpcError):
    """A traced function cannot be lowered: names the primitive and the user's source line."""


class FrameError(JmpcError):
    """A frame is malformed, larger than its limits, or not the one that was expected."""


class AuthenticationError(JmpcError):
    """A key is missing, unprotected, or not the one that this player or its peer expects."""


class AgreementError(JmpcError):
    """Players were about to run different computations: names who differs."""


class PeerError(JmpcError):
    """Another player failed or vanished; `player` is its name."""

    def __init__(self, player: str, message: str) -> None:
        super().__init__(message)
        self.player = player


class LinkTimeout(PeerError):
    """Another player did not answer, or could not be reached, in time."""


class OwnersMissing(PeerError):
    """Too few of the owners that a gather asks for have delivered; `players` are those that are missing."""

    def __init__(self, players: Sequence[str], message: str) -> None:
        super().__init__(players[0], message)
        self.players = tuple(players)


class RunAborted(JmpcError):
    """A run was ended by `player`, for `reason`."""

    def __init__(self, player: str, reason: str) -> None:
        super().__init__(f"the run was aborted by {player}: {reason.removeprefix(f'{player}: ')}")
        self.player = player
        self.reason = reason


class NotStarted(RunAborted):
    """A run was ended by `player` before any share was sent."""


class InputError(JmpcError):
    """A bad value at an input of `player`; the message never contains the value.

    `detail` is for the player itself: how what came differs from what was expected. Others are only told the message.
    """

    def __init__(self, player: str, message: str, detail: str = "") -> None:
        super().__init__(f"{message} ({detail})" if detail else message)
        self.player = player
        self.message = message
