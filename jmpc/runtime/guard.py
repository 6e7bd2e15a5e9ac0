"""What a node checks of a computation that somebody else submits, before it takes part."""

from __future__ import annotations

from jmpc.computation import Compute, Computation, Output, Secure
from jmpc.config import RemoteConfig
from jmpc.errors import PolicyError
from jmpc.policy import Policy
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.store import Store


def check_computation(
    computation: Computation, policy: Policy, config: RemoteConfig, sender: str, size: int
) -> None:
    """Judges a computation as it was written: who is in it, and how large it is.

    Raises:
      PolicyError: naming the rule.
    """
    unknown = [player for player in computation.players if player not in config.players]
    if unknown:
        raise PolicyError(f"{policy.me} knows no players {unknown} (rule players); known are {list(config.players)}")
    if computation.servers != config.servers[:3]:
        raise PolicyError(
            f"{policy.me} shares secrets among {list(config.servers[:3])} only (rule servers), not {computation.servers}"
        )
    for call in computation.calls:
        if isinstance(call, Output) and call.sink and call.player == sender:
            raise PolicyError(f"{policy.me}: a sink of the submitter {sender} is its own business (rule sinks)")
    jaxprs = [call.jaxpr for call in computation.calls if isinstance(call, Compute | Secure)]
    equations = sum(len(jaxpr.eqns) for jaxpr in jaxprs)
    policy.check_size(computation_bytes=size, equations=equations)


def check_releases(prepared: Prepared, policy: Policy, store: Store) -> None:
    """Judges everything a computation opens, as this player lowered it itself.

    What a stored variable derives from was recorded when it was written; a server guards the inputs of all
    players, because a later run may open what theirs became without their taking part.

    Raises:
      PolicyError: naming the rule and every release that breaks it.
    """
    policy.check_release(prepared.releases(store))
