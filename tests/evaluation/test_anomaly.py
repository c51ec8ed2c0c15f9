"""Anomaly scores against their definitions, and figures against brute force."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation.anomaly import (
    LATENT_SCORES,
    combined_score,
    detection_metrics,
    latent_scorer,
    model_scores,
)
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP, RNN

RNG = np.random.default_rng(0)


def code_scores(normal, z, **options):
    return {name: latent_scorer(name, normal, **options)(z) for name in LATENT_SCORES}


def test_scores_of_a_model_are_its_terms_of_each_example(numpy_state):
    ae = Variational(network=MLP(widths=(5,)), latent_dim=2).build((3, 2))
    variables = numpy_state(ae, optax.sgd(0.1)).variables
    x = RNG.uniform(size=(7, 3, 2)).astype(np.float32)
    scores = model_scores(ae, variables, {"x": x}, batch_size=3)
    recon = np.float64(ae.reconstruct(variables, x))
    error = recon - x
    np.testing.assert_allclose(scores["squared_error"], (error**2).sum((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(scores["largest_error"], abs(error).max((1, 2)), rtol=1e-4)
    nll = -(x * np.log(recon) + (1 - x) * np.log(1 - recon)).sum((1, 2))
    np.testing.assert_allclose(scores["nll"], nll, rtol=1e-4)
    outputs = ae.outputs(variables, {"x": x})
    mean, logvar = outputs["mean"], outputs["logvar"]
    kl = 0.5 * (np.exp(logvar) + np.square(mean) - 1 - logvar).sum(1)
    np.testing.assert_allclose(scores["kl"], kl, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(scores["negative_elbo"], scores["nll"] + scores["kl"], rtol=1e-5)


def test_padded_steps_do_not_count(numpy_state):
    ae = Vanilla(network=RNN(widths=(4,)), latent_dim=3, loss="mse").build((6,))
    variables = numpy_state(ae, optax.sgd(0.1)).variables
    x = RNG.normal(size=(3, 6)).astype(np.float32)
    other, length = x.copy(), np.int32([6, 4, 2])
    for row, steps in enumerate(length):
        other[row, steps:] = 99.0
    for name, score in model_scores(ae, variables, {"x": x, "length": length}).items():
        changed = model_scores(ae, variables, {"x": other, "length": length})[name]
        np.testing.assert_allclose(score, changed, rtol=1e-5)


def test_a_gaussian_of_codes_is_mahalanobis_and_neighbors_are_distances():
    normal = RNG.normal(size=(400, 3)) @ np.array([[2, 0.5, 0], [0, 1, 0.3], [0, 0, 0.1]]) + 5
    z = normal[:50] + RNG.normal(size=(50, 3))
    scores = code_scores(normal, z, components=2, neighbors=3)
    a, b = [(v - normal.mean(0)) / normal.std(0) for v in (normal, z)]
    covariance = a.T @ a / len(a) + 1e-4 * np.eye(3)
    mahalanobis = np.einsum("ni,ij,nj->n", b, np.linalg.inv(covariance), b)
    log_density = -0.5 * (mahalanobis + np.linalg.slogdet(2 * np.pi * covariance)[1])
    np.testing.assert_allclose(scores["gaussian"], -log_density, rtol=1e-6)
    distance = np.linalg.norm(b[:, None] - a, axis=2)
    nearest = np.sort(distance, axis=1)[:, :3].mean(1)
    np.testing.assert_allclose(scores["neighbors"], nearest, rtol=1e-6)


def test_units_that_never_move_change_nothing():
    normal, z = RNG.normal(size=(100, 2)), RNG.normal(size=(9, 2))
    dead = [np.column_stack([a, np.full(len(a), 3.0)]) for a in (normal, z)]
    dead[1][:, 2] += 1e-3
    for name, score in code_scores(*dead, components=2).items():
        np.testing.assert_allclose(score, code_scores(normal, z, components=2)[name])
    with pytest.raises(ValueError, match="all normal examples have the same latents"):
        code_scores(np.ones((50, 2)), z)
    with pytest.raises(ValueError, match="normal=12: needs at least 20 examples"):
        code_scores(normal[:12], z)


def test_a_combination_weighs_scores_by_their_deviation():
    normal = {"a": RNG.normal(size=99) * 3, "b": RNG.normal(size=99)}
    scores = {"a": np.array([1.0, 2]), "b": np.array([4.0, 5])}
    expected = scores["a"] / normal["a"].std() + scores["b"] / normal["b"].std()
    np.testing.assert_allclose(combined_score(normal, scores), expected)


@pytest.mark.parametrize("ties", [False, True])
def test_figures_are_what_counting_gives(ties):
    scores = RNG.normal(size=60) + np.repeat([0, 1], [40, 20])
    scores = scores.round(0) if ties else scores
    anomalous = np.repeat([False, True], [40, 20])
    figures = detection_metrics(scores, anomalous, false_positive_rate=0.1)
    normal, odd = scores[:40], scores[40:]
    wins = (odd[:, None] > normal).mean() + 0.5 * (odd[:, None] == normal).mean()
    np.testing.assert_allclose(figures["roc_auc"], wins)
    rates = {t: (normal > t).mean() for t in normal}
    lowest = min(t for t, rate in rates.items() if rate <= 0.1)
    assert figures["threshold"] == lowest
    assert figures["false_positive_rate"] == rates[lowest]
    assert figures["true_positive_rate"] == (odd > lowest).mean()
    if not ties:
        hits = anomalous[np.argsort(-scores)]
        precision = np.cumsum(hits) / np.arange(1, 61)
        np.testing.assert_allclose(figures["average_precision"], precision[hits].mean())


@pytest.mark.parametrize(("value", "kind"), [(False, "normal examples"), (True, "anomalies")])
def test_one_kind_only_is_an_error(value, kind):
    with pytest.raises(ValueError, match=f"all 4 examples are {kind}: a ROC curve needs both"):
        detection_metrics(np.arange(4.0), np.full(4, value))
