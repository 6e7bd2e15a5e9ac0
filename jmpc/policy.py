"""What a player takes part in: whose computations, how large, and who may see the results.

The default is to refuse. A node runs what the configured driver submits, and what derives from a
player's inputs is revealed to owners and the driver only: servers never see plaintext unless a
policy names them.

A node reads the releases off the program that it lowered itself, not off what the submitter says
about it, and it guards the inputs of all players, not only its own: a variable may hold what became
of the data of a player that takes no part when the variable is opened.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from .choreography.releases import ReleaseAccount, opened_values
from .errors import ConfigError, PolicyError
from .net.authors import Signature

if TYPE_CHECKING:
    from .config import RemoteConfig


def _part_of_memory(divisor: int) -> int:
    """That part of this machine's memory, in bytes."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // divisor
    except (ValueError, OSError, AttributeError):  # a system that does not say
        return (1 << 34) // divisor


@dataclass(frozen=True)
class InputRule:
    """Which computations may use an input: those of these identities (hexadecimal), and those of these authors."""

    computations: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Policy:
    """What the player `me` agrees to.

    `reveal_to` says of every player who may see values derived from its inputs, and `min_owners` that what is opened
    must derive from the inputs of at least so many players beside the one that sees it. `inputs` has the rules of own
    inputs by the names of their providers, that of "*" for all others; an input without a rule may be used by every
    computation. `authors` are the public keys of those who sign computations. The limits:

    - `max_computation_bytes`: of a computation as it travels;
    - `max_equations`: in all its functions together, and calls;
    - `max_lowered_equations`: in what becomes of it, for all players together;
    - `max_loop_iterations`: of a scan, times those of the scans around it; and of a `while` when it
      runs;
    - `max_operations`: about how many scalars it computes;
    - `max_known_operations`: of these, those that are done while it is prepared, for what is known then;
    - `max_prepare_seconds`: until it is lowered;
    - `max_memory_bytes`: about how much it holds at once (default: half of this machine's memory);
    - `max_stored_bytes`: what all variables of one driver take here (default: a quarter);
    - `max_saved_bytes`: what one driver has saved on this player's disk;
    - `max_audit_bytes`: what the runs of one driver add to the audit log in an hour;
    - `max_run_seconds`: of a run with loops, however often they go round;
    - `max_runs_per_hour`: of one driver; as many computations may it submit.

    `min_set_difference`: of owners of whom some may be missing, a server sums up no set that is not the same as an
    earlier one, but differs from it in fewer (0: no such rule; see `jmpc.runtime.differencing`).
    """

    me: str
    drivers: frozenset[str]
    reveal_to: Mapping[str, frozenset[str]]
    max_computation_bytes: int = 1 << 26
    max_equations: int = 20_000
    max_lowered_equations: int = 1 << 18
    max_loop_iterations: int = 1 << 26
    max_operations: int = 1 << 46
    max_known_operations: int = 1 << 33
    max_prepare_seconds: int = 200
    max_memory_bytes: int = field(default_factory=lambda: _part_of_memory(2))
    max_stored_bytes: int = field(default_factory=lambda: _part_of_memory(4))
    max_saved_bytes: int = 1 << 36
    max_audit_bytes: int = 1 << 26
    max_run_seconds: int = 24 * 60 * 60
    max_runs_per_hour: int = 1 << 20
    min_owners: int = 1
    min_set_difference: int = 0
    inputs: Mapping[str, InputRule] = field(default_factory=dict)
    authors: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def default(
        cls, config: RemoteConfig, me: str, drivers: Iterable[str] = (), rules: Mapping[str, Any] | None = None
    ) -> Policy:
        """The policy of `me`: by roles, changed by what the configuration's "policy" says.

        Args:
            drivers: players that may submit, beside those that the configuration names.
            rules: instead of the configuration's "policy", as `read_rules` reads them from a file.

        Raises:
            ConfigError: `me` or a driver is not a player of the configuration.
        """
        for name in (me, *drivers):
            config.get_player(name)
        rules = dict(config.policy if rules is None else rules)
        usual = [player.name for player in config.players.values() if player.role != "server"]
        said = rules.pop("reveal_to", {})
        of_player = said if isinstance(said, Mapping) else dict.fromkeys(config.players, said)
        reveal_to = {name: frozenset(of_player.get(name, usual)) for name in config.players}
        configured = rules.pop("drivers", [config.driver] if config.driver else [])
        inputs = {name: InputRule(**_sets(rule)) for name, rule in rules.pop("inputs", {}).items()}
        authors = {name: bytes.fromhex(key) for name, key in rules.pop("authors", {}).items()}
        drivers = frozenset([*configured, *drivers])
        return cls(me, drivers, reveal_to, inputs=inputs, authors=authors, **rules)

    def check_submitter(self, name: str) -> None:
        """Check that `name` may submit computations to this player.

        Raises:
            PolicyError: rule "drivers".
        """
        if name in self.drivers:
            return
        whose = f"it takes them from {_listed(self.drivers)}"
        if not self.drivers:
            whose = "its configuration names no driver"
        raise PolicyError(
            f"{self.me} refuses a computation of {name} (rule drivers): {whose}. Start it with "
            f'`jmpc-node {self.me} --driver {name}`, or write "driver": "{name}" or "policy": '
            f'{{"drivers": ["{name}"]}} into its configuration, beside "players"'
        )

    def check_inputs(self, providers: Iterable[str], identity: bytes, signature: Signature) -> None:
        """Check that a computation may use these inputs of this player.

        Raises:
            PolicyError: rule "inputs".
        """
        for provider in providers:
            rule = self.inputs.get(provider, self.inputs.get("*"))
            if rule is None or identity.hex() in rule.computations:
                continue
            trusted = {name: key for name, key in self.authors.items() if name in rule.authors}
            if not signature.is_by(trusted, identity):
                signed = f"signed by {signature.author}" if signature.author else "not signed"
                raise PolicyError(
                    f"{self.me} does not let computation {identity.hex()[:16]} use its {provider!r} (rule "
                    f"inputs.{provider}): it is {signed}, and takes computations of {_listed(rule.authors)}"
                )

    def check_release(
        self,
        account: Iterable[ReleaseAccount],
        grants: Mapping[str, frozenset[str]] | None = None,
        *,
        approved: bool = False,
    ) -> None:
        """Check everything that a computation reveals.

        Args:
            account: the releases.
            grants: who may see whose inputs, as their players say themselves; both must allow it.
            approved: whether this player's operator has approved the computation: then only the owners' word counts.

        Raises:
            PolicyError: rule "reveal_to", with every release that breaks it.
        """
        refused: dict[str, str] = {}
        for release in opened_values(account):
            against = [
                player
                for player in sorted(release.inputs)
                if release.dst != player and release.dst not in self._may_see(player, grants, approved)
            ]
            if against:
                what = f"{release.why} ({release.src} to {release.dst}, {release.line})"
                refused[what] = f"{what}, against the rules of {_listed(against)}"
        if refused:
            raise PolicyError(
                f"{self.me} refuses to take part (rule reveal_to): {'; '.join(refused.values())}. "
                "Let reveal_to in its policy name who may see it"
            )

    def check_owners(
        self, account: Iterable[ReleaseAccount], may_miss: Callable[[frozenset[str]], int] = lambda owners: 0
    ) -> None:
        """Check from how many players' inputs everything that is opened derives.

        A value is opened in parts, for one reason; it derives from all that any of them derives from. `may_miss` says
        how many of some owners may at most be missing in it. What derives from nobody else's inputs shows nothing of
        others, so one of others is no demand at all: also where all that may be left is what who sees it brought.

        Raises:
            PolicyError: rule "min_owners", with everything that breaks it.
        """
        if self.min_owners <= 1:
            return
        values: dict[tuple[str, str, str], set[str]] = {}
        for release in account:
            values.setdefault((release.dst, release.why, release.line), set()).update(release.inputs)
        few = {
            f"{why} ({line}), of {_listed(owners)}"
            for (dst, why, line), owners in values.items()
            if owners - {dst} and len(owners - {dst}) - may_miss(frozenset(owners)) < self.min_owners
        }
        if few:
            raise PolicyError(
                f"{self.me} refuses to take part (rule min_owners): what is opened must derive from the inputs of at "
                f"least {self.min_owners} others than who sees it, and this does not: {'; '.join(sorted(few))}"
            )

    def check_kept(
        self, variables: Iterable[tuple[str, frozenset[str]]], may_miss: Callable[[frozenset[str]], int]
    ) -> None:
        """Check from how many players' inputs variables derive, of owners of whom some may be missing.

        Any player may see a variable later, one of these owners, too, so one more than `min_owners` must be in it.

        Args:
            variables: for each the line that writes it, and whose inputs it derives from.
            may_miss: as in `check_owners`.

        Raises:
            PolicyError: rule "min_owners", with every line that breaks it.
        """
        certain = {(line, len(owners) - may_miss(owners)) for line, owners in variables}
        if self.min_owners > 1 and (few := [(line, n) for line, n in sorted(certain) if n <= self.min_owners]):
            rows = "; ".join(f"{line} of {max(0, n)}" for line, n in few)
            raise PolicyError(
                f"{self.me} refuses to take part (rule min_owners): what is kept of a gather must certainly derive "
                f"from the inputs of at least {self.min_owners + 1} players, one of whom may see it later, and this "
                f"does not: {rows}. Let the gather demand more owners"
            )

    def _may_see(
        self, player: str, grants: Mapping[str, frozenset[str]] | None, approved: bool = False
    ) -> frozenset[str]:
        said = None if grants is None else grants.get(player, frozenset())
        if approved:
            return said or frozenset()
        allowed = self.reveal_to.get(player, frozenset())
        return allowed if said is None else allowed & said

    @property
    def receivers(self) -> frozenset[str]:
        """Who may see what derives from this player's own inputs."""
        return self.reveal_to.get(self.me, frozenset())

    def check_size(self, **sizes: int) -> None:
        """Check that something is no larger than this player agrees to; by names of limits.

        Raises:
            PolicyError: the first of the rules "max_..." that it breaks.
        """
        for rule, size in sizes.items():
            if size > (most := getattr(self, rule)):
                what = rule.removeprefix("max_").replace("_", " ")
                raise PolicyError(self.too_large(f"{size:,} {what}, at most {most:,}", rule))

    def too_large(self, what: str, rule: str) -> str:
        """The message of an error."""
        return (
            f"{self.me} refuses a computation that is too large: {what} (rule {rule}). Make it smaller, or let "
            f'"policy": {{"{rule}": ...}} in its configuration allow more'
        )


