"""The reproduce command: rows on little data, resuming them, and the table it writes."""

import json
from pathlib import Path

import pytest

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
        (["--table", "--results", "nowhere"], "nowhere.*has no result"),
    ],
)
def test_mistakes(args, message):
    with pytest.raises(ValueError, match=message):
        reproduce.main(args)
    assert not Path("nowhere").exists()
