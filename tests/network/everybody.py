"""What all players of a cluster run in `test_everywhere`; each says what it sees as lines of JSON.

JMPC_PLAYER=server0 python everybody.py config.json PART
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jmpc

ME = os.environ["JMPC_PLAYER"]
VECTOR = jax.ShapeDtypeStruct((4,), "float32")
good = True


def tell(what: str, value: Any = None) -> None:
    print(json.dumps([what, value], default=lambda x: np.asarray(x).tolist()), flush=True)


def tried(what: str, fetches: Any) -> None:
    try:
        tell(what, jmpc.run(fetches))
    except jmpc.JmpcError as error:
        cause = type(error.__cause__).__name__ if error.__cause__ else ""
        tell(what, [type(error).__name__, str(error), cause])


def mine() -> np.ndarray:
    """Only `owner` may ever call this, and it is not JAX."""
    tell("called")
    if not good:
        raise ValueError("424242 is secret")
    return np.arange(4, dtype=np.float32)


def first() -> None:
    global good
    x = jmpc.define_private_input("owner", mine, types=VECTOR)
    total = jmpc.define_private_variable(jnp.ones(4))
    kept = jmpc.define_local_variable("owner", lambda: jnp.zeros(()))
    step = [total.assign(total + x), kept.assign(jmpc.define_local_computation("owner", lambda n: n + 1, kept))]
    for _ in range(3):
        jmpc.run(step)
    tell("total", jmpc.run([total.reveal(), total.reveal("owner"), kept.reveal("owner")]))
    jmpc.run(jmpc.define_output("owner", total * 2.0, lambda array: tell("sink", array)))
    account = jmpc.explain(total.reveal("owner"))
    tell("explained", [sorted(account.players), sum(map(account.bytes_sent, account.players))])
    good = False
    tried("error", step)
    good = True
    tried("diverged", total.reveal() if ME != "server1" else (total + 1.0).reveal())
    tried("forbidden", x.reveal("server0"))
    jmpc.run(step)
    tell("after", jmpc.run(total.reveal()))
    jmpc.save("model", {"total": total, "kept": kept, "steps": 4})


def second() -> None:
    loaded = jmpc.load("model")
    tell("loaded", sorted(loaded))
    tell("steps", loaded["steps"])
    tell("total", jmpc.run([loaded["total"].reveal(), loaded["kept"].reveal("owner")]))
    jmpc.set_config(jmpc.RemoteConfig.load(sys.argv[1]))  # all begin anew
    variable = jmpc.define_private_variable(jnp.arange(4.0))
    tell("anew", jmpc.run(variable.reveal()))
    if ME == "server2":
        os.kill(os.getpid(), signal.SIGKILL)
    tried("follower", variable.reveal())
    if ME == "lead":
        time.sleep(0.5)  # until all have been told of the other
        os.kill(os.getpid(), signal.SIGKILL)
    tried("lead", variable.reveal())


if __name__ == "__main__":
    jmpc.use_compilation_cache()
    jmpc.set_config(jmpc.RemoteConfig.load(sys.argv[1]))
    {"first": first, "second": second}[sys.argv[2]]()
    tell("end")
