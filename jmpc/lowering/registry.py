"""The registry of lowering rules: one for each primitive of JAX that secret values may meet.

A rule takes the context, the operands as values (at least one of them secret) and the equation's parameters
by name, and returns its result, or a list if the primitive has several. A rule names the parameters it reads and
ends in `**_`, because releases of JAX add parameters. Primitives are registered by name: some exist in
one supported release only, and some are exported by none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from jmpc.lowering.values import Value

Rule: TypeAlias = Callable[..., Value | Sequence[Value]]
F = TypeVar("F", bound=Callable[..., Any])

RULES: dict[str, Rule] = {}  # filled where jmpc.lowering.rules is imported
PAIR_RULES: dict[str, Callable[..., Any]] = {}  # of complex values; filled where jmpc.lowering.pairs is imported
HINTS: set[str] = set()  # of these, the names of what only composites use
REFUSED: dict[str, tuple[str, str]] = {}  # why a primitive has no rule, and what to do instead


def rule(*primitives: str, hint: bool = False) -> Callable[[F], F]:
    """Registers the decorated function as the rule of the primitives of these names; a `hint` is none of JAX's."""

    def register(function: F) -> F:
        for primitive in primitives:
            if primitive in RULES:
                raise ValueError(f"`{primitive}` has two rules")
            RULES[primitive] = function
        HINTS.update(primitives if hint else ())
        return function

    return register


def refuse(*primitives: str, reason: str, instead: str) -> None:
    """States why these primitives cannot be computed on secrets."""
    for primitive in primitives:
        REFUSED[primitive] = (reason, instead)


def supported_primitives() -> list[str]:
    """The names of all primitives that secret values may meet."""
    return sorted({*RULES, *PAIR_RULES} - HINTS)
