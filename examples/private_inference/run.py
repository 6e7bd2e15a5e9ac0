"""A model owner's network classifies a data owner's images: neither sees what the other has.

The predictions are opened to the data owner alone, who compares them with its labels and tells the driver
how many were right.

    python examples/private_inference/run.py                            # simulated
    python examples/private_inference/run.py --config config.json       # on running nodes
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for examples/common.py

import jax.numpy as jnp
import model
import providers
from common import configure, parser
from tqdm import tqdm

import jmpc

MODEL_OWNER, DATA_OWNER = "model-owner", "data-owner-0"


def main(argv: list[str] | None = None) -> float | None:
    arguments = parser(__doc__ or "").parse_args(argv)
    configure(arguments)
    weights = jmpc.define_private_input(MODEL_OWNER, providers.weights, range=(-8, 8))
    images, labels = jmpc.define_private_input(DATA_OWNER, providers.labelled_images)
    predictions = jmpc.function(model.predict)(weights, images).reveal(DATA_OWNER)
    right = jmpc.define_local_computation(DATA_OWNER, lambda p, y: jnp.mean(p == y), predictions, labels)
    show = jmpc.define_output(DATA_OWNER, predictions, providers.show)
    with tqdm(total=1, desc="classifying", unit="batch") as bar:
        accuracy, *_ = jmpc.run([right.reveal(), *show])
        bar.update()
    if accuracy is None:  # it opens to another player
        return None
    plain = jnp.mean(model.predict(model.trained()[0], model.trained()[1]) == model.trained()[2])
    print(f"held-out accuracy: {accuracy:.4f} under MPC, {float(plain):.4f} in plaintext")
    return float(accuracy)


if __name__ == "__main__":
    main()