_LIMITS: Final = tuple(item.name for item in fields(Policy) if item.name.startswith(("max_", "min_")))
_AUTHOR_KEY: Final = re.compile(r"[0-9a-f]{64}")


def _sets(rule: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(items) for name, items in rule.items()}


def read_rules(path: str | os.PathLike[str], players: Iterable[str]) -> dict[str, Any]:
    """The rules of a policy file (TOML), ready for `Policy.default`.

    Raises:
        ConfigError: the file is missing or no TOML (with the line), or `check_rules` finds something.
    """
    try:
        with open(path, "rb") as file:
            return check_rules(tomllib.load(file), players, str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def check_rules(rules: Any, players: Iterable[str], where: str) -> dict[str, Any]:
    """Check the "policy" of a configuration file, or a policy file; what it says, ready for `Policy.default`.

    Raises:
        ConfigError: an unknown rule, a wrong type, or a name that is no player; `where` says which
            file.
    """
    if not isinstance(rules, dict):
        raise ConfigError(f"{where}: policy is an object, not {type(rules).__name__}")
    known = {"drivers", "reveal_to", "inputs", "authors", *_LIMITS}
    if unknown := sorted(rules.keys() - known):
        raise ConfigError(f"{where}: unknown policy rules {unknown}; known are {sorted(known)}")
    names = set(players)
    for rule, value in rules.items():
        place = f"{where}: policy.{rule}"
        if rule in _LIMITS:
            if type(value) is not int or value < 0:
                raise ConfigError(f"{place} is a whole number, not {value!r}")
        elif rule == "reveal_to" and isinstance(value, dict):
            _check_names(list(value), names, place)
            for owner, recipients in value.items():
                _check_names(recipients, names, f"{place}.{owner}")
        elif rule == "authors":
            _check_authors(value, place)
        elif rule == "inputs":
            _check_inputs(value, rules.get("authors", {}), place)
        else:
            _check_names(value, names, place)
    return rules


def _check_authors(value: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise ConfigError(f"{place} is a table of authors and their public keys")
    for name, key in value.items():
        if not isinstance(key, str) or not _AUTHOR_KEY.fullmatch(key):
            raise ConfigError(
                f"{place}.{name} is an Ed25519 public key, 64 hexadecimal digits: what `jmpc-admin keygen --author "
                f"{name}` prints"
            )


def _check_inputs(value: Any, authors: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise ConfigError(f"{place} is a table with a rule for each provider")
    for name, rule in value.items():
        if not isinstance(rule, dict) or not rule or (unknown := rule.keys() - {"computations", "authors"}):
            what = f", not {sorted(unknown)}" if isinstance(rule, dict) and rule else ""
            raise ConfigError(f'{place}.{name} says "computations", "authors" or both{what}')
        for kind, items in rule.items():
            if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
                raise ConfigError(f"{place}.{name}.{kind} is a list of texts")
        known = authors if isinstance(authors, dict) else {}
        if strangers := sorted(set(rule.get("authors", [])) - known.keys()):
            raise ConfigError(f"{place}.{name}.authors names {strangers}, whose keys are not in authors")
        if wrong := [item for item in rule.get("computations", []) if not _AUTHOR_KEY.fullmatch(item)]:
            raise ConfigError(f"{place}.{name}.computations: {wrong[0]!r} is no identity, 64 hexadecimal digits")


def _check_names(value: Any, names: set[str], place: str) -> None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{place} is a list of players")
    if strangers := sorted(set(value) - names):
        raise ConfigError(f"{place} names {strangers}, which are no players; known are {sorted(names)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nobody"
