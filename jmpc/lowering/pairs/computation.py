"""The pass over a whole computation, done by whoever submits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jax.extend.core import ClosedJaxpr

from jmpc.computation import Computation, Constant, Publish, Secure
from jmpc.lowering.folding import fold
from jmpc.lowering.pairs.rewriting import has_complex, rewritten
from jmpc.precision import Precision


def complex_as_pairs(computation: Computation) -> Computation:
    """The computation without complex variables that depend on secrets; arguments and results are real already.

    Raises:
      TraceError: naming the user's line, for what cannot be computed on complex secrets.
    """
    public: set[int] = set()
    calls = []
    for numbers, call in computation.numbered():
        match call:
            case Secure(jaxpr=jaxpr, args=args):
                secret = [number not in public for number in args]
                call = dataclasses.replace(call, jaxpr=without_complex(jaxpr, secret, computation.fraction))
                public.update(() if any(secret) else numbers)
            case Constant() | Publish():
                public.update(numbers)
        calls.append(call)
    return dataclasses.replace(computation, calls=tuple(calls))


def without_complex(closed: ClosedJaxpr, secret: Sequence[bool], fraction: int = Precision().fraction) -> ClosedJaxpr:
    """A jaxpr without calls as `rewritten`; what is known in it, also of complex numbers, is a constant."""
    return fold(rewritten(fold(closed), secret, fraction)) if has_complex(closed.jaxpr) else closed
