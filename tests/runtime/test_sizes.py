"""What a computation is judged to need, before anything is done with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmpc.choreography.inline import inline_calls
from jmpc.choreography.primitives import local
from jmpc.choreography.sizes import costliest_turn, size_of
from jmpc.computation import ArrayType, Computation, Compute, Constant, Noise, Secure, Share, Source
from jmpc.errors import PolicyError
from jmpc.policy import Policy
from jmpc.runtime.sizes import check_size, size_of_computation

SERVERS = ("server0", "server1", "server2")


def traced(fn, *shapes):
    return inline_calls(jax.make_jaxpr(fn)(*(jnp.zeros(shape, jnp.float32) for shape in shapes)))


def size(fn, *shapes):
    return size_of(traced(fn, *shapes).jaxpr)


def test_equations_are_counted_in_loops_and_branches():
    assert size(lambda x: x + x, (3,)).equations == 1
    assert size(lambda x: jax.lax.scan(lambda c, _: (c + c, None), x, length=9)[0], (3,)).equations == 2


def test_iterations_of_loops_in_loops_are_multiplied():
    def inner(c, _):
        return jax.lax.scan(lambda d, _: (d * 2, None), c, length=30)[0], None

    assert size(lambda x: jax.lax.scan(inner, x, length=20)[0], ()).iterations == 600
    assert size(lambda x: x, ()).iterations == 0


def test_operations_of_products_and_loops():
    assert size(lambda a, b: a @ b, (10, 20), (20, 30)).operations == 10 * 20 * 30
    looped = size(lambda a, b: jax.lax.scan(lambda c, _: (c @ b, None), a, length=7)[0], (100, 20), (20, 20))
    assert 7 * 100 * 20 * 20 <= looped.operations < 8 * 100 * 20 * 20
    assert size(jnp.linalg.cholesky, (100, 100)).operations >= 100**3
    image = size(lambda x, k: jax.lax.conv(x, k, (1, 1), "SAME"), (1, 3, 8, 8), (4, 3, 3, 3))
    assert image.operations >= 4 * 64 * 27


def test_a_function_of_a_reduction_runs_for_every_element():
    reduced = size(lambda x: jax.lax.reduce(x, np.float32(0), lambda a, b: jnp.sin(a + b), (0,)), (1000,))
    assert 2000 <= reduced.operations < 10_000


def test_a_players_own_code_is_counted_once():
    fn = traced(lambda x: jnp.sin(x) + 1, (1000,))
    located = inline_calls(jax.make_jaxpr(lambda x: local(fn, [x], "alice", "f"))(jnp.zeros(1000, jnp.float32)))
    assert 2000 <= size_of(located.jaxpr).operations < 5000


def test_memory_is_what_is_alive_at_once():
    kilo = 4 * 1000
    assert size(lambda x: x + 1 + 1 + 1 + 1, (1000,)).memory_bytes <= 3 * kilo
    assert size(lambda x: jnp.outer(x, x).sum(), (1000,)).memory_bytes >= 1000 * kilo


def call(kind, fn, *shapes, args=(0,), **more):
    return kind(jaxpr=traced(fn, *shapes), args=args, name="f", **more)


def test_what_is_known_is_held_from_the_start():
    def fn(x):
        return x + jnp.sum(jnp.sort(jnp.arange(1 << 20)))

    source = Source("alice", "data", (ArrayType((3,), "float32"),), "input/0")
    known = size_of_computation(Computation(SERVERS, (source, call(Secure, fn, (3,)))), "server0")
    later = size_of_computation(Computation(SERVERS, (source, call(Compute, fn, (3,), player="alice"))), "server0")
    assert known.memory_bytes >= later.memory_bytes + 2 * (4 << 20)
    constant = Constant(np.zeros(1 << 20, np.float32))
    double = call(Secure, lambda x: x * 2, (1 << 20,))
    assert size_of_computation(Computation(SERVERS, (constant, double)), "server0").memory_bytes >= 3 * (4 << 20)


def test_what_is_known_and_meets_a_secret_is_encoded_in_full():
    def fn(x):
        return x + jnp.broadcast_to(jax.lax.iota(np.float32, 4), (1 << 18, 4))

    source = Source("alice", "data", (ArrayType((4,), "float32"),), "input/0")
    found = size_of_computation(Computation(SERVERS, (source, call(Secure, fn, (4,)))), "server0")
    assert found.memory_bytes >= (8 + 48) * (1 << 20)  # though it is a view of four numbers


def test_what_is_computed_at_once_is_counted_apart():
    def fn(x):
        return x * jax.lax.fori_loop(0, 1000, lambda i, c: jnp.sin(c), jnp.ones(100))[0]

    source = Source("alice", "data", (ArrayType((4,), "float32"),), "input/0")
    found = size_of_computation(Computation(SERVERS, (source, call(Secure, fn, (4,)))), "server0")
    assert 1000 * (100 + 1000) <= found.known_operations <= found.operations < 1.1 * found.known_operations
    local = size_of_computation(Computation(SERVERS, (source, call(Compute, fn, (4,), player="alice"))), "server0")
    assert local.known_operations == 0 and local.operations == found.operations


def test_calls_count_as_equations():
    source = Source("alice", "data", (ArrayType((4,), "float32"),), "input/0")
    assert size_of_computation(Computation(SERVERS, (source, *[Share(0)] * 10)), "server0").equations == 11


def test_every_servers_noise_is_counted():
    source = Source("alice", "data", (ArrayType((4, 5), "float32"),), "input/0")
    found = size_of_computation(Computation(SERVERS, (source, Share(0), Noise(1, 1.0))), "server0")
    assert (found.operations, found.known_operations) == (3 * 20 * 30, 0)


def test_the_costliest_turn_of_a_loop_of_unknown_length():
    def fn(x):
        def turn(c):
            return jax.lax.while_loop(lambda d: d[0, 0] < 0, lambda d: d @ d, c) + 1

        return jax.lax.while_loop(lambda c: c[0, 0] < 9, turn, x)

    (eqn,) = traced(fn, (50, 50)).jaxpr.eqns
    assert 50**3 <= costliest_turn(eqn) < 2 * 50**3
    (scan,) = traced(lambda x: jax.lax.scan(lambda c, _: (c @ c, None), x, length=3)[0], (5, 5)).jaxpr.eqns
    assert costliest_turn(scan) == 0


def test_each_limit_is_named():
    policy = Policy("alice", frozenset(), {}, max_equations=1, max_loop_iterations=10, max_operations=100)
    check_size(size(lambda x: x + x, (100,)), policy)
    for fn, shape, rule in (
        (lambda x: x + x + x, (3,), "max_equations"),
        (lambda x: x + x, (101,), "max_operations"),
        (lambda x: jax.lax.scan(lambda c, _: (c, None), x, length=11)[0], (), "max_loop_iterations"),
    ):
        with pytest.raises(PolicyError, match=rf"at most \d+ \(rule {rule}\)"):
            check_size(size(fn, shape), policy)
