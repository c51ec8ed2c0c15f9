"""Data as a configuration names it: standardized in training, in its own units afterwards."""

import jax
import numpy as np
import pytest

from ae_jax import export, load_run
from ae_jax.models import Vanilla
from ae_jax.report.explorer import explorer
from ae_jax.report.opened import open_run
from ae_jax.storage.export import load_exported
from ae_jax.storage.runs import Run
from experiments.cli import parse, stored_config
from experiments.config import Config, Data, Train
from experiments.configs import CONFIGS
from experiments.data import load_split, scaled
from experiments.evaluate import Options, make_subject
from experiments.train import main
from experiments.training import train

SCALES, MEANS = np.float32([1e3, 1e-2, 1.0, 1.0]), np.float32([1e4, 5.0, 0.0, 7.0])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a table of columns with very different scales, the last one constant."""
    folder = tmp_path_factory.mktemp("standardized")
    z = np.random.default_rng(0).normal(size=(60, 4)) * [1, 1, 1, 0]
    np.savetxt(folder / "t.csv", z * SCALES + MEANS, delimiter=",", header="a,b,c,d", comments="")
    data = Data(name=str(folder / "t.csv"), standardize=True)
    settings = Train(epochs=80, batch_size=48, learning_rate=0.05)
    model = Vanilla(latent_dim=3, loss="mse", latent_activation="linear")
    sets, statistics = scaled(data, [load_split(data, split) for split in ("train", "test")])
    config = Config(model=model, data=data, train=settings)
    train(config, *sets, statistics=statistics, run_dir=folder / "run")
    return folder / "run", data, sets, statistics


def test_a_trained_model_takes_and_returns_data_in_its_own_units(run, tmp_path):
    path, data, sets, statistics = run
    raw = load_split(data, "test")["x"]
    ae, state, config = load_run(path)
    assert config["statistics"] == statistics
    recon = np.asarray(ae.reconstruct(state.variables, raw))
    assert np.abs((recon - raw) / SCALES).max() < 0.1  # three latents for three columns
    inner = load_run(path, data_units=False).ae
    latents = inner.encode(state.variables, sets[1]["x"])
    np.testing.assert_allclose(ae.encode(state.variables, raw), latents, rtol=1e-3, atol=1e-3)

    export(path, tmp_path / "model")
    shared, variables, _ = load_exported(tmp_path / "model")
    np.testing.assert_array_equal(shared.reconstruct(variables, raw), recon)
    program = (tmp_path / "model" / "reconstruct.stablehlo").read_bytes()
    loaded = jax.export.deserialize(bytearray(program)).call(raw)
    np.testing.assert_allclose(loaded, recon, rtol=1e-5)


def test_measurements_are_of_standardized_data(run):
    path, data, sets, _ = run
    subject, _ = make_subject(Options(run=str(path)))
    np.testing.assert_array_equal(subject.test["x"], sets[1]["x"])
    np.testing.assert_array_equal(subject.train["x"], sets[0]["x"])
    assert subject.name == f"{data.name}, standardized"
    page = explorer(open_run(Run.open(path)))
    assert page["data"] == subject.name and page["limits"][1] < 10


def test_the_statistics_of_a_run_are_kept(run, tmp_path):
    """A resumed run uses them, and data that has changed is measured by them."""
    path, statistics = run[0], run[3]
    stored = stored_config(str(path)).data
    assert stored.standardize
    _, config, _ = parse(["--resume", str(path)], CONFIGS, default="", prog="", about="")
    main(["--resume", str(path), "--train.epochs", "81"])
    assert config.data == stored and Run.open(path).config["statistics"] == statistics
    rows = np.random.default_rng(1).normal(size=(20, 4))
    np.savetxt(tmp_path / "u.csv", rows, delimiter=",", header="a,b,c,d", comments="")
    subject, _ = make_subject(Options(run=str(path), data_name=str(tmp_path / "u.csv")))
    raw = load_split(Data(name=str(tmp_path / "u.csv")), "test")["x"]
    expected = (raw - np.array(statistics["mean"])) / statistics["std"]
    np.testing.assert_allclose(subject.test["x"], expected, rtol=1e-6)


def test_pixels_are_not_standardized():
    with pytest.raises(ValueError, match=r"standardize=True: x is uint8\[1437, 8, 8, 1\]"):
        main(["digits", "--data.standardize"])
