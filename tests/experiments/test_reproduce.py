"""The reproduce command: a real row on little data, and the table it writes."""

import json

import pytest

from experiments import reproduce
from experiments.rows import ROWS, Setup


def test_a_quick_row_runs_and_resumes(real_data, tmp_path):
    setup = Setup({"mnist": str(real_data)}, tmp_path, quick=True)
    first = reproduce.run_row("simple", setup)
    assert first["seeds"] == [0]
    assert first["figures"].keys() == {"bce", "squared_error"}
    assert 0.1 < first["figures"]["bce"][0] < 0.7
    again = reproduce.run_row("simple", setup)  # finished: loads its last checkpoint
    assert again["figures"] == first["figures"]


def test_the_table_shows_means_spreads_and_only_what_was_run(tmp_path):
    result = {"figures": {"bce": [0.1, 0.2], "mse": [3.0, 3.0]}, "seconds": 5, "seeds": [0, 1]}
    (tmp_path / "simple.json").write_text(json.dumps(result))
    lines = reproduce.table(tmp_path).splitlines()
    assert len(lines) == 3
    assert "| simple |" in lines[2] and "**0.15** ± 0.05, mse 3 ± 0" in lines[2]
    assert ROWS["simple"].reach in lines[2]


@pytest.mark.parametrize(
    ("args", "message"),
    [(["simpel"], "did you mean 'simple'"), (["--quik"], "unrecognised option --quik")],
)
def test_mistakes(args, message):
    with pytest.raises(ValueError, match=message):
        reproduce.main(args)
