"""A model in the units of the data is the model of standardized data, between two linear maps."""

import jax
import numpy as np
import optax
import pytest

from ae_jax.core import compute_loss, floats_in, init_state, streams
from ae_jax.data.standardize import standardize, statistics_of
from ae_jax.models import Vanilla
from ae_jax.models.standardized import standardized
from tests.core.models import CASES, examples, half
from tests.models.table import VARIANTS

RNG = np.random.default_rng(0)
NAMES = ["vanilla-deep", "denoising-mse", "vae-learned", "ae-recurrent-denoising-vae"]


def built(name):
    """A model, and data with columns of very different sizes."""
    if name in CASES:
        ae, data = CASES[name].ae, examples(CASES[name])
    else:
        ae = VARIANTS[name].build((4, 3))
        data = {"x": np.float32(RNG.normal(size=(10, 4, 3)))}
    columns = np.arange(data["x"].shape[-1])
    return ae, {**data, "x": np.float32(data["x"] * 10.0**columns + 300.0 * columns)}


@pytest.mark.parametrize(
    "name",
    [
        *NAMES[:1],
        "transcoder",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in (*NAMES[1:], "two-level", "conditional")
        ),
    ],
)
def test_it_is_the_inner_model_in_other_units(name, numpy_state):
    ae, data = built(name)
    statistics = statistics_of(data)
    mean, std = (np.float32(statistics[key]) for key in ("mean", "std"))
    z = standardize(data, statistics)
    wrapped = standardized(ae, statistics)
    variables = numpy_state(ae, optax.identity()).variables

    def close(actual, expected, rtol=1e-4):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-4 * np.abs(b).max()),
            actual,
            expected,
        )

    shapes = [
        jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype),
            jax.eval_shape(
                lambda ae=each: init_state(ae, optax.identity(), jax.random.key(0)).variables
            ),
        )
        for each in (ae, wrapped)
    ]
    assert shapes[0] == shapes[1]
    columns = ae.encoder_columns(data)
    latents = ae.encode(variables, z["x"], **columns)
    close(wrapped.encode(variables, data["x"], **columns), latents)
    close(wrapped.features(variables, data["x"], **columns),
          ae.features(variables, z["x"], **columns))  # fmt: skip
    given = {name: columns[name] for name in ae.given}
    inner = ae.decode(variables, latents, **given)
    close(
        wrapped.decode(variables, latents, **given),
        inner * std + mean if ae.target == "x" else inner,
    )
    for method in ("sample", "log_weight", "posterior_kl", "prior_quantile"):
        assert (wrapped.method(method) is None) == (ae.method(method) is None)

    def losses(model, batch):
        batch = floats_in(batch)
        return compute_loss(model.objective, model.outputs(variables, batch), batch)[1]

    close(losses(wrapped, data), losses(ae, z), rtol=2e-3)


def test_samples_are_in_the_units_of_the_data(numpy_state):
    ae, data = built("vae-learned")
    statistics = statistics_of(data)
    variables = numpy_state(ae, optax.identity()).variables
    rngs = streams(jax.random.key(0))
    drawn = standardized(ae, statistics).apply(variables, 500, rngs=rngs, method="sample")
    expected = ae.decode(variables, drawn["z"]) * np.float32(statistics["std"])
    expected += np.float32(statistics["mean"])
    np.testing.assert_allclose(drawn["recon"], expected, rtol=1e-5, atol=1e-4)
    noise = (drawn["x"] - drawn["recon"]) / np.float32(statistics["std"])
    deviation = np.exp(0.5 * drawn["recon_logvar"])
    np.testing.assert_allclose(noise.std((0, 1)), deviation, rtol=0.1)  # of each column


def test_a_mean_that_is_large_beside_the_deviation(numpy_state):
    """Of a model in bfloat16 too, which would round 1e5 to a multiple of 512."""
    ae = Vanilla(latent_dim=2, loss="mse").build((3,))
    x = np.float32(RNG.normal(size=(40, 3)) + 1e5 + 1 / 3)
    statistics = statistics_of({"x": x})
    variables = numpy_state(ae, optax.identity()).variables
    expected = ae.encode(variables, standardize({"x": x}, statistics)["x"])
    latents = standardized(half(ae), statistics).encode(variables, x)
    np.testing.assert_allclose(latents, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "statistics",
    [
        3,
        {"mean": [0.0, 0.0]},
        {"mean": [0.0, 0.0], "std": [1.0]},
        {"mean": [0.0, 0.0], "std": [1.0, 0.0]},
        {"mean": [0.0, float("nan")], "std": [1.0, 1.0]},
        {"mean": [0.0, "0"], "std": [1.0, 1.0]},
    ],
)
def test_damaged_statistics_are_refused(statistics):
    with pytest.raises(ValueError, match="config.json: statistics.* must be 2 finite numbers"):
        standardized(Vanilla(latent_dim=1).build((2,)), statistics, "config.json: statistics")
