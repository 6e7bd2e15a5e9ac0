"""What a player takes part in: whose computations, how large, and who may see the results.

The default is to refuse. A node runs what the configured driver submits, and what derives from its
own inputs is revealed to owners and the driver only: servers never see plaintext unless a policy
names them.

Every node guards its own inputs. It reads the releases off the program that it lowered itself, not
off what the submitter says about it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from .errors import ConfigError, PolicyError

if TYPE_CHECKING:
    from .config import RemoteConfig

_LIMITS: Final = (
    "max_computation_bytes",
    "max_equations",
    "max_loop_iterations",
    "max_memory_bytes",
)


@dataclass(frozen=True)
class Release:
    """A place of a computation where `dst` gets to see a value that `src` holds.

    `inputs` are the players whose inputs the seen value derives from. It is empty for an opening
    that the protocol has masked: such a value is uniformly random, whatever the inputs.
    """

    src: str
    dst: str
    why: str
    inputs: frozenset[str]


@dataclass(frozen=True)
class Policy:
    """What the player `me` agrees to.

    `reveal_to` are those who may see values derived from its inputs. `max_memory_bytes` bounds the
    estimate of what the computation holds at once.
    """

    me: str
    drivers: frozenset[str]
    reveal_to: frozenset[str]
    max_computation_bytes: int = 1 << 26
    max_equations: int = 1_000_000
    max_loop_iterations: int = 1 << 32
    max_memory_bytes: int = 1 << 36

    @classmethod
    def default(cls, config: "RemoteConfig", me: str) -> "Policy":
        """The policy of `me`: by roles, changed by what the configuration's "policy" says.

        Raises:
            ConfigError: `me` is not a player of the configuration.
        """
        config.get_player(me)
        rules = dict(config.policy)
        recipients = rules.pop("reveal_to", None)
        if isinstance(recipients, Mapping):
            recipients = recipients.get(me)
        if recipients is None:
            recipients = [
                player.name for player in config.players.values() if player.role != "server"
            ]
        drivers = rules.pop("drivers", [config.driver] if config.driver else [])
        return cls(me, frozenset(drivers), frozenset(recipients), **rules)

    def check_submitter(self, name: str) -> None:
        """Check that `name` may submit computations to this player.

        Raises:
            PolicyError: rule "drivers".
        """
        if name not in self.drivers:
            raise PolicyError(
                f"{self.me} refuses a computation of {name} (rule drivers): it takes them from "
                f"{_listed(self.drivers)}; name {name} as the driver, or in policy.drivers, "
                f"in {self.me}'s configuration"
            )

    def check_release(self, account: Iterable[Release]) -> None:
        """Check everything that a computation reveals.

        Raises:
            PolicyError: rule "reveal_to", with every release that breaks it.
        """
        refused = [
            f"{release.why} ({release.src} to {release.dst})"
            for release in account
            if self.me in release.inputs
            and release.dst != self.me
            and release.dst not in self.reveal_to
        ]
        if refused:
            raise PolicyError(
                f"{self.me} refuses to reveal what derives from its inputs (rule reveal_to): "
                f"{'; '.join(refused)}; "
                f"it reveals to {_listed(self.reveal_to)}"
            )

    def check_size(
        self,
        *,
        computation_bytes: int = 0,
        equations: int = 0,
        loop_iterations: int = 0,
        memory_bytes: int = 0,
    ) -> None:
        """Check that a computation is no larger than this player agrees to.

        Raises:
            PolicyError: the first of the rules "max_..." that it breaks.
        """
        asked = (computation_bytes, equations, loop_iterations, memory_bytes)
        for rule, size in zip(_LIMITS, asked, strict=True):
            if size > (most := getattr(self, rule)):
                raise PolicyError(
                    f"{self.me} refuses a computation with {size} (rule {rule}): at most {most}"
                )


def check_rules(rules: Any, players: Iterable[str], where: str) -> dict[str, Any]:
    """Check the "policy" of a configuration file; what it says, ready for `Policy.default`.

    Raises:
        ConfigError: an unknown rule, a wrong type, or a name that is no player; `where` says which
            file.
    """
    if not isinstance(rules, dict):
        raise ConfigError(f"{where}: policy is an object, not {type(rules).__name__}")
    known = {field.name for field in fields(Policy)} - {"me"}
    if unknown := sorted(rules.keys() - known):
        raise ConfigError(f"{where}: unknown policy rules {unknown}; known are {sorted(known)}")
    names = set(players)
    for rule, value in rules.items():
        field = f"{where}: policy.{rule}"
        if rule in _LIMITS:
            if type(value) is not int or value < 0:
                raise ConfigError(f"{field} is a whole number, not {value!r}")
        elif rule == "reveal_to" and isinstance(value, dict):
            _check_names(list(value), names, field)
            for owner, recipients in value.items():
                _check_names(recipients, names, f"{field}.{owner}")
        else:
            _check_names(value, names, field)
    return rules


def _check_names(value: Any, names: set[str], field: str) -> None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{field} is a list of players")
    if strangers := sorted(set(value) - names):
        raise ConfigError(
            f"{field} names {strangers}, which are no players; known are {sorted(names)}"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nobody"
