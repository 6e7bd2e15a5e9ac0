"""The rules for equations on pairs, by name of primitive."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from jmpc.lowering.registry import PAIR_RULES

F = TypeVar("F", bound=Callable[..., Any])


def on_pairs(*primitives: str) -> Callable[[F], F]:
    """Registers a JAX function as what these primitives do where an operand or a result is complex.

    It takes complex operands as `Pair`s and real ones as arrays, and returns the like. Of the equation's parameters,
    `primitive`, and `fraction` it takes those that it names as keyword-only arguments, or all parameters if it ends in
    `**params`. What it returns is made of JAX's own primitives, because that is what travels.
    """

    def register(function: F) -> F:
        PAIR_RULES.update(dict.fromkeys(primitives, function))
        return function

    return register


def named_arguments(rule: Callable[..., Any], params: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Of `params` and `more` what a rule asks for."""
    parameters = inspect.signature(rule).parameters.values()
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    every = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return {key: value for key, value in {**more, **params}.items() if key in named or (every and key in params)}


class Unsupported(Exception):
    """Raised by a rule for what it has no form on pairs for; reported at the user's line."""

    def __init__(self, reason: str, instead: str) -> None:
        super().__init__(reason)
        self.reason, self.instead = reason, instead
