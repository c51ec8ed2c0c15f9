"""The doctor finds what is wrong, and says so with a remedy."""

import json
import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ae_jax import doctor
from ae_jax.devices.names import cpu_name
from ae_jax.training import FitResult

ROOT = Path(__file__).parents[1]


def problems(lines):
    return {line.what: f"{line.state}: {line.remedy}" for line in lines if line.remedy}


def test_versions(monkeypatch):
    found = list(doctor.versions())
    assert problems(found) == {}
    assert {"python", "ae_jax", "jax", "flax", "orbax-checkpoint"} <= {line.what for line in found}
    needs = ["numpy>=99", "no-such-package>=1", "also-not-there; extra == 'x'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: needs)
    bad = problems(doctor.versions())
    assert bad["numpy"] == f"{np.__version__}, needs >=99: run pip install 'numpy>=99'"
    assert bad["no-such-package"] == "missing: run pip install 'no-such-package>=1'"
    assert len(bad) == 2


def test_every_extra_is_told(monkeypatch):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert extras.keys() - {"trackers"} == doctor.EXTRAS.keys()  # that is all the trackers
    monkeypatch.setitem(doctor.EXTRAS, "wandb", ("no-such-package", "tracking"))
    (line,) = [line for line in doctor.extras() if line.what == "wandb"]
    assert line.state == "missing: pip install 'ae_jax[wandb]' (for tracking)" and not line.remedy


def test_data_sets(tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    info = {"name": "mnist", "version": "3.0.1", "fileFormat": "array_record"}
    splits = [{"name": "train", "shardLengths": ["2000", "500"]}]
    (folder / "dataset_info.json").write_text(json.dumps({**info, "splits": splits}))
    found = {line.what: line.state for line in doctor.data_sets(tmp_path)}
    assert found["mnist"] == f"array_record in {folder} (train 2,500)"
    assert found["cifar10"] == f"not in {tmp_path}: python -m ae_jax.data prepare cifar10"
    (folder / "dataset_info.json").write_text("{")
    (bad,) = problems(doctor.data_sets(tmp_path)).values()
    assert "dataset_info.json is damaged" in bad and bad.endswith("prepare it again")


def test_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert problems(doctor.disk()) == {}
    monkeypatch.setattr(doctor, "FREE", 1e18)
    bad = problems(doctor.disk())
    assert bad["runs"].endswith(
        "less than 1e+06 TB: free some space, or choose another run directory"
    )
    assert len(bad) == 4 and list(tmp_path.iterdir()) == []


def test_devices():
    first, cores, *_ = doctor.devices()
    assert first.what == "cpu" and first.state.startswith(f"4 x {cpu_name()}, ")
    assert cores.state == str(os.cpu_count())


@pytest.mark.slow  # the last test here does it too, in a process of its own
def test_the_self_test_trains():
    lines = list(doctor.self_test(epochs=12))
    assert [line.what for line in lines] == ["training", "twice", "speed"]
    assert problems(lines) == {} and lines[1].state == "the same bits"


def test_the_self_test_finds_what_is_wrong():
    def result(end, weight=0.5):
        rows = [{"loss": loss, "images_per_second": 10.0} for loss in (1.0, end)]
        return FitResult(SimpleNamespace(params={"w": np.float32([weight])}), rows)

    assert problems(doctor.judge(result(0.5), result(0.5))) == {}
    for end in (0.9, math.nan, math.inf):
        assert "training" in problems(doctor.judge(result(end), result(end)))
    bad = problems(doctor.judge(result(0.5), result(0.5, np.nextafter(np.float32(0.5), 1))))
    assert bad["twice"].startswith("other bits: check the memory")


def test_an_exception_of_a_section_is_a_problem(monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("no such symbol\nin a library")

    monkeypatch.setattr("ae_jax.training.fit", broken)
    (line,) = doctor._lines("self-test", doctor.self_test)
    assert line.state == "RuntimeError: no such symbol" and "reinstall" in line.remedy


def doctor_in(folder, code):
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "150"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=env
    )


@pytest.mark.slow
def test_the_exit_code_and_the_line_of_a_problem(tmp_path):
    code = "import sys; from ae_jax import doctor; doctor.FREE = 1e18; sys.exit(doctor.main())"
    done = doctor_in(tmp_path, code)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert len(lines) == 4 and lines[0].startswith("problem: runs: ")
    assert "pip install 'ae_jax[" in done.stdout and "the same bits" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        ("os.environ['JAX_PLATFORMS'] = 'cuda'", "problem: devices: "),
        ("sys.modules['optax'] = None", "problem: self-test: ModuleNotFoundError: "),
        ("os.environ['JAX_COMPILATION_CACHE_DIR'] = 'gs://bucket/a'", "gs://bucket/a: not on a"),
    ],
)
def test_what_is_broken_is_told_and_the_rest_too(breaks, told, tmp_path):
    code = f"import os, sys; {breaks}; from ae_jax import doctor; sys.exit(doctor.main())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert told in done.stdout and "extras" in done.stdout
    assert done.stderr == "" or "Traceback" not in done.stderr
