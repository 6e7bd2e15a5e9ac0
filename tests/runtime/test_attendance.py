"""Who takes part in runs: sets of owners that differ by few, and how often a driver asks those that were left out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jmpc.choreography.programs import Quorum
from jmpc.errors import LinkTimeout, OwnersMissing, PolicyError, StorageError
from jmpc.net.framing import Header, Kind
from jmpc.runtime import differencing, invitations, orders
from jmpc.runtime.attendance import Attendance
from jmpc.runtime.differencing import Sets
from jmpc.runtime.invitations import Invitation, Invitations
from jmpc.runtime.orders import Done, Ready

# -- sets that differ by few ---------------------------------------------------------------------------------------


def test_sets_are_the_same_or_differ_by_enough(tmp_path: Path) -> None:
    sets, path = Sets(tmp_path / "state" / "sets.json"), tmp_path / "state" / "sets.json"
    sets.check("server0", frozenset("abcdef"), 3)
    sets.check("server0", frozenset("abcdef"), 3)
    sets.check("server0", frozenset("xy"), 3)  # nobody in common: their difference says no more than both
    with pytest.raises(PolicyError, match=r"server0 refuses .* in a, g alone \(rule min_set_difference\)"):
        sets.check("server0", frozenset("bcdefg"), 3)
    sets.check("server0", frozenset("abc"), 3)
    for again in (sets, Sets(path)):  # and after a restart
        with pytest.raises(PolicyError, match="in c alone"):
            again.check("server0", frozenset("ab"), 3)
    assert json.loads(path.read_text()) == [list("abcdef"), ["x", "y"], list("abc")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_so_many_sets_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differencing, "_MOST", 3)
    sets = Sets(tmp_path / "sets.json")
    for first, second in itertools.pairwise("abcdefghi"):
        sets.check("server0", frozenset((first, second)), 2)
    assert json.loads((tmp_path / "sets.json").read_text()) == [list("fg"), list("gh"), list("hi")]


def test_a_set_that_cannot_be_written_down_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets, path = Sets(tmp_path / "sets.json"), tmp_path / "sets.json"

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(differencing, "write_file", full)
        for _ in range(2):
            with pytest.raises(StorageError, match="No space left"):
                sets.check("server0", frozenset("abcd"), 3)
    assert not path.exists()
    sets.check("server0", frozenset("abc"), 3)
    assert json.loads(path.read_text()) == [list("abc")]


def test_a_set_that_is_seen_again_is_the_last_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differencing, "_MOST", 2)
    sets = Sets(tmp_path / "sets.json")
    for pair in ("ab", "cd", "ab", "ef"):
        sets.check("server0", frozenset(pair), 2)
    assert json.loads((tmp_path / "sets.json").read_text()) == [list("ab"), list("ef")]
    with pytest.raises(PolicyError, match="in b alone"):
        sets.check("server0", frozenset("a"), 2)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[1]", '[["a", 2]]'):
        path = tmp_path / "sets.json"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(StorageError, match=r"sets\.json is no list of sets of owners"):
            Sets(path).check("server0", frozenset("ab"), 1)


# -- what a player knows of a run ------------------------------------------------------------------------------------


def test_a_set_is_counted_then_judged() -> None:
    judged: list[Any] = []
    left: list[str] = []
    attendance = Attendance(
        frozenset("abc"),
        lambda owners, present: judged.append((owners, present)),
        lambda player, why: left.append(player),
    )
    attendance.leave_out("a", "it died")
    attendance.leave_out("a", "it died again")
    attendance.leave_out("server", "nobody can do without it")
    assert attendance.missing == {"a": "it died"} and left == ["a"]
    np.testing.assert_array_equal(attendance.delivered("cab"), [True, False, True])
    quorum = Quorum(None, tuple("abc"), 2, "file.py:3 (f)")
    attendance.settle(quorum, np.array([False, True, True]))
    assert judged == [(frozenset("abc"), frozenset("bc"))] and left == ["a"]
    with pytest.raises(
        OwnersMissing, match=r"file\.py:3 \(f\): 1 of 3 .* at least 2 must; missing are a \(it died\), b \("
    ):
        attendance.settle(quorum, np.array([False, False, True]))
    assert left == ["a", "b"] and len(judged) == 1


def test_an_owner_lost_between_two_gathers_ends_the_run() -> None:
    def gathers(least: int, second: int, *rows: str) -> None:
        attendance, owners = Attendance(frozenset("abcd")), tuple("abcd")
        for line, (row, demanded) in enumerate(zip(rows, (least, second, least), strict=False)):
            there = np.array([owner in row for owner in owners])
            attendance.settle(Quorum(None, owners, demanded, f"file.py:{line}"), there)

    gathers(3, 3, "abcd", "abcd", "abcd")
    gathers(1, 1, "abcd", "abc")  # one owner's is as much as they may show
    gathers(2, 2, "abcd", "ac")
    with pytest.raises(
        OwnersMissing, match=r"file\.py:1: this gather and that at file\.py:0 .* in d \(.*than 4"
    ) as caught:
        gathers(4, 3, "abcd", "abc")
    assert caught.value.player == "d"
    with pytest.raises(OwnersMissing, match=r"file\.py:2: .* that at file\.py:1 .* in b \(.*, d \(.* than 3"):
        gathers(2, 3, "abcd", "abcd", "ac")


def test_reasons_of_others_are_fit_for_a_log() -> None:
    attendance = Attendance(frozenset("a"))
    attendance.leave_out("a", "\x1b[2J\n" + "漢" * 200)
    assert attendance.missing["a"] == "?[2J?" + "漢" * 200
    done = Done(bytes(range(16)), attendance.missing)
    assert Done.decode(done.encode()) == Done(done.run, {"a": "?[2J?" + "漢" * 38})
    assert Done.decode(Done(done.run, {"a": "\ud800" * 200}).encode()).missing == {"a": "?" * 120}


def test_the_last_word_of_a_run_travels() -> None:
    done = Done(bytes(range(16)), {"alice": "late", "bob": "y" * 500})
    assert Done.decode(done.encode()) == Done(done.run, {"alice": "late", "bob": "y" * 120})
    assert Done.decode(Done(done.run).encode()) == Done(done.run)


# -- asking owners again ---------------------------------------------------------------------------------------------


class Links:
    """A transport to owners of whom some are up and some answer, at once."""

    def __init__(self) -> None:
        self.up: dict[str, float] = {}
        self.answers: dict[str, list[bytes]] = {}
        self.asked: list[str] = []

    def up_since(self, player: str) -> float | None:
        return self.up.get(player)

    def send(self, player: str, header: Header, timeout: float | None = None) -> None:
        assert header.kind is Kind.SUBMIT
        self.asked.append(player)
        if player in self.up:
            self.answers[player] = [orders.TAKEN, Ready(frozenset({"driver"})).encode()]

    def wait_control(self, kind: Kind, run: bytes, player: str, timeout: float) -> Header:
        if not self.answers.get(player):
            raise LinkTimeout(player, "nothing came")
        return Header(kind, run, body=self.answers[player].pop(0))

    def hint(self, player: str) -> str:
        return "is it there?"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(invitations.time, "monotonic", lambda: now[0])
    return now


def test_who_was_left_out_is_asked_again_and_ever_more_rarely(clock: list[float]) -> None:
    links = Links()
    links.up = {"a": 1.0, "b": 1.0}
    asking, invitation = Invitations(links, 10.0), Invitation(bytes(16), b"body")

    def invited() -> set[str]:
        asking.ask(invitation, "abc")
        asking.answers(invitation, "abc", 0.0, all_of=False)
        return set(asking.ready(invitation))

    assert invited() == {"a", "b"} and links.asked == ["a", "b", "c"]
    asking.ended("ab", {}, well=True)
    assert invited() == {"a", "b"} and len(links.asked) == 3  # c is down: it has been asked
    links.up["c"] = 101.0
    clock[0] = 102.0
    assert invited() == {"a", "b", "c"} and links.asked[3:] == ["c"]  # it has come up since it was asked
    asking.ended("abc", {"b": "late"}, well=True)
    assert invited() == {"a", "b", "c"} and links.asked[4:] == ["b"], "once more at once"
    for pause in (10, 20, 40):
        asking.ended("abc", {"b": "late"}, well=True)
        clock[0] += pause - 1
        assert invited() == {"a", "c"}
        clock[0] += 2
        assert invited() == {"a", "b", "c"}
    asking.ended("abc", {}, well=True)
    asking.ended("abc", {"b": "late"}, well=True)
    assert invited() == {"a", "b", "c"}, "it was there to the end in between"
    before = len(links.asked)
    asking.ended("abc", {}, well=False)  # nobody knows why
    assert not asking.ready(invitation) and invited() == {"a", "b", "c"}
    assert links.asked[before:] == ["a", "b", "c"]


def test_an_owner_that_never_answers_is_hardly_waited_for(clock: list[float]) -> None:
    links = Links()
    links.up = {"a": 1.0}
    links.answers = {}
    waited: list[float] = []

    def silent(kind: Kind, run: bytes, player: str, timeout: float) -> Header:
        waited.append(timeout)
        clock[0] += timeout
        raise LinkTimeout(player, "nothing came")

    links.wait_control = silent  # type: ignore[method-assign]
    asking, invitation = Invitations(links, 10.0), Invitation(bytes(16), b"body")
    start = clock[0]
    while clock[0] < start + 3000:
        asking.ask(invitation, "a")
        asking.answers(invitation, "a", 10.0, all_of=False)
        clock[0] += 1.0  # a run without it
    assert sum(waited) < 120 and len(links.asked) < 12


def test_an_owner_that_hides_what_is_opened_is_not_invited(clock: list[float]) -> None:
    links = Links()
    links.up = dict.fromkeys("abc", 1.0)
    asking, invitation = Invitations(links, 10.0), Invitation(bytes(16), b"body")
    asking.ask(invitation, "abc")
    links.answers["b"][1] = Ready(frozenset()).encode()
    links.answers["c"][1] = Ready(frozenset(), frozenset({"driver", "x"})).encode()
    asking.answers(invitation, "abc", 0.0, all_of=True)
    asking.judge(invitation, dict.fromkeys("abc", frozenset({"driver"})))
    assert set(asking.ready(invitation)) == {"a", "c"}
    assert invitation.guests["b"].refused == "it does not let driver see what it brings"


def test_an_owner_that_refuses_is_not_asked_again(clock: list[float]) -> None:
    links = Links()
    asking, invitation = Invitations(links, 10.0), Invitation(bytes(16), b"body")
    asking.ask(invitation, "a")
    links.up, links.answers = {"a": 50.0}, {"a": [orders.refused("a does not like it")]}
    asking.answers(invitation, "a", 0.0, all_of=True)
    clock[0] += 1000
    asking.ask(invitation, "a")
    assert links.asked == ["a"] and not asking.ready(invitation)
