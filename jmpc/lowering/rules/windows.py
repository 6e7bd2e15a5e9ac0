"""Pooling: sums and maxima over windows, and the gradients of the latter.

The maximum of a window is a tournament of neighbours; its comparisons also say, by one AND for each level, which
element won. The gradient of a max-pool uses the comparisons that the pooling made.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jmpc.lowering import arithmetic, choosing, comparing
from jmpc.lowering.context import Context
from jmpc.lowering.registry import rule
from jmpc.lowering.rules.cast import convert
from jmpc.lowering.rules.reductions import standard, summed
from jmpc.lowering.rules.shape import moved
from jmpc.lowering.values import Boolean, FixedPoint, Secret, Value, is_boolean
from jmpc.protocols.base import Bits

Dims = tuple[int, ...]

_MOST_SLICES = 256  # one for each element of a window; larger ones are gathered


@dataclass(frozen=True)
class Windows:
    """The windows over an array, as a last axis of their elements, in order."""

    shape: Dims
    sizes: Dims
    strides: Dims
    padding: tuple[tuple[int, int], ...]
    base_dilation: Dims
    dilation: Dims

    @property
    def simple(self) -> bool:
        """Every element of every window exists, and they are few: strided slices have them."""
        whole = not any(map(any, self.padding)) and set(self.base_dilation) <= {1}
        return whole and math.prod(self.sizes) <= _MOST_SLICES

    @property
    def out_shape(self) -> Dims:
        return tuple(map(self._count, range(len(self.shape))))

    def _count(self, d: int) -> int:
        """How many windows there are along dimension d."""
        size = (self.shape[d] - 1) * self.base_dilation[d] + 1
        span = (self.sizes[d] - 1) * self.dilation[d] + 1
        return (size + sum(self.padding[d]) - span) // self.strides[d] + 1

    def _places(self, d: int) -> np.ndarray:
        """[window, element] to the index along dimension d, -1 where there is no element."""
        size = (self.shape[d] - 1) * self.base_dilation[d] + 1
        starts = np.arange(self._count(d)) * self.strides[d] - self.padding[d][0]
        places = starts[:, None] + np.arange(self.sizes[d]) * self.dilation[d]
        exists = (places >= 0) & (places < size) & (places % self.base_dilation[d] == 0)
        return np.where(exists, places // self.base_dilation[d], -1).astype(np.int32)

    def sources(self) -> np.ndarray:
        """[*out, element] to the flat index; a missing element is the first of its window that exists, or -1."""
        flat, exists = np.zeros((), np.int32), np.ones((), bool)
        for d, n in enumerate(self.shape):
            places = self._places(d)
            flat = flat[..., None, None] * n + np.maximum(places, 0)
            exists = exists[..., None, None] & (places >= 0)
        rank = len(self.shape)
        order = [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)]
        flat, exists = (a.transpose(order).reshape(*self.out_shape, -1) for a in (flat, exists))
        first = np.take_along_axis(flat, exists.argmax(-1)[..., None], -1)
        first = np.where(exists.any(-1, keepdims=True), first, -1)
        return np.where(exists, flat, first)

    def patches(self, slot: Any, sources: Any) -> Any:
        """[*out, element]: the elements of each window."""
        if not self.simple:
            return jnp.take(slot.reshape(-1), sources, mode="clip")
        pieces = [lax.slice(slot, start, stop, self.strides) for start, stop in self._slices()]
        return jnp.stack(pieces, axis=-1)

    def unpatch(self, slot: Any, sources: Any) -> Any:
        """The transpose of `patches`: the sum of what every window has for an element."""
        if not self.simple:
            flat = jnp.zeros(math.prod(self.shape), slot.dtype)
            return flat.at[sources.reshape(-1)].add(slot.reshape(-1)).reshape(self.shape)
        total = jnp.zeros(self.shape, slot.dtype)
        for i, (start, stop) in enumerate(self._slices()):
            config = [(a, n - b, s - 1) for a, b, n, s in zip(start, stop, self.shape, self.strides, strict=True)]
            total = total + lax.pad(slot[..., i], slot.dtype.type(0), config)
        return total

    def _slices(self) -> list[tuple[Dims, Dims]]:
        """(start, stop) of the strided slice of each element of the windows."""
        found = []
        for offset in itertools.product(*map(range, self.sizes)):
            start = tuple(o * d for o, d in zip(offset, self.dilation, strict=True))
            spans = zip(start, self.out_shape, self.strides, strict=True)
            found.append((start, tuple(a + (n - 1) * s + 1 for a, n, s in spans)))
        return found


def windows_over(
    shape: Sequence[int],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Any,
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
    **_: Any,
) -> Windows:
    """Those that the parameters of JAX's primitives say."""

    def ints(values: Sequence[int] | None) -> Dims:
        return tuple(int(v) for v in values) if values is not None else (1,) * len(shape)

    pads = tuple((int(low), int(high)) for low, high in padding)
    sizes, strides = ints(window_dimensions), ints(window_strides)
    return Windows(ints(shape), sizes, strides, pads, ints(base_dilation), ints(window_dilation))


