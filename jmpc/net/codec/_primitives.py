"""The closed list: every primitive that may travel, with the kind of each of its parameters.

All of jax.lax that computes numbers from numbers, and one of our own, the clipping of norms. Not here, and therefore
refused at both ends: callbacks, FFI and custom calls, prints, references, tokens, collectives, placement, and random
numbers that do not come from a key (`rng_uniform`, `rng_bit_generator`). Calls are inlined before encoding.
"""

import functools as ft
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jax import lax
from jax.extend.core import JaxprEqn, Primitive, jaxpr_as_fun, primitives

from jmpc import _compat
from jmpc.clipping import clip_norm_p
from jmpc.net.codec import _bodies
from jmpc.net.codec._params import (
    AXES,
    AXIS,
    BOOL,
    DTYPE,
    EMPTY,
    FLOAT,
    INT,
    INT_LISTS,
    INTS,
    JAXPR,
    KEY_GENERATOR,
    NOTHING,
    OPEN_JAXPR,
    PRECISION,
    SCALAR,
    SHARDING,
    Kind,
    many,
    maybe,
    one_of,
    optional,
    primitive_among,
    record,
)

Params = dict[str, Any]
Avals = Sequence[Any]


@dataclass(frozen=True)
class Schema:
    """What is known of one primitive.

    kinds: the kind of each parameter that travels.
    dropped: takes an equation, returns its parameters without those that do not travel.
    restored: the inverse, from the parameters that came and the types of the operands; also checks those
      parameters that JAX's own type rule takes on trust (the bodies of loops, ...).
    """

    primitive: Primitive
    kinds: Mapping[str, Kind]
    dropped: Callable[[JaxprEqn], Params]
    restored: Callable[[Params, Avals], Params]


@ft.cache
def schemas() -> dict[str, Schema]:
    """The closed list of this JAX release, by name of primitive."""
    known = {
        value.name: value
        for space in (primitives, lax, lax.linalg)
        for value in vars(space).values()
        if isinstance(value, Primitive)
    }
    known.update(_compat.key_primitives())
    known[clip_norm_p.name] = clip_norm_p  # the only one that is not JAX's own
    plain = (lambda eqn: dict(eqn.params), lambda params, avals: params)
    return {
        name: Schema(known[name], kinds, *_SPECIAL.get(name, plain)) for name, kinds in _TABLE.items() if name in known
    }


def _since(release: tuple[int, int], **kinds: Kind) -> dict[str, Kind]:
    return kinds if _compat.JAX_VERSION >= release else {}


_BARE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e ceil cholesky
    cholesky_update clamp clz complex cosh digamma div dynamic_update_slice eq eq_to erf erf_inv floor ge gt
    hessenberg householder_product igamma igamma_grad_a igammac imag is_finite le le_to lgamma lt lt_to lu max min
    mulhi ne neg nextafter not one_minus_square optimization_barrier or polygamma polynomial population_count pow
    random_fold_in random_unwrap real regularized_incomplete_beta rem select_n shift_left
    shift_right_arithmetic shift_right_logical sign sinh square sub threefry2x32 xor zeta
