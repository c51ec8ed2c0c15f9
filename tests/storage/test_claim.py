"""One process trains a run; the others are told which one."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ae_jax.data import validated
from ae_jax.models import Vanilla
from ae_jax.storage.claim import LOCK, claimed
from ae_jax.training import fit
from ae_jax.training.checks import checked_data
from ae_jax.training.plan import make_sizes
from experiments.cli import run_folder

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


def test_two_commands_that_begin_together_have_runs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "now")
    with run_folder(None, "vae") as first, run_folder(None, "vae") as second:
        assert (str(first), str(second)) == ("runs/vae-now", "runs/vae-now-2")
        assert first.is_dir() and second.is_dir()
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_a_small_set_is_one_batch_and_channels_that_come_first_are_warned_of(caplog):
    assert make_sizes(142, epochs=1).batch_size == 142
    assert make_sizes(142, epochs=1, accumulate=2).part == 71
    assert make_sizes(1420, epochs=1).batch_size == 256
    for shape, warned in (((16, 16, 3), False), ((3, 16, 16), True), ((4, 3, 16), False)):
        caplog.clear()
        ae = Vanilla(latent_dim=3).build(shape)
        checked_data(ae, np.zeros((2, *shape), np.uint8), "train")
        assert ("use x.transpose(0, 2, 3, 1)" in caplog.text) == warned


def test_a_value_just_outside_the_interval_is_shown_in_full():
    x = np.float32([[0.5], [1.0000001]])
    with pytest.raises(ValueError, match=r"values in \[0.5, 1.0000001\], and the loss needs"):
        validated(x, support="unit_interval")
