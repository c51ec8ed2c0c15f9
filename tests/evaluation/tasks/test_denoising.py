"""What the use reports: every kind and level, and which models and data it fits."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation.tasks import denoising
from ae_jax.evaluation.tasks.subject import Subject
from ae_jax.models import Vanilla


def subject(numpy_state, x, **options):
    ae = Vanilla(latent_dim=3, loss="mse").build(x.shape[1:])
    variables = numpy_state(ae, optax.identity()).variables
    return Subject(ae, variables, {"x": x}, {"x": x}, {"x": x}, **options)


def test_images_are_measured_by_kind_and_level(numpy_state):
    x = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1)).astype(np.uint8)
    settings = denoising.Settings(noises=("masking",), levels=(0.5, 0.1), examples=5, tuning=3)
    metrics, conventions, figures, _ = denoising.measure(subject(numpy_state, x), settings)
    assert metrics["examples"] == 5
    methods = ["noisy", "model", "gaussian filter", "median filter"]
    for name in ("psnr", "ssim"):
        assert list(metrics[name]) == ["masking 0.5", "masking 0.1"]
        assert all(list(row) == methods for row in metrics[name].values())
        assert metrics[name]["masking 0.1"]["noisy"] > metrics[name]["masking 0.5"]["noisy"]
    assert list(metrics["filter widths"]) == ["masking 0.5", "masking 0.1"]
    assert metrics.keys() <= conventions.keys()
    assert list(figures) == ["denoising-curves", "denoising-masking"]
    drawn = [ax.get_ylabel() for ax in figures["denoising-masking"].axes]
    assert drawn == [*methods, "clean"]


def test_noise_is_that_of_the_seed(numpy_state):
    x = np.random.default_rng(0).random((6, 5), np.float32)
    settings = denoising.Settings(noises=("gaussian",), levels=(0.3,))
    first, again, other = (
        denoising.measure(subject(numpy_state, x, seed=seed), settings).metrics["psnr"]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_vectors_have_no_ssim_filters_or_images(numpy_state):
    x = np.random.default_rng(0).random((6, 5), np.float32)
    settings = denoising.Settings(noises=("gaussian",), levels=(0.3,))
    metrics, _, figures, _ = denoising.measure(subject(numpy_state, x), settings)
    assert list(metrics) == ["examples", "clean psnr", "psnr"]
    assert list(metrics["psnr"]["gaussian 0.3"]) == ["noisy", "model"]
    assert list(figures) == ["denoising-curves"]


def test_data_outside_the_unit_interval_does_not_fit(numpy_state):
    x = np.array([[-1.5, 0.2], [0.3, 2.0]], np.float32)
    why = denoising.misfit(subject(numpy_state, x, name="waves"))
    assert why == "the noise is for data in [0, 1], and waves goes from -1.5 to 2"
    assert denoising.misfit(subject(numpy_state, np.abs(x) / 2)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ()}, "levels=()"),
        ({"levels": (0.2, 0.0)}, "each above 0 and at most 1"),
        ({"levels": (1.5,)}, "each above 0 and at most 1"),
        ({"noises": ()}, "noises=()"),
        ({"examples": 0}, "examples=0: must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError) as caught:
        denoising.Settings(**options)
    assert message in str(caught.value)
