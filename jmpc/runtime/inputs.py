"""What a run needs from outside, and what it gives back, at one player."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jax.extend.core import Var

from jmpc.computation import Assign, Noise, Output, Source
from jmpc.errors import InputError
from jmpc.leaves import named_parts
from jmpc.lowering.computation import Lowered, Port
from jmpc.lowering.noise import noise_of_server
from jmpc.runtime.attendance import Attendance
from jmpc.runtime.store import SIMULATED, Key, Named

Feed = Callable[[Source], Any]  # brings the pytree of arrays of a source


@dataclass(frozen=True)
class Results:
    """What a player has at the end of a run: outputs for the user there, and the next generation.

    `run` is the identity that the players agreed on.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    generation: dict[Key, Any] = field(default_factory=dict)
    run: bytes = SIMULATED


def gather(
    lowered: Lowered,
    players: Iterable[str],
    feed: Feed,
    store: Named,
    attendance: Attendance | None = None,
    progress: Callable[[], None] | None = None,
) -> dict[Var, Any]:
    """The arrays of the choreography's constants and of the inputs that `players` hold, noise among them.

    A player that the run can do without is left out of `attendance` if it cannot bring an input; zeros stand for that.
    `progress` is called again and again while noise is drawn, which may take long, and ends that if it raises.

    Raises:
      InputError: if a source's arrays are not of the declared types, or a variable was never written.
    """
    closed, who = lowered.choreography.closed, set(players)
    env: dict[Var, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    fed: dict[str, list[Any]] = {}
    for var, port in zip(closed.jaxpr.invars, lowered.inputs, strict=True):
        if not who & port.players:
            continue
        match port.call:
            case Source() as source:
                if port.name not in fed:
                    fed[port.name] = _fed(source, feed, attendance)
                env[var] = fed[port.name][port.index]
            case Noise(deviation=deviation):  # anew for every server and every run, from its own generator
                noise = noise_of_server(deviation, lowered.computation.fraction)
                env[var] = noise.sample(port.aval.shape, progress).view(np.uint64)
            case _:
                env[var] = _stored(port, store, min(who & port.players))
    return env


def _fed(source: Source, feed: Feed, attendance: Attendance | None) -> list[np.ndarray]:
    try:
        return _checked(source, feed(source))
    except Exception as error:
        if attendance is None or source.player not in attendance.optional:
            raise
        why = error.message if isinstance(error, InputError) else f"its input failed ({type(error).__name__})"
        attendance.leave_out(source.player, why)
        return [np.zeros(type_.shape, type_.dtype) for type_ in source.types]


def _stored(port: Port, store: Named, player: str) -> Any:
    key, name = (port.name, port.index), store.names[port.name]
    if key not in store:
        raise InputError(
            player, f"{player} has no {name!r}: it was never assigned here, or jmpc-node {player} was restarted"
        )
    array = store.read(key)
    if array.shape != port.aval.shape or array.dtype != port.aval.dtype:
        raise InputError(
            player, f"{name!r} at {player} is {array.dtype}{array.shape}, the computation reads {port.aval}"
        )
    return array


def _checked(source: Source, tree: Any) -> list[np.ndarray]:
    """The leaves of what a provider returned, complex ones in parts, with the declared shapes and dtypes."""
    where = f"{source.player}: provider {source.provider!r}" if source.provider else f"{source.player}: its input"
    named = named_parts(tree)
    names, leaves = [name for name, _ in named], [leaf for _, leaf in named]
    if len(leaves) != len(source.types):
        declared = [str(type_) for type_ in source.types]
        raise InputError(source.player, f"{where} does not give the arrays {declared}", f"but {len(leaves)} arrays")
    if source.names and names != list(source.names):
        raise InputError(source.player, f"{where} does not give {list(source.names)}, as declared", f"but {names}")
    arrays = []
    for index, (leaf, type_) in enumerate(zip(leaves, source.types, strict=True)):
        try:
            array = np.asarray(leaf)
        except (TypeError, ValueError):  # whose text may quote the data
            array = np.asarray(None)
        if isinstance(leaf, float | int | bool):  # Python numbers take the declared type
            array = array.astype(type_.dtype)
        if array.shape != type_.shape or array.dtype.name != type_.dtype:
            raise InputError(
                source.player,
                f"{where} does not give {type_}, as declared, as array {index}: convert it there, or declare its type",
                f"but {array.dtype.name}{list(array.shape)}",
            )
        arrays.append(array)
    return arrays


def scatter(lowered: Lowered, positions: Iterable[int], arrays: Iterable[Any]) -> Results:
    """Sorts what a program returned into outputs and variables."""
    results = Results()
    for position, array in zip(positions, arrays, strict=True):
        port = lowered.outputs[position]
        if port.kind is Output:
            results.outputs[port.name] = np.asarray(array)
        elif port.kind is Assign:
            results.generation[port.name, port.index] = array
    return results


def deliver(outputs: Mapping[str, Any], sinks: Mapping[str, Callable[..., None]]) -> None:
    """Hands outputs to their sinks, group by group."""
    groups: dict[str, dict[int, Any]] = {}
    for key, array in outputs.items():
        group, _, position = key.rpartition("/")
        groups.setdefault(group, {})[int(position)] = array
    for group, arrays in groups.items():
        if group in sinks:
            sinks[group](*(arrays[position] for position in sorted(arrays)))
