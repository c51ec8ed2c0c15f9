"""The notebooks run, from the first cell to the last, as notebooks."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "experiments" / "notebooks").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_and_draws(file, tmp_path):
    jupytext = pytest.importorskip("jupytext", reason="needs ae_jax[notebooks]")
    client = pytest.importorskip("nbclient", reason="needs ae_jax[notebooks]")
    notebook = jupytext.read(file)
    client.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", ()) for output in outputs)
    assert list(tmp_path.iterdir()) == []


def test_there_are_three():
    assert [file.stem for file in NOTEBOOKS] == [
        "anomaly_time_series", "exploring_a_vae", "quickstart",
    ]  # fmt: skip
