"""--dry-run: what it tells is so, and it leaves nothing."""

from dataclasses import replace

import numpy as np
import pytest

from ae_jax.models import Vanilla
from ae_jax.networks import MLP
from experiments import dry_run, sweep
from experiments.config import Config, Train
from experiments.configs import CONFIGS
from experiments.train import main

X = np.uint8(np.random.default_rng(0).integers(0, 256, size=(100, 6, 6, 1)))
DATA, TEST = {"x": X}, {"x": X[:10]}
CONFIG = Config(
    model=Vanilla(network=MLP(widths=(20,)), latent_dim=4), train=Train(epochs=3, batch_size=16)
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(dry_run, "SECONDS", 0.02)


def test_an_estimate_adds_up():
    found = dry_run.estimate(CONFIG, DATA, TEST)
    weights = [36 * 20, 20 * 4, 4 * 20, 20 * 36]
    assert found.parameters == sum(weights) + 20 + 4 + 20 + 36
    assert found.modules["encoder/Dense_0"] == {"bias": (20,), "kernel": (36, 20)}
    assert found.memory["parameters"] == 4 * found.parameters
    assert found.memory["optimizer"] == 2 * 4 * found.parameters + 4  # Adam's moments, its count
    assert found.memory["test data"] == X[:10].nbytes
    assert found.per_epoch == 7 and found.memory["training data"] == X.nbytes + 7 * 16 * 4
    # Each product forward, and two backward, but for the gradient of the input.
    assert found.flops == 2 * 16 * (3 * sum(weights) - weights[0])
    assert found.measured >= 1 and found.seconds > 0


def test_accumulated_averaged_and_streamed():
    settings = replace(CONFIG.train, batch_size=8, accumulate=2, ema_decay=0.9, stream=True)
    found = dry_run.estimate(replace(CONFIG, train=settings), DATA, TEST)
    plain = 2 * 16 * (3 * 2 * (36 * 20 + 20 * 4) - 36 * 20)
    assert found.per_epoch == 7 and found.flops == plain
    assert found.memory["parameters"] == 8 * found.parameters
    assert "training data, a chunk" in found.memory and "test data" not in found.memory


def test_what_fit_refuses_is_refused():
    with pytest.raises(ValueError, match="batch_size=512: larger than the data, 100"):
        wide = replace(CONFIG, train=Train(batch_size=512))
        dry_run.estimate(wide, DATA, TEST)
    with pytest.raises(ValueError, match="is not finite, and the training would stop"):
        wild = replace(CONFIG, train=Train(batch_size=16, learning_rate=999.0, optimizer="sgd"))
        bad = np.float32(X) * 1e20
        model = Vanilla(network=MLP(widths=(20,)), latent_dim=4, loss="mse")
        dry_run.estimate(replace(wild, model=model), {"x": bad}, {"x": bad[:10]})


def test_the_command_prints_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["digits", "--dry-run", "--train.epochs", "3"])
    out = capsys.readouterr().out
    assert "99,908" in out and "1,437 to train, 360 to test" in out and "36 in 3 epochs" in out
    assert "measured on" in out and "no run directory was made" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in sorted(CONFIGS)])
def test_every_configuration(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).integers(0, 256, (400, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "images.npz", x=x)
    main([name, "--dry-run", "--data.name", str(tmp_path / "images.npz")])
    assert "time of the run" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["images.npz"]


@pytest.mark.parametrize(
    ("run", "args", "message"),
    [
        (main, ["--dry-run", "--distributed", "--run-dir", "a"], "--dry-run: is for one process"),
        (main, ["--track", "wandbb"], "no tracker 'wandbb': did you mean 'wandb'"),
        (sweep.main, ["--dry-run"], "--dry-run: is for one run"),
        (sweep.main, ["--track", "wandb"], "--track wandb: is for one run"),
    ],
)
def test_mistakes(run, args, message):
    with pytest.raises(ValueError, match=message):
        run(args)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1234, "0.123 s"), (59.0, "59 s"), (245.2, "4 min 05 s"), (7830.0, "2 h 10 min")],
)
def test_durations(seconds, text):
    assert dry_run._duration(seconds) == text
