"""The report of a code's activity, against NumPy on codes that are known."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation import latent_metrics
from ae_jax.models import Vanilla
from ae_jax.networks import MLP, ConvNet


def linear_codes(columns):
    """A model and variables whose code is ``x @ columns``, and 7 examples."""
    size = len(columns[0])
    ae = Vanilla(network=MLP(), latent_dim=size, latent_activation="linear").build((len(columns),))
    code = {"kernel": np.asarray(columns, np.float32), "bias": np.zeros(size, np.float32)}
    x = np.random.default_rng(0).random((7, len(columns)), np.float32)
    return ae, {"params": {"code": code}}, x


def test_figures_equal_numpy():
    columns = np.array([[1.0, 0.0, -2.0, 1e-5], [0.5, 0.0, 0.3, 0.0]])
    ae, variables, x = linear_codes(columns)
    z = x.astype(np.float64) @ columns
    got = latent_metrics(ae, variables, x, batch_size=3)
    np.testing.assert_allclose(got["mean_activation"], np.abs(z).mean(), rtol=1e-6)
    assert got["dead_units"] == 0.5  # always 0; and 1e-5 at most
    assert got["near_zero_units"] == 0.5
    near = np.abs(z) <= 1e-3
    np.testing.assert_allclose(got["near_zero_activations"], near.mean(), rtol=1e-6)


def test_a_saturated_unit_is_dead_but_not_near_zero():
    ae, variables, x = linear_codes([[1.0, 0.0]])
    variables["params"]["code"]["bias"] = np.array([0.0, 1.0], np.float32)
    got = latent_metrics(ae, variables, x)
    assert got["dead_units"] == 0.5 and got["near_zero_units"] == 0


def test_spatial_codes_and_pixels(numpy_state):
    ae = Vanilla(network=ConvNet(filters=(2,)), latent_dim=None).build((4, 4, 1))
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    state = numpy_state(ae, optax.identity())
    z = np.asarray(ae.encode(state.variables, x))
    got = latent_metrics(ae, state.variables, x)
    np.testing.assert_allclose(got["mean_activation"], np.abs(z).mean(), rtol=1e-5)


def test_a_negative_bound_is_refused():
    ae, variables, x = linear_codes([[1.0]])
    with pytest.raises(ValueError, match="near_zero"):
        latent_metrics(ae, variables, x, near_zero=-1.0)
