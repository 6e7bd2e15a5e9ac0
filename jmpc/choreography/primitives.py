"""The ten primitives a choreography is written with, beside ordinary `jax.numpy`.

Two doors, and no bare one: players talk only through `send_masked`, whose receiver sees a value masked
by a draw that it cannot make itself, and `release`, for what may be seen (every use of it is listed in
the computation's account). `draw` is the only source of masks. `agree` says that two players computed
the same value in two ways, `public` declares a constant that everyone knows, `guard` refuses bad input
at the player that gives it, and `local` is a stretch of one player's own JAX code. Three are for players that a run
can do without: `delivered` says whose contributions have come to a server in time, `quorum` ends a run for which too
few have, and `contribution` is what others may use of an owner that may be missing.

Players are named by strings; a key is named by the set of players that hold it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Primitive

from jmpc.errors import ChoreographyError


class Group(enum.Enum):
    """The group in which a message is masked."""

    RING = "ring"  # Z_{2^bits}: the masks are subtracted
    XOR = "xor"  # words of bits: the masks are xored


def _trace_only(primitive: Primitive) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ChoreographyError(
            f"`{primitive.name}` only has a meaning inside a choreography that is being traced; "
            "it was called on concrete arrays"
        )

    primitive.def_impl(refuse)


def _primitive(name: str, multiple_results: bool = False) -> Primitive:
    primitive = Primitive(name)
    primitive.multiple_results = multiple_results
    _trace_only(primitive)
    return primitive


send_masked_p = _primitive("send_masked")
release_p = _primitive("release")
draw_p = _primitive("draw")
agree_p = _primitive("agree")
public_p = _primitive("public")
guard_p = _primitive("guard")
local_p = _primitive("local", multiple_results=True)
delivered_p = _primitive("delivered")
quorum_p = _primitive("quorum")
contribution_p = _primitive("contribution")

TALK = (send_masked_p, release_p)
UNITS = (local_p, delivered_p)  # steps of a program, never part of a segment

# The parameters that results depend on, where not all do: who talks to whom, and why, is not computed with.
COMPUTED: dict[Primitive, tuple[str, ...]] = {
    send_masked_p: ("group", "bits"),
    release_p: ("bits",),
    guard_p: (),
    quorum_p: (),
    contribution_p: (),
}


def width(dtype: Any) -> int:
    """Bits of one element of `dtype`."""
    return 1 if np.dtype(dtype) == np.bool_ else 8 * np.dtype(dtype).itemsize


def masked(x: Any, masks: Iterable[Any], group: Group, bits: int) -> Any:
    """What `send_masked` gives: `x` less all `masks`, in Z_{2^bits} or by xor, zero above `bits` bits.

    Pure `jax.numpy` or numpy code for whoever evaluates, lowers or checks a message. The reduction
    happens before the message leaves, so stale bits above `bits` never travel.
    """
    for mask in masks:
        x = x - mask if group is Group.RING else x ^ mask
    return low_bits(x, bits)


def low_bits(x: Any, bits: int) -> Any:
    """`x` with zeros above its `bits` low bits."""
    return x if bits == width(x.dtype) else x & x.dtype.type((1 << bits) - 1)


def send_masked(
    x: jax.Array,
    masks: Mapping[str, jax.Array],
    src: str,
    *,
    group: Group = Group.RING,
    bits: int | None = None,
) -> jax.Array:
    """Sends `x` minus all `masks` from `src` to each receiver named in `masks`; returns what they see.

    The result is `masked(x, masks, group, bits)`: the difference in Z_{2^bits} or the xor, zero above its
    `bits` low bits. It is held by the receivers and by everyone who can compute it (`src` among them). For
    each receiver, the mask under its name must be a whole `draw` of the same loop body, of the shape of `x`,
    under a key that the receiver does not hold, and must mask no other message to that receiver: the
    static check of `choreography.masks` refuses everything else. So a receiver's view is uniform.

    Args:
      x: unsigned integer array held by `src`.
      masks: receiver to the draw that hides the message from that receiver.
      bits: how many low bits of an element travel, all of its dtype unless told; draw the masks with the
        same `bits`. Whatever `x` has above them is dropped.
    """
    dsts = tuple(masks)
    return send_masked_p.bind(
        x, *masks.values(), src=src, dsts=dsts, group=group, bits=width(x.dtype) if bits is None else bits
    )


@send_masked_p.def_abstract_eval
def _(x: ShapedArray, *masks: ShapedArray, src: str, dsts: tuple[str, ...], group: Group, bits: int) -> ShapedArray:
    if not dsts or src in dsts or len(set(dsts)) != len(dsts):
        raise ChoreographyError(f"send_masked: {src!r} cannot send to {dsts}")
    if not np.issubdtype(x.dtype, np.unsignedinteger) or not 1 <= bits <= width(x.dtype):
        raise ChoreographyError(f"send_masked: {bits} bits of {x.dtype} cannot be masked")
    for mask in masks:
        if mask.shape != x.shape or mask.dtype != x.dtype:
            raise ChoreographyError(f"send_masked: a mask of {mask.dtype}{mask.shape} cannot hide {x.dtype}{x.shape}")
    return ShapedArray(x.shape, x.dtype)


def release(
    x: jax.Array,
    src: str,
    dsts: str | Sequence[str],
    why: str,
    *,
    bits: int | None = None,
    independent: bool = False,
) -> jax.Array:
    """Sends `x` in the clear from `src` to `dsts`, who may see it; `why` goes into the account.

    For outputs (a reveal), for public inputs, and for values that are already uniform given what the
    receiver may know. Nothing else: a value that needs hiding goes through `send_masked`. The result is `x`
    with zeros above its `bits` low bits; all of its type travel unless told (fewer only of unsigned ones).

    Args:
      independent: what the receivers see of `x`, with everything else that they know, is distributed alike
        whatever the inputs are. The protocol that says so proves it; the account then says that this
        derives from no input, and no policy has to allow it.
    """
    dsts = (dsts,) if isinstance(dsts, str) else tuple(dsts)
    travelling = width(x.dtype) if bits is None else bits
    return release_p.bind(x, src=src, dsts=dsts, why=why, bits=travelling, independent=independent)


@release_p.def_abstract_eval
def _(x: ShapedArray, *, src: str, dsts: tuple[str, ...], why: str, bits: int, independent: bool) -> ShapedArray:
    del independent
    if not dsts or src in dsts or len(set(dsts)) != len(dsts):
        raise ChoreographyError(f"release: {src!r} cannot release to {dsts} ({why})")
    if bits != width(x.dtype) and not (np.issubdtype(x.dtype, np.unsignedinteger) and 1 <= bits <= width(x.dtype)):
        raise ChoreographyError(f"release: {bits} bits of {x.dtype} cannot be released")
    return ShapedArray(x.shape, x.dtype)


def draw(key: Iterable[str], shape: Sequence[int], dtype: Any = np.uint64, *, bits: int | None = None) -> jax.Array:
    """Fresh uniform words from the keystream that exactly the players of `key` can make.

    Every draw in a program has its own keystream block addresses, in every iteration of the loops around
    it and in every run, so two draws never give the same words.

    Args:
      key: the holders of the key.
      bits: the low bits that are random; the bits above are zero.
    """
    dtype = np.dtype(dtype)
    return draw_p.bind(
        key=tuple(sorted(set(key))),
        shape=tuple(int(n) for n in shape),
        dtype=dtype,
        bits=width(dtype) if bits is None else bits,
    )


@draw_p.def_abstract_eval
def _(*, key: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype, bits: int) -> ShapedArray:
    if not np.issubdtype(dtype, np.unsignedinteger) or not 1 <= bits <= width(dtype):
        raise ChoreographyError(f"draw: no keystream of {bits} bits in {dtype}")
    if not key:
        raise ChoreographyError("draw: a key that nobody holds")
    return ShapedArray(shape, dtype)


def agree(x: jax.Array, *others: jax.Array) -> jax.Array:
    """The value that several players computed in different ways; each continues with its own copy.

    Held by everyone who holds one of the copies; each player goes on with the first that it holds. The
    copies must be equal bit for bit (tests evaluate them all), hence they may only come from integer code.
    A fused simulation computes the first only.
    """
    return agree_p.bind(x, *others)


@agree_p.def_abstract_eval
def _(x: ShapedArray, *others: ShapedArray) -> ShapedArray:
    for other in others:
        if other.shape != x.shape or other.dtype != x.dtype:
            raise ChoreographyError(f"agree: {x.dtype}{x.shape} and {other.dtype}{other.shape} cannot be equal")
    return ShapedArray(x.shape, x.dtype)


def public(x: Any) -> jax.Array:
    """Declares a constant array that everyone knows; part of the program, and of its digest.

    An array that a choreography captures from outside without this has no holder and is refused.
    """
    return public_p.bind(np.asarray(x) if not isinstance(x, jax.Array) else x)


@public_p.def_abstract_eval
def _(x: ShapedArray) -> ShapedArray:
    return ShapedArray(x.shape, x.dtype)


def guard(x: jax.Array, ok: jax.Array, player: str, message: str) -> jax.Array:
    """`x`, where the scalar boolean `ok` holds; otherwise `player`'s run ends before its next message.

    The result is held by `player` alone, so nobody goes on with a value that was not checked; a guard
    whose result nobody uses is not checked at all. Raises `InputError(player, message)` at run time, at that
    player. `message` must not contain data.
    """
    return guard_p.bind(x, ok, player=player, message=message)


@guard_p.def_abstract_eval
def _(x: ShapedArray, ok: ShapedArray, *, player: str, message: str) -> ShapedArray:
    if ok.shape != () or ok.dtype != np.bool_:
        raise ChoreographyError(f"guard: the condition must be a boolean scalar, not {ok.dtype}{ok.shape}")
    return ShapedArray(x.shape, x.dtype)


def local(jaxpr: ClosedJaxpr, args: Sequence[jax.Array], player: str, name: str) -> list[jax.Array]:
    """Runs `jaxpr`, a stretch of ordinary JAX code, at `player` on what it holds.

    It is compiled as one unit and run as the same executable in every mode, because floating-point
    results change when the compiler cuts or fuses them differently.
    """
    return local_p.bind(*args, jaxpr=jaxpr, player=player, name=name)


@local_p.def_abstract_eval
def _(*args: ShapedArray, jaxpr: ClosedJaxpr, player: str, name: str) -> list[ShapedArray]:
    del args, player, name
    return [ShapedArray(aval.shape, aval.dtype) for aval in jaxpr.out_avals]


def delivered(
    messages: Sequence[jax.Array], owners: Sequence[str], player: str, deadline: float | None = None
) -> jax.Array:
    """Whose contributions `player` has: booleans in the order of `owners`, known to `player` alone.

    An owner has delivered if `player` shares all keys with it that they should share, and if all its `messages` are
    there in time. Only run time tells; whoever does not deliver is missing for the rest of the run, see
    `choreography.optional`.

    Args:
      messages: what `player` gets from the owners, of all of them; it may be nothing.
      deadline: seconds to wait for the messages, from when `player` has come so far that it waits for nothing else;
        None for as long as it waits for any other player.
    """
    return delivered_p.bind(*messages, owners=tuple(owners), player=player, deadline=deadline)


@delivered_p.def_abstract_eval
def _(*messages: ShapedArray, owners: tuple[str, ...], player: str, deadline: float | None) -> ShapedArray:
    if not owners or len(set(owners)) != len(owners) or player in owners:
        raise ChoreographyError(f"delivered: {player!r} waits for {owners}")
    if deadline is not None and not deadline > 0:
        raise ChoreographyError(f"delivered: a deadline of {deadline} s")
    return ShapedArray((len(owners),), np.dtype(np.bool_))


def quorum(present: jax.Array, owners: Sequence[str], player: str, least: int) -> jax.Array:
    """`present`, if at least `least` are true; otherwise `player` ends the run before its next message.

    `present` says of each of `owners` whether the players take it to have delivered. Here `player` learns it: it
    gives up those that are missing, and may refuse the run because of who is there (see `Attendance`). As with
    `guard`, the result is held by `player` alone, so nobody goes on with a set of owners that it has not judged.
    """
    return quorum_p.bind(present, owners=tuple(owners), player=player, least=least)


@quorum_p.def_abstract_eval
def _(present: ShapedArray, *, owners: tuple[str, ...], player: str, least: int) -> ShapedArray:
    if present.shape != (len(owners),) or present.dtype != np.bool_:
        raise ChoreographyError(f"quorum: {present.dtype}{present.shape} does not say who of {owners} is there")
    if player in owners or not 0 <= least <= len(owners):
        raise ChoreographyError(f"quorum: {player!r} asks for {least} of {owners}")
    return ShapedArray(present.shape, present.dtype)


def contribution(x: jax.Array, present: jax.Array, owner: str) -> jax.Array:
    """The words `x`, which derive from what `owner` sent, where the scalar `present` is true; otherwise zeros.

    `present` must come from a `quorum`: then all players take the same branch, and whatever stands in `x` at a player
    that `owner` did not deliver to is forgotten.
    """
    return contribution_p.bind(x, present, owner=owner)


@contribution_p.def_abstract_eval
def _(x: ShapedArray, present: ShapedArray, *, owner: str) -> ShapedArray:
    del owner
    if present.shape != () or present.dtype != np.bool_ or not np.issubdtype(x.dtype, np.unsignedinteger):
        raise ChoreographyError(f"contribution: words and a boolean scalar, not {x.dtype} and {present.dtype}")
    return ShapedArray(x.shape, x.dtype)
