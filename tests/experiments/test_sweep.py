"""The sweep command: its table and run directories, and what it refuses."""

import json

import numpy as np
import pytest

from ae_jax import load_run
from ae_jax.data import load
from ae_jax.data.fingerprint import changes, fingerprint
from ae_jax.training import SweepResult
from experiments.configs import CONFIGS
from experiments.sweep import _rate_distortion, main, sweepable


@pytest.mark.slow
def test_a_sweep_leaves_a_table_and_loadable_runs(tmp_path, capsys):
    grid = ["--grid", "model.beta=0.5,2", "--grid", "objective.nll.weight=1,3"]
    short = [
        "--train.schedule",
        "cosine",
        "--train.epochs",
        "1",
        "--run-dir",
        str(tmp_path / "out"),
    ]
    main(["digits", "--seeds", "0", "7", *grid, *short])
    assert "8 runs in" in capsys.readouterr().out
    assert (tmp_path / "out" / "rate-distortion.png").stat().st_size > 10_000
    written = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert len(written["runs"]) == 8 and len(written["table"]) == 4
    train = load("digits", "train")
    name = "model.beta=2.0-objective.nll.weight=3.0-seed=7"
    ae, state, config = load_run(tmp_path / "out" / name)
    assert config["model"]["beta"] == 2 and config["seed"] == 7
    assert changes({"train": config["fingerprint"]["train"]}, {"train": fingerprint(train)}) == []
    assert config["objective_weights"] == {"objective.nll.weight": 3}
    assert config["fingerprint"].keys() == {"train", "test"}
    assert np.isfinite(ae.encode(state.variables, load("digits", "test")["x"])).all()
    lines = (tmp_path / "out" / name / "metrics.jsonl").read_text().splitlines()
    row = json.loads(lines[-1])
    i = written["runs"].index({"model.beta": 2, "objective.nll.weight": 3, "seed": 7})
    assert row["loss"] == written["history"][-1]["loss"][i]
    np.testing.assert_allclose(row["loss"], 3 * row["nll"] + 2 * row["kl"], rtol=1e-5)


def test_rates_and_distortions_are_means_over_seeds_by_the_rest_of_the_grid():
    runs = [
        {"model.beta": beta, "learning_rate": rate, "seed": seed}
        for beta in (0.5, 2.0)
        for rate in (0.1, 0.2)
        for seed in (0, 1)
    ]
    row = {"split": "test", "kl": np.arange(8.0), "nll": 10 * np.arange(8.0), "loss": np.zeros(8)}
    curves = _rate_distortion(SweepResult(None, runs, [row]))
    assert curves == {
        "learning_rate=0.1": [(0.5, 0.5, 5.0), (2.0, 4.5, 45.0)],
        "learning_rate=0.2": [(0.5, 2.5, 25.0), (2.0, 6.5, 65.0)],
    }
    del row["kl"]
    assert _rate_distortion(SweepResult(None, runs, [row])) == {}


def test_what_can_be_swept():
    assert set(sweepable(CONFIGS["denoise"], (8, 8, 1))) == {
        "train.learning_rate",
        "model.level",
        "objective.bce.weight",
    }
    names = sweepable(CONFIGS["sparse"], (8, 8, 1))
    assert "model.weight" in names and "objective.l1.weight" in names


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--grid", "model.bta=1"], "did you mean 'model.beta'"),
        (["--grid", "model.beta=1,x"], "must be NAME=NUMBER"),
        (["--grid", "model.beta=1,1"], "no value twice"),
        (["--seeds", "one"], "--seeds.*one"),
        (["--grid", "model.beta=1", "--grid", "model.beta=2"], "given twice"),
        (["--grid", "model.beta=1,-1"], "beta=-1.0: must not be negative"),
        (["--grid", "train.learning_rate=1,-1"], "learning_rate=-1.0: must be between 0 and 1000"),
        (["--train.pretrain", "rbm"], "--train.pretrain='rbm': must be 'none' in a sweep"),
        (["--train.accumulate", "2"], "--train.accumulate=2: must be 1 in a sweep"),
        (["--devices", "1025"], "devices=1025"),
    ],
)
def test_mistakes(args, message):
    with pytest.raises(ValueError, match=message):
        main(["digits", *args])
