"""How long a computation talks on given links: its rounds and bytes as they were sent, and the run's own exchanges."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import jax
import numpy as np
import pytest
from api.accounting import at
from api.test_explain import FUNCTIONS, X, Y, recorded, unknown_loop

import jmpc
from jmpc.api.forecast import forecast
from jmpc.config import Mode
from jmpc.errors import ConfigError

LINK = jmpc.Link(latency=0.01, bandwidth=1e6)


def private(player: str, array: np.ndarray = X) -> jmpc.Value:
    return jmpc.define_private_input(player, lambda: array)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bytes_in_a_row_are_those_that_were_sent(name: str) -> None:
    """In every round those of the player that sends or receives most; what is shown to bob ends one exchange later."""
    fn, iterations = FUNCTIONS[name]
    prepared, messages = recorded(fn, Mode.FUSED)
    rounds: dict[tuple[int, ...], Counter[tuple[str, str]]] = defaultdict(Counter)
    for (slot, src, dst), buffers in messages.items():
        size = sum(buffer.nbytes for buffer in buffers)
        rounds[slot].update({(src, "sends"): size, (dst, "receives"): size})
    found = forecast(prepared.cost, "driver", LINK)
    assert at(found.exchanges, iterations) == len(rounds) + 4
    assert at(found.bytes_in_a_row, iterations) == sum(max(busy.values()) for busy in rounds.values())
    seconds = sum(found.seconds_of(times) * iterations ** len(times) for times in found.exchanges)
    talked = at(found.exchanges, iterations) * 0.01 + at(found.bytes_in_a_row, iterations) * 1e-6
    assert math.isclose(seconds, talked)


def test_the_word_that_all_are_done_comes_with_what_the_driver_is_shown() -> None:
    product = private("alice") * private("driver", X)
    for fetch, after in (
        (product.reveal(), 0),
        (product.reveal("alice"), 1),
        ([product.reveal(), product.reveal("alice")], 1),
    ):
        account = jmpc.explain(fetch)
        found = account.on(LINK)
        assert found.exchanges == {(): account.rounds + 3 + after}
        assert found.seconds == found.exchanges[()] * 0.01 + found.bytes_in_a_row[()] * 1e-6


def test_the_text() -> None:
    text = str(jmpc.explain(lambda x, y: unknown_loop(x, y), X, jax.ShapeDtypeStruct(Y.shape, Y.dtype)).on(LINK))
    first, second, again, *_, last = text.splitlines()
    assert first.endswith(" s on links of 10 ms one way, 8 Mbit/s, with the run's own exchanges")
    assert "exchanges in a row" in second and " s x iterations of the while at test_explain.py:" in again
    assert last.startswith("Computing comes on top")


@pytest.mark.parametrize("fields", [(-1.0, 1.0), (math.inf, 1.0), (math.nan, 1.0), (0.0, 0.0), (0.0, -1.0)])
def test_links_that_cannot_be(fields: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="Link: "):
        jmpc.Link(*fields)
