"""Every difference between the releases of JAX that jmpc supports (0.10.2 to 0.12), as named functions.

Nothing else in jmpc imports `jax._src`. Each function says what JAX changed, in which release, and what the old
meaning was, so that it can be deleted when the old release is no longer supported.
"""

import functools as ft
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.extend.source_info_util as source_info_util
import numpy as np
from jax._src.source_info_util import is_user_filename as _is_user_filename
from jax.extend.core import (
    ClosedJaxpr,
    DebugInfo,
    Jaxpr,
    JaxprEqn,
    Literal,
    Primitive,
    Var,
    new_jaxpr_eqn,
)
from jax.interpreters import partial_eval

Atom = Var | Literal
_BUILT = "jmpc"  # what the jaxprs that are built here say they were traced for
_major, _minor, *_ = jax.__version__.split(".")
JAX_VERSION = (int(_major), int(_minor))


#
# jaxprs
#


def closed(jaxpr: Jaxpr | ClosedJaxpr) -> ClosedJaxpr:
    """Makes a jaxpr parameter closed; open ones (of `remat2`, `scatter`) have no constants.

    JAX >= 0.11 has one class for both, so the test for ClosedJaxpr has to come first.
    """
    if isinstance(jaxpr, ClosedJaxpr):
        return jaxpr
    assert isinstance(jaxpr, Jaxpr) and not jaxpr.constvars
    return ClosedJaxpr(jaxpr, [])


def opened(jaxpr: ClosedJaxpr) -> Jaxpr:
    """The open jaxpr of one without constants; JAX >= 0.11: itself."""
    assert not jaxpr.consts
    return jaxpr.jaxpr


def make_closed(
    constvars: Sequence[Var],
    consts: Sequence[Any],
    invars: Sequence[Var],
    eqns: Sequence[JaxprEqn],
    outvars: Sequence[Atom],
    *,
    like: Jaxpr | ClosedJaxpr | None = None,
) -> ClosedJaxpr:
    """Builds a closed jaxpr from its parts, with the debug information and effects of `like`.

    Without debug information every release warns. JAX <= 0.10 closes a Jaxpr over its constants in a second
    object, JAX >= 0.11 takes the same two calls and returns one object.
    """
    info = _debug_info(like)
    if info is None or len(info.arg_names or ()) != len(invars):
        source = "jmpc" if info is None else info.func_src_info
        info = DebugInfo(_BUILT, source, ("",) * len(invars), ("",) * len(outvars))
    effects = frozenset() if like is None else like.effects
    jaxpr = Jaxpr(list(constvars), list(invars), list(outvars), list(eqns), effects, info)
    return ClosedJaxpr(jaxpr, list(consts))


def fresh_var(aval: Any) -> Var:
    """A new variable. (`gensym` took the other jaxprs to stay clear of, once; now it is the class itself.)"""
    return Var(aval)


def make_literal(value: np.ndarray, aval: Any) -> Literal:
    """A literal with exactly the bits and the type of `aval`.

    JAX itself holds literals as arrays that remember `weak_type` and are never canonicalised to 32 bits, which a
    plain numpy array is (silently) wherever x64 is off.
    """
    from jax._src.literals import TypedNdArray

    return Literal(TypedNdArray(value, aval=aval), aval)


def make_equation(
    invars: Sequence[Atom],
    outvars: Sequence[Var],
    primitive: Primitive,
    params: dict[str, Any],
    source_info: Any,
) -> JaxprEqn:
    """An equation without effects."""
    return new_jaxpr_eqn(list(invars), list(outvars), primitive, params, frozenset(), source_info)


def infer_types(primitive: Primitive, avals: Sequence[Any], params: dict[str, Any]) -> list[Any]:
    """The types of the results, derived by JAX's own rule of the primitive; refuses effects."""
    out, effects = primitive.abstract_eval(*avals, **params)
    if effects:
        raise TypeError(f"{primitive.name} has effects")
    return list(out) if primitive.multiple_results else [out]


def dce(jaxpr: ClosedJaxpr, used_outputs: Sequence[bool]) -> ClosedJaxpr:
    """Drops the outputs that are not used and everything only they need; all inputs stay.

    `dce_jaxpr` treats constants as inputs in some releases and as neither in others, so they are made inputs here.
    """
    inner = jaxpr.jaxpr
    everything = make_closed([], [], [*inner.constvars, *inner.invars], inner.eqns, inner.outvars)
    keep = [False] * len(inner.constvars) + [True] * len(inner.invars)
    lean, used = partial_eval.dce_jaxpr(opened(everything), list(used_outputs), keep)
    consts = [const for const, is_used in zip(jaxpr.consts, used, strict=False) if is_used]
    split = len(consts)
    return make_closed(lean.invars[:split], consts, lean.invars[split:], lean.eqns, lean.outvars)


