"""The networked mode with real processes, CURVE and a driver: what works, what is refused, what breaks."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network import my_data
from network.conftest import Cluster

import jmpc
from jmpc.api.run import current_session
from jmpc.errors import ConfigError, InputError, JmpcError, PeerError, PolicyError, RunAborted
from jmpc.net.codec import CodecError


def private(player: str, name: str = "vector") -> jmpc.Value:
    return jmpc.define_private_input(player, name, types=my_data.VECTOR)


def works() -> None:
    """The cluster answers the driver in force."""
    total = private("data-owner") + private("model-owner")
    np.testing.assert_allclose(jmpc.run(total.reveal()), 10 + 2 * np.arange(4))


def test_the_first_block_of_the_readme(remote: Cluster) -> None:
    w = jmpc.define_private_variable(jnp.ones((10, 10)))
    x = jmpc.define_private_input("data-owner", lambda: jnp.ones((5, 10)))
    y = jmpc.matmul(x, w)
    np.testing.assert_allclose(jmpc.run(y.reveal()), np.full((5, 10), 10.0))
    assert jmpc.run((x @ w).reveal("data-owner")) is None


def test_variables_live_on_the_servers_across_runs(remote: Cluster) -> None:
    x = private("data-owner")
    w = jmpc.define_private_variable(jnp.zeros(4))
    step = w.assign(w + x * 0.5)
    for _ in range(3):
        jmpc.run(step)
    np.testing.assert_allclose(jmpc.run(w.reveal()), 1.5 * np.arange(4), atol=1e-4)
    kept = jmpc.define_local_variable("model-owner", lambda: jnp.full((4,), 2.0))
    square = jmpc.define_local_computation("model-owner", lambda v: v * v, kept)
    jmpc.run(kept.assign(square))
    jmpc.run(kept.assign(square))
    np.testing.assert_allclose(jmpc.run(kept.reveal()), np.full(4, 16.0))


def test_results_reach_sinks_at_their_player(remote: Cluster) -> None:
    value = private("data-owner")
    jmpc.run(jmpc.define_output("data-owner", value * 2.0, "show"))
    deadline = time.monotonic() + 5
    while "SINK" not in remote.log("data-owner").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "SINK [0.0, 2.0, 4.0, 6.0]" in remote.log("data-owner").read_text()


def test_explain_counts_what_the_driver_sends(remote: Cluster) -> None:
    x = jmpc.define_private_variable(np.arange(6, dtype=np.float32))
    jmpc.run(x.reveal())
    fetch = [x.assign(x * jmpc.define_private_input("driver", lambda: np.ones(6, np.float32)))]
    account = jmpc.explain(fetch)
    transport = current_session().transport
    before = {peer: (c.frames, c.payload) for peer, c in transport.sent.peers().items()}
    jmpc.run(fetch)
    assert account.bytes_sent("driver") == 2 * 6 * 8
    grown = {peer: c.payload - before.get(peer, (0, 0))[1] for peer, c in transport.sent.peers().items()}
    assert sum(grown.values()) == account.bytes_sent("driver")


# -- bad input and refusals: the right error, nothing opened, and the next run works --------------------------------


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("wrong_shape", r"data-owner.*wrong_shape.*float32\[5\].*declared is float32\[4\]"),
        ("not_finite", "data-owner.*not a number in"),
        ("broken", "provider 'broken' raised ValueError"),
        ("missing", "no provider 'missing'"),
    ],
)
def test_bad_input_is_an_error_at_its_owner(remote: Cluster, provider: str, message: str) -> None:
    with pytest.raises((RunAborted, InputError), match=message) as caught:
        jmpc.run((private("data-owner", provider) * 2.0).reveal())
    assert "424242" not in str(caught.value)
    for name in ("server0", "model-owner"):  # the owner's own log may show its own provider's traceback
        assert "424242" not in remote.log(name).read_text()
    works()


def test_a_reveal_outside_the_policy_is_refused(remote: Cluster) -> None:
    value = private("data-owner") + private("model-owner")
    for target in ("server0", "model-owner"):
        with pytest.raises((RunAborted, PolicyError), match="reveal_to"):
            jmpc.run(value.reveal(target))
    with pytest.raises((RunAborted, PolicyError), match="reveal_to"):
        jmpc.run(private("data-owner").reveal("model-owner"))
    works()


def test_servers_guard_what_a_variable_derives_from(remote: Cluster) -> None:
    kept = jmpc.define_private_variable(jnp.zeros(4))
    jmpc.run(kept.assign(kept + private("data-owner")))
    with pytest.raises((RunAborted, PolicyError), match="reveal_to"):
        jmpc.run(kept.reveal("model-owner"))  # the data owner takes no part in this run
    np.testing.assert_allclose(jmpc.run(kept.reveal()), np.arange(4))


def test_a_remote_driver_cannot_publish_an_owners_data(remote: Cluster) -> None:
    x = jmpc.define_public_input("data-owner", "vector", types=my_data.VECTOR)
    with pytest.raises((RunAborted, PolicyError), match="rule public"):
        jmpc.run((private("model-owner") + x).reveal())
    works()


def test_an_unlisted_driver_is_refused(cluster: Cluster) -> None:
    cluster.processes["model-owner"].terminate()
    cluster.processes.pop("model-owner").wait(20)
    cluster.log("model-owner").unlink()
    try:
        jmpc.set_config(jmpc.RemoteConfig.load(cluster.config, player="model-owner"))
        with pytest.raises((RunAborted, PolicyError), match="rule drivers"):
            jmpc.run(private("data-owner").reveal())
    finally:
        jmpc.set_config(jmpc.LocalConfig())
        cluster.start("model-owner")


def test_computations_that_nodes_refuse(remote: Cluster) -> None:
    def chatty(v):
        jax.debug.callback(print, v)
        return v

    with pytest.raises(JmpcError):
        jmpc.run(jmpc.define_local_computation("data-owner", chatty, private("data-owner")).reveal())
    called = jmpc.define_local_computation(
        "data-owner",
        lambda v: jax.pure_callback(lambda a: a, jax.ShapeDtypeStruct((4,), "float32"), v),
        private("data-owner"),
    )
    with pytest.raises(CodecError, match="pure_callback"):
        jmpc.run(called.reveal())
    endless = jmpc.define_local_computation(
        "data-owner", lambda v: jax.lax.while_loop(lambda c: c[0] > -1, lambda c: c + 1, v), private("data-owner")
    )
    with pytest.raises((RunAborted, PolicyError), match="max_loop_iterations"):
        jmpc.run(endless.reveal())
    works()


def test_unknown_and_unreachable_players(remote: Cluster) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        jmpc.run(private("nobody").reveal())
    start = time.monotonic()
    with pytest.raises(PeerError, match=r"silent.*jmpc-node silent") as caught:
        jmpc.run(private("silent").reveal())
    assert caught.value.player == "silent" and time.monotonic() - start < 8 + 2
    works()


def test_a_killed_server_ends_the_run_and_the_next_one_works(remote: Cluster) -> None:
    works()
    w = jmpc.define_private_variable(jnp.zeros(4))
    step = w.assign(w + private("data-owner"))
    jmpc.run(step)
    remote.kill("server1")
    start = time.monotonic()
    with pytest.raises((PeerError, RunAborted), match="server1"):  # seen here, or told by another survivor
        jmpc.run(step)
    assert time.monotonic() - start < 8 + 2
    remote.start("server1")
    time.sleep(3)  # links come back by themselves
    with pytest.raises((RunAborted, InputError), match="assign it again"):
        jmpc.run(step)
    works()
    assert remote.alive()
