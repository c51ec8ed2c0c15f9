"""Sweeps: every replica is the run that `fit` makes alone; the grid and its table."""

import signal
from functools import partial

import jax
import numpy as np
import optax
import pytest

from ae_jax import load_run
from ae_jax.models import Denoising, Variational
from ae_jax.networks import MLP
from ae_jax.storage.runs import Run
from ae_jax.training import fit, sweep
from experiments.stress.worker import digest

RNG = np.random.default_rng(0)
X = RNG.random((22, 6), np.float32)
TEST = RNG.random((7, 6), np.float32)
SETTINGS = {"epochs": 2, "batch_size": 8, "eval_data": TEST}


def vae(beta=1.0):
    return Variational(network=MLP(widths=(5,)), latent_dim=2, beta=beta).build((6,))


def denoising(level):
    return Denoising(network=MLP(), latent_dim=3, level=level).build((6,))


def assert_is_fit(result, index, ae, *, learning_rate=1e-3, **options):
    seed = result.runs[index]["seed"]
    state, history = fit(ae, X, seed=seed, optimizer=learning_rate, **SETTINGS, **options)
    one = result.replica(index)
    close = partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-6)
    jax.tree.map(close, one.params, state.params)
    jax.tree.map(close, one.opt_state, state.opt_state)
    assert int(one.step) == int(state.step)
    for got, want in zip(result.history, history, strict=True):
        assert (got["step"], got["split"]) == (want["step"], want["split"])
        for name in ("loss", *ae.objective):
            close(got[name][index], want[name])


@pytest.mark.slow
@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_every_replica_is_its_own_run(devices):
    grid = {"beta": [0.1, 4.0], "learning_rate": [1e-2, 1e-3]}
    result = sweep(vae, grid, [3, 5, 8], X, devices=devices, **SETTINGS)
    assert len(result.runs) == 12
    assert result.runs[1] == {"beta": 0.1, "learning_rate": 1e-2, "seed": 5}
    for i in (0, 11):
        run = result.runs[i]
        assert_is_fit(result, i, vae(run["beta"]), learning_rate=run["learning_rate"])


@pytest.mark.slow
def test_noise_levels_and_averages_are_swept_too():
    result = sweep(denoising, {"level": [0.1, 0.6]}, [0], X, ema_decay=0.9, **SETTINGS)
    assert_is_fit(result, 1, denoising(0.6), ema_decay=0.9)
    assert result.state.ema is not None


@pytest.mark.slow
def test_an_empty_grid_is_seeds_only_and_five_runs_fit_on_four_devices():
    result = sweep(vae, {}, range(5), X, optimizer=optax.sgd, devices=4, **SETTINGS)
    assert [run["seed"] for run in result.runs] == [0, 1, 2, 3, 4]
    (row,) = result.table()
    losses = np.asarray(result.history[-1]["loss"], np.float64)
    assert losses.shape == (5,) and row["seeds"] == 5
    np.testing.assert_allclose(row["loss"], (losses.mean(), losses.std(ddof=1)))


@pytest.mark.slow
def test_the_table_has_a_row_for_each_value_of_the_grid():
    seen = []
    result = sweep(vae, {"beta": [0.0, 1.0]}, [0, 1], X, callbacks=[seen.append], **SETTINGS)
    assert seen == result.history and [row["split"] for row in seen] == ["train", "test"] * 2
    first, second = result.table("train")
    assert (first["beta"], second["beta"]) == (0.0, 1.0)
    kl = result.history[-2]["kl"]
    np.testing.assert_allclose(second["kl"][0], kl[2:].mean(), rtol=1e-6)
    single = sweep(vae, {}, [0], X, **SETTINGS).table()[0]
    assert np.isnan(single["loss"][1])


def without_speed(rows):
    """Rows as lists; infinities are NaN, which a file of rows keeps."""
    rows = [
        {k: v for k, v in row.items() if k not in ("images_per_second", "split")} for row in rows
    ]
    return jax.tree.map(lambda v: np.where(np.isfinite(v), v, np.nan).tolist(), rows)


@pytest.mark.usefixtures("compiled_once")
def test_a_stopped_sweep_is_resumed_to_the_same_bits(tmp_path):
    """Four runs on two devices, stopped inside an epoch of 3 steps. Two of the runs diverge."""
    grid, run_dir = {"learning_rate": [1e-3, 1e38]}, tmp_path / "run"
    options = SETTINGS | {
        "seeds": [0, 1],
        "train": X,
        "devices": 2,
        "log_every": 1,
        "ema_decay": 0.9,
    }

    def stop(row):
        if (row["step"], row["split"]) == (4, "train"):
            signal.raise_signal(signal.SIGTERM)

    whole = sweep(vae, grid, **options)
    with pytest.raises(SystemExit):
        sweep(vae, grid, **options, callbacks=[stop], run_dir=run_dir)
    assert Run.open(run_dir).checkpoints(read_only=True).steps()[-1] in (4, 5)
    resumed = sweep(vae, grid, **options, run_dir=run_dir, resume=True)
    assert digest(resumed.state) == digest(whole.state)
    assert repr(without_speed(resumed.history)) == repr(without_speed(whole.history))  # with NaN
    assert [row["step"] for row in Run.open(run_dir).rows()] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert not np.isfinite(whole.history[-1]["loss"][2:]).any()
    with pytest.raises(ValueError, match="is a sweep of several runs"):
        load_run(run_dir)
    with pytest.raises(ValueError, match="fit.program is .* a resumed run keeps its"):
        sweep(vae, grid, **options, optimizer=optax.sgd, run_dir=run_dir, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, r"seeds=\[\].*at least one"),
        ({"seeds": [1, 1]}, r"seeds=\[1, 1\].*no value twice"),
        ({"hparams": {"beta": []}}, "beta.*at least one value"),
        ({"devices": 5}, "devices=5: there are 4"),
        ({"batch_size": 23}, "batch_size=23: larger than the data"),
        ({"train": X[:, :5]}, r"train: x has shape \[22, 5\]"),
    ],
)
def test_mistakes(options, message):
    given = {"hparams": {}, "seeds": [0], "train": X, "epochs": 1, "batch_size": 8} | options
    with pytest.raises(ValueError, match=message):
        sweep(vae, **given)
