"""The first layer's weights as filters, whatever the model's modules are called."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.evaluation.features import first_filters
from ae_jax.models import Denoising, Tied, Vanilla, Variational
from ae_jax.networks import MLP, RNN, ConvNet


def variables_of(ae, numpy_state):
    return numpy_state(ae, optax.identity()).variables


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (Vanilla(latent_dim=5), "code/kernel"),
        (Vanilla(network=MLP(widths=(12, 12)), latent_dim=12), "encoder/Dense_0/kernel"),
        (Variational(network=MLP(), latent_dim=12), "mean/kernel"),
        (Tied(network=MLP(widths=(12,)), latent_dim=12), "kernel_0"),
        (Denoising(network=MLP(widths=(9,)), latent_dim=12), "inner/encoder/Dense_0/kernel"),
    ],
    ids=["code only", "all of one shape", "variational", "tied", "denoising"],
)
def test_dense_filters_are_the_columns_of_the_first_kernel(spec, path, numpy_state):
    ae = spec.build((3, 4, 1))
    variables = variables_of(ae, numpy_state)
    kernel = variables["params"]
    for name in path.split("/"):
        kernel = kernel[name]
    found = first_filters(ae, variables)
    assert found.shape == (kernel.shape[1], 3, 4, 1)
    np.testing.assert_array_equal(found[1].ravel(), kernel[:, 1])


def test_a_code_sees_only_what_the_filters_weigh(numpy_state):
    """dz/dx has no part outside the span of the filters."""
    ae = Vanilla(network=MLP(widths=(4,), activation="tanh"), latent_dim=3).build((3, 4, 1))
    variables = variables_of(ae, numpy_state)
    x = jnp.asarray(np.random.default_rng(0).random((1, 3, 4, 1), np.float32))
    seen = jax.jacobian(partial(ae.encode, variables))(x).reshape(3, 12)
    spanned = np.linalg.qr(first_filters(ae, variables).reshape(4, 12).T)[0]
    assert np.abs(seen).max() > 0.01
    np.testing.assert_allclose(seen @ spanned @ spanned.T, seen, atol=1e-6)


@pytest.mark.parametrize("remat", [False, True])
def test_convolutions(remat, numpy_state):
    ae = Vanilla(network=ConvNet(filters=(6, 3), remat=remat), latent_dim=None).build((8, 8, 3))
    variables = variables_of(ae, numpy_state)
    found = first_filters(ae, variables)
    assert found.shape == (6, 3, 3, 3)
    kernel = variables["params"]["encoder"]["Conv_0"]["kernel"]
    np.testing.assert_array_equal(found[2, 0, 1], kernel[0, 1, :, 2])


@pytest.mark.parametrize("event_shape", [(5, 4), (8, 8, 1)])
def test_a_recurrent_layer_is_refused(event_shape, numpy_state):
    ae = Vanilla(network=RNN(widths=(3, 2)), latent_dim=None).build(event_shape)
    with pytest.raises(ValueError, match="reads a piece of an example"):
        first_filters(ae, variables_of(ae, numpy_state))
