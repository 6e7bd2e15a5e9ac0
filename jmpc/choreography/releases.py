"""Everything a computation opens, and whose inputs it derives from: what a player's policy judges."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import scan_counts, source_line
from jmpc.choreography import primitives as prim
from jmpc.choreography.trace import Choreography

Origins = frozenset[str]


@dataclass
class _Found:
    """What walking has found so far."""

    releases: dict[tuple[int, str], ReleaseAccount] = field(default_factory=dict)  # by equation and receiver
    carries: dict[int, list[Origins]] = field(default_factory=dict)  # of loops


@dataclass(frozen=True)
class ReleaseAccount:
    """`src` shows `dst` a value for the reason `why`; it derives from inputs of the players `inputs`.

    What a protocol opens that is independent of all inputs derives from none.
    """

    src: str
    dst: str
    why: str
    line: str
    shape: tuple[int, ...]
    inputs: Origins

    def __str__(self) -> str:
        derived = f", from {', '.join(sorted(self.inputs))}" if self.inputs else ""
        return f"{self.src} -> {self.dst}: {self.why} {list(self.shape)}{derived}  {self.line}"


def opened_values(releases: Iterable[ReleaseAccount]) -> list[ReleaseAccount]:
    """Each value once, although all who hold a part of it show theirs; `src` names all of them.

    A part may be keystream alone, of nobody: the value is what all of them make, and derives from what any of them
    does.
    """
    values: dict[tuple[str, str, str, tuple[int, ...]], list[ReleaseAccount]] = {}
    for release in releases:
        values.setdefault((release.dst, release.why, release.line, release.shape), []).append(release)
    return [
        dataclasses.replace(
            parts[0],
            src=", ".join(dict.fromkeys(part.src for part in parts)),
            inputs=frozenset().union(*(part.inputs for part in parts)),
        )
        for parts in values.values()
    ]


def list_releases(traced: Choreography, origins: Sequence[Origins]) -> tuple[ReleaseAccount, ...]:
    """All releases of a choreography, in program order, loop bodies included.

    Args:
      traced: the choreography.
      origins: for each of its arguments, the players whose inputs it derives from.
    """
    return releases_and_origins(traced, origins)[0]


def result_origins(traced: Choreography, origins: Sequence[Origins]) -> list[Origins]:
    """For each result of a choreography, the players whose inputs it derives from."""
    return releases_and_origins(traced, origins)[1]


def releases_and_origins(
    traced: Choreography, origins: Sequence[Origins]
) -> tuple[tuple[ReleaseAccount, ...], list[Origins]]:
    """Both, in one walk."""
    found = _Found()
    results = _walk(traced.closed.jaxpr, origins, found)
    return tuple(found.releases.values()), results


def _walk(jaxpr: Jaxpr, inputs: Sequence[Origins], found: _Found) -> list[Origins]:
    env: dict[Var, Origins] = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atoms: Sequence[Var | Literal]) -> list[Origins]:
        return [frozenset() if isinstance(a, Literal) else env.get(a, frozenset()) for a in atoms]

    for eqn in jaxpr.eqns:
        operands = read(eqn.invars)
        everything = frozenset().union(*operands)
        outs = [everything] * len(eqn.outvars)
        if eqn.primitive is prim.release_p:
            _note(eqn, frozenset() if eqn.params["independent"] else everything, found)
        elif eqn.primitive is prim.delivered_p:
            outs = [frozenset()]  # that something came, not what
        elif eqn.primitive.name in ("scan", "while", "cond"):
            outs = _walk_control(eqn, operands, found)
        env.update(zip(eqn.outvars, outs, strict=True))
    return read(jaxpr.outvars)


def _note(eqn: JaxprEqn, origins: Origins, found: _Found) -> None:
    for dst in eqn.params["dsts"]:
        shape = tuple(eqn.outvars[0].aval.shape)
        item = ReleaseAccount(eqn.params["src"], dst, eqn.params["why"], source_line(eqn), shape, origins)
        before = found.releases.get((id(eqn), dst))
        if before is not None:
            item = ReleaseAccount(item.src, dst, item.why, item.line, shape, origins | before.inputs)
        found.releases[id(eqn), dst] = item


def _walk_control(eqn: JaxprEqn, operands: list[Origins], found: _Found) -> list[Origins]:
    """Bodies see their operands until nothing new appears; whatever steers them taints what they give."""
    if eqn.primitive.name == "cond":
        index, *rest = operands
        outs = [_walk(branch.jaxpr, rest, found) for branch in eqn.params["branches"]]
        return [index.union(*column) for column in zip(*outs, strict=True)]
    if eqn.primitive.name == "scan":
        num_consts, num_carry = scan_counts(eqn.params)
        body, stop = eqn.params["jaxpr"].jaxpr, num_consts + num_carry

        def turn(carry: list[Origins]) -> list[Origins]:
            return _walk(body, [*operands[:num_consts], *carry, *operands[stop:]], found)

        return _mixed(eqn, operands[num_consts:stop], turn, found)
    cut, start = eqn.params["cond_nconsts"], eqn.params["cond_nconsts"] + eqn.params["body_nconsts"]
    cond, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr

    def steered_turn(carry: list[Origins]) -> list[Origins]:
        (steering,) = _walk(cond, [*operands[:cut], *carry], found)
        return [steering | out for out in _walk(body, [*operands[cut:start], *carry], found)]

    return _mixed(eqn, operands[start:], steered_turn, found)


def _mixed(
    eqn: JaxprEqn, init: list[Origins], turn: Callable[[list[Origins]], list[Origins]], found: _Found
) -> list[Origins]:
    """What a loop gives: carries that no further turn adds to, and the rest of the last turn.

    It goes on from where it came the last time, if it lies in another loop: see `holders`.
    """
    carry = [new | old for new, old in zip(init, found.carries.get(id(eqn), init), strict=True)]
    while True:
        outs = turn(carry)
        after = [old | new for old, new in zip(carry, outs[: len(carry)], strict=True)]
        if after == carry:
            found.carries[id(eqn)] = carry
            return carry + outs[len(carry) :]
        carry = after
