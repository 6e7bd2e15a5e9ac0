"""The other examples' promises: accuracy of the logistic regression, equality of the classified digits."""

from __future__ import annotations

import numpy as np
import pytest
from examples.recording import script

import jmpc


@pytest.mark.slow
def test_logistic_regression_follows_float64(tmp_path) -> None:
    with script("logistic_regression") as example:
        private, plain = example.main(["--quiet", "--out", str(tmp_path)])
    assert plain >= 0.95 and abs(private - plain) <= 0.01
    assert (tmp_path / "accuracy.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_private_network_agrees_with_the_plain_one() -> None:
    with script("private_inference") as example:
        jmpc.set_config(jmpc.LocalConfig())
        weights, images, labels = example.model.trained()
        plain = np.asarray(example.model.logits(weights, images))
        inputs = jmpc.define_private_input("model-owner", example.providers.weights, range=(-8, 8))
        pictures, _ = jmpc.define_private_input("data-owner-0", example.providers.labelled_images)
        logits, digits = (
            jmpc.function(fn)(inputs, pictures).reveal() for fn in (example.model.logits, example.model.predict)
        )
        private, predictions = jmpc.run((logits, digits))
    assert np.mean(plain.argmax(1) == labels) >= 0.95
    assert np.abs(private - plain).max() < 0.01
    assert np.mean(predictions != plain.argmax(1)) <= 1 / 200
