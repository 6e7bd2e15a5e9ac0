"""No block of keystream is ever made twice, over runs, loops, sessions and restarts, in any mode.

What is asserted is what a witness at the cipher has seen, of host and compiled functions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from api.accounting import at
from examples.recording import Tape
from jax import lax
from network import inprocess
from network.conftest import make_cluster
from network.inprocess import COMPILER, SERVERS, Nodes, eventually, in_background, long_loop, run
from runtime.cipher import Cipher, watch

import jmpc
from jmpc.api.graph import build
from jmpc.api.session import LocalSession, Session
from jmpc.choreography.cost import cost
from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.programs import Frame, Program
from jmpc.config import Mode, RemoteConfig
from jmpc.errors import ConfigError, PeerError
from jmpc.player import main as node
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.device_keystream import DeviceKeystream
from jmpc.runtime.inputs import Feed
from jmpc.runtime.keystream import HostKeystream
from jmpc.runtime.links import RecordingLink, Slot, TransportLink
from jmpc.runtime.party import Party
from jmpc.runtime.prepare import Prepared
from jmpc.runtime.remote import RemoteSession
from jmpc.runtime.simulate import FusedSimulation

Open = Callable[[], AbstractContextManager[Session]]
SIZE = 64  # elements, so that even a message of one bit each does not repeat by chance
TURNS = 2
PLACES = [pytest.param(HostKeystream, id="host"), pytest.param(DeviceKeystream, id="graph")]


@jmpc.function
def loops(x):
    """Draws in a loop in a loop, in another with the same body, and in a while."""

    def inner(c, _):
        return c * x, c

    def outer(c, _):
        c, _ = lax.scan(inner, c, None, length=3)
        return c + x, c

    x, seen = lax.scan(outer, x, None, length=2)
    again, _ = lax.scan(inner, x, None, length=3)
    _, last = lax.while_loop(lambda c: c[0] < TURNS, lambda c: (c[0] + 1, c[1] * x), (0, again))
    return last, seen


def private() -> jmpc.Value:
    return jmpc.define_private_input("data-owner", lambda: jnp.linspace(-0.5, 0.5, SIZE))


@pytest.fixture(params=PLACES)
def place(request, monkeypatch: pytest.MonkeyPatch) -> None:
    """All keystream is made on the host, or by compiled functions."""
    for module in ("simulate", "party"):
        monkeypatch.setattr(f"jmpc.runtime.{module}.keystream_for", request.param)


@pytest.fixture
def cipher(place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cipher]:
    """A witness of all keystream; in the end nothing was made twice."""
    made = watch(monkeypatch)
    yield made
    assert made.blocks
    assert not made.repeated


@pytest.fixture
def nodes(tmp_path) -> Iterator[Nodes]:
    made = inprocess.make(tmp_path, insecure=False, timeout=30)
    made.start(*SERVERS, "data-owner")
    yield made
    made.stop()


@pytest.fixture(params=["fused", "threads", "nodes"])
def opened(request) -> Open:
    """Opens sessions of a mode."""
    if request.param == "nodes":
        return request.getfixturevalue("nodes").session

    def local() -> Session:
        made = LocalSession(jmpc.LocalConfig(mode=Mode(request.param)))
        made.simulation.compiler = COMPILER
        return made

    return local


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[Any, dict[Any, bytes]]:
    """What players say, in any mode: by run, then by slot, sender and receiver."""
    heard: dict[Any, dict[Any, bytes]] = defaultdict(dict)
    send, simulate = TransportLink.send, FusedSimulation.run

    def sent(link: TransportLink, frame: Frame, slot: Slot, buffers: Sequence[np.ndarray]) -> None:
        heard[link.run][slot, frame.src, frame.dst] = b"".join(buffer.tobytes() for buffer in buffers)
        send(link, frame, slot, buffers)

    def simulated(simulation: FusedSimulation, prepared: Prepared, feed: Feed, names: Any = None) -> Any:
        outputs = simulate(simulation, prepared, feed, names, link := RecordingLink())
        heard[len(heard)] = {place: b"".join(x.tobytes() for x in arrays) for place, arrays in link.messages.items()}
        return outputs

    monkeypatch.setattr(TransportLink, "send", sent)
    monkeypatch.setattr(FusedSimulation, "run", simulated)
    return heard


def test_runs_loops_and_sessions(cipher: Cipher, opened: Open) -> None:
    """Everything that is drawn passes the witness, and every run draws under keys of its own."""
    size: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    for _ in range(2):
        x, w = private(), jmpc.define_private_variable(jnp.zeros(SIZE))
        last, seen = loops(x)
        with opened() as session:
            for *fetches, times in ((w.assign(w.initial), 1), (last.reveal(), seen.reveal(), w.assign(w + last), 2)):
                for _ in range(times):
                    run(session, *fetches)
                for program in programs(session, *fetches):
                    size[program.player] += times * at(cost([program]).keystream[program.player], TURNS)
                    keys[program.player] += times * len({d.key for s in program.segments() for d in s.draws})
    assert cipher.bytes == +size  # without the players that draw nothing
    assert {player: len(cipher.keys(player)) for player in cipher.blocks} == +keys
    for player in cipher.blocks.keys() & {TOGETHER, *SERVERS}:
        assert {iteration for _, _, iteration, _ in cipher.blocks[player]} == set(range(2 * 3)), "a loop in a loop"


def programs(session: Session, *fetches: Any) -> list[Program]:
    """What each player runs for some fetches; of a fused simulation, its only program."""
    prepared = session.prepare(build(fetches, session.servers, session.driver, session.fraction).computation)
    simulation = getattr(session, "simulation", None)
    players = (TOGETHER,) if isinstance(simulation, FusedSimulation) else prepared.players
    return [prepared.program(player) for player in players]


def test_a_compiled_computation_says_something_else_in_every_run(
    cipher: Cipher, opened: Open, said: dict[Any, dict[Any, bytes]]
) -> None:
    fetches = [value.reveal() for value in loops(private())]
    with opened() as session:
        results = run(session, *fetches)
        compiled = COMPILER.size
        again = run(session, *fetches)
        assert COMPILER.size <= compiled  # those of other tests may go meanwhile
    np.testing.assert_allclose(results[0], again[0], atol=1e-4)
    first, second = said.values()
    assert first.keys() == second.keys() and len(first) > 6 * 3
    assert all(len(message) >= SIZE // 8 and message != second[place] for place, message in first.items())
    one, two = (np.frombuffer(b"".join(run[place] for place in first), np.uint8) for run in (first, second))
    assert abs(np.mean(one == two) - 1 / 256) < 0.004


def sorts(x):
    """Secret shuffles in a loop, of one permutation several times, and beside reads and writes at secret places."""
    order = jnp.argsort(x)

    def turn(c, _):
        c = jnp.sort(c)[::-1] + x[order]
        return c.at[order[0]].set(c[order[1]]), lax.top_k(c, 2)[0]

    return lax.scan(turn, x, None, length=3)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.FUSED, Mode.THREADS])
def test_sorts_by_digits_also_where_a_compiler_takes_over(
    cipher: Cipher, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few elements are sorted like many here; what has been interpreted once is compiled from then on."""
    monkeypatch.setattr("jmpc.lowering.sorting.are_few", lambda shape: False)
    monkeypatch.setattr("jmpc.lowering.rules.sorting.are_few", lambda shape: False)
    monkeypatch.setattr("jmpc.runtime.compiler._PATIENCE_INTERPRETED", 0.0)
    numbers = np.linspace(-0.5, 0.5, 6, dtype=np.float32)[[3, 0, 5, 1, 4, 2]]
    x = jmpc.define_private_input("data-owner", lambda: jnp.asarray(numbers), range=(-1, 1))
    session, fetches = LocalSession(jmpc.LocalConfig(mode=mode)), [v.reveal() for v in jmpc.function(sorts)(x)]
    for _ in range(2):
        for got, want in zip(run(session, *fetches), sorts(jnp.asarray(numbers)), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-4)


