"""One choreography, every mode: bit-identical results, identical messages, correct values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zmq
from choreography.programs_check import ALL, A, B, C, planned, traced, words
from jax import lax
from runtime.modes import Case, Wires, agree_in_all_modes, equal, fixed_keys, random_words

from jmpc.choreography.needs import TOGETHER
from jmpc.choreography.primitives import Group, agree, draw, guard, local, public, release, send_masked
from jmpc.choreography.programs import Scan, While
from jmpc.errors import FrameError, InputError
from jmpc.net import Transport
from jmpc.protocols.base import Bits, Ring
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.keystream import HostKeystream
from jmpc.runtime.links import TransportLink
from jmpc.runtime.machine import Machine

PAIRS = [(C, A), (A, B), (B, C)]  # who holds the slots
OWNER = "owner"
ONE = np.uint64(1)


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    return Compiler()


def rep3_case(fn, values: list[np.ndarray], compiler: Compiler) -> Case:
    """`fn(protocol, *Ring) -> slots`, on sharings of these values."""
    rng = np.random.default_rng(7)
    slots = []
    for value in values:
        x, y = (rng.integers(0, 1 << 64, value.shape, np.uint64) for _ in range(2))
        slots += [x, y, value - x - y]

    def choreography(*arrays):
        return fn(Rep3((A, B, C)), *(Ring(arrays[i : i + 3]) for i in range(0, len(arrays), 3)))

    made = traced(choreography, *PAIRS * len(values), avals=[words(*v.shape) for v in values for _ in range(3)])
    return Case(made, slots, compiler)


def small(seed: int, *shape: int) -> np.ndarray:
    """Signed numbers of 30 bits as words."""
    return np.random.default_rng(seed).integers(-(1 << 30), 1 << 30, shape, np.int64).astype(np.uint64)


# -- the protocol ----------------------------------------------------------------------------------------------


def test_multiplication(compiler):
    x, y = small(1, 3), small(2, 3)
    case = rep3_case(lambda p, x, y: p.settle(p.multiply(x, y)), [x, y], compiler)
    outs, messages = agree_in_all_modes(case)
    assert (sum(outs) == x * y).all() and len(messages) == 3


def test_truncation_of_a_product(compiler):
    x, y = small(1, 5), small(2, 5)
    case = rep3_case(lambda p, x, y: p.truncate(p.multiply(x, y), 20), [x, y], compiler)
    outs, _ = agree_in_all_modes(case)
    error = sum(outs).astype(np.int64) - ((x * y).astype(np.int64) >> np.int64(20))
    assert ((error == 0) | (error == 1)).all()


def test_sign_and_select(compiler):
    x, y = small(1, 4), small(2, 4)
    case = rep3_case(lambda p, x, y: (p.sign(x), p.select(p.sign(x), x, y)), [x, y], compiler)
    outs, _ = agree_in_all_modes(case)
    negative = x.astype(np.int64) < 0
    assert ((outs[0] ^ outs[1] ^ outs[2]) == negative).all()
    assert (sum(outs[3:]) == np.where(negative, x, y)).all()


def test_multiplication_in_nested_loops(compiler):
    """x y^6, multiplied in two loops; the inner carry starts anew."""

    def fn(p, x, y):
        def inner(carry, _):
            return p.settle(p.multiply(Ring(carry), y)).slots, None

        def outer(carry, _):
            return lax.scan(inner, carry, None, length=2)[0], carry

        return lax.scan(outer, x.slots, None, length=3)

    x, y = small(1, 3), small(2, 3)
    outs, messages = agree_in_all_modes(rep3_case(fn, [x, y], compiler))
    assert (sum(outs[:3]) == x * y**6).all()
    assert (sum(outs[3:]) == np.stack([x, x * y**2, x * y**4])).all()
    assert len(messages) == 3 * 6


def test_a_reverse_loop_over_rows(compiler):
    def fn(p, x, y):
        def body(carry, row):
            return p.settle(p.multiply(Ring(carry), Ring(row))).slots, carry

        return lax.scan(body, x.slots, y.slots, reverse=True)

    x, y = small(1, 2), small(2, 3, 2)
    outs, _ = agree_in_all_modes(rep3_case(fn, [x, y], compiler))
    assert (sum(outs[:3]) == x * y[0] * y[1] * y[2]).all()
    assert (sum(outs[3:]) == np.stack([x * y[2] * y[1], x * y[2], x])).all()


def test_a_loop_whose_predicate_is_opened(compiler):
    """Doubles until the value is no longer negative; players learn how often, and only that."""

    def fn(p, x):
        def again(slots):
            bit = p.sign(Ring(slots))
            opened = p.reveal_bits(Bits(bit.slots, 1), A, "goes on")
            return release(opened, A, [B, C], "goes on")[0] == 1

        return lax.while_loop(again, lambda slots: tuple(s + s for s in slots), x.slots)

    x = np.array([(1 << 64) - (1 << 60)], np.uint64)
    outs, _ = agree_in_all_modes(rep3_case(fn, [x], compiler))
    assert int(sum(outs)[0]) == 0  # -2^60 is doubled four times


def test_owners_of_inputs_and_results(compiler):
    """An owner that is no party: shares, reveals, its own float code, a guard."""

    def fn(x, y):
        p = Rep3((A, B, C))
        unit = jax.make_jaxpr(lambda v: jnp.round(v * np.float32(1 << 16)).astype(np.int64).astype(np.uint64))
        (encoded,) = local(unit(x), [x], OWNER, "encode")
        encoded = guard(encoded, jnp.all(jnp.abs(x) < np.float32(4)), OWNER, "too large")
        z = p.settle(p.multiply(p.share(encoded, OWNER), p.share(y, A)))
        return p.reveal(z, OWNER, "product"), p.reveal(z, B, "product")

    made = traced(fn, OWNER, A, avals=[jax.ShapeDtypeStruct((3,), np.float32), words(3)], players=(A, B, C, OWNER))
    x, y = np.array([0.5, -1.25, 3], np.float32), np.array([2, 3, 4], np.uint64)
    outs, _ = agree_in_all_modes(Case(made, [x, y], compiler))
    for out in outs:
        assert (out.astype(np.int64) / (1 << 16) == x * y.astype(np.float32)).all()


# -- control flow in every mode --------------------------------------------------------------------------------


def everything(i, x, y, z):
    """A loop over rows with draws, branches, local code and a loop inside; a while with messages."""
    table = np.arange(3, dtype=np.uint64)
    masked = jax.jit(
        lambda v, dst, key: send_masked(v + public(table), {dst: draw(key, (3,))}, A), static_argnums=(1, 2)
    )

    def inner(c, row):
        return c + row, masked(c, B, (A, C))

    def body(carry, row):
        a, b = carry
        a, seen = lax.scan(inner, a, jnp.stack([row, row]))
        b = lax.cond(i[0] > ONE, lambda: release(b, B, A, "one") + ONE, lambda: b * b)
        unit = jax.make_jaxpr(lambda v: jnp.exp(v.astype(np.float32) / np.float32(1 << 62)))(a)
        return (a, b), (seen, local(unit, [a], A, "exp")[0])

    (a, b), (seen, floats) = lax.scan(body, (x, y), z)

    def turn(carry):
        n, a, _ = carry
        seen = send_masked(a, {C: draw((A, B), (3,), bits=40)}, A, group=Group.XOR, bits=40)
        return n + ONE, a + a, seen

    n, a, last = lax.while_loop(lambda carry: carry[0] < i[0], turn, (np.uint64(0), a, jnp.zeros_like(a)))
    single, _ = lax.while_loop(
        lambda carry: carry[1] < b[0] % np.uint64(4), lambda c: (c[0] * c[0], c[1] + ONE), (b, np.uint64(0))
    )
    return a, b, seen, floats, n, last, single, agree(b + b, np.uint64(2) * b)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_control_flow(compiler, times):
    made = traced(everything, ALL, A, B, A, avals=[words(1), words(3), words(3), words(2, 3)])
    arrays = [np.array([times], np.uint64), random_words(1, 3), random_words(2, 3), random_words(3, 2, 3)]
    _, messages = agree_in_all_modes(Case(made, arrays, compiler))
    assert len([key for key in messages if key[2] == C]) == times


def test_loops_that_never_run(compiler):
    def fn(x, y):
        def body(c, row):
            return c + release(row, A, B, "why"), (c, release(c > ONE, A, B, "flag"))

        return lax.scan(body, x, y)

    made = traced(fn, A, A, avals=[words(2), words(0, 2)])
    outs, messages = agree_in_all_modes(Case(made, [random_words(1, 2), np.zeros((0, 2), np.uint64)], compiler))
    assert [out.shape for out in outs] == [(2,), (0, 2), (0, 2)] and outs[2].dtype == bool and not messages


def test_empty_and_scalar_arrays(compiler):
    def fn(x, y, z):
        few = send_masked(x, {B: draw((A, C), (), bits=5)}, A, bits=5)
        none = send_masked(y, {B: draw((A, C), (0, 2), bits=7)}, A, bits=7)
        return few, none, release(z, A, B, "flags"), release(x.astype(np.float32), A, B, "float")

    avals = [words(), words(0, 2), jax.ShapeDtypeStruct((9,), np.bool_)]
    arrays = [random_words(1), random_words(2, 0, 2), np.arange(9) % 2 == 0]
    outs, messages = agree_in_all_modes(Case(traced(fn, A, A, A, avals=avals), arrays, compiler))
    equal([outs[2]], [arrays[2]])
    assert [a.nbytes for a in messages[(0,), A, B]] == [1, 0, 2, 4]


def test_releases_of_fewer_bits_are_cut_at_every_player(compiler):
    def fn(x):
        return release(x, A, B, "low bits", bits=9)

    x = random_words(1, 3)
    (out,), _ = agree_in_all_modes(Case(traced(fn, A), [x], compiler))
    equal([out], [x & np.uint64(511)])


def test_constants_of_loop_bodies(compiler):
    table = np.arange(3, dtype=np.uint64)
    shifted = jax.jit(lambda x: x + public(table))

    def fn(x):
        return lax.scan(lambda c, _: (shifted(c), release(shifted(c), A, B, "why")), x, None, length=3)

    x = random_words(1, 3)
    outs, _ = agree_in_all_modes(Case(traced(fn, A), [x], compiler))
    equal([outs[0]], [x + np.uint64(3) * table])


def test_typed_random_keys_pass_through_steps(compiler):
    """Public randomness of JAX's own, drawn by everyone alike in a loop with messages."""

    def fn(x):
        key = jax.random.wrap_key_data(public(np.arange(2, dtype=np.uint32)), impl="threefry2x32")

        def body(carry, row):
            key, c = carry
            key, now = jax.random.split(key)
            noise = jax.random.bits(now, (3,), np.uint64) ^ jax.random.bits(row, (3,), np.uint64)
            return (key, c + noise), (release(c, A, B, "why"), now)

        (key, x), (seen, keys) = lax.scan(body, (key, x), jax.random.split(key, 3))
        return x, seen, jax.random.key_data(key), jax.random.key_data(keys)

    outs, _ = agree_in_all_modes(Case(traced(fn, A), [random_words(1, 3)], compiler))
    assert outs[3].shape == (3, 2) and len(np.unique(outs[3], axis=0)) == 3


