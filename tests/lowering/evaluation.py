"""Evaluates choreographies of any protocol as one program: messages are identities, masks are drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr

from jmpc.choreography import primitives as prim
from jmpc.debug.evaluation import Evaluator, Step


def _draw(_: list[Any], params: dict[str, Any]) -> list[Any]:
    words = np.random.default_rng().bytes(int(np.prod(params["shape"])) * params["dtype"].itemsize)
    mask = params["dtype"].type((1 << params["bits"]) - 1)
    return [np.frombuffer(words, params["dtype"]).reshape(params["shape"]) & mask]


def _send_masked(operands: list[Any], params: dict[str, Any]) -> list[Any]:
    return [prim.masked(operands[0], operands[1:], params["group"], params["bits"])]


STEPS: dict[str, Step] = {
    prim.draw_p.name: _draw,
    prim.send_masked_p.name: _send_masked,
    prim.agree_p.name: lambda operands, params: operands[:1],
}


def evaluate(closed: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
    """The results of a choreography whose players are all here."""
    return Evaluator(STEPS)(closed, args)
