"""What a training survives: signals, a full disk, other settings."""

import contextlib
import errno
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax import load_run
from ae_jax.core import Term, by_path
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP
from ae_jax.storage import checkpoint
from ae_jax.storage.checkpoint import Checkpoints
from ae_jax.storage.manifest import verify
from ae_jax.storage.runs import Run
from ae_jax.training import drive, fit
from experiments.stress.worker import digest

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)
X = np.uint8(RNG.integers(0, 256, size=(64, 4, 3)))
VAE = Variational(network=MLP(widths=(8,)), latent_dim=2).build((4, 3))
FLOATS = np.float32(RNG.normal(size=(64, 6)))
MSE = Vanilla(network=MLP(widths=(8,)), latent_dim=3, loss="mse").build((6,))


def without_speed(rows):
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


@pytest.mark.parametrize(
    "step", [13, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 24) if s != 13)]
)
def test_a_run_stopped_by_sigterm_at_any_step_goes_on_exactly(tmp_path, step):
    """24 steps, 8 to an epoch, a row at every step and a test row at every epoch."""
    options = {"batch_size": 8, "log_every": 1, "eval_data": X, "ema_decay": 0.9, "seed": 5}
    options |= {"run_dir": tmp_path / "run", "steps": 24}

    def stop(state, row):
        if (row["step"], row["split"]) == (step, "train"):
            signal.raise_signal(signal.SIGTERM)

    whole = fit(VAE, X, **(options | {"run_dir": tmp_path / "whole"}))
    with pytest.raises(SystemExit) as stopped:
        fit(VAE, X, **options, callbacks=[stop])
    assert stopped.value.code == 143
    store = Run.open(tmp_path / "run").checkpoints(read_only=True)
    assert step <= store.steps()[-1] <= step + 1  # the step that was on its way
    resumed = fit(VAE, X, **options, resume=True)
    assert digest(resumed.state) == digest(whole.state)
    assert without_speed(resumed.history) == without_speed(whole.history)
    assert Run.open(tmp_path / "run").rows() == resumed.history


@pytest.mark.slow
def test_ctrl_c_inside_a_row_is_exact_too(tmp_path, monkeypatch):
    """Sums of a row that is not complete are part of the checkpoint."""
    monkeypatch.setattr(drive, "TARGET", 0.05)
    ae = replace(VAE, objective={**VAE.objective, "slow": Term(_slow, weight=0.0)})
    options = {"batch_size": 8, "epochs": 2, "run_dir": tmp_path / "run"}
    whole = fit(ae, X, **(options | {"run_dir": tmp_path / "whole"}))
    _SLOW.update(calls=0, after=11)
    with pytest.raises(KeyboardInterrupt):
        fit(ae, X, **options)
    _SLOW.update(after=None)
    (step,) = Run.open(tmp_path / "run").checkpoints(read_only=True).steps()[-1:]
    assert 10 <= step <= 14 and step % 8 != 0
    resumed = fit(ae, X, **options, resume=True)
    assert digest(resumed.state) == digest(whole.state)
    assert without_speed(resumed.history) == without_speed(whole.history)


_SLOW = {"calls": 0, "after": None}


def _slow(outputs, batch):
    """A term that interrupts the process in the middle of a compiled loop."""

    def call(z):
        _SLOW["calls"] += 1
        time.sleep(0.03)  # so that a call of the loop is one step at that target
        if _SLOW["calls"] == _SLOW["after"]:
            os.kill(os.getpid(), signal.SIGINT)
        return np.zeros(z.shape[0], np.float32)

    z = jax.lax.stop_gradient(outputs["z"])
    shape = jax.ShapeDtypeStruct((z.shape[0],), jnp.float32)
    return jax.pure_callback(call, shape, z)


def test_handlers_are_as_before_afterwards(tmp_path):
    mine = signal.signal(signal.SIGTERM, lambda *_: None)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    fit(VAE, X, epochs=1, batch_size=32, run_dir=tmp_path / "run")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    signal.signal(signal.SIGTERM, mine)


# ---- a full disk


def test_what_cannot_be_written_leaves_earlier_checkpoints(tmp_path, numpy_state, largest_file):
    state, store = numpy_state(MSE, optax.adam(1e-3)), Checkpoints(tmp_path)
    store.save(state)
    later = state.replace(step=state.step + 1)
    with largest_file(100), pytest.raises(OSError, match="cannot save the checkpoint of step 1 "):
        store.save(later)
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    verify(tmp_path / "0")
    store.save(later)
    assert store.steps() == [0, 1]


