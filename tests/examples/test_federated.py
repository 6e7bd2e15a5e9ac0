"""The flagship: what is opened is the exact mean, only to the model owner, and training works."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples.recording import RecordingSession, record, script

import jmpc
from jmpc.config import Mode

SCALE = 2.0**18
SERVERS = ("server0", "server1", "server2")
SEVEN = [*SERVERS, "model-owner", "data-owner-0", "data-owner-1", "data-owner-2"]


def test_opened_means_are_exact_to_one_ulp(monkeypatch: pytest.MonkeyPatch) -> None:
    session = RecordingSession(Mode.FUSED)
    monkeypatch.setattr("jmpc.api.run.open_session", lambda config: session)
    with script("federated_learning") as example:
        digits = example.data.load()
        jmpc.set_config(jmpc.LocalConfig())
        batch, _, validation_set = example.providers.make(digits)
        pixels = digits.validation.pixels.shape[1]
        train, _, opened = example.computations(batch, validation_set, example.initial_parameters(pixels))
        means = []
        keep = jmpc.define_output("model-owner", opened, means.append)
        twins, *_ = example.providers.make(digits)
        gradient = jax.jit(example.model.gradient)
        parameters = example.model.initial_vector(pixels)
        for i in range(50):
            jmpc.run([train, *keep], iteration=i)
            encoded = [
                np.round(np.asarray(gradient(parameters, *twins(owner, i)), np.float64) * SCALE)
                for owner in example.data_owners()
            ]
            exact = sum(encoded) / 3
            assert np.abs(means[-1].astype(np.float64) * SCALE - exact).max() <= 1.0
            parameters = example.model.update(parameters, means[-1])


def test_servers_see_shares_only_and_the_model_owner_the_mean_only(tmp_path) -> None:
    recording = record("federated_learning", Mode.THREADS, "--iterations", "2", "--quiet", "--out", str(tmp_path))
    trained = [run for run in recording.runs if set(SEVEN) <= set(run.prepared.players)]
    assert len(trained) == 2
    for run in trained:
        releases = run.prepared.releases()
        assert not [r for r in releases if r.dst in SERVERS]
        to_model_owner = [r for r in releases if r.dst == "model-owner"]
        assert {r.src for r in to_model_owner} == set(SERVERS) and len({r.shape for r in to_model_owner}) == 1
        others = [r for r in releases if r.dst != "model-owner"]
        assert {(r.src, r.dst) for r in others} == {("model-owner", f"data-owner-{i}") for i in range(3)}
        seen = {src for _, src, dst in run.messages if dst == "model-owner"}
        assert seen == set(SERVERS), "no data owner talks to the model owner"
        for (_, src, dst), arrays in run.messages.items():
            if dst in SERVERS:  # uniform words: high and low bytes of a share are all equally likely
                words = np.concatenate([array.view(np.uint8).ravel() for array in arrays])
                counts = np.bincount(words, minlength=256) if words.size > 20_000 else None
                assert counts is None or abs(_chi_square(counts)) < 6, (src, dst)
    first, second = (run.messages for run in trained)
    differing = [np.mean(a != b) for key in first for a, b in zip(first[key], second[key], strict=True) if a.size > 100]
    assert np.median(differing) > 0.9, "fresh masks in every run"


def _chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    degrees = counts.size - 1
    return float((((counts - expected) ** 2).sum() / expected - degrees) / np.sqrt(2 * degrees))


def test_log_lines(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="jmpc"), script("federated_learning") as example:
        example.main(["--iterations", "101", "--quiet", "--out", str(tmp_path)])
    jmpc.set_config(jmpc.LocalConfig())
    first = next(r for r in caplog.records if r.name == "jmpc")
    assert f"{first.levelname}:{first.name}:{first.getMessage()}" == f"INFO:jmpc:Players: {SEVEN}"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Iteration 0" and lines[2] == "Iteration 100"
    numbers = r"\[(\d ){49}\d\]"
    assert all(re.fullmatch(rf"expect \d+\.\d+ {numbers} {numbers}", line) for line in (lines[1], lines[3]))
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_noise_and_what_it_guarantees(tmp_path, capsys) -> None:
    options = ["--quiet", "--out", str(tmp_path), "--noise-multiplier", "20", "--clip", "0.5"]
    with script("federated_learning") as example:
        example.main(["--iterations", "3", *options])
    jmpc.set_config(jmpc.LocalConfig())
    guarantee = jmpc.privacy.Gaussian(0.5, 20.0).epsilon(1e-5, 3)
    assert f"({guarantee:.3g}, 1e-5)-differential privacy for every data owner after 3" in capsys.readouterr().out


def test_training_goes_on_from_a_checkpoint(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where state/ comes to be
    options = ["--quiet", "--out", str(tmp_path), "--checkpoint", "model", "--checkpoint-every", "5"]
    with script("federated_learning") as example:
        example.main(["--iterations", "12", *options])
        jmpc.set_config(jmpc.LocalConfig())
        started, saved = example.jmpc.load("model")
        assert saved == 10 and started.shape == example.model.initial_vector(64).shape
        example.main(["--iterations", "15", "--resume", *options])
        jmpc.set_config(jmpc.LocalConfig())
        resumed, saved = example.jmpc.load("model")
        assert saved == 15
        example.main(["--iterations", "15", *options, "--checkpoint", "whole"])
        jmpc.set_config(jmpc.LocalConfig())
        resumed, whole = (example.jmpc.load(name)[0] for name in ("model", "whole"))
        differ = jmpc.run(jmpc.define_local_computation("model-owner", jnp.subtract, resumed, whole).reveal())
        assert np.abs(differ).max() < 1e-4, "training that was stopped ends where it would have ended"
        with pytest.raises(SystemExit):
            example.main(["--resume"])


def test_iterations_go_on_without_owners_that_have_died(tmp_path, caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--quiet", "--out", str(tmp_path), "--owners", "5", "--min-owners", "3", "--log-every", "4"]
    with script("federated_learning") as example:
        make = example.providers.make

        def dying(*args, **kwargs):
            """Owners 1 and 3 bring nothing any more after a while."""
            batch, next_batch, validation_set = make(*args, **kwargs)
            left = {"data-owner-1": 4, "data-owner-3": 8}

            def brings(player: str):
                if player in left:
                    left[player] -= 1
                    assert left[player] >= 0
                return next_batch(player)

            return batch, dataclasses.replace(next_batch, fn=brings), validation_set

        monkeypatch.setattr(example.providers, "make", dying)
        monkeypatch.setattr(example, "train_in_plaintext", lambda arguments: ([0.0] * 4, 0.0))
        with caplog.at_level(logging.WARNING, logger="jmpc"):
            example.main(["--iterations", "10", *options])
        jmpc.set_config(jmpc.LocalConfig())
        told = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
        assert [re.findall(r"data-owner-\d", text) for text in told] == [
            ["data-owner-1"],
            ["data-owner-1", "data-owner-3"],
        ]
        with pytest.raises(SystemExit):
            example.main(["--deadline", "3"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_accuracy_over_five_splits() -> None:
    arguments = argparse.Namespace(
        data=None,
        config=None,
        iterations=2000,
        log_every=1000,
        quiet=True,
        checkpoint=None,
        resume=False,
        owners=3,
        min_owners=None,
        deadline=None,
        noise_multiplier=None,
    )
    private, plain = [], []
    with script("federated_learning") as example:
        for split in range(5):
            jmpc.set_config(jmpc.LocalConfig())
            private.append(example.train_privately(arguments, split)[2])
            plain.append(example.train_in_plaintext(arguments, split)[1])
    print("private", private, "plain", plain)
    assert np.mean(private) >= 0.93
    assert abs(np.mean(private) - np.mean(plain)) <= 0.005