@dataclass(frozen=True)
class Tournament:
    """The extrema of windows, and whether the right one of every pair won, level by level.

    `exists`: which windows have any element, [*out, 1], or None if all have. Of the others it is of no meaning.
    """

    best: Secret
    levels: tuple[Bits, ...]
    sources: Any
    exists: Any


def _tournament(context: Context, x: Secret, windows: Windows, largest: bool) -> Tournament:
    # Before anything is made for each place in a window: of those there may be many in a small computation.
    context.watch(8 * math.prod(windows.sizes) * math.prod(windows.out_shape))
    return context.once(x, (windows, largest), lambda: _play(context, x, windows, largest))


def _play(context: Context, x: Secret, windows: Windows, largest: bool) -> Tournament:
    sources = exists = None
    if not windows.simple:
        flat = windows.sources()
        sources = context.declared(np.maximum(flat, 0))
        exists = context.declared(flat[..., :1] >= 0) if (flat < 0).any() else None
    players = moved(context, standard(context, x), lambda slot: windows.patches(slot, sources))
    levels = []
    while (n := players.shape[-1]) > 1:
        pairs = n - n % 2
        left = moved(context, players, lambda slot, m=pairs: slot[..., 0:m:2])
        right = moved(context, players, lambda slot, m=pairs: slot[..., 1:m:2])
        bit = comparing.less(context, left, right) if largest else comparing.less(context, right, left)
        levels.append(context.bits(bit))
        best = choosing.select(context, bit, right, left)
        if n % 2:
            best = _appended(context, best, moved(context, players, lambda slot: slot[..., -1:]))
        players = best
    best = moved(context, players, lambda slot: slot[..., 0])
    return Tournament(best, tuple(levels), sources, exists)


def _appended(context: Context, x: Secret, y: Secret) -> Secret:
    a, b = choosing.unify(context, [x, y])
    sharing = context.protocol.map(lambda s, t: jnp.concatenate([s, t], axis=-1), a.sharing, b.sharing)
    return dataclasses.replace(a, sharing=sharing)


def _winners(context: Context, x: Secret, windows: Windows, largest: bool) -> tuple[Tournament, Boolean]:
    """[*out, element]: whether the element is the first extremum of its window. One round for each level."""
    played = _tournament(context, x, windows, largest)
    return played, context.once(played, "winners", lambda: _trace_back(context, played, windows))


def _trace_back(context: Context, played: Tournament, windows: Windows) -> Boolean:
    protocol = context.protocol
    shape = (*windows.out_shape, 1)
    chosen = protocol.constant_bits(jnp.ones(shape, np.uint8), 1)
    for bit in reversed(played.levels):
        pairs = bit.shape[-1]
        paired = protocol.map(lambda slot, m=pairs: slot[..., :m], chosen)
        right = protocol.and_(paired, bit)
        left = protocol.xor(paired, right)
        both = protocol.map(lambda a, b: jnp.stack([a, b], axis=-1).reshape(*a.shape[:-1], -1), left, right)
        rest = protocol.map(lambda slot, m=pairs: slot[..., m:], chosen)
        chosen = protocol.map(lambda a, b: jnp.concatenate([a, b], axis=-1), both, rest)
    return Boolean(chosen)


