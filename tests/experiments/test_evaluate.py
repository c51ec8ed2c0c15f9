"""The evaluate command: what it writes, what it skips, and what it refuses."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from ae_jax import fit
from ae_jax.data import load
from ae_jax.models import Vanilla
from ae_jax.networks import MLP, RNN
from ae_jax.report import write_report
from ae_jax.spec import to_dict
from experiments.cli import parse
from experiments.config import Config, Data, Train
from experiments.configs import CONFIGS
from experiments.data import load_split
from experiments.evaluate import Options, main, make_subject
from experiments.train import main as resume
from experiments.training import train

pytestmark = pytest.mark.usefixtures("compiled_once")
MODEL = Vanilla(network=MLP(widths=(32,)), latent_dim=6, latent_activation="linear")


def train_run(path, data, model=MODEL, epochs=25, **options):
    config = Config(model=model, data=data, train=Train(batch_size=32, epochs=epochs, **options))
    train(config, load_split(data, "train"), run_dir=path)


@pytest.fixture(scope="module")
def zeros(tmp_path_factory):
    """A run on the zeros among the digits."""
    path = tmp_path_factory.mktemp("runs") / "zeros"
    train_run(path, Data(keep_labels=(0,)))
    return path


def read(run):
    return json.loads((run / "evaluation.json").read_text())


@pytest.mark.slow
def test_anomalies_are_told_by_a_model_of_the_normal_class(zeros, capsys):
    main([str(zeros), "--metrics", "anomaly", "reconstruction"])
    found = read(zeros)
    anomaly = found["tasks"]["anomaly"]["metrics"]
    test = load("digits", "test")["label"]
    assert anomaly["normal_examples"] == (test == 0).sum()
    assert anomaly["anomalies"] == (test != 0).sum()
    # 1.000 when this was written; chance is 0.5.
    assert anomaly["scores"]["squared_error"]["roc_auc"] > 0.97
    assert found["examples"] == (test == 0).sum()
    for task in found["tasks"].values():
        assert task["metrics"].keys() >= task["conventions"].keys() and task["figures"]
        for figure in task["figures"]:
            assert (zeros / "figures" / figure).read_bytes()[:4] == b"\x89PNG"
    shown = capsys.readouterr().out
    assert "squared error, summed over an example" in " ".join(shown.split())

    main([str(zeros), "--metrics", "dimensionality", "--dimensionality.no-logistic-pca"])
    assert read(zeros)["tasks"].keys() == {"anomaly", "reconstruction", "dimensionality"}
    metrics = read(zeros)["tasks"]["dimensionality"]["metrics"]
    assert metrics["latent_dim"] == 6 and metrics["mse"].keys() == {"latents", "PCA"}
    assert "accuracy" not in metrics  # one class only


def test_reconstruction_names_the_examples(zeros):
    main([str(zeros), "--metrics", "reconstruction"])
    metrics = read(zeros)["tasks"]["reconstruction"]["metrics"]
    spread = metrics["percentiles"]["squared_error"]
    assert spread["0%"] <= spread["50%"] <= spread["100%"]
    assert spread["0%"] < metrics["squared_error"] < spread["100%"]
    assert metrics["best_examples"][0] != metrics["worst_examples"][0]


@pytest.mark.slow
def test_a_series_in_a_table_of_text(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    time = np.arange(24)
    phase = rng.uniform(0, 6, size=(300, 1))
    normal = np.sin(time / 2 + phase)
    odd = np.sign(np.sin(time / 2 + phase[:60]))  # square waves
    rows = np.vstack([np.c_[np.zeros(300), normal], np.c_[np.ones(60), odd]])
    names = ",".join(["label", *(f"t{t}" for t in time)])
    file = tmp_path / "waves.csv"
    np.savetxt(file, rows, delimiter=",", header=names, comments="", fmt="%.6g")
    model = Vanilla(network=RNN(widths=(16,)), latent_dim=4, loss="mse")
    data = Data(name=str(file), keep_labels=(0,))
    train_run(tmp_path / "run", data, model, epochs=12, learning_rate=0.02)
    main([str(tmp_path / "run"), "--metrics", "anomaly"])
    scores = read(tmp_path / "run")["tasks"]["anomaly"]["metrics"]["scores"]
    assert scores["squared_error"]["roc_auc"] > 0.9


def test_data_that_changed_or_moved_is_refused_by_every_command(tmp_path, monkeypatch, caplog):
    """A run keeps an absolute path, so only a file that has moved is missing."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(45, 4))
    file = tmp_path / "t.csv"

    def write(path, count):
        np.savetxt(path, rows[:count], delimiter=",", header="a,b,c,d", comments="")

    write(file, 40)
    _, config, _ = parse(["--data.name", "t.csv"], CONFIGS, default="digits", prog="", about="")
    model = Vanilla(network=MLP(widths=(4,)), latent_dim=2, loss="mse")
    config = replace(config, model=model, train=Train(epochs=1, batch_size=32))
    sets = [load_split(config.data, split) for split in ("train", "test")]
    train(config, *sets, run_dir=tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = str(tmp_path / "run")
    make_subject(Options(run=run))

    write(file, 45)
    message = f"{run}: {file} is not the data of the training: train has 36 rows instead of 32; "
    for command in (partial(main, [run]), partial(resume, ["--resume", run])):
        with pytest.raises(ValueError, match=message + ".*to use it anyway add allow_changes=True"):
            command()
    test_rows = "the data of the training: test has 9 rows instead of 8"
    assert test_rows not in caplog.text
    assert any(test_rows in note for note in write_report([run], "report.html"))
    assert write_report([run], "report.html", allow_changes=True) == []
    assert test_rows in caplog.text
    make_subject(Options(run=run, allow_changes=True))
    assert message in caplog.text

    file.unlink()
    write("moved.csv", 40)
    with pytest.raises(FileNotFoundError, match=f"{file} does not exist: give .* if it was moved"):
        main([run])
    caplog.clear()
    make_subject(Options(run=run, data_name="moved.csv"))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "anomoly"], "--metrics anomoly: did you mean 'anomaly'"),
        (["--data-name", "digits", "--step", "3"], "no checkpoint of step 3"),
        (["--data-name", "nope"], "no data set is called 'nope'"),
        (["--anomaly.false-positive-rate", "2"], "false_positive_rate=2.0: must be between"),
    ],
)
def test_mistakes(zeros, arguments, message):
    with pytest.raises((ValueError, OSError), match=message) as caught:
        main([str(zeros), *arguments])
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_named(tmp_path):
    train_run(tmp_path / "all", Data(), epochs=1)
    with pytest.raises(
        ValueError, match="anomaly: the model was .* on every class.*choose from: rec"
    ):
        main([str(tmp_path / "all"), "--metrics", "anomaly"])
    x = np.zeros((50, 9, 9, 1), np.uint8)
    np.savez(tmp_path / "other.npz", x=x)
    with pytest.raises(ValueError, match=r"examples have shape \(9, 9, 1\), .* on \(8, 8, 1\)"):
        main([str(tmp_path / "all"), "--data-name", str(tmp_path / "other.npz")])
    np.savez(tmp_path / "same.npz", x=x[:, :8, :8])
    with pytest.raises(ValueError, match="anomaly: .*same.npz has no labels to tell normal"):
        arguments = ["--data-name", str(tmp_path / "same.npz"), "--metrics", "anomaly"]
        main([str(tmp_path / "all"), *arguments])


def test_runs_that_cannot_be_evaluated(tmp_path, zeros):
    with pytest.raises(ValueError, match="is not a run directory"):
        main([str(tmp_path)])
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text((zeros / "config.json").read_text())
    with pytest.raises(ValueError, match="no checkpoint in .*: train the run"):
        main([str(empty)])
    ae = MODEL.build((8, 8, 1))
    x = load("digits", "train")["x"]
    fit(ae, x, steps=1, run_dir=tmp_path / "bare", config={"model": to_dict(MODEL)})
    with pytest.raises(
        ValueError, match="has no name of its data set: choose one with --data-name"
    ):
        main([str(tmp_path / "bare")])
    main([str(tmp_path / "bare"), "--data-name", "digits", "--metrics", "reconstruction"])


def test_labels_that_are_not_there_cannot_be_kept():
    with pytest.raises(ValueError, match=r"keep_labels=\(3, 12\): no example has 12;"):
        load_split(Data(keep_labels=(3, 12)), "train")
    kept = load_split(Data(keep_labels=(3, 4)), "test")
    assert set(kept["label"]) == {3, 4} and len(kept["x"]) == len(kept["label"])
