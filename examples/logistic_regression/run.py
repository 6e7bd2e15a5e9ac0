"""Two hospitals with different columns of the same patients train a model that only the model owner sees.

The whole training runs on secret shares; in the end the weights are opened to the model owner alone, and how
many of the held-out patients it gets right, one number, to the driver.

    python examples/logistic_regression/run.py                            # simulated
    python examples/logistic_regression/run.py --config config.json       # on running nodes
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for examples/common.py

import data
import jax
import jax.numpy as jnp
import numpy as np
import providers
from common import configure, parser, plot
from tqdm import trange

import jmpc

STEPS_PER_RUN = 5
LEARNING_RATE = 0.5


def probabilities(weights, features):
    return jax.nn.sigmoid(features @ weights[:-1] + weights[-1])


def steps(weights, columns, labels):
    """A few steps of gradient descent on the logistic loss; a loop stays a loop under MPC."""
    features = jnp.concatenate(columns, axis=1)

    def step(_, weights):
        error = probabilities(weights, features) - labels[:, 0]
        gradient = jnp.append(error @ features, jnp.sum(error)) / len(features)
        return weights - LEARNING_RATE * gradient

    return jax.lax.fori_loop(0, STEPS_PER_RUN, step, weights)


def hits(weights, columns, labels):
    """How many rows the model gets right."""
    features = jnp.concatenate(columns, axis=1)
    scores = features @ weights[:-1] + weights[-1]
    return jnp.sum(((scores > 0) == (labels[:, 0] > 0.5)).astype(jnp.int32))


def train_privately(arguments, split: int = 0) -> tuple[list[int], list[float]]:
    """Trains under MPC; the steps done and the held-out accuracy after them."""
    cancer_columns, cancer_labels = (
        providers.make(split) if split else (providers.cancer_columns, providers.cancer_labels)
    )
    inputs = [
        jmpc.define_private_input("data-owner-0", cancer_columns, range=(-8, 8)),
        jmpc.define_private_input("data-owner-1", cancer_columns, range=(-8, 8)),
        jmpc.define_private_input("data-owner-1", cancer_labels, range=(0, 1)),
    ]
    training, held_out = zip(*inputs, strict=True)
    weights = jmpc.define_private_variable(jnp.zeros(31))
    train = weights.assign(jmpc.function(steps)(weights, training[:2], training[2]))
    check = jmpc.function(hits)(weights, held_out[:2], held_out[2]).reveal()
    done, accuracies = [], []
    for i in trange(arguments.runs + 1, desc="training", unit="run", disable=arguments.quiet):
        right = jmpc.run(check)
        if right is not None:  # it opens to one player, where all run this script
            done.append(i * STEPS_PER_RUN)
            accuracies.append(int(right) / held_out[2].shape[0])
        if i < arguments.runs:
            jmpc.run(train)
    opened = weights.reveal("model-owner")
    norm = jmpc.define_local_computation("model-owner", lambda w: jnp.linalg.norm(w), opened)
    shown = jmpc.run(norm.reveal())
    if shown is not None:
        print("the model owner has weights of norm", float(shown))
    return done, accuracies


def train_in_float64(runs: int, split: int = 0) -> list[float]:
    """The same schedule in float64 by one process that sees everything."""
    first, second, labels = data.load(split)
    features = np.concatenate([first.values, second.values], axis=1).astype(np.float64)
    x, y = features[: data.TRAINING], labels.training[:, 0].astype(np.float64)
    weights, accuracies = np.zeros(31), []
    for i in range(runs + 1):
        scores = features[data.TRAINING :] @ weights[:-1] + weights[-1]
        accuracies.append(float(np.mean((scores > 0) == (labels.held_out[:, 0] > 0.5))))
        for _ in range(STEPS_PER_RUN if i < runs else 0):
            error = 1 / (1 + np.exp(-(x @ weights[:-1] + weights[-1]))) - y
            weights -= LEARNING_RATE * np.append(error @ x, error.sum()) / len(x)
    return accuracies


def main(argv: list[str] | None = None) -> tuple[float, float] | None:
    options = parser(__doc__ or "")
    options.add_argument("--runs", type=int, default=20, help=f"runs of {STEPS_PER_RUN} steps")
    options.add_argument("--quiet", action="store_true", help="no progress bar")
    arguments = options.parse_args(argv)
    configure(arguments)
    done, accuracies = train_privately(arguments)
    if not accuracies:
        return None
    plain = train_in_float64(arguments.runs)
    print(f"held-out accuracy: {accuracies[-1]:.4f} under MPC, {plain[-1]:.4f} in float64")
    curves = {"under MPC": accuracies, "float64": plain}
    print("plot:", plot(arguments, __file__, "accuracy", done, curves, ("step", "held-out accuracy")))
    return accuracies[-1], plain[-1]


if __name__ == "__main__":
    main()