# -- the rules -------------------------------------------------------------------------------------------------


@rule("reduce_window_sum")
def reduce_window_sum(context: Context, x: Secret, **params: Any) -> Value:
    assert context.equation is not None
    terms = math.prod(params["window_dimensions"])
    return summed(context, x, lambda slot: context.equation.primitive.bind(slot, **params), terms)


@rule("reduce_window_max")
def reduce_window_max(context: Context, x: Secret, **params: Any) -> Value:
    return _extreme(context, x, params, largest=True)


@rule("reduce_window_min")
def reduce_window_min(context: Context, x: Secret, **params: Any) -> Value:
    return _extreme(context, x, params, largest=False)


def _extreme(context: Context, x: Secret, params: dict[str, Any], *, largest: bool) -> Value:
    if isinstance(x, Boolean):
        number = arithmetic.as_integer(context, x, np.int8)
        return convert(context, _extreme(context, number, params, largest=largest), np.dtype(np.bool_))
    played = _tournament(context, x, windows_over(x.shape, **params), largest)
    if played.exists is not None:
        raise context.refuse(
            "an extremum of a window that lies in the padding altogether", "Pad by less than the size of the window"
        )
    return played.best


@rule("select_and_scatter_add")
def select_and_scatter_add(context: Context, source: Value, x: Value, *, select_prim: Any, **params: Any) -> Value:
    """The gradient of a max-pool: every window's source goes to its first maximum. A sum of booleans is their `or`."""
    if is_boolean(x.dtype):
        numbers = (convert(context, context.secret(v), np.dtype(np.int32)) for v in (source, x))
        total = select_and_scatter_add(context, *numbers, select_prim=select_prim, **params)
        return convert(context, context.secret(total), np.dtype(np.bool_))
    played, chosen = _selected(context, x, select_prim, params)
    windows = windows_over(x.shape, **params)
    terms = math.prod(windows.sizes)
    spread = moved(
        context, _plain(context, context.secret(source)), lambda s: jnp.broadcast_to(s[..., None], chosen.shape)
    )
    gated = _gated(context, played, chosen, spread)
    return summed(context, gated, lambda slot: windows.unpatch(slot, played.sources), terms)


@rule("select_and_gather_add")
def select_and_gather_add(context: Context, tangents: Value, x: Value, *, select_prim: Any, **params: Any) -> Value:
    """The derivative of a max-pool: every window's tangent at its first maximum; 0 of a window without elements."""
    if is_boolean(x.dtype):
        raise context.refuse("a window selection among booleans", "Convert them to integers first")
    played, chosen = _selected(context, x, select_prim, params)
    windows = windows_over(x.shape, **params)
    patches = moved(context, _plain(context, context.secret(tangents)), lambda s: windows.patches(s, played.sources))
    gated = _gated(context, played, chosen, patches)
    return moved(context, gated, lambda slot: jnp.sum(slot, axis=-1, dtype=slot.dtype))


def _selected(context: Context, x: Value, select_prim: Any, params: dict[str, Any]) -> tuple[Tournament, Boolean]:
    if select_prim.name not in ("le", "ge"):
        raise context.refuse(f"a window selection by `{select_prim.name}`", "Use max- or min-pooling")
    return _winners(context, context.secret(x), windows_over(x.shape, **params), largest=select_prim.name == "ge")


def _gated(context: Context, played: Tournament, chosen: Boolean, patches: Secret) -> Secret:
    """The elements that are chosen in a window that has any; 0 for the others."""
    gated = choosing.gate(context, chosen, patches)
    if played.exists is None:
        return gated
    return moved(context, gated, lambda slot: jnp.where(played.exists, slot, slot.dtype.type(0)))


def _plain(context: Context, x: Secret) -> Secret:
    return context.at_most(x) if isinstance(x, FixedPoint) else context.settled(x)
