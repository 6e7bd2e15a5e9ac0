"""`compare`: a function in fixed point and in float64, side by side."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.tree_util import keystr, tree_flatten_with_path, tree_leaves_with_path

from jmpc._compat import dce, user_line
from jmpc.api.complexes import in_parts
from jmpc.api.define import Variable, as_jax
from jmpc.api.tracing import explained
from jmpc.api.values import Value as PrivateValue
from jmpc.choreography import primitives as prim
from jmpc.choreography.inline import inline_calls
from jmpc.debug.double import CONTROL, Double, Entry, Evaluated, Steps, double
from jmpc.debug.evaluation import Evaluator
from jmpc.debug.observing import Observation, ObservedContext, Seen, look
from jmpc.debug.report import Report
from jmpc.debug.rows import Place
from jmpc.debug.tally import Tally, largest_relative
from jmpc.lowering import encoding, interpreter
from jmpc.lowering.inputs import share
from jmpc.lowering.pairs import without_complex
from jmpc.lowering.values import FixedPoint, Value, is_float, is_key
from jmpc.precision import USUAL, Precision
from jmpc.protocols.plain import Plain

_PARTY = "simulator"


def compare(fn: Callable[..., Any], *args: Any, precision: int | Precision = USUAL) -> Report:
    """Runs a JAX function in float64 and in fixed point, without secrets or players, and reports how they differ.

    Both follow the same jaxpr, equation by equation: every array among the arguments stands for a secret, and what
    depends on one is fixed point, lazily truncated just as it is on shares, beside float64. So a row of the report says
    of an operation on a line of yours how far its results are off by then, how much of that it adds itself, how close
    they come to the end of the range, and how many are too small to have digits left. Loops count once for all of their
    iterations. Truncation rounds up or down at random, as it does in a run, with coins that are the same every time.

    For data that you have, in notebooks and tests: nothing is hidden, and everything is held in memory twice.

    Args:
      fn: an ordinary JAX function of arrays, with pytrees in and out; also one under `jmpc.function`.
      args: its arguments; what is no array (Python numbers, strings, PRNG keys) is passed as it is.
      precision: fractional bits, 8 to 30.

    Returns:
      The report; print it.

    Raises:
      TypeError: for a private value among the arguments: there is nothing to compare with.
      TraceError: for what cannot be computed on secrets, with the line.
      InputError: for an argument that is not finite, or that JAX cannot hold.
    """
    traced = _Traced(fn, args)
    return _Comparison(traced, Precision.of(precision)).report()


class _Traced:
    """The function's jaxpr without calls, its arguments as arrays, and how to name arguments and results."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        paths, tree = tree_flatten_with_path(in_parts(args), is_leaf=_is_private)
        leaves = [leaf for _, leaf in paths]
        _refuse_private(leaves)
        places = [i for i, leaf in enumerate(leaves) if _is_secret(leaf)]

        def flat(*arrays: Any) -> Any:
            filled = list(leaves)
            for place, array in zip(places, arrays, strict=True):
                filled[place] = array
            return in_parts(fn(*jax.tree.unflatten(tree, filled)))

        arrays = [as_jax("the caller", leaves[place]) for place in places]
        with explained():
            closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*arrays)
        lean = inline_calls(closed)
        self.line = user_line()
        body = dce(lean, [True] * len(lean.jaxpr.outvars))
        self.body: ClosedJaxpr = without_complex(body, [True] * len(places))
        self.arrays = [np.asarray(array) for array in arrays]
        self.arguments = [_argument(fn, paths[place][0]) for place in places]
        self.results = [f"result {keystr(path)}".strip() for path, _ in tree_leaves_with_path(shapes)]


def _argument(fn: Callable[..., Any], path: tuple[Any, ...]) -> str:
    """`argument w['bias']`: by its name where the function says one, otherwise by its number."""
    (first, *rest) = path
    try:
        positional = list(inspect.signature(fn).parameters.values())[: first.idx + 1]
    except ValueError:  # a function that is not written in Python
        positional = []
    named = len(positional) > first.idx and positional[-1].kind is not inspect.Parameter.VAR_POSITIONAL
    return f"argument {positional[-1].name if named else first.idx}{keystr(tuple(rest))}"


def _is_private(leaf: Any) -> bool:
    return isinstance(leaf, PrivateValue | Variable)


def _is_secret(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | np.generic | jax.Array) and not is_key(leaf.dtype)