def test_nodes_that_are_started_again(cipher: Cipher, nodes: Nodes) -> None:
    """With the same keys of their links, and drivers that go on or come back."""
    product = (private() * private()).reveal()
    with nodes.session() as one:
        for names in (("server1",), (*SERVERS, "data-owner")):
            with nodes.session("second-driver") as two:
                run(one, product)
                run(two, product)
            before = {name: len(cipher.keys(name)) for name in names}
            nodes.stop(*names)
            nodes.start(*names)
            eventually(lambda: in_background(lambda: run(one, product))() is None, 30)
            assert all(len(cipher.keys(name)) > before[name] for name in names)


@pytest.mark.slow
def test_a_process_that_is_killed_and_started_again(tmp_path: Path) -> None:
    cluster = make_cluster(tmp_path, SERVERS, timeout=20)
    cluster.program = ("runtime.watched_node", str(tmp_path))

    def made(name: str) -> int:
        return len((tmp_path / f"{name}.blocks").read_bytes().splitlines())

    x = jmpc.define_private_input("driver", lambda: jnp.linspace(-0.5, 0.5, SIZE))
    try:
        cluster.start(*SERVERS)
        with RemoteSession(RemoteConfig.load(cluster.config)) as session:
            run(session, (x * x).reveal())
            end = in_background(lambda: run(session, long_loop(x=x).reveal()))
            before = made("server1")
            eventually(lambda: made("server1") > before + 100, 60)
            cluster.kill("server1")
            assert isinstance(end(), PeerError)
            before = made("server1")
            cluster.start("server1")
            eventually(lambda: in_background(lambda: run(session, (x * x).reveal()))() is None, 30)
            assert made("server1") > before
    finally:
        cluster.stop()
    witness = Cipher()
    for name in SERVERS:
        with witness.playing(name):
            for line in (tmp_path / f"{name}.blocks").read_text().splitlines():
                key, *address, count = line.split()
                witness.note((key, *map(int, address)), range(int(count)), 0)
    assert not witness.repeated


