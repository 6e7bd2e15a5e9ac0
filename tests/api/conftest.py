"""Each module of tests has a simulation of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import jmpc


@pytest.fixture(autouse=True, scope="module")
def simulation() -> Iterator[None]:
    jmpc.set_config(jmpc.LocalConfig())
    yield
    jmpc.set_config(jmpc.LocalConfig())