def test_copies_of_slots_are_equal_at_their_holders(compiler):
    """What `agree` promises: each player's own copy, computed in its own way."""

    def fn(p, x, y):
        return p.truncate(p.multiply(x, y), 20), p.select(p.sign(x), x, y)

    case = rep3_case(fn, [small(1, 3), small(2, 3)], compiler)
    outs = case.threads(fixed_keys(case.choreography), Wires())
    for position in range(6):
        copies = [held[position] for held in outs.values() if position in held]
        assert len(copies) == 2
        equal(copies[:1], copies[1:])


# -- over sockets ----------------------------------------------------------------------------------------------


def test_transport_links_carry_the_same_messages(compiler):
    made = traced(everything, ALL, A, B, A, avals=[words(1), words(3), words(3), words(2, 3)])
    arrays = [np.array([2], np.uint64), random_words(1, 3), random_words(2, 3), random_words(3, 2, 3)]
    case = Case(made, arrays, compiler)
    fused, messages = agree_in_all_modes(case)
    run, seen = bytes(16), {}

    def record(_, frame, slot, buffers):
        seen[slot, frame.src, frame.dst] = [np.array(b) for b in buffers]

    with zmq.Context() as context:
        ends = {p: f"inproc://machine-{p}" for p in made.players}
        transports = {p: Transport(p, ends, context=context, linger=0.2) for p in made.players}
        try:
            for transport in transports.values():
                transport.open_run(run, set(made.players))
            links = {p: TransportLink(t, run, 20.0, record) for p, t in transports.items()}
            outs = case.threads(fixed_keys(made), links)
        finally:
            for transport in transports.values():
                transport.close()
    for held in outs.values():
        for position, out in held.items():
            equal([fused[position]], [out])
    assert seen.keys() == messages.keys()
    for key, arrays in messages.items():
        equal(arrays, seen[key])


