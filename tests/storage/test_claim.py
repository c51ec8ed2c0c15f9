"""One process trains a run; the others are told which one."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ae_jax.models import Vanilla
from ae_jax.storage.claim import LOCK, claimed
from ae_jax.training import fit

X = np.uint8(np.random.default_rng(0).integers(0, 256, size=(20, 6)))
AE = Vanilla(latent_dim=3).build((6,))


def test_a_run_that_trains_is_neither_resumed_nor_begun_again(tmp_path):
    run, refused = tmp_path / "run", []

    def again(state, row):
        for resume in (True, False):
            with pytest.raises(ValueError) as caught:
                fit(AE, X, epochs=2, batch_size=10, run_dir=run, resume=resume)
            refused.append(str(caught.value))

    fit(AE, X, epochs=1, batch_size=10, run_dir=run, callbacks=[again])
    assert f"{run} is in use: process {os.getpid()} on {os.uname().nodename} trains" in refused[0]
    assert "is in use" in refused[1] or "is not empty" in refused[1]
    assert not (run / LOCK).exists()
    assert int(fit(AE, X, epochs=2, batch_size=10, run_dir=run, resume=True).state.step) == 4


HOLDS = """if True:
    import fcntl, os, signal, sys
    file = open(sys.argv[1], "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    print("process", os.getpid(), "elsewhere", file=file, flush=True)
    print("locked", flush=True)
    signal.pause()
"""


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        message = f"{tmp_path} is in use: process {process.pid} elsewhere trains it: wait until"
        with pytest.raises(ValueError, match=message), claimed(tmp_path, new=False):
            pass
        process.kill()
    assert (tmp_path / LOCK).exists()
    with claimed(tmp_path, new=True):
        assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text()
    assert not (tmp_path / LOCK).exists()


def test_what_is_refused_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="larger than the data"):
        fit(AE, X, epochs=1, batch_size=21, run_dir=tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    made = []
    with pytest.raises(ValueError, match="cannot write run directory .*: Not a directory"):
        fit(AE, X, epochs=1, run_dir=tmp_path / "file" / "run", params=lambda: made.append(0))
    assert made == []  # no work before a place for it


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fit(AE, X, epochs=1, run_dir="~/run")
    assert (tmp_path / "run" / "config.json").is_file()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", _nobody)
    with pytest.raises(ValueError, match="~/run: its home directory is unknown: set HOME"):
        fit(AE, X, epochs=1, run_dir="~/run")


def _nobody(uid):
    raise KeyError(uid)