""".split()

_ACCURATE = "cos exp exp2 expm1 log log1p log2 logistic rsqrt sin sqrt tan tanh".split()
_ACCURACY = {"accuracy": maybe(one_of(lax.AccuracyMode))}

_WINDOW = {
    "window_dimensions": INTS,
    "window_strides": INTS,
    "padding": INT_LISTS,
    "base_dilation": INTS,
    "window_dilation": INTS,
}
_CHOICE = primitive_among(lax.ge_p, lax.le_p)
_AXES = {"axes": AXES}
_CUMULATIVE = {"axis": AXIS, "reverse": BOOL}
_MODE = {
    "indices_are_sorted": BOOL,
    "unique_indices": BOOL,
    "mode": one_of(lax.GatherScatterMode),
}
_SCATTER = {"dimension_numbers": record(lax.ScatterDimensionNumbers, INTS), **_MODE}
_SCATTERED = {
    "scatter-add": lax.add,
    "scatter-sub": lax.sub,
    "scatter-mul": lax.mul,
    "scatter-min": lax.min,
    "scatter-max": lax.max,
}

_TABLE: dict[str, dict[str, Kind]] = {
    **dict.fromkeys(_BARE, {}),
    **dict.fromkeys(_ACCURATE, _ACCURACY),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _CUMULATIVE),
    **dict.fromkeys(("reduce_and", "reduce_or", "reduce_xor", "reduce_prod"), _AXES),
    **dict.fromkeys(("reduce_max", "reduce_min"), {**_AXES, **_since((0, 11), out_sharding=optional(SHARDING))}),
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max", "reduce_window_min"), _WINDOW),
    **dict.fromkeys(("argmax", "argmin"), {**_AXES, "index_dtype": DTYPE}),
    **dict.fromkeys(_SCATTERED, _SCATTER),
    "bitcast_convert_type": {"new_dtype": DTYPE},
    "broadcast_in_dim": {"shape": INTS, "broadcast_dimensions": INTS, "sharding": SHARDING},
    "clip_norm": {"norm": FLOAT},
    "concatenate": {"dimension": AXIS},
    "cbrt": {key: optional(kind) for key, kind in _ACCURACY.items()},
    # inlining has chosen the branch for all platforms, where there was a choice by platform
    "cond": {"branches": many(JAXPR), "branches_platforms": optional(NOTHING)},
    "conj": {"input_dtype": DTYPE},
    "conv_general_dilated": {
        "window_strides": INTS,
        "padding": INT_LISTS,
        "lhs_dilation": INTS,
        "rhs_dilation": INTS,
        "dimension_numbers": record(lax.ConvDimensionNumbers, INTS),
        "feature_group_count": INT,
        "batch_group_count": INT,
        "precision": PRECISION,
        "preferred_element_type": maybe(DTYPE),
        "out_sharding": SHARDING,
    },
    "convert_element_type": {"new_dtype": DTYPE, "weak_type": BOOL, "sharding": SHARDING},
    "dot_general": {
        "dimension_numbers": many(INT_LISTS),
        "precision": PRECISION,
        "preferred_element_type": maybe(DTYPE),
        "out_sharding": SHARDING,
    },
    "dynamic_slice": {"slice_sizes": INTS},
    "eig": {
        "compute_left_eigenvectors": BOOL,
        "compute_right_eigenvectors": BOOL,
        "enable_eigvec_derivs": BOOL,
        "implementation": maybe(one_of(lax.linalg.EigImplementation)),
    },
    "eigh": {
        "lower": BOOL,
        "sort_eigenvalues": BOOL,
        "subset_by_index": maybe(INTS),
        "algorithm": maybe(one_of(lax.linalg.EighImplementation)),
    },
    "erfc": _since((0, 12), **_ACCURACY),
    "fft": {"fft_type": one_of(lax.FftType), "fft_lengths": INTS},
    "gather": {
        "dimension_numbers": record(lax.GatherDimensionNumbers, INTS),
        "slice_sizes": INTS,
        "fill_value": SCALAR,
        **_MODE,
    },
    "integer_pow": {"y": INT},
    "iota": {"dtype": DTYPE, "shape": INTS, "dimension": INT, "sharding": SHARDING},
    "lu_pivots_to_permutation": {"permutation_size": INT},
    "mul": {"out_dtype": optional(maybe(DTYPE))},
    "ormqr": {"left": BOOL, "transpose": BOOL},
    "pad": {"padding_config": INT_LISTS},
    "qr": {"pivoting": BOOL, "full_matrices": BOOL, "use_magma": maybe(BOOL)},
    "random_bits": {"bit_width": INT, "shape": INTS},
    "random_gamma": {"log_space": BOOL},
    "random_seed": {"impl": KEY_GENERATOR},
    "random_split": {"shape": INTS},
    "random_wrap": {"impl": KEY_GENERATOR},
    "reduce": {"jaxpr": JAXPR, "dimensions": AXES},
    "reduce_precision": {"exponent_bits": INT, "mantissa_bits": INT},
    "reduce_sum": {**_AXES, "out_sharding": SHARDING},
    "reduce_window": {"jaxpr": OPEN_JAXPR, "consts": EMPTY, **_WINDOW},
    "reshape": {"new_sizes": INTS, "dimensions": maybe(INTS), "sharding": SHARDING},
    "rev": {"dimensions": AXES},
    "round": {"rounding_method": one_of(lax.RoundingMethod)},
    "scan": {
        "jaxpr": JAXPR,
        "length": INT,
        "num_carry": INT,
        "num_consts": INT,
        "reverse": BOOL,
        "unroll": INT,
    },
    "scatter": {"update_jaxpr": maybe(OPEN_JAXPR), "update_consts": EMPTY, **_SCATTER},
    "schur": {"compute_schur_vectors": BOOL, "sort_eig_vals": BOOL, "select_callable": NOTHING},
    "select_and_gather_add": {"select_prim": _CHOICE, **_WINDOW},
    "select_and_scatter_add": {
        "select_prim": _CHOICE,
        "window_dimensions": INTS,
        "window_strides": INTS,
        "padding": INT_LISTS,
    },
    "slice": {"start_indices": INTS, "limit_indices": INTS, "strides": maybe(INTS)},
    "sort": {"dimension": AXIS, "is_stable": BOOL, "num_keys": INT},
    "split": {"sizes": INTS, "axis": AXIS},
    "squeeze": {"dimensions": AXES},
    "stack": {"axis": INT},
    "svd": {
        "full_matrices": BOOL,
        "compute_uv": BOOL,
        "subset_by_index": maybe(INTS),
        "algorithm": optional(maybe(one_of(lax.linalg.SvdAlgorithm))),
    },
    "symmetric_product": {"alpha": FLOAT, "beta": FLOAT},
    "tile": {"reps": INTS},
    "top_k": {"k": INT, "axis": AXIS, **_since((0, 11), is_stable=BOOL)},
    "transpose": {"permutation": AXES},
    "triangular_solve": dict.fromkeys(("left_side", "lower", "transpose_a", "conjugate_a", "unit_diagonal"), BOOL),
    "tridiagonal": {"lower": BOOL},
    "tridiagonal_solve": {"perturb_singular": BOOL},
    "unstack": {"axis": AXIS},
    "while": {
        "body_jaxpr": JAXPR,
        "body_nconsts": INT,
        "cond_jaxpr": JAXPR,
        "cond_nconsts": INT,
    },
}


def _without(*names: str) -> Callable[[JaxprEqn], Params]:
    return lambda eqn: {key: value for key, value in eqn.params.items() if key not in names}


def _scan_dropped(eqn: JaxprEqn) -> Params:
    num_consts, num_carry = _compat.scan_counts(eqn.params)
    params = _without("ft_in", "ft_out")(eqn)
    return dict(params, num_consts=num_consts, num_carry=num_carry)


def _scan_restored(params: Params, avals: Avals) -> Params:
    _bodies.check_scan(params, avals)
    body = params.pop("jaxpr")
    return _compat.scan_params(body, **params)


def _while_restored(params: Params, avals: Avals) -> Params:
    _bodies.check_while(params, avals)
    return params


def _cond_restored(params: Params, avals: Avals) -> Params:
    _bodies.check_cond(params, avals)
    return params


def _reduce_restored(params: Params, avals: Avals) -> Params:
    _bodies.check_reducer(params["jaxpr"], avals)
    return dict(params, computation=jaxpr_as_fun(params["jaxpr"]))


def _reduce_window_restored(params: Params, avals: Avals) -> Params:
    _bodies.check_reducer(_compat.closed(params["jaxpr"]), avals)
    return params


def _scatter_restored(params: Params, avals: Avals) -> Params:
    if params["update_jaxpr"] is not None:
        _bodies.check_reducer(_compat.closed(params["update_jaxpr"]), [*avals[:1], *avals[:1]])
    return params


def _stack_restored(params: Params, avals: Avals) -> Params:
    _bodies.check_stack(params["axis"], avals)
    return params


def _unstack_restored(params: Params, avals: Avals) -> Params:
    _bodies.check_unstack(params["axis"], avals)
    return params


def _monoid(eqn: JaxprEqn) -> Params:
    """The update of scatter-add is an addition, whatever the equation says: it is not sent, but made anew."""
    _bodies.check_monoid(_compat.closed(eqn.params["update_jaxpr"]), eqn.primitive.name)
    return _without("update_jaxpr", "update_consts")(eqn)


def _monoid_restored(name: str) -> Callable[[Params, Avals], Params]:
    def restored(params: Params, avals: Avals) -> Params:
        update = _bodies.scalar_update(_SCATTERED[name], avals)
        return dict(params, update_jaxpr=_compat.opened(update), update_consts=())

    return restored


_SPECIAL: dict[str, tuple[Callable[[JaxprEqn], Params], Callable[[Params, Avals], Params]]] = {
    "scan": (_scan_dropped, _scan_restored),
    "while": (_without(), _while_restored),
    "cond": (_without(), _cond_restored),
    "reduce": (_without("computation"), _reduce_restored),
    "reduce_window": (_without(), _reduce_window_restored),
    "scatter": (_without(), _scatter_restored),
    "stack": (_without(), _stack_restored),
    "unstack": (_without(), _unstack_restored),
    **{name: (_monoid, _monoid_restored(name)) for name in _SCATTERED},
}
