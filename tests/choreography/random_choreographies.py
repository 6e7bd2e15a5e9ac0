"""Random choreographies for property tests: a recipe is plain data, cooked while it is traced."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from choreography.programs_check import ALL, PLAYERS, traced, words
from hypothesis import strategies as st
from jax import lax

from jmpc.choreography.primitives import Group, agree, draw, guard, local, public, release, send_masked
from jmpc.choreography.trace import Choreography

INPUTS = (("A",), ("B",), ("A", "C"), ("A", "B", "C"))
KINDS = ("compute", "send", "multicast", "release", "agree", "local", "guard", "scan", "while", "cond")

Held = tuple[jax.Array, frozenset[str]]  # a value and who is known to hold it
Recipe = tuple[tuple[str, tuple[int, ...], tuple], ...]  # kind, free choices, what is in the body


def _recipes(kinds: tuple[str, ...], bodies: st.SearchStrategy, most: int) -> st.SearchStrategy:
    choices = st.tuples(*[st.integers(0, 23)] * 4)
    item = st.tuples(st.sampled_from(kinds), choices, bodies)
    return st.lists(item, min_size=1, max_size=most).map(tuple)


_flat = _recipes(KINDS[:7], st.just(()), 4)
_nested = _recipes(KINDS, _flat, 3)
recipes = _recipes(KINDS, _nested, 8)


def cook(recipe: Recipe) -> Choreography:
    """The choreography of a recipe, on one input of three words for each of `INPUTS`."""
    return traced(lambda *xs: _Kitchen(list(zip(xs, map(frozenset, INPUTS), strict=True))).run(recipe), *INPUTS)


@dataclass
class _Kitchen:
    """Values made so far, with the holders that the generator itself knows of."""

    values: list[Held]

    def run(self, recipe: Recipe) -> list[jax.Array]:
        for kind, choices, body in recipe:
            getattr(self, f"_{kind}")(*choices, body)
        return [x for x, _ in self.values]

    def _pick(self, choice: int) -> Held:
        return self.values[choice % len(self.values)]

    def _public(self) -> list[Held]:
        return [held for held in self.values if held[1] == ALL]

    def _compute(self, i: int, j: int, how: int, _: int, body: tuple) -> None:
        (x, who), (y, others) = self._pick(i), self._pick(j)
        if not who & others:
            return
        table = public(np.arange(3, dtype=np.uint64))
        self.values.append(([x + y, x * y + table, x ^ (y >> np.uint64(3)), x[::-1]][how % 4], who & others))

    def _mask(self, src: str, dst: str, choice: int, bits: int) -> jax.Array:
        """Under a key of `src`, alone or with the third player."""
        key = [src, *(p for p in PLAYERS if p not in (src, dst))][: 1 + choice % 2]
        mask = draw(key, (3,), bits=bits)
        self.values.append((mask, frozenset(key)))
        return mask

    def _send(self, i: int, who: int, bits: int, group: int, body: tuple) -> None:
        x, holders = self._pick(i)
        src = sorted(holders)[who % len(holders)]
        dst = [p for p in PLAYERS if p != src][who % 2]
        bits = (64, 1, 13, 40)[bits % 4]
        mask = self._mask(src, dst, who, bits)
        seen = send_masked(x, {dst: mask}, src, group=list(Group)[group % 2], bits=bits)
        self.values.append((seen, frozenset((src, dst))))

    def _multicast(self, i: int, who: int, one: int, two: int, body: tuple) -> None:
        x, holders = self._pick(i)
        src = sorted(holders)[who % len(holders)]
        masks = {dst: self._mask(src, dst, one + two, 64) for dst in PLAYERS if dst != src}
        self.values.append((send_masked(x, masks, src), ALL))

    def _release(self, i: int, who: int, what: int, bits: int, body: tuple) -> None:
        x, holders = self._pick(i)
        src = sorted(holders)[who % len(holders)]
        dsts = [[p for p in PLAYERS if p != src][who % 2]] if what % 2 else [p for p in PLAYERS if p != src]
        if bits % 3 == 0:
            seen = release(x > np.uint64(1 << 63), src, dsts, "test").astype(np.uint64)
        else:
            seen = release(x, src, dsts, "test", bits=(64, 5)[bits % 2])
        self.values.append((seen, frozenset((src, *dsts))))

    def _agree(self, i: int, who: int, _: int, __: int, body: tuple) -> None:
        """Three times x, computed in two ways."""
        x, holders = self._pick(i)
        src = sorted(holders)[who % len(holders)]
        dst = [p for p in PLAYERS if p != src][who % 2]
        seen = release(x, src, dst, "test")
        self.values.append((agree(x * np.uint64(3), seen + seen + seen), holders | {dst}))

    def _local(self, i: int, who: int, _: int, __: int, body: tuple) -> None:
        x, holders = self._pick(i)
        player = sorted(holders)[who % len(holders)]
        unit = jax.make_jaxpr(lambda v: (jnp.sin(v.astype(np.float32)).astype(np.int32).astype(np.uint64), v))
        results = local(unit(words(3)), [x], player, "unit")
        self.values += [(y, frozenset((player,))) for y in results]

    def _guard(self, i: int, who: int, _: int, __: int, body: tuple) -> None:
        x, holders = self._pick(i)
        player = sorted(holders)[who % len(holders)]
        self.values.append((guard(x, jnp.all(x >= np.uint64(0)), player, "never"), frozenset((player,))))

    def _scan(self, i: int, j: int, length: int, reverse: int, body: Recipe) -> None:
        """Two carries, which the body adds to; everything else it captures."""
        (x, who), (y, others) = self._pick(i), self._pick(j)
        inner_holders: list[frozenset[str]] = []

        def step(carry, row):
            inner = _Kitchen([*self.values, (carry[0], who), (carry[1], others), (row, who)])
            made = inner.run(body)
            inner_holders[:] = [h for _, h in inner.values]
            last, holders = inner.values[-1]
            a = carry[0] + last if who <= holders else carry[0] + np.uint64(1)
            return (a, carry[1] * np.uint64(3)), (made[-1], made[0])

        rows = jnp.stack([x] * (length % 3 + 1))
        (a, b), (c, d) = lax.scan(step, (x, y), rows, reverse=bool(reverse % 2))
        self.values += [(a, who), (b, others), (c[-1], inner_holders[-1]), (d[0], inner_holders[0])]

    def _while(self, i: int, j: int, turns: int, known: int, body: Recipe) -> None:
        """A public count, or one of a single player (then nobody talks inside)."""
        x, who = self._pick(i)
        if known % 3 == 0:
            bound, steering = lax.rem(x[0], np.uint64(3)), who
            body = tuple(item for item in body if item[0] in ("compute", "local", "guard"))
        else:
            bound, steering = np.uint64(turns % 3), ALL

        def step(carry):
            inner = _Kitchen([*self.values, (carry[1], who)])
            inner.run(body)
            last, holders = inner.values[-1]
            return carry[0] + np.uint64(1), carry[1] + (last if who <= holders else np.uint64(1))

        _, y = lax.while_loop(lambda carry: carry[0] < bound, step, (np.uint64(0), x))
        self.values.append((y, who & steering))

    def _cond(self, i: int, j: int, _: int, __: int, body: Recipe) -> None:
        steering = self._public()[-1][0]
        x, who = self._pick(j)

        def taken():
            inner = _Kitchen([*self.values, (x, who)])
            inner.run(body)
            last, holders = inner.values[-1]
            return last if who <= holders else x + np.uint64(1)

        index = lax.rem(steering[i % 3], np.uint64(2)) == 0
        self.values.append((lax.cond(index, taken, lambda: x * np.uint64(5)), who))
