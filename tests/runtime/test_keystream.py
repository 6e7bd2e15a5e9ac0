"""No keystream block is ever made for two purposes: tested at the cipher."""

import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import ALL, PLAYERS, A, B, C, planned, traced, words
from jax import lax
from runtime.modes import Case, Eager, Wires, agree_in_all_modes, fixed_keys, random_words

from jmpc.choreography.cost import cost
from jmpc.choreography.primitives import draw, release, send_masked
from jmpc.choreography.programs import BLOCK_BYTES
from jmpc.kernels import keystream
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.keystream import HostKeystream
from jmpc.runtime.links import RecordingLink
from jmpc.runtime.machine import Machine

ONE = np.uint64(1)


class Cipher:
    """Stands in for the cipher: counts what each player draws, and refuses a block that it drew before."""

    def __init__(self):
        self.player = threading.local()
        self.blocks = defaultdict(lambda: defaultdict(set))  # by player, then by key, op id, iteration, stream
        self.bytes = Counter()

    def note(self, key, op_id, iteration, stream, size):
        blocks = self.blocks[self.player.name][key, op_id, iteration, stream]
        made = set(range(-(-size // BLOCK_BYTES)))
        assert blocks.isdisjoint(made)
        blocks |= made
        self.bytes[self.player.name] += size

    def machine(self, player: str, case: Case, keys, link=None) -> Machine:
        """A machine whose draws are those of `player`."""
        cipher = self

        class Watched(HostKeystream):
            def buffers(self, draws, iteration):
                cipher.player.name = player
                return super().buffers(draws, iteration)

        return Machine(case.compiler, Watched(keys), link)

    def run_all(self, case: Case, keys) -> None:
        """Once fused, once as separate players."""
        made, plan, wires = case.choreography, planned(case.choreography), Wires()
        self.machine("fused", case, keys).run(case.fused_program(), case.env())

        def play(player):
            self.machine(player, case, keys, wires).run(plan.program(player), case.env(player))

        with ThreadPoolExecutor(len(made.players)) as pool:
            list(pool.map(play, made.players))


@pytest.fixture
def cipher(monkeypatch) -> Cipher:
    made = Cipher()

    class Watched(keystream.Keystream):
        def __init__(self, key):
            super().__init__(key)
            self.key = key

        def fill(self, op_id, iteration, out, stream=0):
            made.note(self.key, op_id, iteration, stream, out.nbytes)
            super().fill(op_id, iteration, out, stream)

    monkeypatch.setattr(keystream, "Keystream", Watched)
    return made


def loops(n, x, y):
    """Draws in every kind of place: a scan in a scan, a while, both branches of a cond, equal bodies."""

    def inner(c, _):
        return c + draw((A, B), (3,)), send_masked(c, {B: draw((A, C), (3,))}, A)

    def outer(c, _):
        c, seen = lax.scan(inner, c, None, length=3)
        c = lax.cond(n[0] > ONE, lambda: c + draw((A, C), (3,)), lambda: c - draw((A, C), (3,)))
        return c, seen

    x, seen = lax.scan(outer, x, None, length=2)
    again = lax.scan(inner, x, None, length=2)

    def turn(carry):
        left, c, _ = carry
        return left - ONE, c * np.uint64(5), send_masked(c + draw((A,), (3,)), {B: draw((A, C), (3,))}, A)

    _, x, last = lax.while_loop(lambda carry: carry[0] > 0, turn, (n[0], x, y))
    return x, seen, again, last


@pytest.fixture(scope="module")
def made():
    return traced(loops, ALL, A, ALL, avals=[words(1), words(3), words(3)])


def arrays(turns: int):
    return [np.array([turns], np.uint64), random_words(1, 3), random_words(2, 3)]


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_no_block_serves_twice(made, turns, cipher):
    cipher.run_all(Case(made, arrays(turns), Eager()), fixed_keys(made))
    # Players draw what the fused run draws; those who share a key draw the same blocks under it.
    everyone = cipher.blocks["fused"]
    assert len(everyone) == 2 * (3 * 2 + 1) + 2 * 2 + turns * 2
    for player in PLAYERS:
        assert cipher.blocks[player].items() <= everyone.items()
    assert set().union(*(cipher.blocks[p] for p in PLAYERS)) == everyone.keys()


def test_two_runs_of_one_program_have_nothing_in_common(made):
    """Fresh keys, same program, same input: no message is the same."""
    case, links = Case(made, arrays(2), Eager()), (RecordingLink(), RecordingLink())
    program = case.fused_program(record=True)
    for run, link in enumerate(links):
        Machine(case.compiler, HostKeystream(fixed_keys(made, run)), link).run(program, case.env())
    first, second = (link.messages for link in links)
    assert first.keys() == second.keys() and first
    for slot, payloads in first.items():
        for one, two in zip(payloads, second[slot], strict=True):
            assert (one != two).all()


def test_no_two_messages_of_a_run_are_equal(made):
    """In every iteration something else is sent, though the input is zero."""
    zero = [np.array([2], np.uint64), np.zeros(3, np.uint64), np.zeros(3, np.uint64)]
    _, messages = agree_in_all_modes(Case(made, zero, Eager()))
    payloads = [array.tobytes() for arrays in messages.values() for array in arrays]
    assert len(set(payloads)) == len(payloads) > 8


def test_the_cost_of_keystream_is_what_was_drawn(cipher):
    def fn(x):
        def body(c, _):
            return c + draw((A, B), (3,)), draw((A, C), (70,), np.uint8, bits=3)

        c, rows = lax.scan(body, x, None, length=4)
        return c, rows, draw((A, B), (9,)), draw((A,), (0,))

    made = traced(fn, (A, B))
    cipher.run_all(Case(made, [random_words(1, 3)], Eager()), fixed_keys(made))
    expected = cost([planned(made).program(player) for player in PLAYERS]).keystream
    assert expected == {A: {(): 4 * (64 + 128) + 128}, B: {(): 4 * 64 + 128}, C: {(): 4 * 128}}
    assert {player: {(): cipher.bytes[player]} for player in PLAYERS} == expected


def test_a_compiled_computation_draws_anew_in_every_run():
    """The classic trap of compiled protocols: masks that were fixed when the function was traced."""
    made = traced(lambda x: send_masked(x, {B: draw((A, C), (3,))}, A), A)
    case = Case(made, [random_words(1, 3)], Compiler())
    case.compiler.finish(kept := case.fused_program(record=True))  # every run below shares its executable
    sent = []
    for run in range(3):
        link = RecordingLink()
        case.fused(fixed_keys(made, run), link)
        sent += [a.tobytes() for arrays in link.messages.values() for a in arrays]
    assert kept.steps and case.compiler.size == 1 and len(set(sent)) == 3


def test_a_machine_runs_once():
    made = traced(lambda x: x + draw((A,), (3,)), A)
    case = Case(made, [random_words(1, 3)], Eager())
    machine = Machine(case.compiler, HostKeystream(fixed_keys(made)))
    machine.run(case.fused_program(), case.env())
    with pytest.raises(AssertionError, match="a machine runs once"):
        machine.run(case.fused_program(), case.env())


def test_draws_are_uniform_words_of_their_bits():
    made = traced(lambda: (draw((A,), (4096,), bits=13), draw((A,), (4096,), np.uint8, bits=1)), players=(A,))
    case = Case(made, [], Eager())
    words_, bits = case.fused(fixed_keys(made))
    assert words_.max() < 1 << 13 and words_.max() > 8000 and abs(float(words_.mean()) - 4095.5) < 200
    assert bits.max() == 1 and abs(float(bits.mean()) - 0.5) < 0.05


def test_releases_draw_nothing(cipher):
    made = traced(lambda x: release(jnp.sum(x), A, B, "why"), A)
    cipher.run_all(Case(made, [random_words(1, 3)], Eager()), {})
    assert not cipher.blocks
