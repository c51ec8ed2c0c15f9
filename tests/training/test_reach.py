"""Data that a decoder cannot reach are refused before anything is compiled."""

from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax import fit
from ae_jax.models import Vanilla
from ae_jax.networks import RNN
from ae_jax.networks.activations import RANGES, Activation, activation
from ae_jax.training import sweep
from ae_jax.training.checks import check_reach, checked_data
from experiments.configs import CONFIGS

INPUTS = jnp.linspace(-30, 30, 60_001)
WAVES = np.sin(np.linspace(0, 20, 80, dtype=np.float32)).reshape(20, 4)


@pytest.mark.parametrize("name", get_args(Activation))
def test_the_range_of_an_activation_is_that_of_its_values(name):
    values = activation(name)(INPUTS)
    low, high = RANGES[name]
    for value, limit in ((values.min(), low), (values.max(), high)):
        if np.isinf(limit):
            assert abs(value) > 0.25  # of leaky_relu, with a slope of 0.01
        else:
            np.testing.assert_allclose(value, limit, atol=1e-6)


def model(name, **options):
    return Vanilla(latent_dim=2, loss="mse", output_activation=name, **options).build((4,))


def test_every_activation_meets_data_outside_of_its_range():
    for name, (low, high) in RANGES.items():
        inside = np.array([[max(low, -2), 0, 0, min(high, 2)]], np.float32)
        check_reach(model(name), {"x": inside})
        if np.isfinite(low):
            with pytest.raises(ValueError, match="this model's output lies in"):
                check_reach(model(name), {"x": inside - 0.1})
        if np.isfinite(high):
            with pytest.raises(ValueError, match="this model's output lies in"):
                check_reach(model(name), {"x": inside + 0.1})


def test_fit_and_sweep_refuse_it_in_one_line():
    message = (
        "train: x has values in [-0.998, 1], and this model's output lies in [0, 1]: "
        "rescale the data, or use output_activation='linear'"
    )
    ae = model("sigmoid")
    for call in (
        lambda: fit(ae, WAVES, epochs=1, batch_size=20),
        lambda: sweep(lambda: ae, {}, [0], WAVES, epochs=1, batch_size=20),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == message


def test_data_within_reach_pass():
    check_reach(model("tanh"), {"x": WAVES})
    check_reach(model("sigmoid"), {"x": np.zeros((3, 4), np.uint8)})  # which stand for [0, 1]
    check_reach(model("sigmoid"), {"x": np.float32([[0, 1, 1.001, 0]])})  # less than it may miss
    series = {"x": np.abs(WAVES.reshape(20, 4)), "length": np.full(20, 2, np.int32)}
    series["x"][:, 2:] = 50  # padding
    ae = model("sigmoid", network=RNN(widths=(3,)))
    check_reach(ae, checked_data(ae, series, "train"))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_configurations_reach_everything(name):
    ae = CONFIGS[name].model.build((28, 28))
    assert ae.output_range == (-np.inf, np.inf) and list(ae.objective) == ["mse"]
