"""The train command as a user runs it."""

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ae_jax import fit, load_run
from ae_jax.data import load
from experiments.cli import one_line_errors, parse
from experiments.configs import CONFIGS
from experiments.train import main

ROOT = Path(__file__).parents[2]
COMMAND = {"default": "digits", "prog": "train", "about": ""}


def train(*args, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "experiments.train", *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
    )


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    printed = io.StringIO()
    with redirect_stdout(printed):
        main(["--train.epochs", "10", "--run-dir", str(path)])
    return path, printed.getvalue()


def test_the_default_leaves_a_complete_run(run_dir):
    path, printed = run_dir
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["epoch"], r["split"]) for r in rows] == [
        (e, split) for e in range(1, 11) for split in ("train", "test")
    ]
    assert rows[-1]["loss"] < rows[1]["loss"]
    names = {"reconstructions", "loss", "latents", "samples", "manifold"}
    files = (path / "figures").glob("*.png")
    figures = {file.stem: Image.open(file).convert("RGB") for file in files}
    assert figures.keys() == names
    assert all(min(figure.size) > 200 for figure in figures.values())
    assert "squared error, summed per example" in printed and "PCA, 2 components" in printed
    assert str(path / "figures" / "loss.png") in printed
    config = json.loads((path / "config.json").read_text())
    assert config["model"]["kind"] == "variational" and config["data"]["name"] == "digits"


def test_a_loaded_run_encodes_and_decodes(run_dir):
    ae, state, _ = load_run(run_dir[0])
    x = load("digits", "test")["x"]
    z = ae.encode(state.variables, x)
    assert z.shape == (360, 2)
    recon = np.asarray(ae.decode(state.variables, z))
    assert recon.shape == x.shape
    mean_error = ((x / 255 - x.mean(0) / 255) ** 2).sum() / 360
    assert ((recon - x / 255) ** 2).sum() / 360 < mean_error


@pytest.mark.slow
def test_resume_continues_and_refuses_other_settings(run_dir):
    path, _ = run_dir
    with pytest.raises(ValueError, match="train.batch_size is 128 in the run and 64 now"):
        parse(["--resume", str(path), "--train.batch-size", "64"], CONFIGS, **COMMAND)
    resumed = train("--resume", path, "--train.epochs", 11)
    assert resumed.returncode == 0, resumed.stderr
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows if r["split"] == "test"] == list(range(1, 12))
    assert json.loads((path / "config.json").read_text())["train"]["epochs"] == 11


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["vea"], "no configuration 'vea': did you mean 'vae'?"),
        (["--train.epoch", "3"], "did you mean --train.epochs"),
        (["--train.epochs", "x"], "--train.epochs"),
        (["--train.epochs", "-1"], "train.epochs=-1: must be at least 1"),
        (["--model.latent-dim", "0"], "latent_dim=0: must be at least 1"),
        (["--model.likelihood", "bernouli"], "'bernouli'"),
        (["--seed", "-1"], "seed=-1"),
        (["--train.batch-size", "5000"], "batch_size=5000: larger than the data, 1437"),
        (["--data.name", "mnits"], "mnist"),
        (["--data.name", "mnist", "--data.dir", "nowhere"], "ae_jax.data prepare mnist"),
        (["--resume", "nowhere"], "not a run directory"),
        (["simple", "--resume", "nowhere"], "remove 'simple'"),
    ],
)
def test_a_mistake_is_one_line(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError)) as caught:
        main(args)
    assert "\n" not in str(caught.value) and message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_with_exit_2_and_no_traceback(capsys):
    with pytest.raises(SystemExit) as left, one_line_errors():
        main(["--train.epochs", "-1"])
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: train.epochs=-1: must be at least 1\n"


@pytest.mark.slow
def test_a_mistake_leaves_with_exit_2_and_no_traceback(tmp_path):
    """The process itself."""
    result = train("--train.epochs", "-1", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: train.epochs=-1: must be at least 1\n"


@pytest.mark.slow
def test_vectors_train_through_to_their_figures(tmp_path):
    x = np.float32(np.random.default_rng(0).uniform(size=(60, 5)))
    np.savez(tmp_path / "table.npz", x=x)
    options = ["--train.epochs", "2", "--train.batch-size", "16"]
    places = ["--data.name", str(tmp_path / "table.npz"), "--run-dir", str(tmp_path / "run")]
    main(["vae", *options, *places])
    names = {p.stem for p in (tmp_path / "run" / "figures").iterdir()}
    assert names == {"loss", "latents", "reconstructions"}


def test_a_run_made_by_the_library_is_not_continued_on_other_data(tmp_path):
    x = np.uint8(np.random.default_rng(0).integers(0, 256, size=(40, 8, 8, 1)))
    ae = CONFIGS["digits"].model.build((8, 8, 1))
    fit(ae, x, epochs=1, batch_size=20, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="was not made by this command"):
        main(["--resume", str(tmp_path / "run")])


def test_an_existing_run_directory_is_refused(run_dir):
    with pytest.raises(ValueError, match=f"{run_dir[0]} exists .* resume=True"):
        main(["--run-dir", str(run_dir[0])])


def test_a_bug_in_a_model_keeps_its_traceback():
    with pytest.raises(TypeError, match="dot_general"), one_line_errors():
        jax.jit(lambda x: x @ jnp.ones(4))(jnp.ones(3))


CONFIGURATION = r"experiments\.configs\.\w+\."


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_configuration_says_how_to_run_it(name):
    (module,) = (m for key, m in sys.modules.items() if re.fullmatch(CONFIGURATION + name, key))
    command = f"python -m experiments.train {'' if name == 'digits' else name}".strip()
    assert command in module.__doc__
    args = ["--seed", "7"] if name == "digits" else [name, "--seed", "7"]
    parsed, config, _ = parse(args, CONFIGS, **COMMAND)
    assert parsed == name and config.seed == 7 and config.model == CONFIGS[name].model


@pytest.mark.slow
def test_the_second_start_compiles_nothing(tmp_path):
    script = """if True:
        import sys
        import jax
        from experiments.train import main
        from experiments.cli import use_compilation_cache
        missed = []
        jax.monitoring.register_event_listener(
            lambda event, **_: missed.append(event) if event.endswith("cache_misses") else None
        )
        use_compilation_cache()
        main(["digits", "--train.epochs", "1", "--run-dir", sys.argv[1]])
        print("missed", len(missed))
    """
    env = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "PYTHONPATH": str(ROOT),
    }
    missed = []
    for i in range(2):
        command = [sys.executable, "-c", script, str(tmp_path / f"run{i}")]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        missed.append(int(done.stdout.splitlines()[-1].split()[1]))
    assert missed[0] > 5 and missed[1] == 0
