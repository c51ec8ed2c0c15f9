"""Reconstruction metrics against NumPy."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation.reconstruction import reconstruction_metrics
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
