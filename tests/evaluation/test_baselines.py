"""The lines about models that learned little, for models with known errors."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation.baselines import linear_errors, weaknesses
from ae_jax.evaluation.pca import fit_mean, fit_pca
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(60, 3)) @ RNG.normal(size=(3, 6)) + 5).astype(np.float32)
SPEC = Vanilla(network=MLP(), latent_dim=2, latent_activation="linear", loss="mse")


@pytest.fixture
def linear(numpy_state):
    """A linear autoencoder that is PCA with 2 components."""
    ae = SPEC.build((6,))
    variables = numpy_state(ae, optax.sgd(0.1)).variables
    pca = fit_pca(X, 2)
    axes, mean = np.asarray(pca.components), np.asarray(pca.mean)
    variables["params"]["code"].update(kernel=axes.T, bias=-axes @ mean)
    (decoder,) = variables["params"]["decoder"].values()
    decoder.update(kernel=axes, bias=mean)
    return ae, variables, decoder


def test_errors_of_linear_models():
    rest = np.float64(X) - X.mean(0)
    np.testing.assert_allclose(
        linear_errors(fit_mean(X), {"x": X})["squared_error"], (rest**2).sum(1), rtol=1e-4
    )
    axes = np.linalg.svd(rest, full_matrices=False)[2][:2]
    mse = np.square(rest - rest @ axes.T @ axes).mean(1)
    got = linear_errors(fit_pca(X, 2), {"x": X}, peak=2.0)
    np.testing.assert_allclose(got["mse"], mse, rtol=1e-2, atol=1e-5)
    np.testing.assert_allclose(got["psnr"], 10 * np.log10(4 / got["mse"]), rtol=1e-4)


def test_a_model_as_good_as_pca_is_told_nothing(linear):
    ae, variables, _ = linear
    assert weaknesses(ae, variables, {"x": X}, {"x": X}) == []


def test_a_model_worse_than_pca(linear):
    ae, variables, decoder = linear
    decoder["kernel"] = decoder["kernel"] * 0.8
    (line,) = weaknesses(ae, variables, {"x": X}, {"x": X})
    assert line.startswith("worse than PCA with 2 components: squared error ")


def test_a_model_no_better_than_the_mean(linear):
    ae, variables, decoder = linear
    decoder["bias"] = decoder["bias"] + 40
    code = variables["params"]["code"]
    code["kernel"] = code["kernel"] * np.float32([1, 0])
    few, mean = weaknesses(ae, variables, {"x": X}, {"x": X})
    assert few == "few latents are active: 1 of 2"
    assert mean.startswith("no better than predicting the mean of the training data: squared error")


def test_latents_of_a_posterior_are_active_by_their_variance(numpy_state):
    ae = Variational(network=MLP(widths=(5,)), latent_dim=3, likelihood="gaussian").build((6,))
    variables = numpy_state(ae, optax.sgd(0.1)).variables
    mean = variables["params"]["mean"]
    mean["kernel"] = mean["kernel"] * np.float32([1, 1e-5, 1e-5])
    assert "few latents are active: 1 of 3" in weaknesses(ae, variables, {"x": X}, {"x": X})
