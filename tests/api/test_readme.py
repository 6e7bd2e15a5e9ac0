"""What the README shows works as written."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jmpc

ROOT = Path(__file__).parents[2]


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def test_code_blocks() -> None:
    first, second, third, fourth = blocks()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        space: dict[str, object] = {}
        exec(compile(first, "README.md", "exec"), space)
        exec(compile(second, "README.md", "exec"), space)
    printed = said.getvalue()
    assert "[10. 10." in printed.splitlines()[0] and "players   server0, server1, server2, driver" in printed
    assert re.search(r"[1-9][\d,]*  README.md:\d+ \(predict\)", printed), "the softmax has a cost"
    assert re.search(r"-> model-owner +reveal to model-owner \[5, 10\] +derived from", printed)
    simulated = jmpc.simulate(space["predict"])(space["W"], space["X"])
    np.testing.assert_allclose(simulated, np.full((5, 10), 1 / 10), atol=1e-3)
    rows = np.arange(30.0 * 64, dtype=np.float32).reshape(30, 64)
    space = {"rows": rows}
    third = third.replace("def batch(player, iteration): ...", "def batch(player, iteration): return iteration * rows")
    exec(compile(third, "README.md", "exec"), space)
    registered = jmpc.define_private_input("data-owner-0", space["batch"])
    np.testing.assert_allclose(jmpc.run((registered * 2).reveal(), iteration=3), 6 * rows, rtol=1e-5)
    assert space["x"].shape == (30, 64)
    with contextlib.redirect_stdout(said):
        exec(compile(fourth, "README.md", "exec"), {"jmpc": jmpc, "jax": jax, "jnp": jnp})
    assert re.search(r"research sees (1\.0|0\.9999)", said.getvalue())


def test_what_the_readme_says_of_numbers() -> None:
    assert float(jmpc.simulate(lambda x: 1 / x)(np.float32(0))) == 0
    assert 2.3e7 < float(jmpc.simulate(jnp.exp)(np.float32(50))) < 2.45e7


def test_the_table_of_names() -> None:
    table = (ROOT / "README.md").read_text("utf-8").partition("## Values and who sees them")[2].partition("##")[0]
    names = re.findall(r"`@?(?:jmpc\.)?(\w+)[(`]", table)
    assert {"define_private_input", "define_output", "function", "matmul"} <= set(names)
    for name in set(names) - {"value"}:
        assert hasattr(jmpc, name) or hasattr(jmpc.Value, name) or hasattr(jmpc.Variable, name), name
