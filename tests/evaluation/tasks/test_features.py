"""What the task reports of a model whose latents are known, and which of its parts fit."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation.few_labels import few_label_accuracy
from ae_jax.evaluation.tasks import features
from ae_jax.evaluation.tasks.subject import Subject
from ae_jax.models import Vanilla
from ae_jax.networks import MLP, RNN, ConvNet

RNG = np.random.default_rng(0)
LABEL = np.arange(40, dtype=np.int32) % 4


def subject(numpy_state, x, label=LABEL, network=None, latent_dim=3):
    ae = Vanilla(network=network or MLP(), latent_dim=latent_dim).build(x.shape[1:])
    data = {"x": x} if label is None else {"x": x, "label": label}
    return Subject(ae, numpy_state(ae, optax.identity()).variables, data, data, data)


@pytest.fixture
def images():
    return RNG.integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)


def known_latents(numpy_state, label=LABEL):
    """Codes that are the input's first two values, and 0."""
    found = subject(numpy_state, RNG.random((40, 5), np.float32), label)
    kernel = np.zeros((5, 3), np.float32)
    kernel[0, 0], kernel[1, 1] = 1, 10
    found.variables["params"]["code"].update(kernel=kernel, bias=np.zeros(3, np.float32))
    return found


def test_units_are_those_of_the_codes(numpy_state):
    known = known_latents(numpy_state)
    metrics, conventions, figures, skipped = features.measure(
        known, features.Settings(units=2, labels=(8,), draws=2)
    )
    assert metrics["dead_units"] == pytest.approx(1 / 3)
    assert list(metrics["units"]) == ["1", "0"]
    value = 10 * known.test["x"][:, 1]
    unit = metrics["units"]["1"]
    assert unit["mean"] == pytest.approx(value.mean(), rel=1e-5)
    assert unit["deviation"] == pytest.approx(value.std(), rel=1e-5)
    assert unit["top_examples"] == np.argsort(-value)[:10].tolist()
    assert metrics.keys() <= conventions.keys()
    assert list(figures) == ["features-histograms", "features-few-labels"]
    assert skipped == {"filters": "examples of shape (5,) are not images"}


def test_few_labels_compares_codes_input_and_pca(numpy_state):
    known = known_latents(numpy_state)
    settings = features.Settings(parts=("few_labels",), labels=(30, 500), draws=3)
    metrics, _, _, skipped = features.measure(known, settings)
    assert list(metrics) == ["few_labels"] and skipped == {}
    (row,) = metrics["few_labels"].values()  # there are no 500 labels
    assert list(row) == ["latents", "latents ±", "input", "input ±", "PCA 3", "PCA 3 ±"]
    x = known.train["x"]
    for name, z in {
        "input": x,
        "latents": np.stack([x[:, 0], 10 * x[:, 1], 0 * x[:, 0]], 1),
    }.items():
        found = few_label_accuracy(z, LABEL, z, LABEL, count=30, draws=3)
        assert row[name] == pytest.approx(found.mean())
        assert row[f"{name} ±"] == pytest.approx(found.std())


def test_all_parts_of_images(numpy_state, images):
    metrics, _, figures, skipped = features.measure(
        subject(numpy_state, images, latent_dim=16), features.Settings(labels=(8,), draws=1)
    )
    names = ["filters", "histograms", "top-examples", "few-labels"]
    assert list(figures) == [f"features-{name}" for name in names] and skipped == {}
    assert list(metrics["few_labels"]["8"]) == ["latents", "latents ±", "input", "input ±"]


def test_units_of_a_spatial_code_are_named_by_place(numpy_state, images):
    spatial = subject(numpy_state, images, network=ConvNet(filters=(3,)), latent_dim=None)
    metrics = features.measure(spatial, features.Settings(parts=("units",), units=1)).metrics
    ((name, unit),) = metrics["units"].items()
    z = np.asarray(spatial.ae.encode(spatial.variables, images))
    place = tuple(int(i) for i in name.split(", "))
    assert place == np.unravel_index(z.std(0).argmax(), z.shape[1:])
    assert unit["mean"] == pytest.approx(z[(slice(None), *place)].mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (None, "data has no labels"),
        (np.full(40, 7), "all training examples have the label 7"),
        (np.linspace(0, 1, 40), "the labels of data are float64, not classes"),
    ],
)
def test_labels_that_do_not_fit_leave_a_line_or_are_an_error(label, why, numpy_state):
    known = known_latents(numpy_state, label)
    result = features.measure(known, features.Settings())
    assert result.skipped["few_labels"] == why and "few_labels" not in result.metrics
    with pytest.raises(ValueError) as caught:
        features.measure(known, features.Settings(parts=("units", "few_labels")))
    assert str(caught.value) == f"features.parts few_labels: {why}"


def test_filters_of_a_recurrent_net_are_an_error_when_asked_for(numpy_state, images):
    recurrent = subject(numpy_state, images, network=RNN(widths=(3, 2)), latent_dim=None)
    with pytest.raises(ValueError, match="features.parts filters: the first layer has weights"):
        features.measure(recurrent, features.Settings(parts=("filters",)))


def test_a_diverged_model_is_one_line(numpy_state):
    known = known_latents(numpy_state)
    known.variables["params"]["code"]["bias"] = np.full(3, np.inf, np.float32)
    with pytest.raises(ValueError, match="the latents are not finite: has the training diverged"):
        features.measure(known, features.Settings())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": (10, 1)}, "labels=(10, 1): must be at least 2"),
        ({"labels": ()}, "labels=()"),
        ({"draws": 0}, "draws=0: must be at least 1"),
        ({"pool": 1}, "pool=1: must be at least 2"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError) as caught:
        features.Settings(**options)
    assert message in str(caught.value)
