"""What Python's operators and the methods of arrays mean on private values: the same functions of JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

if TYPE_CHECKING:
    from jmpc.api.values import Value


def _apply(fn: Callable[..., Any], *args: Any) -> Any:
    from jmpc.api.functions import function  # which is written in terms of values, and these of operators

    return function(fn)(*args)


def _method(name: str) -> Callable[..., Any]:
    def call(self: Operators, *args: Any, **kwargs: Any) -> Value:
        return _apply(lambda x, args, kwargs: getattr(x, name)(*args, **kwargs), self, args, kwargs)

    call.__name__, call.__doc__ = name, f"`jax.Array.{name}` of a private value; see there."
    return call


class Places:
    """`x.at[index]` of a private value: its methods give a value with these elements changed, as in JAX."""

    def __init__(self, value: Operators, index: Any) -> None:
        self._value, self._index = value, index

    def _update(self, name: str, *args: Any, **kwargs: Any) -> Value:
        parts = list(self._index) if isinstance(self._index, tuple) else [self._index]
        return _apply(
            lambda x, parts, args, kwargs: getattr(x.at[tuple(parts)], name)(*args, **kwargs),
            self._value,
            parts,
            args,
            kwargs,
        )

    def get(self, **options: Any) -> Value:
        return self._update("get", **options)

    def set(self, values: Any, **options: Any) -> Value:
        return self._update("set", values, **options)

    def add(self, values: Any, **options: Any) -> Value:
        return self._update("add", values, **options)

    def subtract(self, values: Any, **options: Any) -> Value:
        return self._update("subtract", values, **options)

    def multiply(self, values: Any, **options: Any) -> Value:
        return self._update("multiply", values, **options)

    def min(self, values: Any, **options: Any) -> Value:
        return self._update("min", values, **options)

    def max(self, values: Any, **options: Any) -> Value:
        return self._update("max", values, **options)


class Updates:
    """`x.at` of a private value."""

    def __init__(self, value: Operators) -> None:
        self._value = value

    def __getitem__(self, index: Any) -> Places:
        return Places(self._value, index)


class Operators:
    """Arithmetic, comparison, indexing and array methods; a class of values adds `shape`."""

    __hash__ = object.__hash__  # `==` is elementwise; in dictionaries and sets a value is itself

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Value:
        """numpy's functions, and operators of its arrays, are those of JAX of the same name."""
        fn = getattr(jnp, ufunc.__name__, None)
        if fn is None or method != "__call__" or options:
            raise TypeError(
                f"numpy's {ufunc.__name__!r} cannot be used like this on a private value: use jax.numpy in a function "
                "under @jmpc.function"
            )
        return _apply(fn, *inputs)

    def __add__(self, other: Any) -> Value:
        return _apply(jnp.add, self, other)

    def __radd__(self, other: Any) -> Value:
        return _apply(jnp.add, other, self)

    def __sub__(self, other: Any) -> Value:
        return _apply(jnp.subtract, self, other)

    def __rsub__(self, other: Any) -> Value:
        return _apply(jnp.subtract, other, self)

    def __mul__(self, other: Any) -> Value:
        return _apply(jnp.multiply, self, other)

    def __rmul__(self, other: Any) -> Value:
        return _apply(jnp.multiply, other, self)

    def __truediv__(self, other: Any) -> Value:
        return _apply(jnp.divide, self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return _apply(jnp.divide, other, self)

    def __floordiv__(self, other: Any) -> Value:
        return _apply(jnp.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Value:
        return _apply(jnp.floor_divide, other, self)

    def __mod__(self, other: Any) -> Value:
        return _apply(jnp.remainder, self, other)

    def __rmod__(self, other: Any) -> Value:
        return _apply(jnp.remainder, other, self)

    def __divmod__(self, other: Any) -> tuple[Value, Value]:
        return _apply(jnp.divmod, self, other)

    def __rdivmod__(self, other: Any) -> tuple[Value, Value]:
        return _apply(jnp.divmod, other, self)

    def __matmul__(self, other: Any) -> Value:
        return _apply(jnp.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Value:
        return _apply(jnp.matmul, other, self)

    def __pow__(self, other: Any) -> Value:
        return _apply(jnp.power, self, other)

    def __rpow__(self, other: Any) -> Value:
        return _apply(jnp.power, other, self)

    def __lshift__(self, other: Any) -> Value:
        return _apply(jnp.left_shift, self, other)

    def __rlshift__(self, other: Any) -> Value:
        return _apply(jnp.left_shift, other, self)

    def __rshift__(self, other: Any) -> Value:
        return _apply(jnp.right_shift, self, other)

    def __rrshift__(self, other: Any) -> Value:
        return _apply(jnp.right_shift, other, self)

    def __and__(self, other: Any) -> Value:
        return _apply(jnp.bitwise_and, self, other)

    def __rand__(self, other: Any) -> Value:
        return _apply(jnp.bitwise_and, other, self)

    def __or__(self, other: Any) -> Value:
        return _apply(jnp.bitwise_or, self, other)

    def __ror__(self, other: Any) -> Value:
        return _apply(jnp.bitwise_or, other, self)

    def __xor__(self, other: Any) -> Value:
        return _apply(jnp.bitwise_xor, self, other)

    def __rxor__(self, other: Any) -> Value:
        return _apply(jnp.bitwise_xor, other, self)

    def __lt__(self, other: Any) -> Value:
        return _apply(jnp.less, self, other)

    def __le__(self, other: Any) -> Value:
        return _apply(jnp.less_equal, self, other)

    def __gt__(self, other: Any) -> Value:
        return _apply(jnp.greater, self, other)

    def __ge__(self, other: Any) -> Value:
        return _apply(jnp.greater_equal, self, other)

    def __eq__(self, other: Any) -> Value:  # pyrefly: ignore[bad-override]
        return _apply(jnp.equal, self, other)

    def __ne__(self, other: Any) -> Value:  # pyrefly: ignore[bad-override]
        return _apply(jnp.not_equal, self, other)

    def __neg__(self) -> Value:
        return _apply(jnp.negative, self)

    def __pos__(self) -> Value:
        return _apply(jnp.positive, self)

    def __abs__(self) -> Value:
        return _apply(jnp.abs, self)

    def __invert__(self) -> Value:
        return _apply(jnp.bitwise_not, self)

    def __round__(self, ndigits: int | None = None) -> Value:
        return _apply(lambda x: round(x, ndigits), self)

    def __getitem__(self, index: Any) -> Value:
        return _apply(*_indexing(self, index))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a private scalar")
        return self.shape[0]

    def __iter__(self) -> Iterator[Value]:
        return (self[row] for row in range(len(self)))

    all = _method("all")
    any = _method("any")
    argmax = _method("argmax")
    argmin = _method("argmin")
    argsort = _method("argsort")
    astype = _method("astype")
    clip = _method("clip")
    conj = _method("conj")
    cumsum = _method("cumsum")
    cumprod = _method("cumprod")
    diagonal = _method("diagonal")
    dot = _method("dot")
    flatten = _method("flatten")
    max = _method("max")
    mean = _method("mean")
    min = _method("min")
    prod = _method("prod")
    ravel = _method("ravel")
    repeat = _method("repeat")
    reshape = _method("reshape")
    round = _method("round")
    searchsorted = _method("searchsorted")
    sort = _method("sort")
    squeeze = _method("squeeze")
    std = _method("std")
    sum = _method("sum")
    swapaxes = _method("swapaxes")
    take = _method("take")
    trace = _method("trace")
    transpose = _method("transpose")
    var = _method("var")

    @property
    def T(self) -> Value:  # noqa: N802
        return _apply(jnp.transpose, self)

    @property
    def at(self) -> Updates:
        return Updates(self)

    # what would need the numbers

    def __bool__(self) -> bool:
        raise TypeError(
            "a private value has no truth value here; use jmpc.where, or jax.lax.cond in a function of private values"
        )

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(_OPEN)

    def __float__(self) -> float:
        raise TypeError(_OPEN)

    def __int__(self) -> int:
        raise TypeError(_OPEN)

    __index__ = __int__


_OPEN = (
    "a private value is not a number or an array here; open it with jmpc.run(value.reveal()), or compute with it "
    "in a function under @jmpc.function"
)


def _indexing(x: Any, index: Any) -> tuple[Any, ...]:
    """The function that indexes, and its arguments: `x` and what is private in the index."""
    parts = list(index) if isinstance(index, tuple) else [index]
    private = [place for place, part in enumerate(parts) if isinstance(part, Operators)]

    def fn(x: Any, *found: Any) -> Any:
        filled = list(parts)
        for place, part in zip(private, found, strict=True):
            filled[place] = part
        return x[tuple(filled)]

    return fn, x, *(parts[place] for place in private)
