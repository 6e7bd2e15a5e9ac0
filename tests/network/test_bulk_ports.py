"""Nodes with a second port for large arrays."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from network import inprocess
from network.inprocess import SERVERS, run

import jmpc


@pytest.mark.timeout(120)
def test_large_shares_take_it(tmp_path: Path) -> None:
    nodes = inprocess.make(tmp_path, insecure=False)
    data = json.loads(nodes.path.read_text())
    for name, port in zip(SERVERS[:2], inprocess.free_ports(2), strict=True):  # server2 has one port only
        data["players"][name]["bulk_port"] = port
    nodes.path.write_text(json.dumps(data))
    nodes.start(*inprocess.EVERYBODY)
    try:
        with nodes.session() as session:
            x = jmpc.define_private_input("driver", lambda: jnp.arange(90_000.0) / 90_000)
            square = (x * x).reveal()
            for _ in range(5):
                np.testing.assert_allclose(run(session, square)[0], (np.arange(90_000) / 90_000) ** 2, atol=1e-4)
            sent = {
                (name, peer): link.lane._counter
                for name, node in nodes.nodes.items()
                for peer, link in node.transport._links.items()
                if link.lane is not None
            }
            assert {peer for _, peer in sent} <= set(SERVERS[:2])
            assert sent["server1", "server0"] > 2  # more than a probe
            assert all(node.transport.dropped == {} for node in nodes.nodes.values())
    finally:
        nodes.stop()
