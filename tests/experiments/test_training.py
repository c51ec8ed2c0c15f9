"""What a `Config` asks for is what is trained: pretraining, and resuming in spite of it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.data import load
from ae_jax.pretraining import fit_greedy
from ae_jax.storage.runs import Run
from experiments.config import Train
from experiments.configs import CONFIGS
from experiments.training import train

GREEDY = replace(
    CONFIGS["greedy"],
    train=Train(epochs=1, batch_size=128, pretrain="greedy", pretrain_epochs=1),
)


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train")


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, 0.01])
def test_muon_moves_matrices_by_their_signs_of_direction(rate):
    """Its update of a kernel has singular values near 1, and of a bias it is that of Adam."""
    params = {"kernel": jnp.zeros((6, 4)), "bias": jnp.zeros(4)}
    grads = {
        "kernel": jnp.float32(np.random.default_rng(0).normal(size=(6, 4))),
        "bias": jnp.float32([1.0, -2.0, 3.0, -4.0]),
    }
    tx = Train(optimizer="muon", learning_rate=0.01).make_optimizer(
        10, None if rate is None else jnp.float32(rate)
    )
    updates, _ = jax.jit(lambda g: tx.update(g, tx.init(params), params))(grads)
    values = np.linalg.svd(updates["kernel"] / 0.01, compute_uv=False)
    assert values.max() < 1.6 * values.min()
    np.testing.assert_allclose(updates["bias"], -0.01 * np.sign(grads["bias"]), rtol=1e-4)


def test_greedy_pretraining_is_the_start(digits, tmp_path):
    # At such a learning rate fine-tuning hardly moves what pretraining found.
    still = replace(GREEDY, train=replace(GREEDY.train, learning_rate=1e-9, optimizer="sgd"))
    ae, (state, _) = train(still, digits, run_dir=tmp_path / "run")
    expected = fit_greedy(
        ae,
        digits["x"],
        epochs=1,
        batch_size=128,
        optimizer=still.train.make_optimizer(12),
    )
    kernel = state.params["encoder"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(kernel, expected["encoder"]["Dense_0"]["kernel"], atol=1e-6)


@pytest.mark.slow
def test_a_run_that_has_a_checkpoint_is_not_pretrained_again(digits, tmp_path, monkeypatch):
    config = replace(GREEDY, train=replace(GREEDY.train, pretrain="none"))
    train(config, digits, run_dir=tmp_path / "run")
    monkeypatch.setattr("experiments.training.fit_greedy", None)  # calling it would fail
    longer = replace(GREEDY, train=replace(GREEDY.train, epochs=2))
    _, (state, history) = train(longer, digits, run_dir=tmp_path / "run", resume=True)
    assert int(state.step) == 24 and [row["epoch"] for row in history] == [1, 2]


@pytest.mark.slow
def test_a_run_stopped_inside_pretraining_starts_again(digits, tmp_path):
    whole = train(GREEDY, digits, run_dir=tmp_path / "whole")[1].history
    Run.create(tmp_path / "stopped", {"seed": 0})
    again = train(GREEDY, digits, run_dir=tmp_path / "stopped", resume=True)[1].history
    assert [row["loss"] for row in again] == [row["loss"] for row in whole]


def test_models_that_cannot_be_pretrained_say_so(digits, tmp_path):
    config = replace(CONFIGS["conv"], train=Train(pretrain="greedy"))
    with pytest.raises(ValueError, match="must be a plain autoencoder with an MLP"):
        train(config, digits, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_rises_in_a_line_and_then_follows_its_schedule(schedule):
    train = Train(learning_rate=0.5, schedule=schedule, warmup=0.25, optimizer="sgd")
    tx = train.make_optimizer(40)
    state, rates = tx.init(jnp.zeros(())), []
    for _ in range(40):
        update, state = tx.update(jnp.ones(()), state)
        rates.append(-float(update))
    np.testing.assert_allclose(rates[:11], 0.05 * np.arange(11), rtol=1e-5, atol=1e-7)
    then = np.arange(30) / 30
    after = np.full(30, 0.5) if schedule == "constant" else 0.25 * (1 + np.cos(np.pi * then))
    np.testing.assert_allclose(rates[10:], after, rtol=1e-5)
    Train(warmup=0.99, schedule="cosine").make_optimizer(2)  # leaves a step to the schedule