def test_files_that_are_written_after_the_failure_do_not_stay(tmp_path, numpy_state, monkeypatch):
    """As by orbax, whose other writes go on when one fails."""
    writers = []

    def fail(folder, tree):
        def write():
            for i in range(20):
                with contextlib.suppress(OSError):
                    (folder / str(i)).mkdir(parents=True, exist_ok=True)
                time.sleep(0.005)

        writers.append(threading.Thread(target=write))
        writers[0].start()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_arrays", fail)
    with pytest.raises(OSError, match="cannot save the checkpoint of step 0 "):
        Checkpoints(tmp_path).save(numpy_state(MSE, optax.adam(1e-3)))
    writers[0].join()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path):
    """A real one, of three megabytes: the third checkpoint does not fit beside the other two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("may not mount a disk")
    try:
        ae = Vanilla(network=MLP(widths=(2000,)), latent_dim=20, loss="mse").build((6,))
        with pytest.raises(OSError, match=r"it needs about .* are free") as caught:
            fit(ae, FLOATS, epochs=9, batch_size=64, run_dir=disk / "run", checkpoint_every=1)
        message = str(caught.value)
        assert "\n" not in message and "intact checkpoints: 1, 2" in message
        assert sorted(p.name for p in (disk / "run" / "checkpoints").iterdir()) == ["1", "2"]
        for step in ("1", "2"):
            verify(disk / "run" / "checkpoints" / step)
        (disk / "rest").write_bytes(bytes(4096 * (os.statvfs(disk).f_bavail)))
        run = Run.open(disk / "run")
        rows = run.rows()
        with pytest.raises(OSError) as full:
            for i in range(1000):
                run.log({"step": i, "text": "x" * 100})
        assert full.value.errno == errno.ENOSPC
        assert (disk / "run" / "metrics.jsonl").read_text().endswith("\n")
        assert run.rows()[: len(rows)] == rows
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ---- other settings


@pytest.mark.parametrize(
    ("ae", "data", "options", "message"),
    [
        (Variational(latent_dim=3).build((4, 3)), X, {}, "latent_dim is 2 in the run and 3 now"),
        (VAE, X[::-1].copy(), {}, "not the data of .*: train 'x' has other values; "),
        (VAE, X[:60], {}, "train has 60 rows instead of"),
        (VAE, X, {"optimizer": 1e-2}, "fit.learning_rate is 0.001 in the run and 0.01 now"),
        (VAE, X, {"optimizer": optax.sgd(0.1)}, "learning_rate is 0.001 in the run and None now"),
        (VAE, X, {"seed": 1}, "seed is 0 in the run and 1 now"),
        (VAE, X, {"batch_size": 16}, "fit.batch_size is 32 in the run and 16 now"),
    ],
    ids=["model", "data", "less data", "rate", "optimizer", "seed", "batch"],
)  # fmt: skip
def test_a_run_is_resumed_as_it_was(begun, tmp_path, ae, data, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        fit(ae, data, **({"epochs": 2, "batch_size": 32} | options), run_dir=begun, resume=True)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    path = tmp_path_factory.mktemp("begun") / "run"
    fit(VAE, X, epochs=1, batch_size=32, run_dir=path)
    return path


def test_unless_asked_otherwise(begun):
    options = {"epochs": 3, "batch_size": 32, "optimizer": 1e-2, "seed": 1, "run_dir": begun}
    state, _ = fit(VAE, X, **options, resume=True, allow_changes=True)
    assert int(state.step) == 6
    assert set(by_path(state.params)) == set(by_path(load_run(begun).state.params))


def test_what_is_refused_leaves_the_run_as_it_was(tmp_path):
    run = tmp_path / "run"
    fit(VAE, X, epochs=1, batch_size=32, run_dir=run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    for options in ({"ema_decay": 0.9}, {"ema_decay": 0.9, "allow_changes": True}):
        with pytest.raises(ValueError, match="ema"):
            fit(VAE, X, epochs=2, batch_size=32, run_dir=run, resume=True, config={"note": 1},
                **options)  # fmt: skip
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_changes_that_were_allowed_are_the_settings_from_then_on(tmp_path):
    run, options = tmp_path / "run", {"batch_size": 32, "resume": True}
    fit(VAE, X, epochs=1, batch_size=32, run_dir=run, config={"note": 1})
    fit(VAE, X, epochs=2, **options, optimizer=1e-2, run_dir=run, allow_changes=True)
    assert Run.open(run).config["fit"]["learning_rate"] == 0.01
    assert Run.open(run).config["note"] == 1
    fit(VAE, X, epochs=3, **options, optimizer=1e-2, run_dir=run)
    with pytest.raises(ValueError, match="0.01 in the run and 0.001 now"):
        fit(VAE, X, epochs=4, **options, run_dir=run)


def test_numbers_of_numpy_are_numbers(tmp_path):
    options = {"batch_size": np.int64(32), "optimizer": np.float32(0.5), "seed": np.int64(3)}
    fit(VAE, X, epochs=1, **options, run_dir=tmp_path / "run")
    fit(VAE, X, epochs=2, **options, run_dir=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "there",
    [
        [],
        pytest.param(["environment.json.tmp"], marks=pytest.mark.slow),
        ["environment.json", "metrics.jsonl"],
    ],
)
def test_a_run_killed_while_its_directory_was_made_can_be_started_again(tmp_path, there):
    (tmp_path / "run" / "figures").mkdir(parents=True)
    for name in there:
        (tmp_path / "run" / name).write_text("{")
    fit(VAE, X, epochs=1, batch_size=32, run_dir=tmp_path / "run")
    assert int(load_run(tmp_path / "run").state.step) == 2


def test_a_run_directory_does_not_lead_elsewhere(tmp_path):
    run = tmp_path / "run"
    fit(VAE, X, epochs=1, batch_size=32, run_dir=run)
    (tmp_path / "mine").write_text("mine")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="metrics.jsonl is a link"):
        fit(VAE, X, epochs=2, batch_size=32, run_dir=run, resume=True)
    assert (tmp_path / "mine").read_text() == "mine"
