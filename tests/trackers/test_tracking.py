"""What every tracker is promised: each row once, in order, and a close whatever happens."""

import json
import logging
import math
import signal
import sys

import jax
import numpy as np
import pytest

from ae_jax.models import Vanilla
from ae_jax.networks import MLP
from ae_jax.storage.runs import Run
from ae_jax.trackers import TRACKERS, make_trackers
from ae_jax.trackers.tracking import Tracking, flat, numbers
from ae_jax.training import DivergedError, fit

pytestmark = pytest.mark.usefixtures("compiled_once")
X = np.uint8(np.random.default_rng(0).integers(0, 256, size=(32, 4, 3)))
AE = Vanilla(network=MLP(widths=(5,)), latent_dim=3).build((4, 3))


class Memory:
    """A tracker that keeps what it is told."""

    name = "memory"

    def __init__(self, fail_at=None):
        self.runs, self.rows, self.closed, self.fail_at = [], [], [], fail_at

    def start(self, run):
        if self.fail_at == "start":
            raise RuntimeError("not logged in\nrun `login`")
        self.runs.append(run)

    def log(self, step, numbers):
        if step == self.fail_at:
            raise RuntimeError("the server is gone")
        self.rows.append((step, numbers))

    def close(self, *, failed):
        self.closed.append(failed)


HISTORY = [
    {"step": step, "epoch": step / 4, "split": split, "loss": 1 / step}
    for step in (4, 8, 12)
    for split in ("train", "test")
]
ALL = [(row["step"], row["split"]) for row in HISTORY]


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", {"seed": 0, "train": {"epochs": 3}})


def track(run, trackers, *, there=0, new=6):
    """A run that goes on with `there` rows, up to `new`."""
    tracking = Tracking(trackers)
    with tracking.running(run, HISTORY[:there]):
        for row in HISTORY[there:new]:
            tracking(None, row)


def steps(tracker):
    return [(step, next(iter(row)).split("/")[0]) for step, row in tracker.rows]


