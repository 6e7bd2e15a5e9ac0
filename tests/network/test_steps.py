"""The steps of a script that all players run: what a follower is told of them, without a network."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from network.scripts import Scripts, Session, constant, run

from jmpc.errors import AgreementError, FrameError, PeerError
from jmpc.net.framing import RUN_BYTES, Header, Kind
from jmpc.runtime import steps
from jmpc.runtime.doing import Loading
from jmpc.runtime.saving import Request, Task
from jmpc.runtime.script import Script
from jmpc.runtime.steps import End, Over, Step


def test_words_of_another_session_change_nothing() -> None:
    said: list[Any] = []
    script = Script("owner", "lead", lambda session, word: said.append(word))
    first, second = bytes(RUN_BYTES), bytes([1]) * RUN_BYTES

    def hear(session: bytes, word: Step | Over | End) -> None:
        script.hear("owner", Header(Kind.STEP, session, body=word.encode()))

    hear(second, End())
    hear(second, Over(1, "lead", "over"))
    assert not script.joined
    hear(first, Step(first, 0, bytes(32), "its own code"))
    hear(second, End())
    hear(second, Over(1, "lead", "over"))

    script.begin(Loading("owner", "load", name="model"))
    assert [word.number for word in said] == [1]
    hear(first, Step(first, 1, bytes(32), "load"))
    assert len(said) == 1
    hear(first, Step(first, 1, bytes(32), "load"))  # asked again: it did not arrive
    assert len(said) == 2
    with pytest.raises(FrameError):
        script.hear("owner", Header(Kind.STEP, first, body=b"\xc1"))
    hear(second, Step(second, 0, bytes(32), "its own code"))
    with pytest.raises(PeerError, match="lead was started again"):
        script.wait(lambda: None)


class _Said:
    """A script of `owner` without a network, and what it says."""

    def __init__(self) -> None:
        self.words: list[Any] = []
        self.script = Script("owner", "lead", lambda session, word: self.words.append(word))
        self.hear(Step(bytes(RUN_BYTES), 0, bytes(32), "its own code"))

    def hear(self, word: Step | Over | End) -> None:
        self.script.hear("owner", Header(Kind.STEP, bytes(RUN_BYTES), body=word.encode()))

    def begin(self) -> Loading:
        doing = Loading("owner", "load", name="model")
        self.script.begin(doing)
        return doing

    def asked(self, match: str | None = None) -> None:
        """Its node is asked for what its script is at."""
        with nullcontext() if match is None else pytest.raises(AgreementError, match=match):
            with self.script.request(Request(Task.LIST, "model")):
                pass


def test_a_step_that_is_said_to_have_ended_well_too_early_has_not() -> None:
    said = _Said()
    said.hear(Over(1))
    said.begin()
    said.asked()
    with pytest.raises(TimeoutError):
        said.script.wait(_times_out)


def _times_out() -> None:
    raise TimeoutError


def test_nothing_of_a_step_is_done_once_it_is_over() -> None:
    said = _Said()
    said.begin()
    said.asked()
    said.hear(Over(1))
    said.asked("which is at its own code")  # before the script has seen that it is
    said.hear(Over(1, "lead", "the first word counts"))
    assert said.script.wait(_times_out).well
    said.asked("which is at its own code")
    said.hear(Over(2, "lead", "it is given up before it begins here"))
    said.begin()
    said.asked("which is at its own code")
    assert said.script.wait(_times_out).reason == "it is given up before it begins here"


def test_a_lead_that_goes_on_without_a_word_is_not_waited_for() -> None:
    said = _Said()
    said.begin()
    for _ in range(2):
        said.hear(Step(bytes(RUN_BYTES), 2, bytes(32), "step 2: load"))
    with pytest.raises(PeerError, match="lead is at step 2 already, and the script of owner is at step 1: load"):
        said.script.wait(_times_out)
    said.script.leave("it was not waited for")
    said.begin()
    with pytest.raises(TimeoutError):
        said.script.wait(_times_out)


@pytest.mark.parametrize("ends", [False, True])
def test_a_word_that_a_step_has_ended_which_is_lost_is_said_again(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Before the next step, and before the lead's script ends."""
    lost: list[Over] = []
    send = scripts.lead.transport.send

    def loses(player: str, header: Header, *args: Any, **more: Any) -> None:
        if header.kind is Kind.STEP and player == "owner" and not lost:
            if isinstance(word := steps.decode(header.body), Over):
                lost.append(word)
                return
        send(player, header, *args, **more)

    def script(session: Session) -> Any:
        first = run(session, constant(3).reveal())
        if not ends:
            return run(session, constant(3).reveal())
        if session.me == "lead":
            session.close()
        return first

    monkeypatch.setattr(scripts.lead.transport, "send", loses)
    results = scripts.do(script)
    assert lost == [Over(1)] and results["owner"] == [None], results
    np.testing.assert_allclose(results["lead"], [[3, 3]], atol=1e-4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        End().encode() + b"x",
        Step(bytes(15), 1, bytes(32), "").encode(),
        Step(bytes(16), 1, bytes(31), "").encode(),
        Step(bytes(16), -1, bytes(32), "").encode(),
        Step(bytes(16), 1, bytes(32), "", {"a": "x", "b": "x"}).encode(),
        Step(bytes(16), True, bytes(32), "").encode(),
        Over(1, "lead\n", "x").encode(),
        Over(1, "lead", "x", names={"a": ""}).encode(),
    ],
    ids=range(10),
)
def test_malformed_words_are_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        steps.decode(body)


def test_words_come_back_as_they_were() -> None:
    for word in (
        Step(bytes(16), 3, bytes(32), "step 3: run (x.py:1)", {"variable/0": "variable/ab"}),
        Over(3, "owner", "why", False, b"tree", {"variable/0": "variable/ab"}),
        Over(3),
        End(),
    ):
        assert steps.decode(word.encode()) == word
