"""What a node checks of a computation that somebody else submits, before it takes part."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

from jmpc.choreography.releases import ReleaseAccount
from jmpc.choreography.sizes import size_of
from jmpc.computation import (
    Assign,
    Computation,
    Compute,
    Gather,
    Output,
    Publish,
    Read,
    Reveal,
    Secure,
    Share,
    Source,
)
from jmpc.config import RemoteConfig
from jmpc.errors import InputError, PolicyError
from jmpc.leaves import listed
from jmpc.net.authors import Signature
from jmpc.net.codec import LimitError, Limits
from jmpc.net.computations import decode_computation
from jmpc.policy import Policy
from jmpc.providers import Supply
from jmpc.runtime.grants import form, granted, uninvited
from jmpc.runtime.orders import Order
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.sizes import check_size, size_of_computation
from jmpc.runtime.store import Named, Origins

_ELEMENTS = 100  # of lists and maps as it travels, for one equation: some five times as many as usual


_RULES = {  # of a policy, by the limits of decoding that they set
    "message_bytes": "max_computation_bytes",
    "constant_bytes": "max_computation_bytes",
    "equations": "max_equations",
    "trip_count": "max_loop_iterations",
    "value_bytes": "max_memory_bytes",
}


def read_computation(data: bytes, policy: Policy) -> Computation:
    """A computation as it came, within what a policy allows.

    Raises:
      CodecError: if it is none.
      PolicyError: if it is too large, naming the rule.
    """
    policy.check_size(max_computation_bytes=len(data))
    try:
        return decode_computation(data, _decoding_limits(policy))
    except LimitError as error:
        if error.field not in _RULES:
            raise
        raise PolicyError(policy.too_large(str(error), _RULES[error.field])) from None


def _decoding_limits(policy: Policy) -> Limits:
    return Limits(
        message_bytes=policy.max_computation_bytes,
        elements=_ELEMENTS * (policy.max_equations + 1000),
        constant_bytes=policy.max_computation_bytes,
        equations=policy.max_equations,
        trip_count=policy.max_loop_iterations,
        value_bytes=policy.max_memory_bytes,
    )


def check_computation(computation: Computation, policy: Policy, config: RemoteConfig, supply: Supply) -> None:
    """Judges a computation as it was written: who is in it, what it asks of this player, and how large it is.

    Raises:
      PolicyError: naming the rule.
      InputError: for a provider or a sink that this player does not have.
    """
    me = policy.me
    if unknown := [player for player in computation.players if player not in config.players]:
        raise PolicyError(f"{me} knows no players {unknown} (rule players); known are {list(config.players)}")
    if me not in computation.players:
        raise PolicyError(f"{me} takes no part in this computation of {list(computation.players)} (rule players)")
    if computation.servers != config.servers[:3]:
        raise PolicyError(
            f"{me} shares secrets among {list(config.servers[:3])} only (rule servers), not {list(computation.servers)}"
        )
    for call in computation.calls:
        if isinstance(call, Source) and call.player == me:
            _check_source(call, me, supply)
        if isinstance(call, Output) and call.player == me:
            supply.sink(me, call)
    _check_published(computation, me, supply)
    _check_types(computation, policy)
    check_size(size_of_computation(computation, me), policy)


def _check_source(source: Source, me: str, supply: Supply) -> None:
    provider = supply.provider(me, source)
    names = source.names if source.provider and source.names else provider.names
    given, asked = (provider.names, provider.array_types), (names, source.types)
    if given != asked:
        raise InputError(
            me,
            f"{me}: provider {source.provider!r} gives ({listed(*given)}) by its declaration, the computation wants "
            f"({listed(*asked)}): declare the same names and types there and where it is used, all of them",
        )


def _check_published(computation: Computation, me: str, supply: Supply) -> None:
    """Whoever declares an input public, or what its player computes of it, that player must have said so first."""
    hidden: dict[int, str] = {}  # what derives from a provider that is not public, by number
    for numbers, call in computation.numbered():
        match call:
            case Source(player=player, provider=name) if player == me and not supply.provider(me, call).public:
                hidden.update(dict.fromkeys(numbers, name))
            case Compute(player=player, args=args) if player == me:
                for name in [hidden[arg] for arg in args if arg in hidden]:
                    hidden.update(dict.fromkeys(numbers, name))
            case Reveal(player=player, arg=arg) if player == me and arg in hidden:
                hidden.update(dict.fromkeys(numbers, hidden[arg]))
            case Publish(arg=arg) if arg in hidden:
                raise PolicyError(
                    f"{me} does not let everybody know what its provider {hidden[arg]!r} gives (rule public): use it "
                    "as a private input, or register it there with @jmpc.provider(..., public=True)"
                )


def _check_types(computation: Computation, policy: Policy) -> None:
    """The arrays that are declared, not computed: inputs and variables."""
    types = [type_ for call in computation.calls for type_ in getattr(call, "types", ())]
    types += [call.type for call in computation.calls if isinstance(call, Read)]
    policy.check_size(max_memory_bytes=sum(8 * math.prod(type_.shape) for type_ in types))


def check_size_of(prepared: Prepared, policy: Policy) -> None:
    """Judges how large a computation is, as this player lowered it itself.

    Raises:
      PolicyError: naming the rule.
    """
    size = size_of(prepared.lowered.choreography.closed.jaxpr)  # of all players together, protocols included
    policy.check_size(
        max_lowered_equations=size.equations,
        max_operations=size.operations,
        max_memory_bytes=size.memory_bytes,
    )


def check_permitted(prepared: Prepared, policy: Policy, signature: Signature, *, approved: bool) -> None:
    """Judges what a computation uses and opens, as far as that can be done before a run.

    Args:
      signature: of who vouches for it.
      approved: whether this player's operator has approved it.

    Raises:
      PolicyError: naming the rule.
    """
    if approved:
        return
    computation = prepared.lowered.computation
    releases = prepared.releases(dict.fromkeys(prepared.reads, frozenset()))
    checks = [lambda: policy.check_inputs(prepared.providers_of(policy.me), computation.identity, signature)]
    if not prepared.reads:  # of variables it is not known yet whose inputs they derive from
        checks.append(lambda: policy.check_owners(releases, prepared.may_miss))
    checks.append(lambda: policy.check_release(releases))
    broken = []
    for check in checks:  # who is asked to approve must see all of them
        try:
            check()
        except PolicyError as error:
            broken.append(str(error))
    if broken:
        raise PolicyError("; and ".join(broken))


def check_kept(prepared: Prepared, policy: Policy, variables: Mapping[str, Origins]) -> None:
    """Judges what a computation keeps of owners that may be missing, by what each variable that it reads derives from.

    A variable tells nobody who was missing when it was written. So it must derive from enough owners then, whoever
    sees it later, be it one of them; approved or not, because an approval does not go with what is kept.

    Raises:
      PolicyError: rule "min_owners", with the lines that write what breaks it.
    """
    lines = {call.variable: call.line for call in prepared.lowered.computation.calls if isinstance(call, Assign)}
    written = prepared.provenance(variables).items()
    kept = [(lines[name], owners) for name, owners in written if owners & prepared.optional]
    policy.check_kept(kept, prepared.may_miss)


def approved_receivers(prepared: Prepared, me: str) -> frozenset[str]:
    """Who sees something that derives from this player's inputs, where a computation is run as it is."""
    return shown_to(prepared, me, dict.fromkeys(prepared.reads, frozenset()))