def test_every_number_of_every_row_and_the_same_bits(tmp_path):
    tracker = Memory()
    options = {"epochs": 2, "batch_size": 8, "eval_data": X[:8]}
    state, history = fit(AE, X, run_dir=tmp_path / "run", trackers=[tracker], **options)
    assert tracker.rows == [
        (row["step"], {f"{row['split']}/{k}": v for k, v in row.items() if type(v) is float})
        for row in history
    ]
    names = {"test/loss", "test/bce", "test/epoch", "test/images_per_second"}
    assert set(tracker.rows[1][1]) == names and len(history) == 4
    (run,) = tracker.runs
    assert run.name == "run" and run.config["fit.batch_size"] == 8 and run.config["seed"] == 0
    assert tracker.closed == [False]
    alone, _ = fit(AE, X, **options)
    for a, b in zip(*map(jax.tree.leaves, (state.params, alone.params)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.slow
def test_a_resumed_fit_goes_on_where_its_tracker_was(tmp_path):
    """The run is killed after two epochs. Only the first was saved."""
    tracker = Memory()
    options = {"batch_size": 8, "run_dir": tmp_path / "run", "trackers": [tracker]}
    fit(AE, X, epochs=1, **options)
    fit(AE, X, epochs=2, resume=True, **options)
    Run.open(tmp_path / "run").checkpoints().discard_after(4)
    fit(AE, X, epochs=3, resume=True, **options)
    assert steps(tracker) == [(4, "train"), (8, "train"), (12, "train")]


def test_a_run_that_goes_on_hands_on_each_row_once(run):
    first, second, new = Memory(), Memory(), Memory()
    new.name = "new"
    track(run, [first], new=4)
    track(run, [second, new], there=2)  # from the checkpoint after the first epoch
    assert steps(first) + steps(second) == ALL
    assert steps(new) == ALL  # the earlier ones too
    assert len({r.id for t in (first, second, new) for r in t.runs}) == 1
    other = Run.create(run.path.with_name("other"), {})
    track(other, [new])
    assert new.runs[0].id != new.runs[1].id


def test_it_is_closed_when_training_ends_by_an_exception(tmp_path):
    tracker = Memory()
    options = {"epochs": 1, "batch_size": 8, "optimizer": math.nan}
    with pytest.raises(DivergedError):
        fit(AE, X, run_dir=tmp_path / "run", trackers=[tracker], **options)
    assert tracker.closed == [True]


def test_one_that_does_not_start_ends_the_run_in_one_line(run):
    before, broken = Memory(), Memory("start")
    broken.name = "broken"
    line = r"^tracker 'broken' did not start: not logged in \(.* exists: resume .*\)$"
    with pytest.raises(ValueError, match=line):
        track(run, [before, broken])
    assert before.closed == [True] and broken.closed == [] and before.rows == []


def test_two_of_one_name_are_refused(run):
    with pytest.raises(ValueError, match=r"trackers=\['memory', 'memory'\]: each at most once"):
        track(run, [Memory(), Memory()])


def test_ctrl_c_is_no_success(tmp_path):
    tracker = Memory()

    def stop(state, row):
        if row["epoch"] == 1:  # a second one would end the process
            signal.raise_signal(signal.SIGINT)

    options = {"epochs": 3, "batch_size": 8, "callbacks": [stop]}
    with pytest.raises(KeyboardInterrupt):
        fit(AE, X, run_dir=tmp_path / "run", trackers=[tracker], **options)
    assert tracker.closed == [True]


def test_one_that_fails_later_is_dropped_and_catches_up(run, caplog):
    good, broken, again = Memory(), Memory(8), Memory()
    broken.name = again.name = "broken"
    with caplog.at_level(logging.WARNING):
        track(run, [broken, good], new=4)
    assert "tracker broken: is dropped at step 8" in caplog.text
    assert "the server is gone" in caplog.text
    assert steps(broken) == ALL[:2] and broken.closed == [True]
    assert steps(good) == ALL[:4] and good.closed == [False]
    track(run, [again, good], there=4)
    assert steps(again) == ALL[2:] and steps(good) == ALL


def test_a_run_directory_is_needed_and_its_file_must_be_whole(run):
    with pytest.raises(ValueError, match="trackers: need run_dir too"):
        fit(AE, X, epochs=1, batch_size=8, trackers=[Memory()])
    (run.path / "trackers.json").write_text('{"id": 3}')
    with pytest.raises(ValueError, match="trackers.json is damaged: delete it"):
        track(run, [Memory()])


def test_numbers_and_settings():
    row = {"step": 3, "epoch": 1.5, "split": "test", "loss": math.nan, "skipped": 2}
    found = numbers(row)
    assert found.keys() == {"test/epoch", "test/loss", "test/skipped"}
    assert math.isnan(found["test/loss"]) and found["test/skipped"] == 2.0
    config = {"a": {"b": 1, "c": {"d": None}}, "e": [2, 3], "f": True, "g": "x"}
    assert flat(config) == {"a.b": 1, "a.c.d": None, "e": "[2, 3]", "f": True, "g": "x"}
    assert flat({}) == {} and json.dumps(flat(config))


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("tensorboard", "tensorboardX"),
        ("wandb", "wandb"),
        ("mlflow", "mlflow"),
        ("trackio", "trackio"),
    ],
)
def test_a_missing_package_names_the_extra(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ValueError) as caught:
        make_trackers([name])
    assert str(caught.value) == (
        f"tracker {name!r} needs {package}, which is not installed: pip install 'ae_jax[{name}]'"
    )


def test_names():
    assert make_trackers([]) == []
    with pytest.raises(ValueError, match="no tracker 'wandbb': did you mean 'wandb'"):
        make_trackers(["wandbb"])
    assert list(TRACKERS) == ["tensorboard", "wandb", "mlflow", "trackio"]