# -- what goes wrong -------------------------------------------------------------------------------------------


def test_a_guard_names_the_player_and_nothing_else(compiler):
    def fn(x, y):
        seen = release(y, A, B, "other")
        checked = guard(x, jnp.all(x < np.uint64(9)), A, "the input of A is too large")
        return release(checked + seen, A, C, "why")

    case = Case(traced(fn, A, A), [np.array([1, 1 << 40, 3], np.uint64), random_words(1, 3)], compiler)
    wires = Wires()
    with pytest.raises(InputError) as caught:
        case.threads(fixed_keys(case.choreography), wires)
    line = fn.__code__.co_firstlineno + 2
    assert caught.value.player == A
    assert str(caught.value) == f"test_machine.py:{line} (fn): A: the input of A is too large"
    assert not wires.messages  # not even what has nothing to do with the bad input
    for cut in (False, True):
        with pytest.raises(InputError, match="the input of A is too large"):
            case.fused({}, cut=cut)
    case.arrays[0][1] = 1
    agree_in_all_modes(case)


def test_a_guard_in_a_loop(compiler):
    def fn(x):
        def body(c, _):
            c = guard(c + ONE, jnp.all(c < np.uint64(3)), A, "too far")
            return c, release(c, A, B, "count")

        return lax.scan(body, x, None, length=5)

    case = Case(traced(fn, A), [np.zeros(3, np.uint64)], compiler)
    wires = Wires()
    with pytest.raises(InputError, match="too far"):
        case.threads({}, wires)
    assert len(wires.messages) == 3