def shown_to(prepared: Prepared, owner: str, variables: Mapping[str, Origins]) -> frozenset[str]:
    """Who else sees something that derives from a player's inputs, by what each variable that is read derives from."""
    return frozenset(it.dst for it in prepared.releases(variables) if owner in it.inputs) - {owner}


def check_run(
    prepared: Prepared,
    policy: Policy,
    store: Named,
    order: Order,
    *,
    approved: bool = False,
    in_all: Callable[[int], int] = lambda size: size,
) -> tuple[ReleaseAccount, ...]:
    """Judges one run: that its variables are what the driver claims, what it opens of them, what it stores.

    Args:
      store: this player's, by the order's names.
      approved: whether this player's operator has approved the computation.
      in_all: what the driver's variables take if those in `store` take so many bytes; called once with it.

    Returns:
      What it opens.

    Raises:
      InputError: for a variable of another generation.
      PolicyError: naming the rule and everything that breaks it.
    """
    me, claims = policy.me, order.variables
    absent = uninvited(prepared, order)
    if untold := sorted(prepared.owners - order.receivers.keys() - (absent - {me})):
        raise PolicyError(f"{me} is not told who may see the inputs of {untold} (rule reveal_to)")
    if me in prepared.owners and (more := order.receivers[me] - policy.receivers):
        raise PolicyError(f"{me} does not let {sorted(more)} see its inputs, as the driver says (rule reveal_to)")
    allowed = approved_receivers(prepared, me) if approved else frozenset()
    if more := order.approved.get(me, frozenset()) - allowed:
        raise PolicyError(f"the operator of {me} has approved nothing for {sorted(more)}, as the driver says")
    if order.names.keys() != set(prepared.lowered.computation.variables):
        raise PolicyError(f"{me} is not told which variables the computation means, or which others (rule variables)")
    for variable in prepared.reads:
        if variable not in claims:
            name = store.names[variable]
            raise InputError(me, f"the driver does not say which generation of {name!r} to use: assign it first")
    for variable in prepared.reads_of(me):
        here, claimed, name = store.generation(variable), claims[variable], store.names[variable]
        if here is None:
            raise InputError(
                me,
                f"{me} has lost {name!r}: jmpc-node {me} was restarted since it was assigned; assign it again",
            )
        if here.run != claimed.run:
            raise InputError(
                me,
                f"{me} has another generation of {name!r} than the driver expects: a run was committed there in part; "
                "assign the variable again",
            )
        if other := _read_as(prepared, variable) - {here.form}:
            raise PolicyError(
                f"{me} holds {name!r} as {here.form}, the computation reads it as {', '.join(other)} (rule type)"
            )
        if here.grants != claimed.grants:
            raise PolicyError(
                f"{me} knows {name!r} to derive from other players' inputs than the driver says, or others to be those "
                "who may see them"
            )
    origins = {name: claims[name].origins for name in prepared.reads}
    releases = prepared.releases(origins)
    check_kept(prepared, policy, origins)
    if not approved:
        policy.check_owners(releases, prepared.may_miss)
    grants = granted(prepared, order, opened=True)
    releases = tuple(dataclasses.replace(it, inputs=it.inputs - (absent - grants.keys())) for it in releases)
    policy.check_release(releases, grants, approved=approved)
    if (size := in_all(store.bytes_after(prepared.writes_of(me)))) > policy.max_stored_bytes:
        raise PolicyError(
            f"{me} would keep {size:,} bytes of this driver's variables, at most {policy.max_stored_bytes:,} (rule "
            "max_stored_bytes): assign to variables instead of making new ones, or begin a new session, which drops "
            "the old ones"
        )
    return releases


