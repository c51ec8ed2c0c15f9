"""No number and no picture depends on what padded steps and masked rows hold."""

import json

import numpy as np
import optax
import pytest

from ae_jax.evaluation.baselines import weaknesses
from ae_jax.evaluation.likelihood import posterior_metrics
from ae_jax.evaluation.reconstruction import reconstruction_metrics
from ae_jax.evaluation.tasks import TASKS
from ae_jax.evaluation.tasks.subject import Subject
from ae_jax.models import Variational
from ae_jax.networks import RNN
from ae_jax.report.explorer import explore
from ae_jax.storage.runs import Run
from experiments.figures import draw_run

SPEC = Variational(network=RNN(widths=(4,)), latent_dim=2, likelihood="gaussian", variance=0.1)
FAST = ("reconstruction", "dimensionality")
QUICK = {
    "dimensionality": {"logistic_pca": False},
    "anomaly": {"components": 2},
    "denoising": {"noises": ("masking",), "levels": (0.5,)},
    "features": {"labels": (8,), "draws": 1},
    "generation": {"importance_samples": 2, "components": 2},
}


def series(count, fill, *, seed, classes=2):
    """Series in [0, 1] whose padding holds `fill`."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, 6, 2), np.float32)
    length = rng.integers(2, 7, count).astype(np.int32)
    x[np.arange(6) >= length[:, None]] = fill
    label = (np.arange(count) % classes).astype(np.int32)
    return {"x": x, "length": length, "label": label}


def hidden(data, fill):
    """`data` between rows that its mask excludes."""
    rows = np.arange(len(data["x"])).repeat(2)
    masked = {name: column[rows].copy() for name, column in data.items()}
    masked["mask"] = np.arange(len(rows)) % 2
    masked["x"][::2] = fill
    return masked


@pytest.fixture(scope="module")
def model(numpy_state):
    ae = SPEC.build((6, 2))
    return ae, numpy_state(ae, optax.sgd(0.1))


def splits(fill):
    return series(30, fill, seed=1), series(24, fill, seed=2), series(26, fill, seed=3, classes=3)


@pytest.fixture(scope="module")
def subjects(model):
    ae, state = model
    plain = Subject(ae, state.variables, *splits(0.0))
    filled = Subject(ae, state.variables, *(hidden(data, 0.9) for data in splits(50.0)))
    return plain, filled


OF_SERIES = [name for name in TASKS if name != "dictionary"]


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in OF_SERIES]
)
def test_every_metric_of_every_task_is_equal(name, subjects):
    task = TASKS[name]
    plain, filled = (task.measure(each, task.Settings(**QUICK.get(name, {}))) for each in subjects)
    assert task.misfit(subjects[0]) is None
    assert json.dumps(plain.metrics) == json.dumps(filled.metrics) and plain.metrics
    assert plain.skipped == filled.skipped
    assert list(plain.figures) == list(filled.figures)
    for figure, other in zip(plain.figures.values(), filled.figures.values(), strict=True):
        assert drawn(figure) == drawn(other)


def drawn(figure):
    figure.canvas.draw()
    return figure.canvas.buffer_rgba().tobytes()


@pytest.mark.slow
def test_functions_of_a_data_set_are_equal(model):
    ae, state = model
    train, test, _ = splits(0.0)
    for fill in (0.0, 50.0):
        other = hidden(series(24, fill, seed=2), 0.9)
        for fn in (reconstruction_metrics, posterior_metrics, explore):
            first, second = fn(ae, state.variables, test), fn(ae, state.variables, other)
            np.testing.assert_equal(first, second)
        assert weaknesses(ae, state.variables, train, test) == weaknesses(
            ae, state.variables, hidden(series(30, fill, seed=1), 0.9), other
        )


@pytest.mark.slow
def test_the_pictures_of_a_run_are_equal(model, tmp_path):
    ae, state = model
    history = [{"split": "test", "step": 1, "epoch": 1.0, "loss": 1.0}]
    files = []
    for name, test in {"plain": splits(0.0)[1], "filled": hidden(splits(50.0)[1], 0.9)}.items():
        run = Run.create(tmp_path / name, {})
        assert draw_run(run, ae, state, test, history) == []
        files.append({file.name: file.read_bytes() for file in run.path.glob("figures/*.png")})
    assert files[0] == files[1] and "reconstructions.png" in files[0]
