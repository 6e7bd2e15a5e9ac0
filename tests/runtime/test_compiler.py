"""What is compiled, and what shares an executable."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from choreography.programs_check import A, B, C, planned, projected, traced, words
from jax import lax
from runtime.modes import Case, agree_in_all_modes, equal, random_words

from jmpc.choreography.primitives import Group, draw, local, release, send_masked
from jmpc.choreography.programs import Local, Program
from jmpc.kernels.ring import dot_general
from jmpc.runtime import compiler as compiling
from jmpc.runtime.compiler import Compiler, fingerprint, work
from jmpc.runtime.keystream import HostKeystream
from jmpc.runtime.machine import Machine

ONE = np.uint64(1)


def segment(fn, *inputs, player=A, **options):
    """The one segment of a player."""
    (step,) = projected(traced(fn, *inputs, **options))[player].segments()
    return step


def same(one, two, *inputs, **options) -> bool:
    return fingerprint(segment(one, *inputs, **options)) == fingerprint(segment(two, *inputs, **options))


def test_names_keys_and_reasons_do_not_matter():
    def one(x):
        return send_masked(x, {B: draw((A, C), (3,))}, A), release(x + ONE, A, B, "why")

    def two(x):
        return send_masked(x, {C: draw((A,), (3,))}, A), release(x + ONE, A, C, "because")

    assert same(one, two, A)


def test_addresses_of_draws_do_not_matter():
    def fn(x):
        def body(c, _):
            return c * draw((A, B), (3,)), None

        y, _ = lax.scan(body, x, None, length=2)
        return lax.scan(body, y, None, length=3)[0]

    compiler = Compiler()
    program = planned(traced(fn, A)).program(A)
    compiler.prepare(program)
    compiler.finish(program)
    assert len(list(program.segments())) == 2 and compiler.size == 1


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (lambda x: x + ONE, lambda x: x + np.uint64(2)),
        (lambda x: x + draw((A,), (3,)), lambda x: x + draw((A,), (3,), bits=5)),
        (lambda x: x + x, lambda x: (x + x, x + x + x)),
        (lambda x: release(x, A, B, "why", bits=5), lambda x: release(x, A, B, "why", bits=6)),
        (
            lambda x: send_masked(x, {B: draw((A,), (3,))}, A),
            lambda x: send_masked(x, {B: draw((A,), (3,))}, A, group=Group.XOR),
        ),
    ],
)
def test_what_is_computed_does_matter(one, two):
    assert not same(one, two, A)


def test_shapes_matter():
    fingerprints = {fingerprint(segment(lambda x: x + x, A, avals=[words(n)])) for n in (1, 2)}
    assert len(fingerprints) == 2


def unit(x, player, name):
    def half(v):
        y = v.astype(np.float32) * np.float32(0.3)
        return y * y + np.float32(0.1)  # a multiply-add, if the compiler likes

    return local(jax.make_jaxpr(half)(x), [x], player, name)[0]


def test_local_units_are_executables_of_their_own_shared_by_all_modes():
    def fn(x, y):
        return unit(x + ONE, A, "one") + np.float32(1), unit(y, B, "two")

    compiler = Compiler()
    case = Case(traced(fn, A, B, avals=[words(999)] * 2), [random_words(i, 999) for i in range(2)], compiler)
    agree_in_all_modes(case)
    programs = {"all": case.fused_program(), **case.programs()}
    locals_ = {name: [s for s in p.steps if isinstance(s, Local)] for name, p in programs.items()}
    assert [len(locals_[name]) for name in ("all", A, B, C)] == [2, 1, 1, 0]
    assert len({fingerprint(s) for steps in locals_.values() for s in steps}) == 1
    assert len({id(compiler(s)) for steps in locals_.values() for s in steps}) == 1


def test_programs_that_are_traced_twice_are_compiled_once():
    compiler = Compiler()

    def fn(x):
        return send_masked(x * x, {B: draw((A, C), (3,))}, A) + ONE

    sizes = set()
    for _ in range(2):
        agree_in_all_modes(Case(traced(fn, A), [random_words(1, 3)], compiler))
        sizes.add(compiler.size)
    assert len(sizes) == 1


def test_players_in_threads_share_the_compiler():
    """The same step, asked for by many at once, is compiled once."""
    compiler = Compiler()
    program = planned(traced(lambda x: x * x + ONE, A)).program(A)
    results: list[np.ndarray] = []

    def run():
        results.append(np.asarray(Machine(compiler, HostKeystream({})).run(program, _env(program))[0]))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compiler.size == 1 and len(results) == 8
    equal(results, [random_words(1, 3) ** 2 + ONE] * 8)


def test_an_executable_lives_as_long_as_a_program_that_needs_it():
    compiler = Compiler()

    def make(number):
        program = planned(traced(lambda x: x * x + np.uint64(number), A)).program(A)
        compiler.finish(program)
        return program

    programs = [make(number) for number in (1, 1, 2)]
    assert compiler.size == 2
    del programs[0]
    assert compiler.size == 2  # the other program of the same segment needs it
    (out,) = Machine(compiler, HostKeystream({})).run(programs[0], _env(programs[0]))
    equal([np.asarray(out)], [random_words(1, 3) ** 2 + ONE])
    del programs[0]
    assert compiler.size == 1
    programs.append(make(1))  # and may be compiled again
    (out,) = Machine(compiler, HostKeystream({})).run(programs[1], _env(programs[1]))
    equal([np.asarray(out)], [random_words(1, 3) ** 2 + ONE])
    programs.clear()
    assert compiler.size == 0 and not compiler._of_step


def test_many_programs_leave_no_executables_behind():
    compiler, client = Compiler(), jax.devices()[0].client
    before = None
    for number in range(40):
        program = planned(traced(lambda x, number=number: x * np.uint64(number), A)).program(A)
        Machine(compiler, HostKeystream({})).run(program, _env(program))
        if number == 10:  # what tracing itself needs is there
            before = len(client.live_executables())
    assert compiler.size == 1
    assert len(client.live_executables()) <= before  # fewer where other tests have left some, which go meanwhile


def test_programs_may_be_forgotten_while_others_run():
    """Executables of many programs come and go in several threads, some shared, and every result is right."""
    compiler = Compiler()
    wrong: list[int] = []

    def run(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(4, size=25):
            program = planned(traced(lambda x, number=number: x * np.uint64(number), A)).program(A)
            (out,) = Machine(compiler, HostKeystream({})).run(program, _env(program))
            if not np.array_equal(np.asarray(out), random_words(1, 3) * np.uint64(number)):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and compiler.size == 0


def _env(program: Program):
    (step,) = program.segments()
    return {step.inputs[0]: random_words(1, 3)}


def test_sixty_four_bits_whatever_the_flag():
    """Arrays stay words where the flag is off, too: 2^40 does not become 0."""
    assert not jax.config.jax_enable_x64
    case = Case(traced(lambda x: x + ONE, A), [np.array([1 << 40, 1 << 63, 5], np.uint64)], Compiler())
    outs, _ = agree_in_all_modes(case)
    assert outs[0].tolist() == [(1 << 40) + 1, (1 << 63) + 1, 6] and outs[0].dtype == np.uint64
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda x: x * x + ONE, [False]),  # interpreted until then
        (lambda x: (x * x + ONE) // ONE, [True, False]),  # numpy has another division
    ],
)
def test_segments_that_run_often_are_compiled_well(fn, expected, monkeypatch):
    if expected[0] and jax.default_backend() != "cpu":
        pytest.skip("an accelerator compiles well, and at once, what numpy cannot do")
    monkeypatch.setattr(compiling, "_PATIENCE", 0.0)
    monkeypatch.setattr(compiling, "_PATIENCE_INTERPRETED", 0.0)
    compiled = []
    monkeypatch.setattr(
        compiling,
        "_compile_segment",
        lambda step, quickly, real=compiling._compile_segment: compiled.append(quickly) or real(step, quickly=quickly),
    )
    compiler = Compiler()
    program = planned(traced(fn, A)).program(A)
    for _ in range(500):
        (out,) = Machine(compiler, HostKeystream({})).run(program, _env(program))
        equal([np.asarray(out)], [random_words(1, 3) ** 2 + ONE])
        if compiler(next(program.segments())).well_compiled:
            break
        time.sleep(0.01)
    (out,) = Machine(compiler, HostKeystream({})).run(program, _env(program))
    equal([np.asarray(out)], [random_words(1, 3) ** 2 + ONE])
    assert compiled == expected and compiler.size == 1


def test_large_segments_are_compiled_well_at_once():
    def elementwise(x):
        return x * x + ONE

    def product(x):
        return jnp.dot(x.reshape(300, 300), x.reshape(300, 300))

    def loop(x):
        return lax.fori_loop(0, 1000, lambda _, y: y * y, x)

    def work_of(fn, n):
        return work(segment(fn, A, avals=[words(n)]).equations)

    assert work_of(elementwise, 1000) == 2000
    assert work_of(product, 90_000) >= 300**3
    assert work_of(loop, 100) >= 100_000


def test_results_do_not_depend_on_how_segments_are_compiled():
    step = segment(lambda x: (x * x ^ (x >> np.uint64(7))) // np.uint64(3), A, avals=[words(999)])
    with jax.enable_x64(True):
        outs = [compiling._compile_segment(step, quickly=q)([], [random_words(1, 999)]) for q in (True, False)]
    equal(*[[np.asarray(x) for x in out] for out in outs])


def test_large_products_are_executables_of_their_own_shared_by_segments():
    def product(x):
        return prod(x.reshape(200, 200))

    def prod(m):
        return dot_general(m, m, (((1,), (0,)), ((), ())))

    compiler = Compiler()
    programs = [
        planned(traced(lambda x: product(x) + ONE, A, avals=[words(40_000)])).program(A),
        planned(traced(lambda x: product(x) ^ ONE, A, avals=[words(40_000)])).program(A),
    ]
    x = random_words(1, 40_000)
    outs = []
    for program in programs:
        (step,) = program.segments()
        outs += Machine(compiler, HostKeystream({})).run(program, {step.inputs[0]: x})
    assert compiler.size == 3  # two segments, one product
    m = x.reshape(200, 200)
    equal(outs, [m @ m + ONE, m @ m ^ ONE])
    programs.clear()
    del program, step
    assert compiler.size == 0 and not compiler._of_step
