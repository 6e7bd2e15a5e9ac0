"""Who holds what: read off the trace, never written down.

An operation can be done by exactly the players that hold all its operands; draws, sends and releases say
where knowledge starts and spreads; literals and `public` constants are everyone's. An operation that no
player can do is an error at the line that wrote it: a forgotten send does not compile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jmpc._compat import scan_counts, source_line
from jmpc.choreography import primitives as prim
from jmpc.errors import ChoreographyError

Holders = frozenset[str]
NOBODY: Holders = frozenset()  # a captured array that was not declared `public`


@dataclass
class HolderMap:
    """Holders of every variable of a choreography, loop bodies and branches included."""

    everyone: Holders
    of_var: dict[Var, Holders] = field(default_factory=dict)

    def __getitem__(self, atom: Var | Literal) -> Holders:
        return self.everyone if isinstance(atom, Literal) else self.of_var[atom]


def infer_holders(closed: ClosedJaxpr, inputs: Sequence[Holders], players: Iterable[str]) -> HolderMap:
    """Infers the holders of all variables of a choreography without calls (see `inline_calls`).

    Args:
      closed: the traced choreography.
      inputs: the holders of each argument.
      players: every player of the computation.

    Raises:
      ChoreographyError: naming the author's line, if some operation can be done by nobody, if a player
        sends or releases what it does not hold, or if a captured array was not declared.
    """
    holders = HolderMap(frozenset(players))
    for index, who in enumerate(_infer(closed.jaxpr, inputs, holders)):
        if not who:
            raise ChoreographyError(f"result {index} of the choreography: {_UNDECLARED}")
    return holders


def _infer(jaxpr: Jaxpr, inputs: Sequence[Holders], holders: HolderMap) -> list[Holders]:
    of_var = holders.of_var
    of_var.update((var, NOBODY) for var in jaxpr.constvars)
    of_var.update(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
        rule = _RULES.get(eqn.primitive.name, _can_compute)
        result = rule(eqn, holders)
        if isinstance(result, list):
            of_var.update(zip(eqn.outvars, result, strict=True))
        else:
            of_var.update((var, result) for var in eqn.outvars)
    return [holders[atom] for atom in jaxpr.outvars]


_UNDECLARED = (
    "an array captured from outside that nobody declared; pass it as an input, or declare it with `public` if "
    "everyone may know it"
)


def _names(players: Iterable[str]) -> str:
    return "{" + ", ".join(sorted(players)) + "}"


def _can_compute(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    operands = _declared(eqn, eqn.invars, holders)
    who = holders.everyone.intersection(*operands)
    if who:
        return who
    raise ChoreographyError(
        f"{source_line(eqn)}: no player holds all operands of `{eqn.primitive.name}`; they are held by "
        + ", ".join(_names(h) for h in operands)
        + ". Send what is missing, masked (`send_masked`) or released (`release`)"
    )


def _declared(eqn: JaxprEqn, atoms: Sequence[Var | Literal], holders: HolderMap) -> list[Holders]:
    """Who holds each operand; all must be held by somebody."""
    operands = [holders[atom] for atom in atoms]
    if NOBODY in operands:
        raise ChoreographyError(f"{source_line(eqn)}: `{eqn.primitive.name}` uses {_UNDECLARED}")
    return operands


def _draw(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    key = frozenset(eqn.params["key"])
    if not key <= holders.everyone:
        raise ChoreographyError(f"{source_line(eqn)}: draw names unknown players {_names(key - holders.everyone)}")
    return key


def _send(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    src, dsts = eqn.params["src"], frozenset(eqn.params["dsts"])
    who = _can_compute(eqn, holders)
    if src not in who:
        raise ChoreographyError(
            f"{source_line(eqn)}: {eqn.primitive.name} by {src!r}, who does not hold the value; its operands "
            "are held by " + ", ".join(_names(holders[atom]) for atom in eqn.invars)
        )
    if not dsts <= holders.everyone:
        raise ChoreographyError(
            f"{source_line(eqn)}: {eqn.primitive.name} to {_names(dsts - holders.everyone)}, not a player of this "
            f"computation {_names(holders.everyone)}"
        )
    return who | dsts


def _agree(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    return frozenset().union(*_declared(eqn, eqn.invars, holders))


def _public(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    (atom,) = eqn.invars
    if holders[atom] not in (NOBODY, holders.everyone):
        raise ChoreographyError(
            f"{source_line(eqn)}: `public` on a value held only by {_names(holders[atom])}: it declares "
            "constants; to make a value known use `release`"
        )
    return holders.everyone


def _local(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    player = eqn.params["player"]
    if player not in _can_compute(eqn, holders):
        raise ChoreographyError(
            f"{source_line(eqn)}: local computation {eqn.params['name']!r} of {player!r} uses values that "
            f"{player!r} does not hold: " + ", ".join(_names(holders[atom]) for atom in eqn.invars)
        )
    return frozenset({player})


def _guard(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    player = eqn.params["player"]
    if player not in _can_compute(eqn, holders):
        raise ChoreographyError(
            f"{source_line(eqn)}: guard by {player!r}, who does not hold both the value and its condition; they are "
            "held by " + ", ".join(_names(holders[atom]) for atom in eqn.invars)
        )
    return frozenset({player})


def _delivered(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    player = eqn.params["player"]
    if player not in _can_compute(eqn, holders):
        raise ChoreographyError(
            f"{source_line(eqn)}: {player!r} would say whether messages came to it that go to "
            + ", ".join(_names(holders[atom]) for atom in eqn.invars)
        )
    return frozenset({player})


def _quorum(eqn: JaxprEqn, holders: HolderMap) -> Holders:
    player = eqn.params["player"]
    if player not in _can_compute(eqn, holders):
        raise ChoreographyError(
            f"{source_line(eqn)}: quorum by {player!r}, who does not know who is there; "
            + ", ".join(_names(holders[atom]) for atom in eqn.invars)
            + " do"
        )
    return frozenset({player})


def _greatest_fixpoint(
    eqn: JaxprEqn, init: list[Holders], before: list[Var], holders: HolderMap, step: Callable
) -> list[Holders]:
    """Shrinks the holders of loop carries until the body keeps them; the body's results then, carries first.

    `before` are the carries in the body, `step` gives its results. A loop inside a loop is looked at again whenever
    the outer one has shrunk; it goes on from what it came to the last time, from which it can only shrink. Else
    the work would double with every level of nesting.
    """
    carry = [who & holders.of_var.get(var, who) for var, who in zip(before, init, strict=True)]
    while True:
        outs = step(carry)
        narrowed = [old & new for old, new in zip(carry, outs, strict=False)]
        for index, (start, after) in enumerate(zip(init, narrowed, strict=True)):
            if start and not after:
                raise ChoreographyError(
                    f"{source_line(eqn)}: carry {index} of this {eqn.primitive.name} is held by {_names(start)} "
                    "before an iteration and by none of them after it"
                )
        if narrowed == carry:
            return [*carry, *outs[len(carry) :]]
        carry = narrowed


def _scan(eqn: JaxprEqn, holders: HolderMap) -> list[Holders]:
    num_consts, num_carry = scan_counts(eqn.params)
    body = eqn.params["jaxpr"].jaxpr
    _declared(eqn, eqn.invars[num_consts:][:num_carry], holders)
    operands = [holders[atom] for atom in eqn.invars]
    consts, init, xs = operands[:num_consts], operands[num_consts:][:num_carry], operands[num_consts + num_carry :]
    before = body.invars[num_consts:][:num_carry]
    return _greatest_fixpoint(eqn, init, before, holders, lambda c: _infer(body, [*consts, *c, *xs], holders))


def _while(eqn: JaxprEqn, holders: HolderMap) -> list[Holders]:
    cond, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    cut, more = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    _declared(eqn, eqn.invars[cut + more :], holders)
    operands = [holders[atom] for atom in eqn.invars]
    cond_consts, body_consts, init = operands[:cut], operands[cut : cut + more], operands[cut + more :]

    def step(carry: list[Holders]) -> list[Holders]:
        (predicate,) = _infer(cond, [*cond_consts, *carry], holders)
        after = _infer(body, [*body_consts, *carry], holders)
        _all_steer(eqn, [cond, body], predicate)
        return [h & predicate for h in after]

    return _greatest_fixpoint(eqn, init, body.invars[more:], holders, step)


def _cond(eqn: JaxprEqn, holders: HolderMap) -> list[Holders]:
    index, *operands = [holders[atom] for atom in eqn.invars]
    branches = [branch.jaxpr for branch in eqn.params["branches"]]
    outs = [_infer(branch, operands, holders) for branch in branches]
    _all_steer(eqn, branches, index)
    result = [index.intersection(*per_branch) for per_branch in zip(*outs, strict=True)]
    if not all(result):
        raise ChoreographyError(f"{source_line(eqn)}: no player holds this cond's index and its result in all branches")
    return result


def _all_steer(eqn: JaxprEqn, bodies: Iterable[Jaxpr], steering: Holders) -> None:
    """Whoever talks inside a loop or branch must know whether it runs."""
    for inner in (e for body in bodies for e in all_equations(body)):
        if inner.primitive in prim.TALK:
            talkers = {inner.params["src"], *inner.params["dsts"]}
            if not talkers <= steering:
                raise ChoreographyError(
                    f"{source_line(inner)}: {_names(talkers - steering)} would talk inside a {eqn.primitive.name} "
                    f"whose predicate only {_names(steering)} know"
                )


def inner_jaxprs(eqn: JaxprEqn) -> list[Jaxpr]:
    """The bodies or branches of a control-flow equation, none for any other."""
    bodies = _BODIES.get(eqn.primitive.name)
    return [] if bodies is None else [closed.jaxpr for closed in bodies(eqn.params)]


_BODIES: dict[str, Callable[[dict], Sequence[ClosedJaxpr]]] = {
    "scan": lambda params: [params["jaxpr"]],
    "while": lambda params: [params["cond_jaxpr"], params["body_jaxpr"]],
    "cond": lambda params: params["branches"],
}


def all_bodies(jaxpr: Jaxpr) -> Iterable[Jaxpr]:
    """A jaxpr and the bodies of control flow in it, at any depth."""
    yield jaxpr
    for eqn in jaxpr.eqns:
        for inner in inner_jaxprs(eqn):
            yield from all_bodies(inner)


def all_equations(jaxpr: Jaxpr) -> Iterable[JaxprEqn]:
    """Every equation, depth first, in program order, bodies of control flow included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in inner_jaxprs(eqn):
            yield from all_equations(inner)


_RULES = {
    prim.draw_p.name: _draw,
    prim.send_masked_p.name: _send,
    prim.release_p.name: _send,
    prim.agree_p.name: _agree,
    prim.guard_p.name: _guard,
    prim.public_p.name: _public,
    prim.local_p.name: _local,
    prim.delivered_p.name: _delivered,
    prim.quorum_p.name: _quorum,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