#
# equations with jaxprs in their parameters
#

# Where a call-like primitive keeps its body. closed_call and core_call became eval_jaxpr in 0.11; eval_jaxpr and
# composite renamed `jaxpr` to `call_jaxpr` in 0.11.
_BODY_OF_CALL: dict[str, tuple[str, ...]] = {
    "jit": ("jaxpr",),
    "pjit": ("jaxpr",),
    "closed_call": ("call_jaxpr",),
    "core_closed_call": ("call_jaxpr",),
    "core_call": ("call_jaxpr",),
    "call": ("call_jaxpr",),
    "eval_jaxpr": ("call_jaxpr", "jaxpr"),
    "composite": ("call_jaxpr", "jaxpr"),
    "remat2": ("jaxpr",),
    "checkpoint": ("jaxpr",),
    "custom_jvp_call": ("call_jaxpr",),
    "custom_vjp_call": ("call_jaxpr",),
    "custom_vjp_call_jaxpr": ("fun_jaxpr",),
    "custom_vmap_call": ("call",),
    "linear_call": ("callee",),
}


def call_jaxpr(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The body of an equation that merely calls one, or None. Its arguments are `call_operands(eqn)`."""
    name, params = eqn.primitive.name, eqn.params
    if name in _BODY_OF_CALL:
        return closed(next(params[key] for key in _BODY_OF_CALL[name] if key in params))
    if name == "custom_linear_solve":
        return closed(params["jaxprs"].solve)
    if name == "call_hi_primitive":
        return _expand_hi_primitive(eqn)
    return None


def call_operands(eqn: JaxprEqn) -> list[Atom]:
    """What an equation hands to its `call_jaxpr`: all operands, except for custom_linear_solve."""
    if eqn.primitive.name != "custom_linear_solve":
        return list(eqn.invars)
    lengths = eqn.params["const_lengths"]  # the operands: constants of four functions, then the right hand sides
    start = lengths.matvec + lengths.vecmat
    stop = start + lengths.solve
    return [*eqn.invars[start:stop], *eqn.invars[stop + lengths.transpose_solve :]]


def _expand_hi_primitive(eqn: JaxprEqn) -> ClosedJaxpr:
    """JAX >= 0.12 stages some library functions (searchsorted) as one object that knows its own expansion."""
    avals: list[Any] = [v.aval for v in eqn.invars]
    wide = any(np.dtype(a.dtype).itemsize == 8 for a in avals if isinstance(a.dtype, np.dtype))
    with jax.enable_x64(wide):
        return jax.make_jaxpr(ft.partial(eqn.primitive.to_lojax, **eqn.params))(*avals)


def scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """(num_consts, num_carry) of a scan equation.

    JAX >= 0.11 replaced the two integers by the trees `ft_in` and `ft_out`.
    """
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def scan_params(
    body: ClosedJaxpr,
    *,
    num_consts: int,
    num_carry: int,
    length: int,
    reverse: bool = False,
    unroll: int = 1,
) -> dict[str, Any]:
    """The parameters of a scan equation over `body(*consts, *carry, *xs) -> (*carry, *ys)`.

    JAX >= 0.11: trees instead of two counts, see `scan_counts`.
    """
    params = dict(jaxpr=body, length=length, reverse=reverse, unroll=unroll)
    if JAX_VERSION < (0, 11):
        return dict(params, num_consts=num_consts, num_carry=num_carry)
    from jax._src import flattree  # pyrefly: ignore[missing-module-attribute]

    leaves = flattree.nones
    num_xs = len(body.in_avals) - num_consts - num_carry
    num_ys = len(body.out_avals) - num_carry
    return dict(
        params,
        ft_in=flattree.pack((leaves(num_consts), leaves(num_carry), leaves(num_xs))),
        ft_out=flattree.pack((leaves(num_carry), leaves(num_ys))),
    )


_wrap_key = ft.partial(jax.random.wrap_key_data, impl="threefry2x32")


@ft.cache
def key_impl() -> Any:
    """The object that stands for threefry2x32 in the parameters of equations."""
    data = jax.ShapeDtypeStruct((2,), np.uint32)
    return jax.make_jaxpr(_wrap_key)(data).jaxpr.eqns[0].params["impl"]


@ft.cache
def key_primitives() -> dict[str, Primitive]:
    """The primitives on typed PRNG keys that JAX exports from nowhere, read off the functions that bind them."""
    data = jax.ShapeDtypeStruct((2,), np.uint32)
    key = jax.eval_shape(_wrap_key, data)
    traces = [
        jax.make_jaxpr(_wrap_key)(data),
        jax.make_jaxpr(jax.random.key_data)(key),
        jax.make_jaxpr(jax.random.clone)(key),
    ]
    found = [traced.jaxpr.eqns[0].primitive for traced in traces]
    return {primitive.name: primitive for primitive in found}


#
# the user's source lines
#

_LINE = re.compile(r"^(?P<file>.*?):(?P<line>\d+)(?::\d+)? \((?P<function>.*)\)$")
# A line that came from another machine has no stack frame here; it travels as the name of a scope.
_REMOTE_LINE = re.compile(r"@([^/@]+:\d+ \([^()/]*\))")
UNKNOWN_LINE = "unknown line"
LINE_LENGTH = 256


def _can_travel(line: str) -> bool:
    return len(line) <= LINE_LENGTH and line.isprintable() and bool(_REMOTE_LINE.fullmatch("@" + line))


def source_line(eqn: JaxprEqn) -> str:
    """The user's line that an equation came from, as "file.py:12 (function)", or "unknown line"."""
    return line_of(eqn.source_info)


def line_of(source_info: Any) -> str:
    """`source_line`, of the source information itself."""
    remote = _REMOTE_LINE.findall(str(source_info.name_stack))
    if remote:
        return remote[-1]
    return _short_line(source_info_util.summarize(source_info))


@ft.lru_cache(maxsize=4096)
def _short_line(summary: str) -> str:
    match = _LINE.match(summary)
    if not match:
        return UNKNOWN_LINE
    function = match["function"].split(".")[-1]  # a qualified name such as main.<locals>.loss
    line = f"{os.path.basename(match['file'])}:{match['line']} ({function})"
    return line if _can_travel(line) else UNKNOWN_LINE


@ft.lru_cache(maxsize=4096)
def remote_source(line: str) -> Any:
    """Source information whose `source_line` is `line`, for equations that were traced on another machine."""
    name = "@" + line if _can_travel(line) else ""
    stack = source_info_util.new_name_stack(name)
    return source_info_util.new_source_info().replace(name_stack=stack)


def user_line() -> str:
    """The line of the user's code that is running now, as `source_line` writes it."""
    return line_of(source_info_util.current())


def innermost_line(traceback: Any) -> str:
    """The user's line that a traceback ends in, before it goes on in libraries, as `source_line` writes it."""
    found = UNKNOWN_LINE
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if _is_user_filename(code.co_filename):
            found = _short_line(f"{code.co_filename}:{traceback.tb_lineno} ({code.co_qualname})")
        traceback = traceback.tb_next
    return found


def user_context(source_info: Any) -> AbstractContextManager[None]:
    """Equations traced inside carry the given equation's source information."""
    return source_info_util.user_context(source_info.traceback, name_stack=source_info.name_stack)


def exclude_from_source_lines(path: str) -> None:
    """Frames in files whose path starts with `path` are not reported as the user's lines."""
    source_info_util.register_exclusion(path)


def defined_by_user(jaxpr: Jaxpr | ClosedJaxpr) -> bool:
    """Whether the traced function stands in the user's files: then its equations carry lines of their own.

    JAX traces a library function once and reuses the jaxpr: its equations then carry the first caller's line.
    """
    info = _debug_info(jaxpr)
    if info is None or info.func_filename is None:
        return info is not None and info.traced_for == _BUILT  # as decoded: the lines are its equations' own
    return _is_user_filename(info.func_filename)


def defined_here(jaxpr: Jaxpr | ClosedJaxpr) -> bool:
    """Whether the traced function stands in jmpc's files."""
    info = _debug_info(jaxpr)
    return info is not None and info.func_filename is not None and info.func_filename.startswith(_HERE)


def _debug_info(jaxpr: Jaxpr | ClosedJaxpr | None) -> Any:
    """The debug information of a jaxpr; JAX <= 0.10 keeps it on the open one only."""
    return getattr(jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr, "debug_info", None)


# jmpc's own frames are never the user's. jmpc.kernels is reached through the same folder.
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
exclude_from_source_lines(_HERE)