def test_the_witness_sees_keys_that_serve_twice(place, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = watch(monkeypatch)
    product = (private() * private()).reveal()
    with LocalSession(jmpc.LocalConfig()) as session:
        session.simulation = FusedSimulation(Rep3, lambda prepared: Tape().keys(prepared.keys))
        run(session, product)
        assert not witness.repeated
        run(session, product)
    assert {address for _, address in witness.repeated} == witness.blocks[TOGETHER].keys()


# -- keys of tests -------------------------------------------------------------------------------------------------


def test_nodes_and_drivers_have_keys_from_their_agreement_alone(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    parties, play = [], Party.play
    monkeypatch.setattr(Party, "play", lambda party, *args: parties.append(party) or play(party, *args))
    with nodes.session() as session:
        run(session, (private() * private()).reveal())
    assert {party.me for party in parties} == {*SERVERS, "data-owner", "driver"}
    assert all(party.keys is None and party.recorder is None for party in parties)


@pytest.mark.parametrize("option", ["--keys", "--test-keys", "--seed", "--record"])
def test_no_option_of_a_node_gives_it_keys(option: str, capsys) -> None:
    with pytest.raises(SystemExit):
        node(["server0", option, "00" * 32])
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["test_keys", "seed", "record"])
def test_no_field_of_a_configuration_gives_keys(field: str, tmp_path: Path) -> None:
    nodes = inprocess.make(tmp_path, **{field: "00" * 32})
    with pytest.raises(ConfigError, match=rf"line \d+: {field} is no field"):
        nodes.config()
