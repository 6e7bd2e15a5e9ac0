"""Federated learning on handwritten digits: the servers average gradients that nobody else sees.

In every iteration the model owner shows its parameters to three data owners, each computes the gradient of a
batch of its own images, the gradients are secret-shared among three servers, averaged there, and the mean,
nothing else, is opened to the model owner, which takes a step.

    python examples/federated_learning/run.py                        # simulated
    python examples/federated_learning/run.py --config config.json   # on running nodes, see README.md
    JMPC_PLAYER=server0 python examples/federated_learning/run.py --config config.json   # as one of all its players

With --min-owners, iterations go on without owners that have died or are late, as long as so many deliver: the mean is
then over these. Their nodes may be started again at any time.

    python examples/federated_learning/run.py --owners 10 --min-owners 8 --deadline 5

With --checkpoint NAME the model owner saves its parameters now and then; --resume goes on from there, also after the
machines were restarted. Owners bring to an iteration the same batch whenever it is done, so training that was stopped
ends where it would have ended. With --min-owners they bring others: the difference of two means of the same batches,
one of them over fewer owners, would be about those that are missing.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for examples/common.py

import data
import model
import numpy as np
import providers
from common import configure, parser, plot
from tqdm import trange

import jmpc

MODEL_OWNER = "model-owner"
GRADIENT_RANGE = (-16.0, 16.0)  # checked at each owner; a known range makes the mean exact to one ulp


def data_owners(count: int = data.OWNERS) -> list[str]:
    return [f"data-owner-{i}" for i in range(count)]


@jmpc.function
def mean(gradients):
    return sum(gradients) / len(gradients)


def initial_parameters(pixels: int):
    """Small random weights, which the model owner makes and keeps."""
    return jmpc.define_local_variable(MODEL_OWNER, lambda: model.initial_vector(pixels))


def computations(batch, validation_set, parameters, mechanism=None, *, owners=None, min_owners=None, deadline=None):
    """One training step and one validation, to be run as often as wanted; with noise, if a `mechanism` is given."""
    # step 1: local training
    gradients = []
    for owner in owners or data_owners():
        images, labels = jmpc.define_private_input(owner, batch)
        known = parameters.reveal(owner)
        gradients.append(
            jmpc.define_local_computation(owner, model.gradient, known, images, labels, range=GRADIENT_RANGE)
        )
    # step 2: secure aggregation, if told of those that deliver; step 3: only the mean is opened, to the model owner
    present = None
    if min_owners is not None:
        gradients, present = jmpc.gather(gradients, min_owners=min_owners, deadline=deadline)
    if mechanism is not None:
        average = jmpc.privacy.private_mean(gradients, mechanism)  # over all owners: one that is missing counts as zero
    else:
        average = mean(gradients) if present is None else jmpc.average(gradients, present)
    opened = average.reveal(MODEL_OWNER)
    step = jmpc.define_local_computation(MODEL_OWNER, model.update, parameters, opened)
    train = parameters.assign(step)

    images, labels = jmpc.define_private_input(MODEL_OWNER, validation_set)
    report = jmpc.define_local_computation(MODEL_OWNER, model.validate, parameters, images, labels)
    return train, [value.reveal() for value in report], opened


def train_privately(arguments, split: int = 0) -> tuple[list[int], list[float], float]:
    """Trains under MPC; iterations and losses of the validations, and the final accuracy."""
    owners = data_owners(arguments.owners)
    digits = data.load(arguments.data, split, len(owners))
    made = providers.batch, providers.next_batch, providers.validation_set
    if not arguments.config:
        made = providers.make(digits, seed=100 * split)
    batch, validation_set = fitting(arguments, *made)
    if arguments.resume:
        parameters, start = jmpc.load(arguments.checkpoint)
    else:
        parameters, start = initial_parameters(digits.validation.pixels.shape[1]), 0
    which = {"owners": owners, "min_owners": arguments.min_owners, "deadline": arguments.deadline}
    train, report, _ = computations(batch, validation_set, parameters, mechanism(arguments), **which)
    iterations, losses, accuracy = [], [], 0.0
    rounds = trange(start, arguments.iterations, desc="training", unit="iteration", disable=arguments.quiet)
    for i in rounds:
        jmpc.run(train, iteration=i)
        if arguments.checkpoint and (i + 1) % arguments.checkpoint_every == 0:
            jmpc.save(arguments.checkpoint, (parameters, i + 1))
        if i % arguments.log_every == 0 or i == arguments.iterations - 1:
            loss, accuracy, labels, predictions = jmpc.run(report)
            if loss is None:  # this is not the player that they open to
                continue
            _log(i, loss, labels, predictions)
            iterations.append(i)
            losses.append(float(loss))
    return iterations, losses, float(accuracy or 0.0)


def fitting(arguments, batch, next_batch, validation_set):
    """What brings batches, and the validation set: no batch twice where means may be over fewer owners."""
    return batch if arguments.min_owners is None else next_batch, validation_set


def mechanism(arguments):
    """What clips and adds noise, if that was asked for."""
    if not arguments.noise_multiplier:
        return None
    return jmpc.privacy.Gaussian(arguments.clip, arguments.noise_multiplier)


def train_in_plaintext(arguments, split: int = 0) -> tuple[list[float], float]:
    """The same training on the same batches, by one process that sees everything."""
    import jax

    owners = data_owners(arguments.owners)
    digits = data.load(arguments.data, split, len(owners))
    batch, _ = fitting(arguments, *providers.make(digits, seed=100 * split))
    parameters = model.initial_vector(digits.validation.pixels.shape[1])
    gradient, validate = jax.jit(model.gradient), jax.jit(model.validate)
    losses, accuracy = [], 0.0
    for i in range(arguments.iterations):
        gradients = [gradient(parameters, *batch(owner, i)) for owner in owners]
        parameters = model.update(parameters, sum(gradients) / len(gradients))
        if i % arguments.log_every == 0 or i == arguments.iterations - 1:
            loss, accuracy, *_ = validate(parameters, digits.validation.pixels, digits.validation.labels)
            losses.append(float(loss))
    return losses, float(accuracy)


def _log(iteration: int, loss, labels, predictions) -> None:
    with np.printoptions(linewidth=1000):
        print(f"Iteration {iteration}\nexpect {loss:.9g} {labels} {predictions}", flush=True)


def main(argv: list[str] | None = None) -> tuple[float, float] | None:
    options = parser(__doc__ or "")
    options.add_argument("--owners", type=int, default=data.OWNERS, help="data-owner-0, data-owner-1, and so on")
    options.add_argument("--min-owners", type=int, help="iterations go on with so many (default: never without one)")
    options.add_argument("--deadline", type=float, help="seconds for gradients to come, with --min-owners")
    options.add_argument("--iterations", type=int, default=2000)
    options.add_argument("--log-every", type=int, default=100, help="iterations between validations")
    options.add_argument("--data", help="folder with MNIST in IDX format (default: scikit-learn's digits)")
    options.add_argument("--quiet", action="store_true", help="no progress bar")
    options.add_argument("--checkpoint", metavar="NAME", help="what the parameters are saved as")
    options.add_argument("--checkpoint-every", type=int, default=100, help="iterations between checkpoints")
    options.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    options.add_argument("--noise-multiplier", type=float, help="differential privacy: noise of so many times --clip")
    options.add_argument("--clip", type=float, default=1.0, help="norm that gradients are clipped to, with noise")
    arguments = options.parse_args(argv)
    if arguments.deadline is not None and arguments.min_owners is None:
        options.error("--deadline is for owners that iterations go on without: say how many must deliver, --min-owners")
    if arguments.resume and not arguments.checkpoint:
        options.error("--resume goes on from a checkpoint: say which, --checkpoint NAME")
    configure(arguments)
    iterations, losses, accuracy = train_privately(arguments)
    if not losses:
        return None
    plain_losses, plain_accuracy = train_in_plaintext(arguments)
    if noise := mechanism(arguments):
        epsilon = noise.epsilon(1e-5, arguments.iterations)
        print(
            f"({epsilon:.3g}, 1e-5)-differential privacy for every data owner after {arguments.iterations} iterations"
        )
    print(f"held-out accuracy: {accuracy:.4f} under MPC, {plain_accuracy:.4f} in plaintext")
    curves = {"under MPC": losses, "plaintext": plain_losses[-len(losses) :]}
    print("plot:", plot(arguments, __file__, "loss", iterations, curves, ("iteration", "validation loss")))
    return accuracy, plain_accuracy


if __name__ == "__main__":
    main()
