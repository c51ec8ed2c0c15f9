"""The reproduce command: rows on little data, resuming them, and the table it writes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import optax
import pytest

from ae_jax.evaluation.likelihood import log_likelihood
from ae_jax.models import Variational
from ae_jax.networks import MLP
from experiments import reproduce
from experiments.reproductions import ROWS
from experiments.reproductions.setup import Setup


@pytest.fixture
def setup(tmp_path):
    return Setup({}, tmp_path / "runs", tmp_path, quick=True)


@pytest.mark.slow
def test_a_quick_row_runs_and_resumes(setup):
    first = reproduce.run_row("simple", setup)
    assert first["seeds"] == [0]
    assert first["metrics"].keys() == {"bce", "squared_error"}
    assert 0.1 < first["metrics"]["bce"][0] < 0.7
    again = reproduce.run_row("simple", setup)  # finished: loads its last checkpoint
    assert again["metrics"] == first["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_every_row_runs(setup, row):
    result = reproduce.run_row(row, setup)
    (setup.results / f"{row}.json").write_text(json.dumps(result))
    assert f"| {row} |" in reproduce.page(setup.results)


def test_quick_data_stands_in_for_each_set(setup):
    for name, shape in (("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))):
        data = setup.data(name, "train")
        assert data["x"].shape[1:] == shape and len(data["x"]) == len(data["label"])
        assert data["x"].dtype == "uint8" and data["x"].max() == 255


def test_the_likelihood_of_a_fifth_of_the_images_is_near_that_of_all(tmp_path, numpy_state):
    """Of a linear Gaussian model with a poor posterior, so that the weights vary."""
    spec = Variational(network=MLP(widths=()), latent_dim=2, likelihood="gaussian")
    ae = spec.build((3,))
    state = numpy_state(ae, optax.sgd(0.1))
    x = np.float32(np.random.default_rng(0).normal(size=(200, 3)))
    short = Setup({}, tmp_path, tmp_path)
    some, every = (s.nll(ae, state, x, samples=400) for s in (short, replace(short, long=True)))
    bounds = (log_likelihood(ae, state.variables, {"x": x}, samples=n) for n in (100, 400))
    fewer, more = bounds
    assert every == pytest.approx(-more.mean(), rel=1e-5) and every < -fewer.mean()
    assert abs(some - every) < 4 * (more - fewer).std() / np.sqrt(40)


def test_a_long_row_is_named_so(tmp_path):
    result = {"metrics": {"nll": [80.0]}, "long": True, "seconds": 5, "device": "cpu", "jax": "1"}
    (tmp_path / "iwae.json").write_text(json.dumps(result))
    assert "(trained as long as published) | 86.76" in reproduce.table(tmp_path)


def test_the_table_shows_means_spreads_and_only_what_was_run(tmp_path):
    result = {
        "metrics": {"bce": [0.1, 0.2], "mse": [3.0, 3.0]},
        "seconds": 5,
        "device": "cpu",
        "jax": "1",
    }
    (tmp_path / "simple.json").write_text(json.dumps(result))
    lines = reproduce.table(tmp_path).splitlines()
    assert len(lines) == 3
    assert "| simple |" in lines[2] and "**0.15** ± 0.05 | mse 3 ± 0" in lines[2]
    assert ROWS["simple"].reach in lines[2]


def test_latent_sizes_have_a_part_of_their_own(tmp_path):
    metrics = {"advantage": [1.5], "mnist PCA 2": [0.05], "mnist dense 2": [0.04]}
    result = {"metrics": metrics, "seconds": 5, "device": "cpu", "jax": "1"}
    (tmp_path / "dense-vs-conv.json").write_text(json.dumps(result))
    table, part = reproduce.page(tmp_path).split("## Test squared error")
    assert "**1.5** |" in table and "0.04" not in table
    assert "| mnist | dense | 0.0400 |  |" in part


def test_the_page_names_the_machine_of_most_rows_and_the_rows_of_others(tmp_path):
    for row, device in (("simple", "cpu"), ("deep", "cpu"), ("pca", "gpu")):
        result = {"metrics": {"bce": [0.1]}, "seconds": 5, "device": device, "jax": "1"}
        (tmp_path / f"{row}.json").write_text(json.dumps(result))
    assert "Measured on cpu, jax 1; pca on gpu, jax 1." in reproduce.page(tmp_path)


def test_the_committed_page_is_that_of_the_committed_results():
    assert (reproduce.RESULTS / "README.md").read_text() == reproduce.page(reproduce.RESULTS)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["simpel"], "did you mean 'simple'"),
        (["--quik"], "--quik.*: did you mean --quick"),
        (["--quick", "--long"], "--quick, --long: choose one"),
        (["--table", "--results", "nowhere"], "nowhere.*has no result"),
    ],
)
def test_mistakes(args, message):
    with pytest.raises(ValueError, match=message):
        reproduce.main(args)
    assert not Path("nowhere").exists()
