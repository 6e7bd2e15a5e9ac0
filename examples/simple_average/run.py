"""Five players average their vectors; only the mean is opened, and only to the driver.

python examples/simple_average/run.py                            # simulated
python examples/simple_average/run.py --config config.json       # on running nodes
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for examples/common.py

import jax
import jax.numpy as jnp
import numpy as np
from common import configure, parser

import jmpc

PLAYERS = ["data-owner-0", "data-owner-1", "data-owner-2", "model-owner", "input-provider"]


def vector_of(number: int):
    """What one player brings: pure JAX, so it travels as data and runs at that player."""
    return lambda: jax.random.uniform(jax.random.key(number), (10,), minval=0.0, maxval=10.0)


@jmpc.function
def average(vectors):
    return sum(vectors) / len(vectors)


def main(argv: list[str] | None = None) -> np.ndarray | None:
    configure(parser(__doc__ or "").parse_args(argv))
    vectors = [jmpc.define_private_input(name, vector_of(i), range=(0, 10)) for i, name in enumerate(PLAYERS)]
    mean = jmpc.run(average(vectors).reveal())
    if mean is None:  # it opens to another player
        return None
    expected = jnp.mean(jnp.stack([vector_of(i)() for i in range(len(PLAYERS))]), axis=0)
    print("mean", np.round(mean, 4))
    print("largest difference from the mean in float32:", float(np.abs(mean - expected).max()))
    return mean


if __name__ == "__main__":
    main()
