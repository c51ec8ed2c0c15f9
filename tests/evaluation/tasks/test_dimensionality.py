"""What the code keeps, on models whose answer is known."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation.reconstruction import mean_metrics, reconstruction_errors
from ae_jax.evaluation.tasks import dimensionality
from ae_jax.evaluation.tasks.dimensionality import Settings
from ae_jax.evaluation.tasks.subject import Subject
from ae_jax.models import Vanilla
from ae_jax.networks import MLP, RNN

RNG = np.random.default_rng(0)
QUICK = Settings(examples=40, logistic_pca=False)


def subject(numpy_state, spec, train, test):
    ae = spec.build(train["x"].shape[1:])
    return Subject(ae, numpy_state(ae, optax.sgd(0.1)).variables, train, test, test)


def vectors(count, *, label=True):
    x = RNG.uniform(size=(count, 6)).astype(np.float32)
    return {"x": x} | ({"label": (x[:, 0] > 0.5).astype(np.int32)} if label else {})


LINEAR = Vanilla(network=MLP(), latent_dim=2, latent_activation="linear")


def test_a_code_is_beside_pca_and_the_data(numpy_state):
    case = subject(numpy_state, LINEAR, vectors(60), vectors(60))
    result = dimensionality.measure(case, QUICK)
    assert result.metrics["mse"].keys() == {"latents", "PCA"}
    assert result.metrics["accuracy"].keys() == {"latents", "PCA", "data"}
    assert result.metrics["accuracy"]["data"]["linear"] > 0.85  # the label is one of its columns
    assert result.metrics.keys() == result.conventions.keys() and result.skipped == {}
    x = case.test["x"]
    centered = case.train["x"] - case.train["x"].mean(0)
    axes = np.linalg.svd(np.float64(centered), full_matrices=False)[2][:2]
    rest = x - case.train["x"].mean(0)
    error = np.square(rest - rest @ axes.T @ axes).mean()
    np.testing.assert_allclose(result.metrics["mse"]["PCA"], error, rtol=1e-4)


def test_padding_of_sequences_does_not_count(numpy_state):
    def sequences(count):
        return {
            "x": RNG.normal(size=(count, 5, 2)).astype(np.float32),
            "length": np.full(count, 3, np.int32),
        }

    spec = Vanilla(network=RNN(widths=(4,)), latent_dim=2, loss="mse")
    case = subject(numpy_state, spec, sequences(40), sequences(30))
    found = dimensionality.measure(case, QUICK).metrics["mse"]
    errors = reconstruction_errors(case.ae, case.variables, case.test)
    assert found["latents"] == pytest.approx(mean_metrics(errors)["mse"])
    case.test["x"][:, 3:] = 50.0
    again = dimensionality.measure(case, QUICK).metrics["mse"]
    assert again["latents"] == pytest.approx(found["latents"], rel=1e-5)


def test_latents_that_never_change_have_no_figure(numpy_state):
    spec = Vanilla(network=MLP(), latent_dim=4)
    case = subject(numpy_state, spec, vectors(60, label=False), vectors(60, label=False))
    case.variables["params"]["code"]["bias"] = np.full(4, -100.0, np.float32)  # dead units
    result = dimensionality.measure(case, QUICK)
    assert result.figures == {}
    assert result.skipped["dimensionality-latents"] == "all test examples have the same latents"
    assert result.skipped["accuracy"] == "data has no labels to train a classifier on the latents"


def test_what_does_not_fit(numpy_state):
    large = subject(numpy_state, Vanilla(latent_dim=9), vectors(60), vectors(60))
    assert "not smaller than the data" in dimensionality.measure(large, QUICK).skipped["PCA"]
    few = dimensionality.measure(subject(numpy_state, LINEAR, vectors(60), vectors(2)), QUICK)
    assert few.metrics["mse"].keys() == {"latents", "PCA"}  # which need no neighbors
    assert few.skipped["neighborhoods of PCA"] == "examples=2: needs at least 3 test examples"
    broken = subject(numpy_state, LINEAR, vectors(60), vectors(60))
    broken.variables["params"]["code"]["bias"] = np.full(2, np.nan, np.float32)
    assert "not finite" in dimensionality.misfit(broken)
    with pytest.raises(ValueError, match="dimensionality.examples=2: must be at least 8"):
        Settings(examples=2)
