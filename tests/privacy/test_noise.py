"""Noise of the servers: how much, whose, at what cost, and what is said of it."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections import Counter

import jax
import numpy as np
import pytest
from scipy import stats

import jmpc
from jmpc.api.describe import describe
from jmpc.api.graph import build
from jmpc.computation import Computation, Noise
from jmpc.errors import InputError, TraceError
from jmpc.gaussian import DiscreteGaussian, sampler
from jmpc.net.codec import CodecError
from jmpc.net.computations import decode_computation, encode_computation
from jmpc.protocols.rep3 import Rep3
from jmpc.runtime.compiler import Compiler
from jmpc.runtime.prepare import Prepared, prepare

SERVERS = ("server0", "server1", "server2")
MODES = ["fused", "threads"]


def given(array, player="alice", **options):
    return jmpc.define_private_input(player, lambda: array, **options)


def computation(*fetches, fraction=18) -> Computation:
    return build(fetches, SERVERS, "driver", fraction).computation


def prepared(*fetches, fraction=18) -> Prepared:
    return prepare(computation(*fetches, fraction=fraction), Rep3, Compiler())


@pytest.mark.parametrize("mode", MODES)
def test_three_servers_add_one_and_a_half_times_the_variance(mode):
    jmpc.set_config(jmpc.LocalConfig(mode=mode))
    size, deviation = 20_000, 0.25
    noisy = jmpc.privacy.add_noise(given(np.full(size, 3.0, np.float32)), deviation)
    first, second = (jmpc.run(noisy.reveal()) - 3.0 for _ in range(2))
    expected = deviation * math.sqrt(1.5)
    for noise in (first, second):
        assert stats.kstest(noise / expected, "norm").pvalue > 1e-7
        assert abs(noise.std() / expected - 1) < 6 / math.sqrt(2 * size)
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / math.sqrt(size)  # fresh in every run


def test_every_server_draws_an_integer_of_half_the_variance_by_itself(monkeypatch):
    jmpc.set_config(jmpc.LocalConfig())
    asked = []

    def counted(self, shape, progress):
        asked.append((self.variance, shape))
        return np.full(shape, 10 ** len(asked), np.int64)

    monkeypatch.setattr(DiscreteGaussian, "sample", counted)
    noisy = jmpc.privacy.add_noise(given(np.zeros(2, np.float32)), 0.125)
    np.testing.assert_array_equal(jmpc.run(noisy.reveal()) * 2**18, [1110, 1110])
    assert asked == [(2**30 // 2, (2,))] * 3


def test_a_server_that_draws_is_ended_by_an_abort(monkeypatch):
    """It looks for one, and says that it is at work, between any two chunks."""
    jmpc.set_config(jmpc.LocalConfig(mode="threads"))
    monkeypatch.setattr(sampler, "_CHUNK", 1)
    chunks, lock = Counter(), threading.Lock()

    def slow(self, words, count):
        with lock:
            me = threading.get_ident()
            chunks[me] += 1
            failing = len(chunks) == 3 and me == list(chunks)[2]
        time.sleep(0.02)
        if failing:
            raise InputError("a server", "its generator is broken")
        return np.zeros(count, np.int64)

    monkeypatch.setattr(DiscreteGaussian, "sample_from", slow)
    noisy = jmpc.privacy.add_noise(given(np.zeros(500, np.float32)), 0.125)
    with pytest.raises(InputError, match="its generator is broken"):
        jmpc.run(noisy.reveal())
    assert len(chunks) == len(SERVERS) and max(chunks.values()) < 500


def test_costs_a_round_with_all_others_and_a_word_for_each_server_and_element():
    x = given(np.zeros((10, 10), np.float32))
    with_noise, without = (prepared(v.reveal()) for v in (jmpc.privacy.add_noise(x, 1.0), x + x))
    cost, before = with_noise.cost, without.cost
    assert cost.rounds() == before.rounds() == {(): 2}
    for server in SERVERS:
        assert cost.bytes_sent(server)[()] - before.bytes_sent(server)[()] == 8 * 100
    assert cost.bytes_sent("alice") == before.bytes_sent("alice")


def test_it_derives_from_nobody():
    a, b = (given(np.zeros(3, np.float32), owner) for owner in ("alice", "bob"))
    noisy = jmpc.privacy.add_noise(a + b, 1.0)
    for releases in (prepared(noisy.reveal()).releases(), prepared((noisy * 2.0).reveal("carol")).releases()):
        assert {frozenset().union(*(r.inputs for r in releases))} == {frozenset({"alice", "bob"})}
    noise = jmpc.privacy.add_noise(jmpc.define_constant(np.zeros(3, np.float32)), 1.0)
    assert all(not r.inputs for r in prepared(noise.reveal()).releases())
    assert prepared(noisy.reveal()).owners == {"alice", "bob"}


def test_whoever_approves_is_told():
    noisy = jmpc.privacy.add_noise(jmpc.privacy.clip(given(np.zeros(3, np.float32)), 0.25), 0.5)
    account = describe(prepared(noisy.reveal()), "driver")
    each = "discrete Gaussian noise for float32[3], standard deviation 0.353553"
    assert (
        f"server0, server1, server2, each private: {each} (0.5 of any two servers together)  test_noise.py" in account
    )
    assert "noise     on float32[3], standard deviation 0.5 of any two servers together  test_noise.py" in account
    assert "on secrets, in clip: " in account and "clip_norm[norm=0.25]" in account
    assert "on secrets: noise is added" in account


def test_a_mean_over_those_who_deliver_is_not_called_nothing():
    owners = {name: given(np.zeros(3, np.float32), name) for name in ("alice", "bob", "carol")}
    account = describe(prepared(jmpc.aggregate(owners, min_owners=2).reveal()), "driver")
    assert "on secrets: the mean of those of 3 contributions that came" in account
    assert "nothing is computed" not in account


def test_pytrees_variables_and_what_is_in_the_clear():
    jmpc.set_config(jmpc.LocalConfig())
    tree = {"a": given(np.ones((2, 2), np.float32), range=(-1, 1)), "b": jmpc.define_private_variable(np.ones(3))}
    noisy = jmpc.privacy.add_noise(tree, 0.001)
    opened = jax.tree.map(lambda value: value.reveal(), noisy)
    for leaf, shape in zip(jmpc.run(jax.tree.leaves(opened)), [(2, 2), (3,)], strict=True):
        assert leaf.shape == shape
        assert 0 < np.abs(leaf - 1).max() < 0.01


def test_misuse_is_an_error_that_says_so():
    x = given(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="on the results of a function, not in it"):
        jmpc.function(lambda x: jmpc.privacy.add_noise(x, 1.0))(x)
    with pytest.raises(TypeError, match="private values, not to a ndarray"):
        jmpc.privacy.add_noise(np.zeros(3), 1.0)
    with pytest.raises(TypeError, match=r"reals, not to int32\[2\]: convert it"):
        jmpc.privacy.add_noise(given(np.zeros(2, np.int32)), 1.0)
    for deviation in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive and finite"):
            jmpc.privacy.add_noise(x, deviation)


def test_noise_has_to_fit_the_numbers():
    x = given(np.zeros(3, np.float32))
    prepared(jmpc.privacy.add_noise(x, 6 * 2.0**-18).reveal())
    with pytest.raises(TraceError, match=r"test_noise.py:.* between 5.7 and 2\^52 steps of 3.8147e-06"):
        prepared(jmpc.privacy.add_noise(x, 5 * 2.0**-18).reveal())
    with pytest.raises(TraceError, match=r"between 5.7 and 2\^52 steps"):
        prepared(jmpc.privacy.add_noise(x, 2.0**36).reveal())
    # The largest noise on the largest values does not wrap around.
    jmpc.set_config(jmpc.LocalConfig())
    wide = given(np.full(1000, 2.0**43, np.float32), range=(0, 2.0**43))
    noisy = jmpc.run(jmpc.privacy.add_noise(wide, 2.0**34).reveal())
    assert 3 < np.abs(noisy / 2.0**34 - 2**9).max() < 10


# -- on the wire -----------------------------------------------------------------------------------------------------


def test_it_travels():
    noisy = jmpc.privacy.private_mean(
        [given(np.zeros(4, np.float32), o) for o in "ab"], jmpc.privacy.Gaussian(1.0, 2.0)
    )
    sent = computation(noisy.reveal())
    read = decode_computation(encode_computation(sent))
    assert read.identity == sent.identity
    (noise,) = [call for call in read.calls if isinstance(call, Noise)]
    assert noise.deviation == 2.0
    assert read.types == sent.types
    other = dataclasses.replace(sent, calls=tuple(_with_less_noise(call) for call in sent.calls))
    assert other.identity != sent.identity and other.structure != sent.structure


def _with_less_noise(call):
    return dataclasses.replace(call, deviation=call.deviation / 2) if isinstance(call, Noise) else call


@pytest.mark.parametrize("deviation", [0.0, -1.0, math.nan, math.inf, 2.0**53, 1, "1", None])
def test_a_deviation_that_means_nothing_is_refused(deviation):
    sent = computation(jmpc.privacy.add_noise(given(np.zeros(4, np.float32)), 1.0).reveal())
    calls = [dataclasses.replace(c, deviation=deviation) if isinstance(c, Noise) else c for c in sent.calls]
    with pytest.raises(CodecError):
        decode_computation(encode_computation(dataclasses.replace(sent, calls=tuple(calls))))


def test_noise_for_integers_is_refused_by_who_lowers_it():
    sent = computation((given(np.zeros(4, np.int32)) + 1).reveal())
    *calls, reveal, output = sent.calls
    number = sum(1 for _ in calls) - 1
    calls = [
        *calls,
        Noise(number, 1.0),
        dataclasses.replace(reveal, arg=number + 1),
        dataclasses.replace(output, arg=number + 2),
    ]
    with pytest.raises(TraceError, match="noise is added to reals, not to int32"):
        prepare(dataclasses.replace(sent, calls=tuple(calls)), Rep3, Compiler())
