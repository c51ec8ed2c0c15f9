"""A part that cannot be measured is skipped with its reason, and takes no other part with it."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation.tasks import anomaly, dimensionality, generation
from ae_jax.evaluation.tasks.subject import Subject, joined, skipping
from ae_jax.models import Vanilla

RNG = np.random.default_rng(0)


def subject(numpy_state, train, test, shape=(5,), classes=(1, 2)):
    ae = Vanilla(latent_dim=3, loss="mse", latent_activation="linear").build(shape)
    sets = [
        {
            "x": RNG.random((count, *shape), np.float32),
            "label": (np.arange(count) % number).astype(np.int32),
        }
        for count, number in ((train, classes[0]), (test, classes[1]))
    ]
    return Subject(ae, numpy_state(ae, optax.sgd(0.1)).variables, *sets, sets[1])


def test_few_normal_rows_cost_only_the_scores_that_need_more(numpy_state):
    few = subject(numpy_state, 15, 30)
    result = anomaly.measure(few, anomaly.Settings())
    scores = {"squared_error", "largest_error", "mse", "gaussian", "neighbors"}
    assert result.metrics["scores"].keys() == scores
    assert result.skipped == {
        "mixture": "normal=15: needs at least 20 examples",
        "error_and_mixture": "one of the two is skipped",
    }
    assert result.figures.keys() == {"anomaly-roc", "anomaly-squared-error"}


def test_a_model_that_reconstructs_nothing_finite_keeps_the_scores_of_its_latents(numpy_state):
    case = subject(numpy_state, 30, 30)
    (decoder,) = case.variables["params"]["decoder"].values()
    decoder["bias"] = np.full(5, np.nan, np.float32)
    result = anomaly.measure(case, anomaly.Settings(components=2))
    assert result.metrics["scores"].keys() == {"gaussian", "mixture", "neighbors"}
    assert result.skipped["squared_error"] == "Input contains NaN."


def test_two_test_examples_have_errors_and_no_neighborhoods(numpy_state):
    case = subject(numpy_state, 40, 2, classes=(2, 2))
    result = dimensionality.measure(case, dimensionality.Settings(logistic_pca=False))
    assert result.metrics["mse"].keys() == {"latents", "PCA"}
    assert result.metrics["accuracy"].keys() == {"latents", "PCA", "data"}
    assert result.metrics["neighborhoods"] == {}
    assert result.skipped["neighborhoods of latents"].endswith("needs at least 3 test examples")


def test_one_figure_that_cannot_be_drawn(numpy_state):
    case = subject(numpy_state, 20, 1, shape=(8, 8, 1))
    result = generation.measure(case, generation.Settings(components=2))
    assert "latent_density" in result.metrics
    names = ("samples", "samples-gaussian", "traversals")
    assert result.figures.keys() == {f"generation-{name}" for name in names}
    reason = "an interpolation needs two test examples"
    assert result.skipped["generation-interpolations"] == reason


def test_a_part_that_works_leaves_no_line():
    skipped = {}
    with skipping(skipped, "fine"):
        pass
    assert skipped == {}
    with pytest.raises(TypeError), skipping(skipped, "a bug"):  # is not a reason to skip
        raise TypeError
    assert joined([]).metrics == {}
