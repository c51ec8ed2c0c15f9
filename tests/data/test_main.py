import re
import subprocess
import sys

import numpy as np
import pytest

from ae_jax.data import write_activations
from ae_jax.data.__main__ import main


def run(*arguments):
    command = [sys.executable, "-m", "ae_jax.data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "ae_jax.data", "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert "prepare" in result.stdout
    for heavy in ("tensorflow_datasets", "sklearn", "jax "):
        assert f"| {heavy}" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required"),
        (["prepare"], "arguments are required: name"),
        (["prepaer", "mnist"], "invalid choice: 'prepaer'"),
        (["prepare", "mnits"], "did you mean 'mnist'"),
        (["prepare", "mnist", "--from", "nowhere"], "nowhere is not a folder"),
        (["check", "nowhere"], "nowhere is not a folder: give the folder of the shards"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert message in err
    assert len(err.splitlines()) == 1
    assert not out


def test_mistakes_as_the_user_sees_them(tmp_path):
    result = run("prepare", "mnist", "--data-dir", tmp_path, "--from", tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "train-images-idx3-ubyte.gz is missing" in result.stderr
    assert not result.stdout


def test_check(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    folder = write_activations(lambda batch: batch["x"], x, tmp_path / "a", rows_per_shard=16)
    assert main(["check", str(folder)]) == 0
    assert capsys.readouterr().out == "x: float32[30, 4] in 2 files\n"
    (folder / "shards.json").unlink()
    for column, value, message in (
        (x[:, 2], 0.5, "x have zero variance, the first is 2, always 0.5: drop them"),
        (x[9:], np.nan, "rows of x have values that are NaN, .*the first is row 9 of .*x-0.npy"),
    ):
        column[:] = value
        for path in folder.iterdir():
            path.unlink()
        np.save(folder / "x-0.npy", x)
        with pytest.raises(SystemExit):
            main(["check", str(folder)])
        err = capsys.readouterr().err
        assert re.search(message, err) and len(err.splitlines()) == 1


def test_list(prepared, idx_folder, tmp_path, capsys):
    root, _ = prepared
    assert main(["list", "--data-dir", str(root)]) == 0
    out, _ = capsys.readouterr()
    assert "digits: built into scikit-learn" in out
    assert f"mnist: array_record in {root}/mnist/3.0.1 (train 30, test 11)" in out
    assert main(["list", "--data-dir", str(tmp_path)]) == 0
    assert f"tiny: idx files in {tmp_path}/tiny" in capsys.readouterr().out


def test_prepare_says_where_a_set_is(prepared, monkeypatch, capsys):
    root, _ = prepared
    monkeypatch.setenv("AE_JAX_DATA", str(root))
    assert main(["prepare", "mnist"]) == 0
    assert capsys.readouterr().out == f"mnist is in {root}/mnist/3.0.1\n"