def _read_as(prepared: Prepared, variable: str) -> set[str]:
    """The forms in which a computation reads a variable. Read as another type, shares show more than the value."""
    reads = (call for call in prepared.lowered.computation.calls if isinstance(call, Read))
    return {form(prepared, call.type, call.player) for call in reads if call.variable == variable}


def may_tell(
    prepared: Prepared, order: Order, driver: str, policy: Policy, config: RemoteConfig, supply: Supply
) -> bool:
    """Whether all may learn that an input of this player failed a check.

    That is one bit of what is checked. If the driver may not see what derives from every input of the run, then not
    under a condition of the driver's choice: a range that is not the one which the provider declares, or a value that
    is no provider's own, because the driver decided what it is (code, a variable in the clear, something revealed).
    """
    me, computation = policy.me, prepared.lowered.computation
    grants = granted(prepared, order)
    allowed = {owner: receivers & policy.reveal_to.get(owner, frozenset()) for owner, receivers in grants.items()}
    if all(owner == driver or driver in receivers for owner, receivers in allowed.items()):
        return True
    if computation.fraction != config.precision:
        return False
    declared: dict[int, tuple[float, float] | None] = {}  # of what a provider gives
    chosen: set[int] = set()  # what else this player has in the clear
    for numbers, call in computation.numbered():
        match call:
            case Source(player=player) if player == me:
                declared.update(dict.fromkeys(numbers, supply.provider(me, call).range))
            case Compute(player=player, args=args) if player == me and args:
                return False
            case Read(player=player) | Reveal(player=player) if player == me:
                chosen.update(numbers)
            case Share(arg=arg) | Publish(arg=arg) if arg in chosen:
                return False
            case Gather(args=args, ranges=ranges):
                rows = [row for row in zip(args, ranges, strict=True) if row[0] in declared or row[0] in chosen]
                if any(arg in chosen or range_ not in (None, declared[arg]) for arg, range_ in rows):
                    return False
            case Share(arg=arg, range=range_) if arg in declared and range_ not in (None, declared[arg]):
                return False
            case Secure(args=args) if not chosen.isdisjoint(args):
                return False
            case Assign(arg=arg, player=None) if arg in chosen:
                return False
    return True
