"""Reconstruction metrics against NumPy."""

import flax.linen as nn
import numpy as np
import optax
import pytest

from ae_jax.core import Autoencoder
from ae_jax.evaluation.anomaly import model_scores
from ae_jax.evaluation.latents import encode_all
from ae_jax.evaluation.reconstruction import (
    reconstruct_all,
    reconstruction_errors,
    reconstruction_metrics,
)
from ae_jax.evaluation.ssim import ssim
from ae_jax.models import Vanilla

X = np.uint8(np.random.default_rng(0).integers(0, 256, size=(23, 4, 3)))


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_figures_are_means_over_all_examples(loss, numpy_state):
    ae = Vanilla(latent_dim=3, loss=loss).build((4, 3))
    state = numpy_state(ae, optax.sgd(0.1))
    metrics = reconstruction_metrics(ae, state.variables, X, batch_size=10)
    x = X / 255.0
    recon = np.float64(ae.reconstruct(state.variables, X))
    error = ((recon - x) ** 2).sum((1, 2)).mean()
    np.testing.assert_allclose(metrics["squared_error"], error, rtol=1e-5)
    np.testing.assert_allclose(metrics["mse"], error / 12, rtol=1e-5)
    np.testing.assert_allclose(metrics["psnr"], -10 * np.log10(error / 12), rtol=1e-5)
    assert ("bce" in metrics) == (loss == "bce")
    if loss == "bce":
        bce = -(x * np.log(recon) + (1 - x) * np.log(1 - recon)).mean()
        np.testing.assert_allclose(metrics["bce"], bce, rtol=1e-5)


class Halved(nn.Module):
    """Reconstructs half of its input."""

    def __call__(self, x):
        return {"recon": x / 2}


def errors(x):
    ae = Autoencoder(Halved(), {}, x.shape[1:])
    return reconstruction_metrics(ae, {"params": {}}, x)


def test_images_are_scored_on_their_own_range():
    x = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 1)).astype(np.float32)
    got = errors(x)
    np.testing.assert_allclose(got["psnr"], 10 * np.log10(4 / np.mean(x**2 / 4)), rtol=1e-5)
    shares = ssim((x / 2 + 1) / 2, (x + 1) / 2)
    np.testing.assert_allclose(got["ssim"], np.mean(shares), rtol=1e-5)
    half = np.abs(x)
    np.testing.assert_allclose(
        errors(half)["psnr"], -10 * np.log10(np.mean(half**2 / 4)), rtol=1e-5
    )


def test_tables_and_images_of_no_known_range_have_no_psnr():
    rng = np.random.default_rng(0)
    for x in (rng.random((5, 7)), rng.normal(size=(5, 8, 8, 1)) * 5):
        assert errors(np.float32(x)).keys() == {"squared_error", "mse"}


@pytest.mark.parametrize("fn", [reconstruction_errors, reconstruct_all, encode_all, model_scores])
def test_every_function_of_a_data_set_checks_it_as_fit_does(fn, numpy_state):
    ae = Vanilla(latent_dim=3).build((4, 3))
    variables = numpy_state(ae, optax.sgd(0.1)).variables
    for x, error, message in (
        (X.astype(int), TypeError, "x has dtype int64: use x.astype"),
        (X.astype(np.float32), ValueError, "and the loss needs"),
        (np.ma.masked_array(X, X > 9), TypeError, "x is a masked array"),
    ):
        with pytest.raises(error, match=message):
            fn(ae, variables, {"x": x})


def test_a_model_checks_what_it_is_given(numpy_state):
    ae = Vanilla(latent_dim=3).build((4, 3))
    variables = numpy_state(ae, optax.sgd(0.1)).variables
    masked = np.ma.masked_array(X, X > 9)
    calls = {
        "encode": lambda x: ae.encode(variables, x),
        "features": lambda x: ae.features(variables, x),
        "reconstruct": lambda x: ae.reconstruct(variables, x),
        "outputs": lambda x: ae.outputs(variables, {"x": x}),
    }
    for call in calls.values():
        for x, error, message in (
            (X.astype(int), TypeError, "x has dtype int"),
            (X.astype(np.float32), ValueError, r"this model was built for \[0, 1\]"),
            (masked, TypeError, "x is a masked array"),
        ):
            with pytest.raises(error, match=message):
                call(x)
    with pytest.raises(TypeError, match="latents is a masked array"):
        ae.decode(variables, np.ma.masked_array(np.ones((2, 3))))