class Stub:
    """A link that gives what it was told to give."""

    def __init__(self, *buffers):
        self.buffers = buffers

    def receive(self, frame, slot):
        return list(self.buffers)


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        ([], "has 0 arrays, expected 2"),
        ([bytes(24)] * 3, "has 3 arrays, expected 2"),
        ([bytes(24), bytes(2)], "an array of 2 bytes, expected 1"),
        ([bytes(23), bytes(1)], "an array of 23 bytes, expected 24"),
    ],
)
def test_frames_that_do_not_fit(compiler, buffers, message):
    def fn(x):
        return release(x, A, B, "why"), release(x > ONE, A, B, "why")

    program = planned(traced(fn, A)).program(B)
    machine = Machine(compiler, HostKeystream({}), Stub(*map(memoryview, buffers)))
    with pytest.raises(FrameError, match=message) as caught:
        machine.run(program, {})
    assert "'A'" in str(caught.value) and "(0,)" in str(caught.value)


def test_frames_may_lie_anywhere_in_memory(compiler):
    """A buffer needs no alignment."""
    raw = bytearray(25)
    raw[1:] = random_words(1, 3).tobytes()
    program = planned(traced(lambda x: release(x, A, B, "why"), A)).program(B)
    (out,) = Machine(compiler, HostKeystream({}), Stub(memoryview(raw)[1:])).run(program, {})
    equal([np.asarray(out)], [random_words(1, 3)])


def test_stale_bits_of_a_message_are_ignored(compiler):
    """A sender cannot put more into an element than its bits."""
    program = planned(traced(lambda x: release(x, A, B, "why", bits=4), A)).program(B)
    (out,) = Machine(compiler, HostKeystream({}), Stub(memoryview(b"\xff\xff"))).run(program, {})
    assert np.asarray(out).tolist() == [15, 15, 15]


def test_players_can_be_called_anything(compiler):
    """The imagined player of a fused run is nobody's namesake."""
    made = traced(lambda x: release(x + ONE, "everyone", "x", "why"), "everyone", players=("everyone", "x"))
    assert TOGETHER not in made.players
    agree_in_all_modes(Case(made, [random_words(1, 3)], compiler))


def test_loops_are_steps_of_the_programs_that_ran():
    """The choreographies above do have the steps that they are meant to test."""
    made = traced(everything, ALL, A, B, A, avals=[words(1), words(3), words(3), words(2, 3)])
    kinds = [type(step) for step in planned(made).program(A).steps]
    assert Scan in kinds and While in kinds