def _refuse_private(leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if _is_private(leaf):
            raise TypeError(
                f"compare: {leaf!r} is private, and float64 needs the numbers: give arrays that you have in the clear, "
                "such as test data of the same shape and size"
            )
        if isinstance(leaf, jax.core.Tracer):
            raise TypeError(
                "compare: an argument has no numbers, because JAX is tracing the code around it (jit, grad, scan, a "
                "jmpc.function): call compare outside of it"
            )


class _Comparison:
    """One evaluation in both arithmetics, and the tallies of it."""

    def __init__(self, traced: _Traced, precision: Precision) -> None:
        self._traced, self._precision = traced, precision
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._arguments: list[Tally] = []
        self._results: list[Tally] = []
        self._double = Double()
        entries = [Entry(double(array), True) for array in traced.arrays]
        self._steps = self._double.run(traced.body, entries)

    def report(self) -> Report:
        context = ObservedContext(_PROTOCOL, self._precision, self._traced.body, self._observe)
        context.call_line = self._traced.line
        with jax.enable_x64(True):
            choreography = jax.make_jaxpr(lambda *arrays: self._lower(context, arrays))(*self._traced.arrays)
            Evaluator({prim.draw_p.name: _Coins()})(inline_calls(choreography), self._traced.arrays)
        rows = [tally.row() for tally in (*self._arguments, *self._tallies.values(), *self._results)]
        return Report(self._precision, tuple(sorted(rows, key=lambda row: row.urgency, reverse=True)))

    # -- what is traced: the function in fixed point, with observations -----------------------------------------------

    def _lower(self, context: ObservedContext, arrays: Sequence[Any]) -> None:
        values = [self._shared(context, i, array) for i, array in enumerate(arrays)]
        body = self._traced.body
        results = interpreter.run(context, body.jaxpr, body.consts, values)
        opened = [context.at_fraction(x, context.fraction) if isinstance(x, FixedPoint) else x for x in results]
        look([*results, *opened], self._see_results)

    def _shared(self, context: ObservedContext, number: int, array: Any) -> Value:
        given = self._traced.arrays[number]
        value = share(context, array, _PARTY, self._range(given))
        limit = 2.0 ** (encoding.INPUT_BITS - self._precision.fraction)
        tally = Tally(self._traced.arguments[number], "", Place.ARGUMENT, self._precision, limit)
        self._arguments.append(tally)
        look([value], lambda seen: tally.see(seen[0], None, double(given)))
        return value

    def _range(self, array: np.ndarray) -> encoding.Range | None:
        """Of an argument that is only accepted with one."""
        if not array.size or not is_float(array.dtype) or not np.isfinite(array).all():
            return None
        low, high = float(array.min()), float(array.max())
        limits = encoding.input_limits(array.dtype, self._precision)
        return None if limits[0] < low and high < limits[1] else (low, high)

    # -- what is evaluated: each observation beside float64 ------------------------------------------------------------

    def _observe(self, observation: Observation) -> None:
        eqn = observation.equation
        key = observation.line, eqn.primitive.name
        tally = self._tallies.setdefault(key, Tally(*key, Place.OPERATION, self._precision, times=0))
        if observation.rounding:
            for before, after in zip(observation.operands, observation.results, strict=True):
                tally.see(after, None, before.array)
            return
        tally.times += 1
        there = self._advance(eqn)
        if eqn.primitive.name in CONTROL:
            for seen, so_far in zip(observation.results, there.results, strict=True):
                tally.see(seen, so_far, np.asarray(seen.array))
            return
        tally.see_operands([seen.array for seen in observation.operands if not seen.public])
        if len(observation.operands) != len(eqn.invars):  # a function that was recognised, of one operand farther back
            for seen, so_far in zip(observation.results, there.results, strict=True):
                tally.see(seen, so_far, so_far)
            return
        here = self._double.equation(eqn, [seen.array for seen in observation.operands])
        given = zip(observation.operands, there.operands, strict=True)
        operand_error = largest_relative([(seen.array, exact) for seen, exact in given])
        for seen, so_far, exact in zip(observation.results, there.results, here, strict=True):
            tally.see(seen, so_far, exact, operand_error)
        tally.constants += _vanished(eqn, observation, self._precision)

    def _advance(self, eqn: JaxprEqn) -> Evaluated:
        """The same evaluation of the same equation in float64; those that fixed point knows without it are skipped."""
        return next(step for step in self._steps if step.equation is eqn)

    def _see_results(self, seen: list[Seen]) -> None:
        exact = _rest(self._steps)
        names = self._traced.results
        before, after = seen[: len(names)], seen[len(names) :]
        for name, entry, held, opened in zip(names, exact, before, after, strict=True):
            tally = Tally(name, "", Place.RESULT, self._precision)
            tally.see(opened, np.asarray(entry.array), held.array)
            self._results.append(tally)


def _rest(steps: Steps) -> list[Entry]:
    """What a generator returns at its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


# Where a constant operand has the scale of the sum, not one that suits it, and 0 is not as good.
_AT_ONE_SCALE = frozenset("add sub max min clamp eq ne add_any".split())


def _vanished(eqn: JaxprEqn, observation: Observation, precision: Precision) -> list[float]:
    """Constants that count as zero."""
    if eqn.primitive.name not in _AT_ONE_SCALE:
        return []
    (result,) = observation.results
    fraction = precision.fraction if result.fraction is None else max(result.fraction, precision.fraction)
    constants = [np.abs(x.array) for x in observation.operands if x.public and is_float(x.array.dtype)]
    found = [float(x[(x > 0) & (x < 2.0 ** -(fraction + 1))].max(initial=0.0)) for x in constants]
    return [x for x in found if x > 0]


# -- the coins of truncations --------------------------------------------------------------------------------------


def _coins(shape: tuple[int, ...], shift: int) -> Any:
    """Rounding as the secure protocols do it."""
    return prim.draw((_PARTY,), shape, np.uint64, bits=shift)


def _operands(shape: tuple[int, ...]) -> Any:
    """What a gate's operand is split into, as in the secure protocols."""
    return prim.draw((_PARTY,), shape, np.uint64)


_PROTOCOL = Plain(_PARTY, _coins, _operands)


class _Coins:
    """Evaluates draws: the same words in every comparison, so that two of them differ in what was changed."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def __call__(self, operands: list[Any], params: dict[str, Any]) -> list[Any]:
        shape, dtype, bits = params["shape"], np.dtype(params["dtype"]), params["bits"]
        stream = hashlib.shake_128(next(self._count).to_bytes(8)).digest(math.prod(shape) * dtype.itemsize)
        return [np.frombuffer(stream, dtype).reshape(shape) & dtype.type((1 << bits) - 1)]
