"""The first example of the seed system: a private input times a private variable.

python examples/matmul/run.py                            # simulated
python examples/matmul/run.py --config config.json       # on running nodes
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for examples/common.py

import jax.numpy as jnp
from common import configure, parser

import jmpc


def main(argv: list[str] | None = None) -> jnp.ndarray:
    configure(parser(__doc__ or "").parse_args(argv))

    def provide_input():
        # ordinary JAX; it runs on the machine of the input provider
        return jnp.ones((5, 10))

    # define inputs
    w = jmpc.define_private_variable(jnp.ones((10, 10)))
    x = jmpc.define_private_input("input-provider", provide_input)

    # define computation
    y = jmpc.matmul(x, w)

    # reveal result
    result = jmpc.run(y.reveal())
    print(result)
    return result


if __name__ == "__main__":
    main()
